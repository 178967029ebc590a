//! The process that Vulkan is set up in.
//!
//! A child made by `fork` has the parent's driver in its memory and none of the driver's threads. A
//! driver that the child set up on its own would hang, or crash when the child exits (all drivers
//! that were tried). So a process that has inherited an instance makes none. An instance from which
//! a device was opened stays until the process ends, so the children of a process that has had a
//! runtime make none either.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The process that made the newest instance, in the upper half, and how many of its instances are
/// left. A child gets a copy as it was. The word stands alone, so relaxed order is enough.
static CLAIMS: AtomicU64 = AtomicU64::new(0);
const COUNT: u64 = u32::MAX as u64;

/// The right to an instance in this process, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Claim(());

impl Claim {
    /// Nothing in a child whose parent had instances when it was forked.
    pub(crate) fn new() -> Option<Self> {
        let one_more = CLAIMS.fetch_update(Relaxed, Relaxed, |claims| {
            let inherited = claims & !COUNT != this_process() && claims & COUNT > 0;
            let count = if claims & !COUNT == this_process() { claims & COUNT } else { 0 };
            (!inherited).then_some(this_process() | (count + 1))
        });
        one_more.ok().map(|_| Self(()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // An inherited instance stays where it is, its driver is in memory: nothing is subtracted.
        let _ = CLAIMS.fetch_update(Relaxed, Relaxed, |claims| {
            (claims & !COUNT == this_process()).then(|| claims - 1)
        });
    }
}

fn this_process() -> u64 {
    u64::from(std::process::id()) << 32
}
