//! Write protection of pages, marks on holes, and waking.
//!
//! A *mark* is write protection of a page that is not there. The kernel keeps it in the page table
//! and drops it with the page's place: it survives `mprotect`, and it does not survive
//! `MADV_DONTNEED`, `munmap` or a mapping put over it. So a mark that was left on a hole and is
//! still there proves that the hole was not replaced by another.
//!
//! A page that was write-protected while it was there and then went to swap looks the same. The two
//! cannot be confused as long as memory that is to be marked is not protected.
//!
//! # Safety
//!
//! The two requests made here change permissions and wake threads. They change no content.

use std::os::fd::AsFd;

use super::super::abi::{self, uffdio_writeprotect};
use super::super::scan::{Scan, Scanner};
use super::request::{raw, request};
use super::{Feature, Refusal, Resolution, Uffd, UffdError, Wakeup};
use crate::addr::VaRange;

impl Uffd {
    /// Write-protects the pages of a range: the next store to each is reported, or only
    /// remembered if the userfaultfd has [`Feature::WpAsync`].
    ///
    /// With [`Feature::WpUnpopulated`] pages that are not there are marked.
    #[must_use = "the request may have to be made again"]
    pub(crate) fn write_protect(&self, range: VaRange) -> Resolution {
        self.protect(range, abi::PROTECT_ON)
    }

    /// Lifts the write protection of a range, and takes the marks away.
    #[must_use = "the request may have to be made again"]
    pub(crate) fn unprotect(&self, range: VaRange, wakeup: Wakeup) -> Resolution {
        let mode = match wakeup {
            Wakeup::Now => 0,
            Wakeup::Later => abi::PROTECT_DONT_WAKE,
        };
        self.protect(range, mode)
    }

    fn protect(&self, range: VaRange, mode: u64) -> Resolution {
        if self.is_inherited() {
            return Resolution::Refused(Refusal::Inherited);
        }
        if range.is_empty() {
            return Resolution::Done;
        }
        let mut arg = uffdio_writeprotect { range: raw(range), mode };
        // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It changes no
        // content: stores to the range may wait, or go on.
        match unsafe { request::<{ abi::UFFDIO_WRITEPROTECT }, _>(self.as_fd(), &mut arg) } {
            Ok(()) => Resolution::Done,
            Err(errno) => Resolution::from_errno(errno),
        }
    }

    /// Leaves a mark on every hole of a range, which is to hold nothing but holes: a page that is
    /// there is write-protected instead.
    ///
    /// A hole stays a hole: the next access to it is reported as to a page that is not there.
    pub(crate) fn place_marks(&self, range: VaRange) -> Result<Resolution, UffdError> {
        let feature = Feature::WpUnpopulated;
        let has = self.features().contains(feature) || self.features().contains(Feature::WpAsync);
        if !has {
            return Err(UffdError::NoFeature { range, feature });
        }
        Ok(self.write_protect(range))
    }

    /// Takes the marks of a range away, so that pages can be moved there. Wakes no thread.
    #[must_use = "the request may have to be made again"]
    pub(crate) fn clear_marks(&self, range: VaRange) -> Resolution {
        self.unprotect(range, Wakeup::Later)
    }

    /// Wakes the threads that wait in a range; they try again.
    pub(crate) fn wake(&self, range: VaRange) -> Result<(), UffdError> {
        self.check_origin(range)?;
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It touches no
        // memory.
        unsafe { request::<{ abi::UFFDIO_WAKE }, _>(self.as_fd(), &mut raw(range)) }
            .map_err(|source| UffdError::Wake { range, source: source.into() })
    }
}

/// Finds marks in the page table of this process.
#[derive(Debug)]
pub(crate) struct MarkFinder {
    scanner: Scanner,
}

impl MarkFinder {
    /// A mark is an entry that maps nothing, is not empty, and is protected.
    const MARKS: Scan = Scan {
        flags: 0,
        wanted: abi::SCAN_SWAPPED | abi::SCAN_WRITTEN,
        inverted: abi::SCAN_WRITTEN,
        returned: abi::SCAN_SWAPPED,
    };

    /// Opens the page table.
    pub(crate) fn open() -> std::io::Result<Self> {
        Ok(Self { scanner: Scanner::open()? })
    }

    /// Lists the runs of marked holes in a page-aligned range, lowest first. Allocates nothing.
    pub(crate) fn for_each(
        &self,
        range: VaRange,
        found: impl FnMut(VaRange),
    ) -> Result<(), UffdError> {
        let scanned = self.scanner.scan(range, Self::MARKS, found);
        scanned.map_err(|source| UffdError::Marks { range, source: source.into() })
    }

    /// Tells whether every page of a page-aligned range is a marked hole.
    pub(crate) fn all_marked(&self, range: VaRange) -> Result<bool, UffdError> {
        let mut marked_bytes = 0;
        self.for_each(range, |run| marked_bytes += run.len_bytes())?;
        Ok(marked_bytes == range.len_bytes())
    }
}
