//! The page table of the software device.

#![forbid(unsafe_code)]

use crate::addr::{PageNumber, PageSize, VaRange, VirtAddr};
use crate::device::Hold;
use crate::mirror::table::{DeviceIndex, Held, PageTable, Place};
use crate::notifier::{Invalidate, Invalidation, SeqSet, WouldBlock};
use crate::sync::{Mutex, lock};

/// In the device's page table: the page is at home, and its frame is its virtual page number.
const AT_HOME: DeviceIndex = DeviceIndex(0);
/// In the device's page table: the page is in the device's memory.
const IN_FRAME: DeviceIndex = DeviceIndex(1);

/// The device's page table and its lock.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) table: Mutex<PageTable>,
}

/// One entry of the device's page table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The frame of a page in the device's memory; `None` if the page is at home.
    pub(super) frame: Option<PageNumber>,
    pub(super) write: bool,
    pub(super) exclusive: bool,
}

impl Entry {
    pub(super) fn place(self, at: VirtAddr) -> Place {
        let (device, frame) = match self.frame {
            Some(frame) => (IN_FRAME, frame),
            None => (AT_HOME, at.page_number(PageSize::host())),
        };
        let hold = if self.exclusive { Hold::Exclusive } else { Hold::Private };
        Place::Device(Held { device, frame, hold, huge: self.write })
    }

    pub(super) fn find(table: &PageTable, at: VirtAddr) -> Option<Self> {
        let Place::Device(Held { device, frame, hold, huge }) = table.place(at) else {
            return None;
        };
        let frame = (device == IN_FRAME).then_some(frame);
        Some(Self { frame, write: huge, exclusive: hold == Hold::Exclusive })
    }
}

/// Takes a range out of the table. Allocates and frees nothing.
pub(super) fn erase(table: &mut PageTable, range: VaRange) {
    table.forget(range);
    while table.take_garbage().is_some() {}
}

impl Invalidate for Entries {
    /// The thread that serves faults calls this function, which therefore allocates and frees
    /// nothing.
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        let mut table = lock(&self.table);
        let seq_set = invalidation.set_seq();
        erase(&mut table, invalidation.range());
        Ok(seq_set)
    }
}
