//! Vulkan by hand, behind safe types: what the rivals and the probes of `farptr doctor` are made
//! of.
//!
//! All objects are made once and used again, waiting is on a timeline semaphore, and the barriers
//! are those that farptr records.
//!
//! # Safety
//!
//! Vulkan checks nothing, so each call below rests on these rules; the proofs name them by number.
//!
//! 1. *What is named exists.* A handle is a private field. Its owner made it, keeps an `Rc` of the
//!    [`Device`] and destroys it in `Drop` and nowhere else. A handle that could not be made is
//!    null, which every destroying function ignores.
//! 2. *One thread.* The device is shared by `Rc`, so all objects stay on the thread that opened it,
//!    and nothing that Vulkan wants synchronised is used from two threads.
//! 3. *The device is idle between runs.* Commands run through [`Lane::run`](launch::Lane::run)
//!    and its kin only, which return when they have completed, or end the process if that cannot be
//!    known. So code that is not inside `run` may read, write and destroy.
//! 4. *Structures are those that ash's builders make*, and their lifetimes keep alive what they
//!    point to; chained ones belong to Vulkan 1.2, which was asked of the loader and the device, or
//!    to an extension that was enabled.
//!
//! The functions that this module gives to the rest of the crate are safe, but for those that run
//! kernels on arguments or words of the caller's choice.
#![allow(unsafe_code, reason = "hand-written calls are what farptr is compared with")]

mod buffer;
mod device;
mod imported;
mod kernel;
mod launch;
mod listing;
mod physical;

pub(crate) use buffer::HostBuffer;
pub(crate) use device::Device;
pub(crate) use imported::Imported;
pub(crate) use kernel::{Kernel, Pipeline};
pub(crate) use launch::{
    COPY_READS, COPY_WRITES, EXIT_LOST, HOST, KERNEL, KERNEL_WRITES, Lane, Recorder,
};
pub(crate) use listing::{Facts, Listing, Modern, text};

use crate::failure::Failure;
use ash::vk;

/// Names the call that a Vulkan result came from.
pub(crate) trait Named<T> {
    fn named(self, call: &'static str) -> Result<T, Failure>;
}

impl<T> Named<T> for Result<T, vk::Result> {
    fn named(self, call: &'static str) -> Result<T, Failure> {
        self.map_err(|result| Failure::Vulkan { call, result })
    }
}
