//! Hand-written Vulkan: what a careful programmer would write without farptr. Raw system calls are
//! in the module `linux`, which has its own rules.
//!
//! The rivals are meant to be hard to beat: they are made of the types of `crate::vulkan`.
//!
//! # Safety
//!
//! The rules of `crate::vulkan`, by their numbers. The functions that this module gives to the rest
//! of the crate are safe, but for those that run kernels on arguments or words of the caller's
//! choice.
#![allow(unsafe_code, reason = "hand-written calls are what farptr is compared with")]

mod arrays;
mod bfs;
mod cg;
mod copies;
mod device_memory;
mod empty;
mod first_use;
mod imported_pages;
mod linux;
mod raw;
mod staged;
mod staged_bytes;
mod staged_sparse;

pub(crate) use arrays::RawArrays;
pub(crate) use bfs::{ImportedBfs, degree_max, lay_out, node_at};
pub(crate) use cg::{ConjugateGradients, ImportedCg, iterate, single};
pub(crate) use copies::Copies;
pub(crate) use empty::EmptyLaunch;
pub(crate) use first_use::RawFirstUse;
pub(crate) use imported_pages::ImportedPages;
pub(crate) use linux::{CopyingDevice, HugePages, Memory, Pages, Scanner, SmallPieces, Userfault};
pub(crate) use raw::RawSaxpy;
pub(crate) use staged::StagedSaxpy;
pub(crate) use staged_bytes::{Run, StagedBytes};
pub(crate) use staged_sparse::StagedSparse;
