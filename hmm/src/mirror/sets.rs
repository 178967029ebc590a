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
}

impl Sets {
    pub(crate) fn new() -> Result<Self, MemoryError> {
        Ok(Self {
            pending_drops: RangeSet::new(Errs::TooMuch)?,
            hole_watched: RangeSet::new(Errs::TooMuch)?,
            armed: RangeSet::new(Errs::TooLittle)?,
        })
    }

    /// Notes that the pages of a range are about to be dropped.
    pub(crate) fn announce_drop(&mut self, range: VaRange) {
        self.pending_drops.insert(range);
    }

    /// Notes that the mapping of a range is no more.
    pub(crate) fn unmap(&mut self, range: VaRange) {
        for set in [&mut self.pending_drops, &mut self.hole_watched, &mut self.armed] {
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
