//! Pages that a launch misses together: of arguments that it accesses by one index. Pure.
//!
//! An invocation reports the first page that it misses. Where the index of an access comes from
//! memory, the pages of the same elements behind other arguments would be missed in later rounds.

use super::{PAGE_BYTES, pages::Pages, report::Missing};
use std::{collections::BTreeMap, ops::Range};

/// The most pages that one missed page brings along for an access behind another argument.
const MOST_PAGES: u64 = 4;

/// An access behind an argument whose place is an index times a stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// The position of the argument's lend.
    pub(crate) lend: usize,
    /// The host address of the bytes of index 0, which need not be lent.
    pub(crate) zero: i128,
    /// The distance in bytes from an index to the next; not 0.
    pub(crate) stride: i128,
    pub(crate) bytes: u32,
    pub(crate) writes: bool,
}

impl Access {
    /// The first index and the last one whose bytes touch some addresses, if there are any.
    fn indices(&self, addresses: &Range<u64>) -> Option<(i128, i128)> {
        // The places at which an access of these addresses begins.
        let first = i128::from(addresses.start) - i128::from(self.bytes) + 1 - self.zero;
        let last = i128::from(addresses.end) - 1 - self.zero;
        let size = self.stride.abs();
        // The first quotient is rounded up.
        let (low, high) = (-(-first).div_euclid(size), last.div_euclid(size));
        let (low, high) = if self.stride > 0 { (low, high) } else { (-high, -low) };
        (low <= high).then_some((low, high))
    }

    /// The addresses that some indices lead to, from the first to the last.
    fn addresses(&self, (low, high): (i128, i128)) -> Range<i128> {
        let (one, other) = (self.zero + low * self.stride, self.zero + high * self.stride);
        one.min(other)..one.max(other) + i128::from(self.bytes)
    }
}

/// Missed pages, and the pages that will be missed because of them; each once.
///
/// `accesses` has a list for each index.
pub(super) fn with_others(
    pages: &Pages,
    missed: &[Missing],
    accesses: &[Vec<Access>],
) -> Vec<Missing> {
    let key = |of: &Missing| (of.lend, of.page);
    let mut all: BTreeMap<_, bool> = missed.iter().map(|of| (key(of), of.write)).collect();
    for of in missed {
        let bytes = pages.lends()[of.lend].lent_bytes(of.page);
        for alike in accesses {
            for access in alike.iter().filter(|access| access.lend == of.lend) {
                let Some(indices) = access.indices(&bytes) else { continue };
                for other in alike.iter().filter(|other| other.lend != of.lend) {
                    for page in touched(pages, other, other.addresses(indices)) {
                        *all.entry((other.lend, page)).or_default() |= other.writes;
                    }
                }
            }
        }
    }
    all.into_iter().map(|((lend, page), write)| Missing { lend, page, write }).collect()
}

/// The pages of an access's lend that some addresses touch and the device lacks; none if these are
/// too many.
fn touched(pages: &Pages, access: &Access, addresses: Range<i128>) -> Vec<usize> {
    let lend = &pages.lends()[access.lend];
    let (start, end) = (lend.range().start().get(), lend.range().end().get());
    let clamp = |at: i128| u64::try_from(at.clamp(start.into(), end.into())).unwrap_or(start);
    let (first, end) = (clamp(addresses.start), clamp(addresses.end));
    if first >= end {
        return Vec::new();
    }
    let place = |address: u64| address / PAGE_BYTES - lend.first_page();
    let (first, last) = (place(first), place(end - 1));
    if last - first >= MOST_PAGES {
        return Vec::new();
    }
    (first..=last)
        .map(|page| page as usize)
        .filter(|&page| lend.lacks(page, access.writes))
        .collect()
}

#[cfg(test)]
#[path = "together_tests.rs"]
mod tests;
