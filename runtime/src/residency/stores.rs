//! Which pages the host has stored to, of memory whose copies stay on a device after a scope.
//!
//! Linux keeps a mark for each page of a tracked range (`userfaultfd` with `WP_ASYNC`), and there
//! is one mark for all who ask. So one holder tracks a page at a time: see `DESIGN.md`, "Copies
//! outlive scopes".

use farptr_hmm::{Mirror, VaRange};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

/// The ranges of the process that are tracked.
pub(crate) struct Stores {
    mirror: Mirror,
    tracked: Mutex<Ranges>,
}

/// Ranges that do not overlap, each by start, with its end and the number of its holder.
#[derive(Default)]
struct Ranges {
    by_start: BTreeMap<u64, (u64, u64)>,
    /// How many there were.
    count: u64,
}

/// A range that is tracked for one holder, until another one tracks a part of it.
#[derive(Debug)]
pub(crate) struct Tracked {
    range: VaRange,
    number: u64,
}

impl Stores {
    /// Those of this process; `None` where the kernel tracks no stores.
    pub(crate) fn of_process() -> Option<&'static Self> {
        static STORES: OnceLock<Option<Stores>> = OnceLock::new();
        let open = || {
            let mirror = Mirror::build().ok().filter(Mirror::tracks_stores)?;
            Some(Self { mirror, tracked: Mutex::default() })
        };
        STORES.get_or_init(open).as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, Ranges> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tracks whole pages: from now on they count as not stored to. `None` if the kernel refuses.
    ///
    /// Nobody stores to them while this runs: they are lent to a scope of the caller.
    pub(crate) fn track(&self, range: VaRange) -> Option<Tracked> {
        // Held to the end: whoever asks for the pages of a range meanwhile gets no answer.
        let mut ranges = self.lock();
        let number = ranges.insert(range);
        let tracked = Tracked { range, number };
        let done = self.mirror.adopt(range).and_then(|()| self.mirror.protect(range));
        drop(ranges);
        // What is dropped takes the lock.
        done.ok().map(|()| tracked)
    }

    /// The pages that were stored to since the range was tracked or since the last answer. `None`
    /// if any may have been: somebody else tracks some of them, or they were mapped anew.
    pub(crate) fn stored(&self, tracked: &Tracked) -> Option<Vec<VaRange>> {
        let ranges = self.lock();
        if !ranges.has(tracked) {
            return None;
        }
        self.mirror.take_written(tracked.range).ok()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // In a child made by `fork` a thread that did not come along may hold the lock.
        if let Some(stores) = Stores::of_process().filter(|stores| !stores.mirror.is_inherited()) {
            stores.lock().remove(self);
        }
    }
}

impl Ranges {
    /// Inserts a range in place of those that it overlaps, and returns its number.
    fn insert(&mut self, range: VaRange) -> u64 {
        let (start, end) = (range.start().get(), range.end().get());
        let below = self.by_start.range(..end).rev();
        let overlapped = below.take_while(|&(_, &(other, _))| other > start);
        let overlapped: Vec<u64> = overlapped.map(|(&start, _)| start).collect();
        overlapped.iter().for_each(|start| {
            self.by_start.remove(start);
        });
        self.count += 1;
        self.by_start.insert(start, (end, self.count));
        self.count
    }

    /// Takes a range out, if it is still tracked for its holder.
    fn remove(&mut self, tracked: &Tracked) {
        if self.has(tracked) {
            self.by_start.remove(&tracked.range.start().get());
        }
    }

    /// Whether a range is still tracked for its holder.
    fn has(&self, &Tracked { range, number }: &Tracked) -> bool {
        let found = self.by_start.get(&range.start().get());
        found == Some(&(range.end().get(), number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farptr_hmm::VirtAddr;
    use proptest::prelude::*;

    fn range(start: u64, pages: u64) -> VaRange {
        VaRange::from_len(VirtAddr::new(start << 12), pages << 12).unwrap()
    }

    proptest! {
        /// The last holder of each page is the one that has it, and has all its pages.
        #[test]
        fn a_page_has_one_holder(
            tracked in prop::collection::vec((0u64..40, 1u64..12), 1..30),
        ) {
            let mut ranges = Ranges::default();
            let mut holders = [None; 64];
            let mut all = Vec::new();
            for (start, pages) in tracked {
                let range = range(start, pages);
                let number = ranges.insert(range);
                holders[start as usize..(start + pages) as usize].fill(Some(number));
                all.push(Tracked { range, number });
                for tracked in &all {
                    let pages = tracked.range.start().get() >> 12..tracked.range.end().get() >> 12;
                    let mut own = pages.map(|page| holders[page as usize]);
                    let has = own.all(|holder| holder == Some(tracked.number));
                    prop_assert_eq!(ranges.has(tracked), has);
                }
            }
        }
    }

    #[test]
    fn stores_are_told_once_and_to_one_holder() {
        let Some(stores) = Stores::of_process() else {
            println!("SKIP: this kernel tracks no stores; Linux 6.7 is needed");
            assert!(std::env::var_os("CI").is_none(), "CI has a kernel that does");
            return;
        };
        let mut memory = memmap2::MmapMut::map_anon(64 << 12).unwrap();
        memory.fill(1);
        let all = VaRange::of_slice(&memory);
        let page =
            |page: u64| VaRange::from_len(VirtAddr::new(all.start().get() + (page << 12)), 1 << 12);
        let first = stores.track(all).unwrap();
        assert_eq!(stores.stored(&first), Some(vec![]));
        memory[5 << 12] = 2;
        assert_eq!(stores.stored(&first), Some(vec![page(5).unwrap()]));
        assert_eq!(stores.stored(&first), Some(vec![]), "told before");
        let part = stores.track(page(7).unwrap()).unwrap();
        memory[7 << 12] = 2;
        assert_eq!(stores.stored(&first), None, "another holder has a page of it");
        assert_eq!(stores.stored(&part), Some(vec![page(7).unwrap()]));
        drop(memory);
        assert_eq!(stores.stored(&part), None, "nothing is there");
    }
}
