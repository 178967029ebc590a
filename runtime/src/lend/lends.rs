//! The bytes that a scope has lent. Pure.

use super::list::List;
use crate::stats::step;
use farptr_hmm::{VaRange, VirtAddr};
use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

/// A stretch of lent bytes that no other one overlaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) range: VaRange,
    pub(crate) writable: bool,
    /// The distance from host address to device address, wrapping; absent if the device does not
    /// reach the whole segment as one range.
    pub(crate) delta: Option<u64>,
    /// Whether its memory is at this address alone, once that was asked.
    pub(crate) private: Option<bool>,
}

/// The set of lent ranges of a scope: disjoint segments in the order of their addresses.
///
/// Two lends for reading may overlap; they become one segment, so that an address has one segment
/// at most. Lends that only touch stay apart: each may be at a device address of its own, and an
/// error names the one that was meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lends {
    /// By their starts; and the version that brought each with its range.
    segments: BTreeMap<VirtAddr, (Segment, u64)>,
    /// The starts of the segments by the versions that brought them.
    by_version: BTreeMap<u64, VirtAddr>,
    /// How many neighbours have so many bytes between them.
    gaps: BTreeMap<u64, usize>,
    bytes: u128,
    unaddressable: usize,
    version: u64,
    /// The segments once more, for look-ups, unless some have come or gone since.
    list: Option<List<Segment>>,
    /// Launches since then.
    launches: usize,
}

impl Lends {
    /// The range with everything that it overlaps: what [`insert`](Self::insert) has to be given.
    pub(crate) fn joined(&self, range: VaRange) -> VaRange {
        let mut start = range.start();
        let mut end = range.end();
        // Segments are disjoint, so the last one that starts before the range is the only one that
        // reaches into it from below.
        if let Some(below) = self.below(start)
            && below.end() > start
        {
            (start, end) = (below.start(), end.max(below.end()));
        }
        let last = self.segments.range(range.start()..range.end()).next_back();
        if let Some((_, (last, _))) = last {
            end = end.max(last.range.end());
        }
        VaRange::new(start, end).expect("both ends only moved outwards")
    }

    /// Adds a segment, which replaces those that lie within it.
    ///
    /// Its range is empty, in which case nothing is added, or comes from [`joined`](Self::joined).
    /// The borrow checker ensures that writable memory overlaps no other lend. A segment that is
    /// there already stays as it is, unless the new one is at another device address.
    pub(crate) fn insert(&mut self, segment: Segment) {
        let (start, end) = (segment.range.start(), segment.range.end());
        let is_there = |known: &Segment| {
            let delta = segment.delta.or(known.delta);
            *known == Segment { delta, private: known.private, ..segment }
        };
        let known = self.segments.get(&start).is_some_and(|(known, _)| is_there(known));
        if segment.range.is_empty() || known {
            return;
        }
        let within: Vec<VirtAddr> = self.segments.range(start..end).map(|(&at, _)| at).collect();
        for at in within {
            let old = self.remove(at);
            debug_assert!(segment.range.contains_range(&old.range), "the range was joined");
        }
        (self.list, self.launches) = (None, 0);
        self.unaddressable += usize::from(segment.delta.is_none());
        self.bytes += u128::from(segment.range.len_bytes());
        self.version += 1;
        self.by_version.insert(self.version, start);
        let [below, above] = [self.below(start), self.above(start)];
        self.count_gap(below, above, false);
        self.count_gap(below, Some(segment.range), true);
        self.count_gap(Some(segment.range), above, true);
        self.segments.insert(start, (segment, self.version));
    }

    fn remove(&mut self, start: VirtAddr) -> Segment {
        let (old, brought) = self.segments.remove(&start).expect("listed just now");
        self.by_version.remove(&brought);
        self.unaddressable -= usize::from(old.delta.is_none());
        self.bytes -= u128::from(old.range.len_bytes());
        let [below, above] = [self.below(start), self.above(start)];
        self.count_gap(below, Some(old.range), false);
        self.count_gap(Some(old.range), above, false);
        self.count_gap(below, above, true);
        old
    }

