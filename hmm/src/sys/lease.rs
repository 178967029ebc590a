//! The right to let a device write memory that others believe to be theirs.
//!
//! # Safety
//!
//! A lease is made by an unsafe function, whose caller makes the promise that the functions here
//! rest on.

#[cfg(feature = "dmirror")]
use super::copy::{CopyError, write_bytes};
#[cfg(feature = "dmirror")]
use super::device::HostDevice;
use crate::addr::VaRange;
#[cfg(feature = "dmirror")]
use crate::addr::{PageNumber, VirtAddr};
#[cfg(feature = "dmirror")]
use crate::device::DeviceError;

/// The right to change a range of memory on behalf of its owner.
///
/// A mirror moves pages out and back without it: the program cannot tell. It needs a lease where
/// the program could: to write into the memory, and to move memory that the program may not write,
/// which the kernel cannot move in one step.
#[derive(Debug)]
pub struct Lease {
    range: VaRange,
}

impl Lease {
    /// Makes the promise.
    ///
    /// # Safety
    ///
    /// Until the lease is dropped:
    ///
    /// 1. The caller may change the bytes of the range, as through a pointer of their owner, and no
    ///    other code accesses bytes that the lease is used to change.
    /// 2. While a migration that was given the lease goes on, the range is not unmapped, mapped
    ///    over or moved, and its pages are not dropped. Areas that cannot be written are not made
    ///    writable, nor written by a debugger.
    #[must_use]
    pub const unsafe fn new(range: VaRange) -> Self {
        Self { range }
    }

    /// Returns the range.
    #[must_use]
    pub const fn range(&self) -> VaRange {
        self.range
    }
}

#[cfg(feature = "dmirror")]
impl Lease {
    /// Writes memory. Only what lies in the lease is written.
    pub(crate) fn write_back(&self, at: VirtAddr, bytes: &[u8]) -> Result<(), CopyError> {
        self.check(at, bytes.len());
        // SAFETY: 1. and 2. The bytes lie in the lease, whose maker promised both.
        unsafe { write_bytes(at, bytes) }
    }

    /// Writes a frame in which the page at `at` lives.
    pub(crate) fn write_frame(
        &self,
        at: VirtAddr,
        device: &HostDevice,
        frame: PageNumber,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        self.check(at, bytes.len());
        // SAFETY: 1. The page that lives there lies in the lease, whose maker may change it.
        unsafe { device.write(frame, bytes) }
    }

    fn check(&self, at: VirtAddr, len: usize) {
        let range = VaRange::from_len(at, len as u64);
        let leased = range.is_some_and(|range| self.range.contains_range(&range));
        assert!(leased, "{len} bytes at {at} are not in the lease of {}", self.range);
    }
}
