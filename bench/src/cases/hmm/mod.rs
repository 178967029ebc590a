//! The mirror of host memory: walks, notifiers, pages on devices made of host memory.

mod device_mirror;
mod fault_home;
mod invalidate;
mod populate;
mod snapshot;
mod transfer;

pub(super) use fault_home::FaultHome;
pub(super) use invalidate::Invalidate;
pub(super) use populate::Populate;
pub(super) use snapshot::Snapshot;
pub(super) use transfer::{Touch, Transfer};

use crate::rival::Memory;
use farptr_hmm::{
    Invalidate as Device, Invalidation, Notifier, Notifiers, PageSize, SeqSet, VaRange, VirtAddr,
    WouldBlock,
};
use std::sync::Arc;

/// A device that holds nothing, so that only what is above the device is measured.
struct NoDevice;

impl Device for NoDevice {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        Ok(invalidation.set_seq())
    }
}

/// Watches the whole address space for a device that holds nothing.
fn watch_all() -> Notifier {
    let notifier = Notifiers::new().register(VaRange::USER, None, Arc::new(NoDevice));
    notifier.expect("the address space is not empty")
}

/// The addresses of `memory`.
fn range_of(memory: &Memory) -> VaRange {
    let range = VaRange::from_len(VirtAddr::new(memory.start()), memory.len_bytes());
    range.expect("mapped memory is user memory")
}

/// How many small pages have so many bytes.
fn pages_in(bytes: u64) -> u64 {
    bytes / PageSize::host().bytes()
}
