//! Copies of lent memory that stay on a device after the scope that made them.

use super::stores::{Stores, Tracked};
use crate::vk::frames::FrameRun;
use farptr_hmm::VaRange;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One stored page in so many of a lend costs the host as much as a copy of the lend.
const BREAK_EVEN: usize = 8;
/// For how many scopes a lend is not kept, after the host has stored to more of it than that. Twice
/// as many the next time, up to the most.
const PAUSE: u32 = 16;
const MOST_PAUSE: u32 = 1 << 10;
/// How many lends are remembered.
const ROOM: usize = 4096;

/// The copies of a lend, and how to find out which of them are old.
pub(crate) struct KeptLend {
    pub(crate) range: VaRange,
    /// A frame for each page of the lend.
    pub(crate) run: FrameRun,
    /// The places of the pages whose frames had the bytes of home when the lend was kept.
    pub(crate) present: Vec<Range<usize>>,
    pub(crate) tracked: Tracked,
}

/// Lends that scopes have left on a device.
#[derive(Default)]
pub(crate) struct Kept {
    // Frames are dropped when the lock is free: other objects may go with them.
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_start: BTreeMap<u64, Slot>,
    /// Counts the lends that were kept.
    clock: u64,
}

/// What is known of a range that was lent.
#[derive(Default)]
struct Slot {
    end: u64,
    kept: Option<KeptLend>,
    /// When it was kept last.
    at: u64,
    /// For how many scopes it is not to be kept.
    pause: u32,
    /// The next pause.
    next_pause: u32,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is kept of a lend, without the pages that the host has stored to since.
    pub(crate) fn take(&self, range: VaRange) -> Option<KeptLend> {
        let start = range.start().get();
        let same = |slot: &&mut Slot| slot.end == range.end().get();
        let mut kept = self.lock().by_start.get_mut(&start).filter(same)?.kept.take()?;
        let stored = Stores::of_process()?.stored(&kept.tracked)?;
        let before = count(&kept.present);
        let first = start >> farptr_rewrite::control::PAGE_BYTES.trailing_zeros();
        kept.present = without(&kept.present, &stored, first);
        let lost = before - count(&kept.present);
        let mut slots = self.lock();
        if let Some(slot) = slots.by_start.get_mut(&start) {
            slot.note(lost * BREAK_EVEN > before);
        }
        Some(kept)
    }

    /// Whether a lend is worth to be kept now. Each call counts as one scope.
    pub(crate) fn wants(&self, range: VaRange) -> bool {
        let mut slots = self.lock();
        let Some(slot) = slots.by_start.get_mut(&range.start().get()) else { return true };
        let wants = slot.pause == 0 && slot.kept.is_none();
        slot.pause = slot.pause.saturating_sub(1);
        wants
    }

    /// Keeps a lend for the next scope, in place of others that start there.
    pub(crate) fn put(&self, lend: KeptLend) {
        let (start, end) = (lend.range.start().get(), lend.range.end().get());
        let mut slots = self.lock();
        let forgotten = if slots.by_start.len() < ROOM || slots.by_start.contains_key(&start) {
            BTreeMap::new()
        } else {
            std::mem::take(&mut slots.by_start)
        };
        slots.clock += 1;
        let at = slots.clock;
        let slot = slots.by_start.entry(start).or_default();
        let old = slot.kept.replace(lend);
        (slot.end, slot.at) = (end, at);
        drop(slots);
        drop((old, forgotten));
    }

    /// Drops the lend that was kept first. Tells whether there was one.
    pub(crate) fn evict(&self) -> bool {
        let mut slots = self.lock();
        let kept = slots.by_start.values_mut().filter(|slot| slot.kept.is_some());
        let evicted = kept.min_by_key(|slot| slot.at).and_then(|slot| slot.kept.take());
        drop(slots);
        evicted.is_some()
    }
}

impl Slot {
    /// Notes whether keeping the lend has cost more than it saved.
    fn note(&mut self, was_dear: bool) {
        if was_dear {
            self.pause = self.next_pause.max(PAUSE);
            self.next_pause = (2 * self.pause).min(MOST_PAUSE);
        } else {
            self.next_pause = 0;
        }
    }
}

/// How many places there are.
pub(crate) fn count(places: &[Range<usize>]) -> usize {
    places.iter().map(Range::len).sum()
}

/// Places of pages, the first of which has a number, without those that ranges touch. Both are in
/// order.
fn without(places: &[Range<usize>], ranges: &[VaRange], first: u64) -> Vec<Range<usize>> {
    let page_bytes = farptr_rewrite::control::PAGE_BYTES;
    let place = |page: u64| usize::try_from(page.saturating_sub(first)).unwrap_or(usize::MAX);
    let gone = |range: &VaRange| {
        let (start, end) = (range.start().get(), range.end().get());
        place(start / page_bytes)..place(end.div_ceil(page_bytes))
    };
    let mut left = Vec::new();
    for places in places {
        let mut from = places.start;
        for gone in ranges.iter().map(gone) {
            if gone.start < places.end && from < gone.end {
                left.push(from..gone.start.max(from));
                from = gone.end;
            }
        }
        left.push(from.min(places.end)..places.end);
    }
    left.retain(|places| !places.is_empty());
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use farptr_hmm::VirtAddr;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pages_without_those_that_were_stored_to(
            present in prop::collection::vec(any::<bool>(), 1..60),
            stored in prop::collection::vec(any::<bool>(), 80),
            first in 0u64..20,
        ) {
            let runs = |pages: &[bool]| -> Vec<Range<usize>> {
                let chunks = pages.chunk_by(|a, b| a == b);
                let ends = chunks.scan(0, |end, chunk| {
                    *end += chunk.len();
                    Some((chunk[0], *end - chunk.len()..*end))
                });
                ends.filter(|(there, _)| *there).map(|(_, run)| run).collect()
            };
            let address = |page: usize| VirtAddr::new((page as u64) << 12);
            let ranges: Vec<VaRange> = runs(&stored)
                .into_iter()
                .map(|run| VaRange::new(address(run.start), address(run.end)).unwrap())
                .collect();
            let left = without(&runs(&present), &ranges, first);
            let expected: Vec<bool> = (0..present.len())
                .map(|place| present[place] && !stored[place + first as usize])
                .collect();
            prop_assert_eq!(left, runs(&expected));
        }
    }

    #[test]
    fn a_lend_that_the_host_stores_to_is_left_alone_for_longer_each_time() {
        let mut slot = Slot::default();
        let pauses: Vec<u32> = (0..8)
            .map(|_| {
                slot.note(true);
                slot.pause
            })
            .collect();
        assert_eq!(pauses, [16, 32, 64, 128, 256, 512, 1024, 1024]);
        slot.note(false);
        slot.note(true);
        assert_eq!(slot.pause, 16);
    }
}
