//! Kernels, one for each construct, with the memory that they work on and their results: what the
//! exactness suite of `farptr` runs, and `farptr doctor`.
//!
//! A [`Case`](case::Case) is a kernel and its lends. [`catalogue`] lists those that are written by
//! hand, [`programs`] and [`nests`] are generated from seeds. An [`Arena`](arena::Arena) is host
//! memory with the lends of a case. Nothing here opens a device, or knows
//! farptr; [`devices`] says what some lack.
//!
//! All input is this crate's own, so that functions panic where a case is wrong.
#![allow(clippy::unwrap_used, reason = "generators make modules that they know to be whole")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of invocations and elements, small")]

// First: it has the macro of the lists.
#[macro_use]
pub mod case;

pub mod arena;
mod assembly;
mod atomics;
pub mod catalogue;
mod composites;
mod control;
pub mod devices;
mod groups;
mod indices;
pub mod layout;
mod lists;
mod model;
mod nest;
pub mod nests;
mod pointers;
pub mod programs;
mod scalars;
pub mod text;
