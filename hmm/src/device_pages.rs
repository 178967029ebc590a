//! The mirror's own table of the pages that devices hold.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::addr::{PageCount, PageNumber, PageSize, VaRange, VirtAddr};
use crate::owner::Owner;
use crate::pfn::Pfn;

/// How a device holds a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// The only valid copy lies in the device's memory.
    Private,
    /// The device has the page for itself alone until somebody else wants it.
    Exclusive,
}

/// A run of neighbouring pages that a device holds in consecutive slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceRun {
    /// The host addresses, page aligned, never empty.
    pub range: VaRange,
    /// Whose device it is.
    pub owner: Owner,
    /// The number of the first page in the device's memory.
    pub slot: PageNumber,
    /// How the pages are held.
    pub hold: Hold,
    /// The size of the device's pages. May be larger than the run.
    pub mapping: PageSize,
}

impl DeviceRun {
    /// The part of the run that lies in `range`, if any.
    fn clip(&self, range: &VaRange) -> Option<Self> {
        let range = self.range.intersection(range)?;
        let skipped = pages(VaRange::new(self.range.start(), range.start())?);
        Some(Self { range, slot: self.slot.checked_add(skipped)?, ..*self })
    }

    /// What of the run lies outside `range`, below it and above it.
    fn outside(&self, range: &VaRange) -> [Option<Self>; 2] {
        let below = VaRange::new(self.range.start(), range.start());
        let above = VaRange::new(range.end(), self.range.end());
        [below, above].map(|part| self.clip(&part?))
    }
}

fn pages(range: VaRange) -> PageCount {
    range.page_count(PageSize::host())
}

/// Which pages of a host address space devices hold, and where: run-length encoded.
///
/// A page has one place. What is in this table is not at home, and its entry in the host page
/// table is empty or a marker.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{DevicePages, DeviceRun, Hold, Owner, PageNumber, PageSize, VaRange, VirtAddr};
///
/// let page = PageSize::host();
/// let start = VirtAddr::new(16 * page.bytes());
/// let range = VaRange::from_len(start, 4 * page.bytes()).ok_or("not user memory")?;
/// let run = DeviceRun {
///     range,
///     owner: Owner::new(),
///     slot: PageNumber::new(100),
///     hold: Hold::Private,
///     mapping: page,
/// };
/// let mut table = DevicePages::new();
/// table.insert(run).map_err(|_| "a page has one place")?;
///
/// // The third page leaves, and two runs are left.
/// let third = range.pages(page).nth(2).ok_or("four pages")?;
/// let left = table.remove(third);
/// assert_eq!(left[0].slot, PageNumber::new(102));
/// assert_eq!(table.runs(range).count(), 2);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePages {
    /// By the start of their range. No two overlap.
    runs: BTreeMap<VirtAddr, DeviceRun>,
}

