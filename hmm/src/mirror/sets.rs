//! What is known about pages beside where they are.

#![forbid(unsafe_code)]

use super::range_set::{Errs, RangeSet};
use crate::addr::{VaRange, VirtAddr};
use crate::sys::mmap::MemoryError;

/// The sets of pages about which something is known that is not in the table.
#[derive(Debug)]
pub(crate) struct Sets {
    /// Pages that may be about to be dropped. Pages more than that stay at home without need.
    pub(crate) pending_drops: RangeSet,
    /// Pages whose first touch the mirror answers. Pages more than that may count as about to be
    /// dropped for longer than they are.
    pub(crate) hole_watched: RangeSet,
    /// Pages that were protected, and whose mappings are those of then: a store to one of them is
    /// known. Pages fewer than that count as unknown.
    pub(crate) armed: RangeSet,
    /// Protected pages that were dropped since somebody asked which were written. Pages more than
    /// that count as written without need.
    pub(crate) dropped: RangeSet,
}

impl Sets {
    pub(crate) fn new() -> Result<Self, MemoryError> {
        Ok(Self {
            pending_drops: RangeSet::new(Errs::TooMuch)?,
            hole_watched: RangeSet::new(Errs::TooMuch)?,
            armed: RangeSet::new(Errs::TooLittle)?,
            dropped: RangeSet::new(Errs::TooMuch)?,
        })
    }

    /// Notes that the pages of a range are about to be dropped.
    pub(crate) fn announce_drop(&mut self, range: VaRange) {
        self.pending_drops.insert(range);
        if self.armed.overlaps(range) {
            self.dropped.insert(range);
        }
    }

    /// Notes that the mapping of a range is no more.
    pub(crate) fn unmap(&mut self, range: VaRange) {
        let Self { pending_drops, hole_watched, armed, dropped } = self;
        for set in [pending_drops, hole_watched, armed, dropped] {
            set.remove(range);
        }
    }

    /// Notes that the mapping of a range is at `to` now. What was mapped there before has ended,
    /// with a message of its own. The old place may still be mapped, and watched
    /// (`MREMAP_DONTUNMAP`); if it is not, its end has a message of its own too.
    pub(crate) fn remap(&mut self, from: VaRange, to: VirtAddr) {
        self.hole_watched.insert_moved(from, to);
        self.pending_drops.remove(from);
        self.armed.remove(from);
        self.dropped.remove(from);
    }

    /// Tells whether a page of a range may be about to be dropped, and its next touch will be seen.
    pub(crate) fn has_pending_drop(&self, range: VaRange) -> bool {
        let mut rest = range;
        while let Some(part) = self.pending_drops.first_in(rest) {
            if self.hole_watched.overlaps(part) {
                return true;
            }
            rest = VaRange::new(part.end(), range.end()).unwrap_or_default();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::pages::{page_bytes, pages_from};

    fn pages(first: u64, count: usize) -> VaRange {
        pages_from(VirtAddr::new(first * page_bytes()), count)
    }

    #[test]
    fn protected_pages_that_are_dropped_are_known() {
        let mut sets = Sets::new().expect("sets");
        sets.announce_drop(pages(10, 4));
        assert!(!sets.dropped.overlaps(pages(0, 100)), "nothing was protected");
        sets.armed.insert(pages(8, 20));
        sets.announce_drop(pages(10, 4));
        assert!(sets.dropped.contains(pages(10, 4)) && !sets.dropped.overlaps(pages(14, 100)));
        sets.unmap(pages(11, 1));
        assert_eq!(sets.dropped.first_in(pages(0, 100)), Some(pages(10, 1)));
        sets.remap(pages(8, 20), pages(50, 1).start());
        assert!(!sets.dropped.overlaps(pages(0, 100)), "protection does not move");
    }
}
