//! Counting in pages of the host. A count that overflows ends the process: too small a count would
//! leave out pages that hold something.

#![forbid(unsafe_code)]

use std::ops::Range;

use crate::addr::{PageSize, VaRange, VirtAddr};
use crate::fatal::or_die;

/// The bytes of a page of the host.
pub(crate) fn page_bytes() -> u64 {
    PageSize::host().bytes()
}

/// `count` pages from `start` on.
pub(crate) fn pages_from(start: VirtAddr, count: usize) -> VaRange {
    let len_bytes = (count as u64).checked_mul(page_bytes());
    let range = len_bytes.and_then(|len_bytes| VaRange::from_len(start, len_bytes));
    or_die(range, "pages lie outside of the address space")
}

/// The address `pages` pages above `at`.
pub(crate) fn above(at: VirtAddr, pages: usize) -> VirtAddr {
    pages_from(at, pages).end()
}

/// Counts the pages of a short range.
pub(crate) fn count_of(range: VaRange) -> usize {
    pages_in(range.len_bytes())
}

/// Counts the pages in so many bytes.
pub(crate) fn pages_in(bytes: u64) -> usize {
    or_die(usize::try_from(bytes / page_bytes()).ok(), "there are more pages than addresses")
}

/// The place of the bytes of neighbouring pages in a buffer of pages.
pub(crate) fn bytes_of(pages: Range<usize>) -> Range<usize> {
    let page = or_die(usize::try_from(page_bytes()).ok(), "a page is larger than memory");
    pages.start * page..pages.end * page
}
