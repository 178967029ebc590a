//! Memory of the mirror to which pages are moved on their way to a device.
//!
//! # Safety
//!
//! Its pages are dropped only while it is borrowed mutably.

use super::super::mmap::{HugePages, Locked, MemoryError, drop_pages};
use super::super::owned::Owned;
use crate::addr::VaRange;
use crate::fatal::{die, or_die};

/// Memory of the mirror to which pages are moved on their way to a device.
#[derive(Debug)]
pub(crate) struct Staging {
    memory: Owned<u8>,
    /// Whether all of it is holes between two migrations, as it has to be.
    is_clean: bool,
}

impl Staging {
    /// Makes room for `len` bytes, huge pages included.
    pub(crate) fn new(len: usize) -> Result<Self, MemoryError> {
        let memory = Owned::new(len, HugePages::Prefer)?.keep_home();
        Ok(Self { memory, is_clean: true })
    }

    /// The addresses.
    pub(crate) fn range(&self) -> VaRange {
        self.memory.range()
    }

    /// Bytes that were moved here, by their place.
    pub(crate) fn bytes(&self, place: std::ops::Range<usize>) -> &[u8] {
        or_die(self.memory.get(place), "the staging memory is too short")
    }

    /// Whether all of it was holes when it was last emptied, and it is watched.
    pub(crate) fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// Notes whether it is.
    pub(crate) fn set_clean(&mut self, is_clean: bool) {
        self.is_clean = is_clean;
    }

    /// Makes a part of it holes again. The thread that reads the messages must be another.
    pub(crate) fn clear(&mut self, part: VaRange) -> Result<(), MemoryError> {
        if !self.memory.range().contains_range(&part) {
            die(&format_args!("{part} is not in the staging memory"));
        }
        // SAFETY: 1. The memory is a mapping of the crate's. 2. The caller borrows the memory
        // mutably, so the migration that had pages here is over.
        unsafe { drop_pages(part, Locked::Goes) }
    }

    /// Takes back what the program did by locking all memory of the process: pages cannot be moved
    /// between locked and other memory.
    pub(crate) fn unlock(&self) -> Result<(), MemoryError> {
        self.memory.unlock()
    }
}
