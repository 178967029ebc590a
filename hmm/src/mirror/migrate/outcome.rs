//! The result of a migration: how many pages moved, and why the others stayed.

use crate::addr::{PageCount, VaRange};

/// Why a page stayed where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Skip {
    /// The area is shared with other processes.
    Shared,
    /// The area maps a file.
    File,
    /// The kernel does not let the area be watched, or another userfaultfd watches it.
    Unwatchable,
    /// The area cannot be written, so that its pages cannot be moved in one step; see
    /// [`Lease`](crate::Lease).
    ReadOnly,
    /// The kernel does not move such pages: the area is locked in memory, or executable.
    Unmovable,
    /// A thread that moves the page may itself need it meanwhile, and would wait for itself: the
    /// page is part of an allocator's memory, of a stack, or of the mirror. A buffer there can be
    /// moved by its slice, a mapping as one; see [`Memory`](crate::Memory).
    Needed,
    /// The page is pinned, or shared with another process.
    Pinned,
    /// The page is in swap, or the kernel is moving it.
    Swapped,
    /// Another device holds the page.
    HeldByOther,
    /// Another thread was already moving the page.
    InTransit,
    /// The program is dropping the page.
    Dropping,
    /// The mapping changed during the migration.
    Changed,
    /// The mirror has no room to note where the page is.
    NoRoom,
    /// The device has no memory.
    NoDeviceMemory,
    /// The host has no memory.
    NoHostMemory,
    /// The device failed to take the content.
    DeviceFailed,
    /// The content could not be read.
    Unreadable,
}

/// Neighbouring pages that stayed where they were for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The pages.
    pub range: VaRange,
    /// The reason.
    pub reason: Skip,
}

/// The result of a migration. It is normal that some pages stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    moved: u64,
    already: u64,
    skipped: Vec<Skipped>,
}

impl Migration {
    /// Counts the pages that moved.
    #[must_use]
    pub fn moved(&self) -> PageCount {
        PageCount::new(self.moved)
    }

    /// Counts the pages that the device held already.
    #[must_use]
    pub fn already_there(&self) -> PageCount {
        PageCount::new(self.already)
    }

    /// Lists the pages that stayed where they were, lowest first, and why.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    pub(super) fn skip(&mut self, range: VaRange, reason: Skip) {
        match self.skipped.last_mut() {
            Some(last) if last.reason == reason && last.range.end() == range.start() => {
                last.range = VaRange::new(last.range.start(), range.end()).unwrap_or(last.range);
            }
            _ => self.skipped.push(Skipped { range, reason }),
        }
    }

    /// Counts a page that moved.
    pub(super) fn count_moved(&mut self) {
        self.moved += 1;
    }

    /// Counts a page that was there before.
    pub(super) fn count_already_there(&mut self) {
        self.already += 1;
    }

    /// Adds the result of the next block.
    pub(crate) fn append(&mut self, next: Self) {
        self.moved += next.moved;
        self.already += next.already;
        next.skipped.into_iter().for_each(|run| self.skip(run.range, run.reason));
    }

    /// The result of two attempts at one migration. The pages that the second attempt found on the
    /// device were moved or found there by the first. A page that came home in between was moved
    /// twice and counts once.
    pub(crate) fn repeated(self, second: Self) -> Self {
        let already = self.already.min(second.already);
        let moved = second.moved + (second.already - already);
        Self { moved, already, skipped: second.skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::Migration;

    #[test]
    fn a_page_counts_once_however_often_it_went() {
        let migration = |moved, already| Migration { moved, already, skipped: vec![] };
        // Of 12 pages 10 went, 2 were there; then all stayed, or 2 or all came home in between.
        let first = || migration(10, 2);
        assert_eq!(first().repeated(migration(0, 12)), migration(10, 2));
        assert_eq!(first().repeated(migration(2, 10)), migration(10, 2));
        assert_eq!(first().repeated(migration(12, 0)), migration(12, 0));
    }
}