impl DevicePages {
    /// Makes an empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { runs: BTreeMap::new() }
    }

    /// Enters a run.
    ///
    /// # Errors
    ///
    /// - The first part of `run` that is in the table already, as the table has it. Nothing is
    ///   entered then: a page that has two places has lost one of two contents.
    ///
    /// # Panics
    ///
    /// If the run is empty or not page aligned, or its slots are too high to name.
    pub fn insert(&mut self, run: DeviceRun) -> Result<(), DeviceRun> {
        let aligned = !run.range.is_empty() && run.range.is_aligned(PageSize::host());
        assert!(aligned, "{run:?} is not made of pages");
        let last = run.slot.checked_add(pages(run.range));
        assert!(last.is_some_and(|last| last.get() <= Pfn::SLOTS), "{run:?} has too high slots");
        if let Some(taken) = self.runs(run.range).next() {
            return Err(taken);
        }
        self.runs.insert(run.range.start(), run);
        Ok(())
    }

    /// Takes the pages of `range`, which is page aligned, out of the table and returns them.
    ///
    /// # Panics
    ///
    /// If the range is not page aligned.
    pub fn remove(&mut self, range: VaRange) -> Vec<DeviceRun> {
        assert!(range.is_aligned(PageSize::host()), "{range} is not made of pages");
        let removed: Vec<DeviceRun> = self.runs(range).collect();
        for part in &removed {
            // The run that the part was cut from starts at the part or below it.
            let whole = self.runs.range(..=part.range.start()).next_back();
            let Some((&start, &whole)) = whole else {
                continue;
            };
            self.runs.remove(&start);
            let rest = whole.outside(&range).into_iter().flatten();
            self.runs.extend(rest.map(|rest| (rest.range.start(), rest)));
        }
        removed
    }

    /// Lists what devices hold of `range`, lowest first and cut to the range.
    pub fn runs(&self, range: VaRange) -> impl Iterator<Item = DeviceRun> {
        let below = self.runs.range(..range.start()).next_back();
        let inside = self.runs.range(range.start()..range.end());
        below.into_iter().chain(inside).filter_map(move |(_, run)| run.clip(&range))
    }

    /// Returns the page that contains `addr`, if a device holds it, as a run of one page.
    #[must_use]
    pub fn at(&self, addr: VirtAddr) -> Option<DeviceRun> {
        let page = VaRange::from_len(addr, 1)?.pages_covering(PageSize::host());
        self.runs(page).next()
    }

    /// Counts the pages in the table.
    #[must_use]
    pub fn pages(&self) -> PageCount {
        PageCount::new(self.runs.values().map(|run| pages(run.range).get()).sum())
    }

    /// Tells whether no device holds any page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: u64, count: u64) -> VaRange {
        let bytes = PageSize::host().bytes();
        VaRange::from_len(VirtAddr::new(first * bytes), count * bytes).expect("a user range")
    }

    fn run(first: u64, count: u64, owner: Owner, slot: u64) -> DeviceRun {
        let (slot, mapping) = (PageNumber::new(slot), PageSize::host());
        DeviceRun { range: range(first, count), owner, slot, hold: Hold::Private, mapping }
    }

    #[test]
    fn a_page_has_one_place() {
        let mut table = DevicePages::new();
        let first = run(10, 4, Owner::new(), 0);
        table.insert(first).unwrap();
        let second = run(12, 4, Owner::new(), 50);
        assert_eq!(table.insert(second), Err(first.clip(&range(12, 2)).unwrap()));
        assert_eq!(table.pages(), PageCount::new(4));
    }

    #[test]
    #[should_panic(expected = "not made of pages")]
    fn bytes_are_no_pages() {
        let half = VaRange::from_len(VirtAddr::new(0), 100).unwrap();
        let _ = DevicePages::new().insert(DeviceRun { range: half, ..run(0, 1, Owner::new(), 0) });
    }

    proptest! {
        #[test]
        fn the_table_is_a_list_of_pages(
            steps in prop::collection::vec((any::<bool>(), 0u64..40, 1u64..12, 0u64..1000), 0..60),
        ) {
            let owner = Owner::new();
            let mut table = DevicePages::new();
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            for (inserts, first, count, slot) in steps {
                let all = first..first + count;
                if inserts {
                    let free = all.clone().all(|page| !model.contains_key(&page));
                    prop_assert_eq!(table.insert(run(first, count, owner, slot)).is_ok(), free);
                    if free {
                        model.extend(all.zip(slot..));
                    }
                } else {
                    let removed = table.remove(range(first, count));
                    let pages: u64 = removed.iter().map(|run| pages(run.range).get()).sum();
                    let expected = all.filter(|page| model.remove(page).is_some()).count();
                    prop_assert_eq!(pages, expected as u64);
                }
                prop_assert_eq!(table.pages().get(), model.len() as u64);
                for page in 0..60 {
                    let slot = table.at(range(page, 1).start()).map(|run| run.slot.get());
                    prop_assert_eq!(slot, model.get(&page).copied());
                }
            }
        }
    }
}
