//! A mirror with one device, and memory whose pages migrate to it and back.

use super::range_of;
use crate::{
    failure::Failure,
    rival::{CopyingDevice, HugePages, Memory, Scanner},
};
use farptr_hmm::{
    DeviceId, DeviceMemory, HostDevice, Mirror, MirrorBuilder, MirrorTier, Owner, PageCount,
    PageSize,
};
use std::sync::Arc;

/// The means by which a device gets pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferKind {
    /// Its memory is memory of this process: pages are moved.
    Move,
    /// They are copied.
    Copy,
}

/// A mirror with one device.
pub(super) struct DeviceMirror {
    mirror: Mirror,
    device: DeviceId,
}

impl DeviceMirror {
    /// Opens a mirror with a device that has room for `len_bytes`.
    pub(super) fn open(
        builder: MirrorBuilder,
        kind: TransferKind,
        len_bytes: u64,
    ) -> Result<Self, Failure> {
        let mirror = builder.build().map_err(Failure::mirror)?;
        if mirror.tier() != MirrorTier::KernelFaults {
            return Err(Failure::Unprivileged);
        }
        let pages = PageCount::new(super::pages_in(len_bytes));
        let device: Arc<dyn DeviceMemory> = match kind {
            TransferKind::Move => {
                Arc::new(HostDevice::new(Owner::new(), pages).map_err(Failure::mirror)?)
            }
            TransferKind::Copy => Arc::new(CopyingDevice::new(len_bytes)?),
        };
        let device = mirror.attach(device).map_err(Failure::mirror)?;
        Ok(Self { mirror, device })
    }

    /// Moves all pages out and returns whether all went.
    pub(super) fn migrate_out(&self, memory: &Memory) -> Result<bool, Failure> {
        let moved = self.mirror.migrate_to_device(range_of(memory), self.device);
        let moved = moved.map_err(Failure::mirror)?.moved();
        Ok(moved == range_of(memory).page_count(PageSize::host()))
    }

    /// Brings all pages home and returns whether all were on the device.
    pub(super) fn bring_home(&self, memory: &Memory) -> Result<bool, Failure> {
        let brought = self.mirror.migrate_to_home(range_of(memory)).map_err(Failure::mirror)?;
        Ok(brought == range_of(memory).page_count(PageSize::host()))
    }

    /// How many faults were answered, and how many pages came home.
    pub(super) fn faults_and_pages_home(&self) -> (u64, u64) {
        let stats = self.mirror.stats();
        (stats.faults, stats.pages_home)
    }
}

/// Memory that is there, in huge pages, with content. Without huge pages from the system there is
/// nothing to measure.
pub(super) fn huge_memory(len_bytes: u64, seed: u64) -> Result<Memory, Failure> {
    let memory = Memory::map(len_bytes, HugePages::Prefer)?;
    memory.populate()?;
    let (huge, wanted) = (Scanner::open()?.scan(&memory)?.huge, super::pages_in(len_bytes));
    if huge < wanted {
        return Err(Failure::NoHugePages { huge, wanted });
    }
    memory.fill(seed);
    Ok(memory)
}
