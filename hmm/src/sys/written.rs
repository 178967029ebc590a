//! Finding the pages that were written, in memory that a userfaultfd with [`Feature::WpAsync`]
//! watches and that was write-protected.
//!
//! A page counts as written if nothing protects it: a page that was stored to, and a hole without a
//! mark, because the page that was there was dropped. Linux 6.18 reports holes also where a drop
//! has taken the table of the pages away with them; tests of both users ask for that.
//!
//! [`Feature::WpAsync`]: crate::Feature::WpAsync

#![forbid(unsafe_code)]

use rustix::io::Errno;

use super::abi;
use super::mapped::is_mapped;
use super::scan::{Scan, Scanner};
use crate::addr::VaRange;

/// Pages and holes that nothing protects.
const WRITTEN: Scan = Scan {
    flags: abi::SCAN_CHECK_ASYNC,
    wanted: abi::SCAN_WRITTEN,
    inverted: 0,
    returned: abi::SCAN_WRITTEN,
};

/// Why it is not known which pages were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// A part of the range is not watched, or nothing is mapped there.
    NotTracked,
    /// The kernel refused for another reason.
    Refused(Errno),
}

/// What becomes of the pages that are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: they are found again.
    Stay,
    /// Each is protected in the step in which it is found.
    Protect,
}

/// Searches the page table of this process for pages that were written.
#[derive(Debug)]
pub(crate) struct WrittenFinder {
    scanner: Scanner,
}

impl WrittenFinder {
    /// Opens the page table.
    pub(crate) fn open() -> std::io::Result<Self> {
        Ok(Self { scanner: Scanner::open()? })
    }

    /// Finds the runs of pages that were written, lowest first. Adjoining runs may be found apart.
    /// Allocates nothing.
    pub(crate) fn find(
        &self,
        range: VaRange,
        then: Then,
        found: impl FnMut(VaRange),
    ) -> Result<(), Unknown> {
        let protect = if then == Then::Protect { abi::SCAN_PROTECT } else { 0 };
        let scan = Scan { flags: WRITTEN.flags | protect, ..WRITTEN };
        self.scanner.scan(range, scan, found).map_err(|errno| match errno {
            Errno::PERM => Unknown::NotTracked,
            errno => Unknown::Refused(errno),
        })?;
        // The scan passes over what is not mapped, and says nothing about it.
        if is_mapped(range) { Ok(()) } else { Err(Unknown::NotTracked) }
    }
}
