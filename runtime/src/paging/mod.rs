//! Demand paging for devices with memory of their own: the pages that a device has, and the rounds
//! that bring the others there.
//!
//! `DESIGN.md` has the protocol. The engine, [`rounds`], neither calls Vulkan nor touches lent
//! memory: it goes through the traits [`Memory`](crate::residency::memory::Memory), [`rounds::Run`]
//! and `process::host::Host`. [`view`] and [`run`] put it on a device.
#![allow(clippy::cast_possible_truncation, reason = "hosts are 64-bit: `farptr_hmm` sees to it")]

pub(crate) mod areas;
mod bit_set;
mod bitmap;
pub(crate) mod first;
mod lend_pages;
mod lists;
pub(crate) mod pages;
pub(crate) mod plan;
mod prefetch;
pub(crate) mod process;
pub(crate) mod reach;
pub(crate) mod report;
pub(crate) mod rounds;
pub(crate) mod run;
pub(crate) mod shared;
#[cfg(test)]
pub(crate) mod soft;
mod states;
pub(crate) mod table;
mod together;
pub(crate) mod view;

pub(crate) use farptr_rewrite::control::PAGE_BYTES;
