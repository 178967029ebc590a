//! Lent memory, and the memory of the process, as bytes at addresses.

use crate::{
    LendError,
    paging::{areas::Areas, process::Host, report::Denial},
};
use farptr_hmm::{CopyError, VaRange, VirtAddr, Vma, read_bytes, write_bytes};
use std::collections::BTreeMap;

/// The ranges that a scope has lent.
#[derive(Default)]
pub(crate) struct Homes {
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
    pub(crate) unsafe fn add(&mut self, range: VaRange, writable: bool) {
        let (start, end) = (range.start().get(), range.end().get());
        let within: Vec<u64> = self.ranges.range(start..end).map(|(&start, _)| start).collect();
        for start in within {
            self.ranges.remove(&start);
        }
        self.ranges.insert(start, (end, writable));
    }

    /// Lent bytes.
    pub(crate) fn bytes(&self, start: u64, bytes: u64) -> &[u8] {
        self.check(start, bytes, false);
        let (start, length) = (pointer(start), length(bytes));
        // SAFETY: the invariant: `check` found the bytes in a borrowed range of plain data.
        unsafe { std::slice::from_raw_parts(start.cast_const(), length) }
    }

    /// Lent bytes that may be written.
    pub(crate) fn bytes_mut(&mut self, start: u64, bytes: u64) -> &mut [u8] {
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

/// What Linux says of memory that a system call may not touch.
const EFAULT: i32 = 14;

/// The memory of the whole process, for as long as its owner lives.
pub(crate) struct Process {
    areas: Areas,
}

impl Process {
    /// Opens the memory of the process for writing, after a try of every system call that the
    /// work needs.
    ///
    /// # Safety
    ///
    /// Until this value is dropped, its bytes may be read and written as through a pointer of
    /// their owners: what nobody shares with the user of this value is not used by it.
    pub(crate) unsafe fn open() -> Result<Self, LendError> {
        let areas = Areas::open().map_err(|source| LendError::NoMaps { source })?;
        let refused =
            |call| move |error: CopyError| LendError::Refused { call, source: error.source };
        try_reading().map_err(refused("process_vm_readv"))?;
        try_writing().map_err(refused("process_vm_writev"))?;
        Ok(Self { areas })
    }
}

/// Reads a word of this function's own.
fn try_reading() -> Result<(), CopyError> {
    let word = 0x5eed_u64;
    read_bytes(VirtAddr::of(&word), &mut [0; 8])
}

/// Writes a word of this function's own.
fn try_writing() -> Result<(), CopyError> {
    let mut word = 0_u64;
    let there = std::ptr::from_mut(&mut word).expose_provenance() as u64;
    // SAFETY: 1. and 2. the word is this function's, plain data, and nobody else has its address.
    unsafe { write_bytes(VirtAddr::new(there), &[1; 8]) }
}

impl Host for Process {
    fn refresh_areas(&mut self) {
        self.areas.refresh();
    }

    fn area(&mut self, address: u64) -> Result<Option<Vma>, Denial> {
        self.areas.at(address).map_err(|_| Denial::NoMaps)
    }

    fn read(&mut self, from: u64, bytes: &mut [u8]) -> bool {
        read_bytes(VirtAddr::new(from), bytes).is_ok()
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> bool {
        // SAFETY: the promise to `open`, for both.
        unsafe { write_bytes(VirtAddr::new(to), bytes) }.is_ok()
    }

    fn diagnose(&mut self, address: u64) -> Denial {
        let refused = read_bytes(VirtAddr::new(address), &mut [0]);
        match refused.map_err(|error| error.source.raw_os_error()) {
            Ok(()) if try_writing().is_err() => Denial::Refused,
            // It is there, and cannot be written.
            Ok(()) => match self.areas.denial(address) {
                Denial::Unmapped => Denial::Unreachable,
                known => known,
            },
            Err(Some(EFAULT) | None) => self.areas.denial(address),
            Err(_) => Denial::Refused,
        }
    }
}

#[cfg(test)]
#[path = "home_tests.rs"]
mod tests;
