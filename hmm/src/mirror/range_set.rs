//! Sets of pages, as ranges in memory of their own.
//!
//! The thread that serves faults reads and changes such sets, so they never allocate after they
//! were made. There is room for a fixed number of ranges that do not touch. A set without room errs
//! on the side that was chosen for it.

#![forbid(unsafe_code)]

use bytemuck::{Pod, Zeroable};

use crate::addr::{VaRange, VirtAddr};
use crate::fatal::or_die;
use crate::sys::mmap::{HugePages, MemoryError};
use crate::sys::owned::Owned;

/// How many ranges a set has room for: a megabyte of them.
const ROOM: usize = 1 << 16;

/// The message for a range that is missing, which never happens.
const DAMAGED: &str = "a set of ranges is damaged";

/// How a set errs that has no room for another range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errs {
    /// It contains addresses that were not inserted, or were removed.
    TooMuch,
    /// It lacks addresses that were inserted.
    TooLittle,
}

/// A range of the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Bounds {
    start: u64,
    end: u64,
}

impl Bounds {
    fn of(range: VaRange) -> Self {
        Self { start: range.start().get(), end: range.end().get() }
    }

    fn range(self) -> VaRange {
        or_die(VaRange::new(VirtAddr::new(self.start), VirtAddr::new(self.end)), DAMAGED)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct RangeSet {
    /// The first `len` are in use: none is empty, each ends below the start of the next.
    ranges: Owned<Bounds>,
    len: usize,
    errs: Errs,
}

impl RangeSet {
    pub(crate) fn new(errs: Errs) -> Result<Self, MemoryError> {
        Self::with_room(ROOM, errs)
    }

    fn with_room(room: usize, errs: Errs) -> Result<Self, MemoryError> {
        Ok(Self { ranges: Owned::new(room, HugePages::Never)?.keep_home(), len: 0, errs })
    }

    /// Puts a range into the set. Tells whether the set contains it now; a set that errs by too
    /// much always does.
    pub(crate) fn insert(&mut self, range: VaRange) -> bool {
        if range.is_empty() {
            return true;
        }
        let mut new = Bounds::of(range);
        // Those that touch the range are joined with it.
        let first = self.used().partition_point(|old| old.end < new.start);
        let end = self.used().partition_point(|old| old.start <= new.end);
        if let Some(old) = self.used().get(first..end).filter(|old| !old.is_empty()) {
            new.start = new.start.min(or_die(old.first(), DAMAGED).start);
            new.end = new.end.max(or_die(old.last(), DAMAGED).end);
        }
        if first == end && self.len == self.ranges.len() {
            return self.errs == Errs::TooMuch && self.widen(new);
        }
        self.replace(first, end, &[new]);
        true
    }

    /// Joins a range with its neighbour and with what lies between.
    fn widen(&mut self, new: Bounds) -> bool {
        let place = self.used().partition_point(|old| old.end < new.start).min(self.len - 1);
        let old = or_die(self.ranges.get_mut(place), DAMAGED);
        *old = Bounds { start: old.start.min(new.start), end: old.end.max(new.end) };
        true
    }

    /// Takes the addresses of a range out of the set.
    pub(crate) fn remove(&mut self, range: VaRange) {
        if range.is_empty() {
            return;
        }
        let gone = Bounds::of(range);
        let first = self.used().partition_point(|old| old.end <= gone.start);
        let end = self.used().partition_point(|old| old.start < gone.end);
        let Some(old) = self.used().get(first..end).filter(|old| !old.is_empty()) else {
            return;
        };
        let below = Bounds { start: or_die(old.first(), DAMAGED).start, end: gone.start };
        let above = Bounds { start: gone.end, end: or_die(old.last(), DAMAGED).end };
        let is_left = |rest: Bounds| rest.start < rest.end;
        match (is_left(below), is_left(above)) {
            (true, true) if end - first == 1 && self.len == self.ranges.len() => {
                if self.errs == Errs::TooLittle {
                    self.replace(first, end, &[below]);
                }
            }
            (true, true) => self.replace(first, end, &[below, above]),
            (true, false) => self.replace(first, end, &[below]),
            (false, true) => self.replace(first, end, &[above]),
            (false, false) => self.replace(first, end, &[]),
        }
    }

    /// Tells whether all addresses of a range are in the set.
    pub(crate) fn contains(&self, range: VaRange) -> bool {
        range.is_empty() || self.first_in(range) == Some(range)
    }

    /// Tells whether an address of a range is in the set.
    pub(crate) fn overlaps(&self, range: VaRange) -> bool {
        self.first_in(range).is_some()
    }

    /// The first part of a range that is in the set.
    pub(crate) fn first_in(&self, range: VaRange) -> Option<VaRange> {
        let first = self.used().partition_point(|old| old.end <= range.start().get());
        self.used().get(first)?.range().intersection(&range)
    }

    /// Puts the addresses of `range` that are in the set into it also as they are when the range is
    /// moved to `to`.
    pub(crate) fn insert_moved(&mut self, range: VaRange, to: VirtAddr) {
        let mut rest = range;
        while let Some(part) = self.first_in(rest) {
            let offset = or_die(part.start().offset_from(range.start()), DAMAGED);
            let moved = to.checked_add(offset);
            let moved = moved.and_then(|at| VaRange::from_len(at, part.len_bytes()));
            moved.into_iter().for_each(|moved| {
                self.insert(moved);
            });
            rest = VaRange::new(part.end(), range.end()).unwrap_or_default();
        }
    }

    fn used(&self) -> &[Bounds] {
        or_die(self.ranges.get(..self.len), DAMAGED)
    }

    /// Replaces the ranges at `first..end` by others, for which there is room.
    fn replace(&mut self, first: usize, end: usize, by: &[Bounds]) {
        self.ranges.copy_within(end..self.len, first + by.len());
        self.len = self.len + by.len() - (end - first);
        or_die(self.ranges.get_mut(first..first + by.len()), DAMAGED).copy_from_slice(by);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: u64, count: u64) -> VaRange {
        VaRange::from_len(VirtAddr::new(first * 4096), count * 4096).expect("a user range")
    }

    fn set(room: usize, errs: Errs) -> RangeSet {
        RangeSet::with_room(room, errs).expect("memory")
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let mut set = set(2, Errs::TooLittle);
        for first in [0, 20, 4, 10, 8] {
            assert_eq!(set.insert(range(first, 4)), first != 10, "{first}");
        }
        assert_eq!(set.len, 2, "8..12 joins nothing but 4..8");
        assert!(set.contains(range(0, 12)) && !set.contains(range(0, 13)));
        assert_eq!(set.first_in(range(11, 20)), Some(range(11, 1)));
        assert_eq!(set.first_in(range(12, 8)), None);
        assert!(set.contains(VaRange::default()) && !set.overlaps(VaRange::default()));
    }

    #[test]
    fn without_room_a_set_errs_on_its_side() {
        let all = |set: &RangeSet, count| (0..count).all(|n| set.contains(range(10 * n, 2)));
        let mut much = set(4, Errs::TooMuch);
        assert!((0..8).rev().all(|n| much.insert(range(10 * n, 2))));
        assert!(all(&much, 8), "nothing is missing: {:?}", much.used());
        much.remove(range(10 * 7, 1));
        much.remove(range(10 * 5 + 1, 1));
        assert!(all(&much, 5));

        let mut little = set(4, Errs::TooLittle);
        let inserted: Vec<_> = (0..8).map(|n| little.insert(range(10 * n, 3))).collect();
        assert_eq!(inserted, [true, true, true, true, false, false, false, false]);
        little.remove(range(11, 1));
        assert!(little.contains(range(10, 1)) && !little.overlaps(range(11, 2)));
    }

    #[test]
    fn what_moves_is_in_both_places() {
        let mut set = set(8, Errs::TooMuch);
        set.insert(range(2, 3));
        set.insert(range(7, 1));
        set.insert_moved(range(4, 6), range(100, 1).start());
        assert_eq!(set.first_in(range(90, 50)), Some(range(100, 1)));
        assert_eq!(set.first_in(range(101, 50)), Some(range(103, 1)));
        assert!(set.contains(range(2, 3)) && set.contains(range(7, 1)));
    }

    proptest! {
        #[test]
        fn a_set_is_its_pages(
            steps in prop::collection::vec(
                (any::<bool>(), 0u64..60, 0u64..20),
                0..if cfg!(miri) { 8 } else { 60 },
            ),
        ) {
            let mut set = set(64, Errs::TooLittle);
            let mut model = [false; 80];
            for (inserts, first, count) in steps {
                let pages = range(first, count);
                if inserts { prop_assert!(set.insert(pages)) } else { set.remove(pages) }
                let [first, end] = [first, first + count].map(|n| usize::try_from(n).unwrap());
                model[first..end].fill(inserts);
                for (page, &is_in) in (0u64..).zip(&model) {
                    prop_assert_eq!(set.overlaps(range(page, 1)), is_in);
                    prop_assert_eq!(set.contains(range(page, 1)), is_in);
                }
                let runs = model.chunk_by(|left, right| left == right).filter(|run| run[0]);
                prop_assert_eq!(set.len, runs.count());
            }
        }

        #[test]
        fn a_set_without_room_errs_on_its_side_whatever_happens(
            errs_by_too_much in any::<bool>(),
            steps in prop::collection::vec(
                (any::<bool>(), 0u64..60, 1u64..6),
                0..if cfg!(miri) { 8 } else { 60 },
            ),
        ) {
            let errs = if errs_by_too_much { Errs::TooMuch } else { Errs::TooLittle };
            let mut set = set(3, errs);
            let mut model = [false; 80];
            for (inserts, first, count) in steps {
                let pages = range(first, count);
                if inserts { set.insert(pages); } else { set.remove(pages) }
                let [first, end] = [first, first + count].map(|n| usize::try_from(n).unwrap());
                model[first..end].fill(inserts);
                for (page, &is_in) in (0u64..).zip(&model) {
                    let found = set.overlaps(range(page, 1));
                    prop_assert!(found == is_in || found == errs_by_too_much, "page {}", page);
                }
            }
        }
    }
}
