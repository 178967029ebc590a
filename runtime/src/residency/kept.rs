//! Copies of lent memory that stay on a device after the scope that made them.

use super::stores::{Stores, Tracked};
use crate::vk::frames::FrameRun;
use farptr_hmm::VaRange;
use farptr_rewrite::control::PAGE_BYTES;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One stored page in so many of a lend costs the host as much as a copy of the lend.
pub(crate) const BREAK_EVEN: usize = 8;
/// For how many scopes a lend is not kept, after that has cost more than it saved. Twice as many
/// the next time, up to the most.
const PAUSE: u32 = 16;
const MOST_PAUSE: u32 = 1 << 10;
/// How many lends are remembered.
const ROOM: usize = 4096;

/// The copies of a lend, and how to find out which of them are old.
pub(crate) struct KeptLend {
    pub(crate) range: VaRange,
    /// A frame for each page of the lend.
    pub(crate) run: FrameRun,
    pub(crate) present: Present,
    pub(crate) tracked: Tracked,
}

/// The places of the pages of a lend whose frames have the bytes of home.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Present {
    /// Those that the device may only read.
    pub(crate) read: Vec<Range<usize>>,
    /// Those that it may write, too.
    pub(crate) write: Vec<Range<usize>>,
}

impl Present {
    /// How many pages there are.
    pub(crate) fn count(&self) -> usize {
        self.read.iter().chain(&self.write).map(Range::len).sum()
    }

    /// Without pages that ranges touch, which are in order. The first place has a page's number.
    fn without(&self, ranges: &[VaRange], first: u64) -> Self {
        let [read, write] = [&self.read, &self.write].map(|places| without(places, ranges, first));
        Self { read, write }
    }
}

/// What came of keeping a lend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Most of it was used again.
    Used,
    /// So much of it was stored to that it has cost more than it saved.
    Stored,
    /// None of it could be used: its memory was mapped anew, or somebody else tracks some of it.
    /// The first time may be chance.
    Lost,
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
        let before = kept.present.count();
        let stored = Stores::of_process().and_then(|stores| stores.stored(&kept.tracked));
        let Some(stored) = stored else {
            self.note(range, Outcome::Lost);
            return None;
        };
        kept.present = kept.present.without(&stored, start / PAGE_BYTES);
        let lost = before - kept.present.count();
        let outcome = if lost * BREAK_EVEN > before { Outcome::Stored } else { Outcome::Used };
        self.note(range, outcome);
        Some(kept)
    }

    /// Notes what came of keeping a lend.
    pub(crate) fn note(&self, range: VaRange, outcome: Outcome) {
        if let Some(slot) = self.lock().by_start.get_mut(&range.start().get()) {
            slot.note(outcome);
        }
    }

    /// Whether a lend is worth to be kept now. Each call counts as one scope.
    pub(crate) fn wants(&self, range: VaRange) -> bool {
        let mut slots = self.lock();
        let Some(slot) = slots.by_start.get_mut(&range.start().get()) else { return true };
        // Another scope may have kept the same lend meanwhile.
        let is_there = slot.kept.is_some() && slot.end == range.end().get();
        let wants = slot.pause == 0 && !is_there;
        slot.pause = slot.pause.saturating_sub(1);
        wants
    }

    /// Keeps a lend for the next scope, in place of others that start there.
    pub(crate) fn put(&self, lend: KeptLend) {
        let (start, end) = (lend.range.start().get(), lend.range.end().get());
        let mut slots = self.lock();
        let is_full = slots.by_start.len() >= ROOM && !slots.by_start.contains_key(&start);
        let forgotten = if is_full { slots.remove_oldest() } else { None };
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

impl Slots {
    /// Takes out what is known of the range that was kept first.
    fn remove_oldest(&mut self) -> Option<Slot> {
        let (&start, _) = self.by_start.iter().min_by_key(|(_, slot)| slot.at)?;
        self.by_start.remove(&start)
    }
}

impl Slot {
    fn note(&mut self, outcome: Outcome) {
        self.pause = match outcome {
            Outcome::Used => 0,
            Outcome::Lost => self.next_pause,
            Outcome::Stored => self.next_pause.max(PAUSE),
        };
        self.next_pause = match outcome {
            Outcome::Used => 0,
            Outcome::Lost | Outcome::Stored => (2 * self.pause).clamp(1, MOST_PAUSE),
        };
    }
}

/// Places of pages, the first of which has a number, without those that ranges touch. Both are in
/// order.
fn without(places: &[Range<usize>], ranges: &[VaRange], first: u64) -> Vec<Range<usize>> {
    let place = |page: u64| usize::try_from(page.saturating_sub(first)).unwrap_or(usize::MAX);
    let gone = |range: &VaRange| {
        let (start, end) = (range.start().get(), range.end().get());
        place(start / PAGE_BYTES)..place(end.div_ceil(PAGE_BYTES))
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
        let mut pauses = |outcome| {
            [0; 8].map(|_| {
                slot.note(outcome);
                slot.pause
            })
        };
        assert_eq!(pauses(Outcome::Stored), [16, 32, 64, 128, 256, 512, 1024, 1024]);
        assert_eq!(pauses(Outcome::Used), [0; 8]);
        assert_eq!(pauses(Outcome::Lost), [0, 1, 2, 4, 8, 16, 32, 64]);
    }
}