    /// Says where the device has the segment that starts at an address.
    pub(crate) fn set_delta(&mut self, start: VirtAddr, delta: Option<u64>) {
        let Some((segment, _)) = self.segments.get_mut(&start) else { return };
        let before = std::mem::replace(&mut segment.delta, delta);
        self.list.iter_mut().for_each(|list| list.set(start, *segment));
        self.unaddressable -= usize::from(before.is_none());
        self.unaddressable += usize::from(delta.is_none());
        self.version += u64::from(before != delta);
    }

    /// Notes whether the memory of the segment that starts at an address is there alone.
    pub(crate) fn note_private(&mut self, start: VirtAddr, private: bool) {
        let Some((segment, _)) = self.segments.get_mut(&start) else { return };
        segment.private = Some(private);
        self.list.iter_mut().for_each(|list| list.set(start, *segment));
    }

    /// Notes that a launch looks segments up. They are listed for such look-ups when as many
    /// launches as there are segments have found no change, so that this costs a launch no more
    /// than a look at one; a few are found as fast without.
    pub(crate) fn note_launch(&mut self) {
        const FEW: usize = 12;
        if self.list.is_some() {
            return;
        }
        self.launches += 1;
        if self.launches >= self.segments.len().max(FEW) {
            step(self.segments.len());
            self.list = Some(self.listed());
        }
    }

    fn listed(&self) -> List<Segment> {
        List::of(self.segments.iter().map(|(&start, &(segment, _))| (start, segment)))
    }

    /// The last segment that starts at an address or below it.
    fn at_or_below(&self, address: VirtAddr) -> Option<&Segment> {
        match &self.list {
            Some(list) => list.at_or_below(address),
            None => self.segments.range(..=address).next_back().map(|(_, (segment, _))| segment),
        }
    }

    /// The range of the last segment that starts below an address.
    fn below(&self, address: VirtAddr) -> Option<VaRange> {
        let (_, (segment, _)) = self.segments.range(..address).next_back()?;
        Some(segment.range)
    }

    /// The range of the first segment that starts above an address.
    fn above(&self, address: VirtAddr) -> Option<VaRange> {
        let (_, (segment, _)) = self.segments.range((Excluded(address), Unbounded)).next()?;
        Some(segment.range)
    }

    /// Counts the gap between two neighbours, or no longer.
    fn count_gap(&mut self, low: Option<VaRange>, high: Option<VaRange>, is_there: bool) {
        let Some((low, high)) = low.zip(high) else { return };
        let bytes = high.start().get() - low.end().get();
        let count = self.gaps.entry(bytes).or_default();
        *count = if is_there { *count + 1 } else { *count - 1 };
        if *count == 0 {
            self.gaps.remove(&bytes);
        }
    }

    /// The segment that an address lies in.
    pub(crate) fn containing(&self, address: VirtAddr) -> Option<&Segment> {
        self.at_or_below(address).filter(|segment| segment.range.contains(address))
    }

    /// The segment that a pointer belongs to: the one that it points into, or else the one that
    /// ends where it points.
    pub(crate) fn of_pointer(&self, address: VirtAddr) -> Option<&Segment> {
        self.at_or_below(address).filter(|segment| address <= segment.range.end())
    }

    /// The segment that is nearest to an address, the lower one of two.
    pub(crate) fn nearest(&self, address: VirtAddr) -> Option<&Segment> {
        let below = self.segments.range(..=address).next_back().map(|(_, (segment, _))| segment);
        let above = self.segments.range((Excluded(address), Unbounded)).next();
        let Some((_, (above, _))) = above else { return below };
        let Some(below) = below else { return Some(above) };
        let past = address.get().saturating_sub(below.range.end().get().saturating_sub(1));
        let ahead = above.range.start().get() - address.get();
        Some(if past <= ahead { below } else { above })
    }

