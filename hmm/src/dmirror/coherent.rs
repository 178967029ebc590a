//! Device-coherent memory: memory of a device that the CPU reaches as well.
//!
//! In the kernel such a page is an ordinary page to the CPU, which finds it in the device's memory
//! without a fault; it comes home by a command only. The software device computes on this machine,
//! so the memory that both access is the page where it is. A move to the device only notes that the
//! page is the device's, and every change of the mapping removes the note.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::entries::{Entries, erase};
use super::error::{DEADLINE, DmirrorError, Reply};
use crate::addr::pages::{bytes_of, count_of};
use crate::addr::{PageCount, PageSize, VaRange, VirtAddr};
use crate::device::{Hold, Owner};
use crate::host::{HostMm, PageAccess};
use crate::mirror::Mirror;
use crate::mirror::table::{DeviceIndex, Held, PageTable, Place};
use crate::notifier::{Notifier, Seq};
use crate::sync::{Mutex, lock};
use crate::sys::copy::read_bytes;

/// The pages that coherent devices of one mirror hold.
#[derive(Debug)]
pub struct CoherentMemory {
    /// As in a device's page table, with the holder in place of the device.
    entries: Arc<Entries>,
    notifier: Notifier,
}

impl CoherentMemory {
    /// Makes the memory of all coherent devices of a mirror.
    ///
    /// # Errors
    ///
    /// - [`DmirrorError::NoMemory`] if there is none for its table.
    pub fn new(mirror: &Mirror) -> Result<Self, DmirrorError> {
        let table = PageTable::new(1 << 14).map_err(|_| DmirrorError::NoMemory)?;
        let entries = Arc::new(Entries { table: Mutex::new(table) });
        let notifier = mirror.notifiers().register(VaRange::USER, None, Arc::clone(&entries) as _);
        Ok(Self { entries, notifier: notifier.map_err(|_| DmirrorError::NoMemory)? })
    }

    /// Begins an attempt to place pages.
    pub(super) fn begin(&self) -> Seq {
        self.notifier.read_begin()
    }

    /// Returns the device that holds the page at an address.
    pub(super) fn holder(&self, at: VirtAddr) -> Option<DeviceIndex> {
        holder(&lock(&self.entries.table), at)
    }

    /// Lists the parts of a range that no other device holds.
    pub(super) fn not_held_by_others(&self, range: VaRange, device: DeviceIndex) -> Vec<VaRange> {
        let mut free: Vec<VaRange> = Vec::new();
        for page in range.pages(PageSize::host()) {
            if self.holder(page.start()).is_some_and(|holder| holder != device) {
                continue;
            }
            match free.last_mut().filter(|last| last.end() == page.start()) {
                Some(last) => *last = VaRange::new(last.start(), page.end()).unwrap_or(*last),
                None => free.push(page),
            }
        }
        free
    }

    /// Notes that pages are a device's, unless they are another's, or the attempt has failed.
    pub(super) fn place(&self, range: VaRange, device: DeviceIndex, seq: Seq) -> bool {
        let mut table = lock(&self.entries.table);
        if self.notifier.read_retry(seq) {
            return false;
        }
        for page in range.pages(PageSize::host()).map(|page| page.start()) {
            if holder(&table, page).is_none() {
                let frame = page.page_number(PageSize::host());
                let held = Held { device, frame, hold: Hold::Private, huge: false };
                // A full table shows as a page that did not move.
                let _ = table.set(page, Place::Device(held));
            }
        }
        true
    }

    /// Brings the pages of a range home that are a device's, and counts them.
    pub(super) fn bring_home(&self, range: VaRange, device: DeviceIndex) -> PageCount {
        let mut table = lock(&self.entries.table);
        let (mut count, mut rest) = (0, range);
        while let Some(run) = table.next_held(rest, u64::MAX) {
            for page in run.range.pages(PageSize::host()) {
                if holder(&table, page.start()) == Some(device) {
                    erase(&mut table, page);
                    count += 1;
                }
            }
            rest = VaRange::new(run.range.end(), range.end()).unwrap_or_default();
        }
        PageCount::new(count)
    }

    /// Counts the pages that are a device's.
    pub(super) fn used(&self, device: DeviceIndex) -> PageCount {
        let table = lock(&self.entries.table);
        let (mut count, mut rest) = (0, VaRange::USER);
        while let Some(run) = table.next_held(rest, u64::MAX) {
            if run.first.device == device {
                count += run.range.page_count(PageSize::host()).get();
            }
            rest = VaRange::new(run.range.end(), VaRange::LIMIT).unwrap_or_default();
        }
        PageCount::new(count)
    }
}

fn holder(table: &PageTable, at: VirtAddr) -> Option<DeviceIndex> {
    match table.place(at) {
        Place::Device(held) => Some(held.device),
        _ => None,
    }
}

/// A coherent device that takes pages.
pub(super) struct CoherentDevice<'d> {
    pub(super) mirror: &'d Mirror,
    pub(super) memory: &'d CoherentMemory,
    pub(super) index: DeviceIndex,
    pub(super) owner: Owner,
}

impl CoherentDevice<'_> {
    /// `MIGRATE_TO_DEV` of a coherent device.
    pub(super) fn place(&self, range: VaRange) -> Result<(Vec<u8>, Reply), DmirrorError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            // Memory that cannot be watched is placed all the same: the CPU finds it in either
            // place.
            let _ = self.mirror.watch(range);
            let mut placed = true;
            for (part, access) in self.mirror.movable(range)? {
                for run in self.mirror.held_by_nobody(part) {
                    for run in self.memory.not_held_by_others(run, self.index) {
                        placed &= self.place_run(run, access)?;
                    }
                }
            }
            if placed {
                return self.read_placed(range);
            }
            if Instant::now() > deadline {
                return Err(DmirrorError::Busy { addr: range.start() });
            }
        }
    }

    /// Places pages that no other device holds; `false` if the mapping has changed meanwhile.
    fn place_run(&self, run: VaRange, access: PageAccess) -> Result<bool, DmirrorError> {
        self.mirror.announce_migration(run, self.owner);
        let seq = self.memory.begin();
        // A page that is absent is faulted in, and then is new memory of the device.
        let fault = |_| DmirrorError::Fault { addr: run.start() };
        self.mirror.fault_in(run, access).map_err(fault)?;
        Ok(self.memory.place(run, self.index, seq))
    }

    /// Reads pages of a coherent device.
    fn read_placed(&self, range: VaRange) -> Result<(Vec<u8>, Reply), DmirrorError> {
        for page in range.pages(PageSize::host()) {
            if self.memory.holder(page.start()) != Some(self.index) {
                return Err(DmirrorError::NotFound { addr: page.start() });
            }
        }
        let mut bytes = vec![0; bytes_of(0..count_of(range)).len()];
        read_bytes(range.start(), &mut bytes)
            .map_err(|error| DmirrorError::NotFound { addr: error.at })?;
        let cpages = range.page_count(PageSize::host()).get();
        Ok((bytes, Reply { cpages, faults: 0 }))
    }
}
