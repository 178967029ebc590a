//! What a mirror's notifiers say while a round runs.

use farptr_hmm::{Invalidate, Invalidation, SeqSet, VaRange, WouldBlock};
use std::sync::{Mutex, PoisonError, TryLockError};

/// How many ranges are remembered one by one.
const RANGES: usize = 32;

/// Ranges whose mapping has changed, or is about to.
///
/// The callback may come on a thread that serves faults, so it neither allocates nor waits for a
/// round: a round works on copies, and whoever wants to commit it takes the notes first.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    ranges: Mutex<Ranges>,
}

type Ranges = [Option<VaRange>; RANGES];

impl Notes {
    /// Takes what was noted since the last time.
    pub(crate) fn take(&self) -> Vec<VaRange> {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *ranges);
        drop(ranges);
        taken.into_iter().flatten().collect()
    }
}

/// Adds a range; without room, to the last one and all between.
fn note(ranges: &mut Ranges, range: VaRange) {
    if let Some(free) = ranges.iter_mut().find(|slot| slot.is_none()) {
        *free = Some(range);
    } else if let Some(Some(last)) = ranges.last_mut() {
        let (start, end) = (last.start().min(range.start()), last.end().max(range.end()));
        *last = VaRange::new(start, end).unwrap_or(VaRange::USER);
    }
}

impl Invalidate for Notes {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        let mut ranges = match self.ranges.try_lock() {
            Ok(ranges) => ranges,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => match invalidation.would_block() {
                Some(refusal) => return Err(refusal),
                None => self.ranges.lock().unwrap_or_else(PoisonError::into_inner),
            },
        };
        note(&mut ranges, invalidation.range());
        Ok(invalidation.set_seq())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farptr_hmm::{Event, Notifiers, VirtAddr};
    use std::sync::Arc;

    fn range(page: u64) -> VaRange {
        VaRange::from_len(VirtAddr::new(page * 4096), 4096).unwrap()
    }

    #[test]
    fn every_invalidated_page_is_in_the_notes_however_many_there_are() {
        let (notifiers, notes) = (Notifiers::new(), Arc::new(Notes::default()));
        let notifier =
            notifiers.register(VaRange::USER, None, Arc::<Notes>::clone(&notes)).unwrap();
        for page in 1..=3 {
            drop(notifiers.invalidate(Event::Unmap, range(page)));
        }
        assert_eq!(notes.take(), [range(1), range(2), range(3)]);
        assert_eq!(notes.take(), []);
        let pages = || (0..200u64).map(|page| 10_000 - 7 * page);
        for page in pages() {
            drop(notifiers.try_invalidate(Event::Clear, range(page)).unwrap());
        }
        let taken = notes.take();
        assert_eq!(taken.len(), RANGES);
        assert!(pages().all(|page| taken.iter().any(|noted| noted.contains_range(&range(page)))));
        drop(notifier);
    }
}