    /// The segments by address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values().map(|(segment, _)| segment)
    }

    /// The segments whose ranges came after a version, oldest first.
    pub(crate) fn since(&self, version: u64) -> impl Iterator<Item = &Segment> {
        let starts = self.by_version.range((Excluded(version), Unbounded)).map(|(_, start)| start);
        starts.map(|start| &self.segments[start].0)
    }

    /// The number of segments.
    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The bytes of all segments together.
    pub(crate) fn bytes(&self) -> u128 {
        self.bytes
    }

    /// Whether there are at least so many bytes between any two segments.
    pub(crate) fn are_apart(&self, bytes: u64) -> bool {
        self.gaps.first_key_value().is_none_or(|(&least, _)| least >= bytes)
    }

    /// Whether the device reaches each segment as one range.
    pub(crate) fn is_addressable(&self) -> bool {
        self.unaddressable == 0
    }

    /// A number that grows whenever the set changes.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: u64, end: u64) -> VaRange {
        VaRange::new(VirtAddr::new(start), VirtAddr::new(end)).unwrap()
    }

    fn lend(lends: &mut Lends, start: u64, end: u64, writable: bool) {
        let range = lends.joined(range(start, end));
        lends.insert(Segment { range, writable, delta: Some(0), private: None });
    }

    fn listed(lends: &Lends) -> Vec<(u64, u64, bool)> {
        let row = |s: &Segment| (s.range.start().get(), s.range.end().get(), s.writable);
        lends.iter().map(row).collect()
    }

    #[test]
    fn overlapping_lends_join_and_touching_ones_do_not() {
        let mut lends = Lends::default();
        lend(&mut lends, 100, 200, false);
        lend(&mut lends, 200, 300, true);
        lend(&mut lends, 50, 100, false);
        assert_eq!(listed(&lends), [(50, 100, false), (100, 200, false), (200, 300, true)]);
        lend(&mut lends, 80, 120, false);
        assert_eq!(listed(&lends), [(50, 200, false), (200, 300, true)]);
        lend(&mut lends, 60, 70, false);
        assert_eq!(listed(&lends), [(50, 200, false), (200, 300, true)]);
        assert_eq!(lends.len(), 2);
    }

    #[test]
    fn empty_ranges_are_not_kept() {
        let mut lends = Lends::default();
        let before = lends.version();
        lend(&mut lends, 8, 8, false);
        assert_eq!((lends.len(), lends.version()), (0, before));
        lend(&mut lends, 8, 9, false);
        assert_ne!(lends.version(), before);
    }

    #[test]
    fn a_lend_of_lent_bytes_changes_nothing() {
        let mut lends = Lends::default();
        lend(&mut lends, 100, 200, false);
        let before = lends.version();
        lend(&mut lends, 120, 200, false);
        assert_eq!((lends.version(), lends.since(0).count()), (before, 1));
        lend(&mut lends, 120, 201, false);
        assert_eq!(lends.since(before).count(), 1, "the range is another one");
        let before = lends.version();
        lends.set_delta(VirtAddr::new(100), None);
        assert!(lends.version() > before && !lends.is_addressable());
        assert_eq!(lends.since(before).count(), 0, "the range is the same");
    }

    #[test]
    fn a_pointer_past_the_end_belongs_to_what_ends_there() {
        let mut lends = Lends::default();
        lend(&mut lends, 100, 200, false);
        let of = |lends: &Lends, at| Some(lends.of_pointer(VirtAddr::new(at))?.range.start().get());
        assert_eq!(of(&lends, 200), Some(100));
        assert_eq!(of(&lends, 201), None);
        lend(&mut lends, 200, 201, true);
        assert_eq!(of(&lends, 200), Some(200));
    }

    #[test]
    fn one_segment_out_of_reach_is_noticed_until_it_is_replaced() {
        let mut lends = Lends::default();
        assert!(lends.is_addressable());
        let segment = |start, delta| Segment {
            range: range(start, 32),
            writable: false,
            delta,
            private: None,
        };
        lends.insert(segment(16, None));
        assert!(!lends.is_addressable());
        lends.insert(segment(8, Some(4096)));
        assert!(lends.is_addressable());
    }

    #[test]
    fn what_is_known_of_the_memory_of_a_segment_is_forgotten_when_it_grows() {
        let mut lends = Lends::default();
        lend(&mut lends, 100, 200, false);
        let private = |lends: &Lends| lends.containing(VirtAddr::new(150)).unwrap().private;
        lends.note_private(VirtAddr::new(100), true);
        assert_eq!(private(&lends), Some(true));
        lend(&mut lends, 120, 200, false);
        assert_eq!(private(&lends), Some(true), "it is lent already");
        lend(&mut lends, 120, 201, false);
        assert_eq!(private(&lends), None);
    }

    proptest! {
        #[test]
        fn the_set_is_the_union_of_its_bytes(
            ranges in prop::collection::vec((0u64..120, 0u64..20), 0..12),
            at in 0u64..160,
            seen in 0usize..12,
            listed_before in 0usize..20,
        ) {
            let mut lends = Lends::default();
            let mut bytes = [false; 160];
            let mut before = Lends::default();
            for (number, &(start, len)) in ranges.iter().enumerate() {
                if number == seen {
                    before = lends.clone();
                }
                if number == listed_before {
                    lends.list = Some(lends.listed());
                }
                lend(&mut lends, start, start + len, false);
                let first = usize::try_from(start).unwrap();
                bytes[first..][..usize::try_from(len).unwrap()].fill(true);
            }
            let mut last_end = 0;
            for (start, end, _) in listed(&lends) {
                prop_assert!(last_end <= start && start < end);
                last_end = end;
            }
            let all = listed(&lends);
            let gaps = all.windows(2).map(|pair| pair[1].0 - pair[0].1);
            let least = gaps.min().unwrap_or(u64::MAX);
            for apart in 0..30 {
                prop_assert_eq!(lends.are_apart(apart), least >= apart);
            }
            let sum: u64 = all.iter().map(|(start, end, _)| end - start).sum();
            prop_assert_eq!(lends.bytes(), u128::from(sum));
            if seen < ranges.len() {
                let known = listed(&before);
                let new = all.iter().filter(|row| !known.contains(row)).count();
                prop_assert_eq!(lends.since(before.version()).count(), new);
            }
            for (address, &lent) in (0..).zip(&bytes) {
                prop_assert_eq!(lends.containing(VirtAddr::new(address)).is_some(), lent);
            }
            let look = |lends: &Lends| -> Vec<_> {
                (0..160).map(|at| lends.of_pointer(VirtAddr::new(at)).copied()).collect()
            };
            let looked = look(&lends);
            let first = lends.iter().next().map(|segment| segment.range.start());
            lends.list = Some(lends.listed());
            prop_assert_eq!(look(&lends), looked);
            if let Some(start) = first {
                lends.note_private(start, true);
                lends.set_delta(start, Some(at));
                let looked = look(&lends);
                prop_assert!(lends.list.take().is_some(), "it stays");
                prop_assert_eq!(look(&lends), looked);
            }
            let distance = |byte: u64| byte.abs_diff(at);
            let nearest = (0..160).filter(|&b| bytes[usize::try_from(b).unwrap()])
                .min_by_key(|&byte| (distance(byte), byte));
            let found = lends.nearest(VirtAddr::new(at)).map(|segment| segment.range);
            prop_assert_eq!(found.is_some(), nearest.is_some());
            if let (Some(found), Some(byte)) = (found, nearest) {
                prop_assert!(found.contains(VirtAddr::new(byte)));
            }
        }
    }
}
