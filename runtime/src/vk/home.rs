//! Lent memory, and the memory of the process, as bytes at addresses.

use crate::mirrored::door::Host;
use farptr_hmm::{Maps, VaRange, VirtAddr, Vma, read_bytes, write_bytes};
use std::collections::BTreeMap;

/// The ranges that a scope has lent.
#[derive(Default)]
pub(super) struct Homes {
    // Invariant: each range, by start, is borrowed until the scope ends, shared or, where it says
    // so, mutably; its address was exposed. No range lies within another one.
    ranges: BTreeMap<u64, (u64, bool)>,
}

impl Homes {
    /// Adds a range, in place of those that lie within it.
    ///
    /// # Safety
    ///
    /// Until this value is dropped, the range is borrowed by its owner's scope: mutably, its
    /// address exposed from the mutable borrow, if `writable`; it holds plain data without padding.
    /// Nobody uses a mutable borrow of it while a method of this value runs.
    pub(super) unsafe fn add(&mut self, range: VaRange, writable: bool) {
        let (start, end) = (range.start().get(), range.end().get());
        let within: Vec<u64> = self.ranges.range(start..end).map(|(&start, _)| start).collect();
        for start in within {
            self.ranges.remove(&start);
        }
        self.ranges.insert(start, (end, writable));
    }

    /// Lent bytes.
    pub(super) fn bytes(&self, start: u64, bytes: u64) -> &[u8] {
        self.check(start, bytes, false);
        let (start, length) = (pointer(start), length(bytes));
        // SAFETY: the invariant: `check` found the bytes in a borrowed range of plain data.
        unsafe { std::slice::from_raw_parts(start.cast_const(), length) }
    }

    /// Lent bytes that may be written.
    pub(super) fn bytes_mut(&mut self, start: u64, bytes: u64) -> &mut [u8] {
        self.check(start, bytes, true);
        let (start, length) = (pointer(start), length(bytes));
        // SAFETY: as in `bytes`; the range is borrowed mutably, and by `&mut self` nobody else
        // got its bytes from here.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }

    fn check(&self, start: u64, bytes: u64, write: bool) {
        let range = self.ranges.range(..=start).next_back();
        let lent = range.is_some_and(|(_, &(end, writable))| {
            start.checked_add(bytes).is_some_and(|last| last <= end) && (writable || !write)
        });
        assert!(lent, "copies stay within what was lent");
    }
}

fn pointer(address: u64) -> *mut u8 {
    let address = usize::try_from(address).expect("a lent address fits a pointer");
    std::ptr::with_exposed_provenance_mut(address)
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("lent bytes are in memory")
}

/// The memory of the whole process, for as long as its owner lives.
pub(super) struct Process {
    maps: Option<Maps>,
}

impl Process {
    /// Opens the memory of the process for writing.
    ///
    /// # Safety
    ///
    /// Until this value is dropped, its bytes may be read and written as through a pointer of
    /// their owners: what nobody shares with the user of this value is not used by it.
    pub(super) unsafe fn open() -> Self {
        Self { maps: Maps::open().ok() }
    }
}

impl Host for Process {
    fn areas(&mut self) -> Vec<Vma> {
        let areas = self.maps.as_ref().and_then(|maps| maps.vmas(VaRange::USER).ok());
        areas.unwrap_or_default()
    }

    fn read(&mut self, from: u64, bytes: &mut [u8]) -> bool {
        read_bytes(VirtAddr::new(from), bytes).is_ok()
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> bool {
        // SAFETY: the promise to `open`, for both.
        unsafe { write_bytes(VirtAddr::new(to), bytes) }.is_ok()
    }
}
