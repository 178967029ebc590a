//! The pages of a range that are in memory, as runs of equal pages.

#![forbid(unsafe_code)]

use crate::addr::{PageCount, PageSize, VaRange, VirtAddr};

/// The state of a page in the host page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageState {
    /// Nothing: the page is not mapped, or it was never touched, or it was dropped.
    Absent,
    /// A page of this process's own, or the kernel's page of zeroes before the first write.
    Anonymous,
    /// A page of a file or of shared memory; other processes may map the same page.
    File,
    /// An entry that is not empty yet maps no page: the page is in swap or on its way to another
    /// place, or the entry is a marker (userfaultfd write protection, poison, a guard page).
    Swapped,
}

impl PageState {
    /// Tells whether the page is in memory and mapped.
    #[must_use]
    pub const fn is_present(self) -> bool {
        matches!(self, Self::Anonymous | Self::File)
    }
}

/// A run of neighbouring pages in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResidencyRun {
    /// The pages, never none.
    pub range: VaRange,
    /// The state that they share.
    pub state: PageState,
    /// Whether they are mapped by huge pages, or `None` if the source cannot tell. Pages that are
    /// not present are not mapped by huge pages.
    pub huge: Option<bool>,
}

/// The state of every page of a range when [`Pagemap`](crate::Pagemap) looked, run-length encoded.
///
/// A terabyte that was never touched is one run. The runs adjoin, cover the range exactly and are
/// as long as they can be: two neighbours always differ.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{PageState, Pagemap, VaRange, VirtAddr};
///
/// let buffer = vec![1u8; 100_000];
/// let residency = Pagemap::open()?.residency(VaRange::of_slice(&buffer))?;
/// for run in residency.runs() {
///     println!("{} {:?}", run.range, run.state);
/// }
/// let first = residency.state_at(VirtAddr::of_slice(&buffer));
/// assert!(first.is_some_and(|state| state != PageState::Absent));
/// # Ok::<(), farptr_hmm::PagemapError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residency {
    /// Aligned to `page_size`.
    range: VaRange,
    page_size: PageSize,
    /// Adjoining, maximal, none empty; together exactly `range`.
    runs: Vec<ResidencyRun>,
}

impl Residency {
    /// Returns the range that was examined: the pages that cover what was asked for.
    #[must_use]
    pub const fn range(&self) -> VaRange {
        self.range
    }

    /// Returns the size of the pages that are counted, the host's small page.
    ///
    /// A huge page counts as the small pages that it covers.
    #[must_use]
    pub const fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Returns the runs, lowest address first.
    #[must_use]
    pub fn runs(&self) -> &[ResidencyRun] {
        &self.runs
    }

    /// Returns the run that contains `addr`, or `None` outside the range.
    #[must_use]
    pub fn run_at(&self, addr: VirtAddr) -> Option<&ResidencyRun> {
        let index = self.runs.partition_point(|run| run.range.end() <= addr);
        self.runs.get(index).filter(|run| run.range.contains(addr))
    }

    /// Returns the state of the page that contains `addr`, or `None` outside the range.
    #[must_use]
    pub fn state_at(&self, addr: VirtAddr) -> Option<PageState> {
        self.run_at(addr).map(|run| run.state)
    }

    /// Counts all pages.
    #[must_use]
    pub fn pages(&self) -> PageCount {
        self.range.page_count(self.page_size)
    }

    /// Counts the pages in one state.
    #[must_use]
    pub fn pages_in(&self, state: PageState) -> PageCount {
        self.count(|run| run.state == state)
    }

    /// Counts the pages that are in memory.
    #[must_use]
    pub fn present_pages(&self) -> PageCount {
        self.count(|run| run.state.is_present())
    }

    /// Counts the pages for which the page table holds nothing.
    #[must_use]
    pub fn absent_pages(&self) -> PageCount {
        self.pages_in(PageState::Absent)
    }

    /// Counts the pages in state [`PageState::Swapped`].
    #[must_use]
    pub fn swapped_pages(&self) -> PageCount {
        self.pages_in(PageState::Swapped)
    }

    /// Counts the small pages that are mapped by huge pages, or returns `None` if the source of
    /// the snapshot cannot tell.
    #[must_use]
    pub fn huge_pages(&self) -> Option<PageCount> {
        let known = self.runs.iter().all(|run| run.huge.is_some());
        known.then(|| self.count(|run| run.huge == Some(true)))
    }

    /// Adds up lengths that together fit in the range, so the sum cannot overflow.
    fn count(&self, mut wanted: impl FnMut(&ResidencyRun) -> bool) -> PageCount {
        let runs = self.runs.iter().filter(|run| wanted(run));
        PageCount::new(runs.map(|run| run.range.page_count(self.page_size).get()).sum())
    }
}

/// Builds a [`Residency`] from runs that arrive in ascending order, perhaps with gaps.
#[derive(Debug)]
pub(crate) struct ResidencyBuilder {
    range: VaRange,
    page_size: PageSize,
    /// Adjoining and maximal from the start of `range` on.
    runs: Vec<ResidencyRun>,
}

impl ResidencyBuilder {
    /// Starts with nothing known about the pages that cover `range`.
    pub(crate) fn new(range: VaRange, page_size: PageSize) -> Self {
        Self { range: range.pages_covering(page_size), page_size, runs: Vec::new() }
    }

    /// The pages that the answer will cover.
    pub(crate) fn range(&self) -> VaRange {
        self.range
    }

    /// Adds a run of pages. Pages between the previous run and this one are absent; pages before
    /// the previous run's end or outside the range are ignored.
    pub(crate) fn push(&mut self, run: ResidencyRun) {
        if let Some(range) = run.range.pages_covering(self.page_size).intersection(&self.rest()) {
            self.fill_to(range.start());
            self.extend(ResidencyRun { range, ..run });
        }
    }

    /// Ends the list: the pages that are left are absent.
    pub(crate) fn finish(mut self) -> Residency {
        self.fill_to(self.range.end());
        Residency { range: self.range, page_size: self.page_size, runs: self.runs }
    }

    /// The pages that no run describes yet.
    fn rest(&self) -> VaRange {
        let start = self.runs.last().map_or(self.range.start(), |run| run.range.end());
        VaRange::new(start, self.range.end()).unwrap_or_default()
    }

    fn fill_to(&mut self, end: VirtAddr) {
        let gap = VaRange::new(self.rest().start(), end).filter(|gap| !gap.is_empty());
        if let Some(range) = gap {
            self.extend(ResidencyRun { range, state: PageState::Absent, huge: Some(false) });
        }
    }

    /// Appends a run that starts where the last one ends, or lengthens that one.
    fn extend(&mut self, run: ResidencyRun) {
        match self.runs.last_mut() {
            Some(last) if (last.state, last.huge) == (run.state, run.huge) => {
                last.range =
                    VaRange::new(last.range.start(), run.range.end()).unwrap_or(last.range);
            }
            _ => self.runs.push(run),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: PageSize = PageSize::KIB_4;
    const STATES: [PageState; 4] =
        [PageState::Absent, PageState::Anonymous, PageState::File, PageState::Swapped];

    fn pages(first: u64, count: u64) -> VaRange {
        VaRange::from_len(VirtAddr::new(first << 12), count << 12).expect("a user range")
    }

    fn run(first: u64, count: u64, state: PageState) -> ResidencyRun {
        ResidencyRun { range: pages(first, count), state, huge: Some(false) }
    }

    #[test]
    fn gaps_are_absent() {
        let mut builder = ResidencyBuilder::new(pages(10, 10), PAGE);
        builder.push(run(12, 3, PageState::Anonymous));
        let residency = builder.finish();
        assert_eq!(
            residency.runs(),
            [
                run(10, 2, PageState::Absent),
                run(12, 3, PageState::Anonymous),
                run(15, 5, PageState::Absent)
            ]
        );
        assert_eq!(residency.present_pages(), PageCount::new(3));
        assert_eq!(residency.absent_pages(), PageCount::new(7));
        assert_eq!(residency.huge_pages(), Some(PageCount::ZERO));
    }

    #[test]
    fn neighbours_in_one_state_are_one_run() {
        let mut builder = ResidencyBuilder::new(pages(0, 4), PAGE);
        builder.push(run(0, 2, PageState::File));
        builder.push(run(2, 2, PageState::File));
        assert_eq!(builder.finish().runs(), [run(0, 4, PageState::File)]);
    }

    #[test]
    fn an_empty_range_has_no_runs() {
        let residency = ResidencyBuilder::new(pages(3, 0), PAGE).finish();
        assert_eq!(residency.runs(), []);
        assert_eq!(residency.pages(), PageCount::ZERO);
        assert_eq!(residency.state_at(VirtAddr::new(3 << 12)), None);
    }

    #[test]
    fn a_byte_range_is_examined_in_whole_pages() {
        let bytes = VaRange::from_len(VirtAddr::new(0x1fff), 2).expect("a user range");
        let residency = ResidencyBuilder::new(bytes, PAGE).finish();
        assert_eq!(residency.range(), pages(1, 2));
        assert_eq!(residency.pages(), PageCount::new(2));
    }

    #[test]
    fn runs_outside_or_out_of_order_are_ignored() {
        let mut builder = ResidencyBuilder::new(pages(10, 4), PAGE);
        builder.push(run(0, 5, PageState::File));
        builder.push(run(9, 3, PageState::Anonymous));
        builder.push(run(10, 1, PageState::File));
        builder.push(run(13, 9, PageState::Swapped));
        assert_eq!(
            builder.finish().runs(),
            [
                run(10, 2, PageState::Anonymous),
                run(12, 1, PageState::Absent),
                run(13, 1, PageState::Swapped)
            ]
        );
    }

    #[test]
    fn huge_pages_are_counted_only_if_known() {
        let huge = ResidencyRun { huge: Some(true), ..run(0, 512, PageState::Anonymous) };
        let mut builder = ResidencyBuilder::new(pages(0, 600), PAGE);
        builder.push(huge);
        assert_eq!(builder.finish().huge_pages(), Some(PageCount::new(512)));

        let mut builder = ResidencyBuilder::new(pages(0, 600), PAGE);
        builder.push(ResidencyRun { huge: None, ..huge });
        assert_eq!(builder.finish().huge_pages(), None);
    }

    proptest! {
        #[test]
        fn runs_say_the_same_as_a_page_by_page_list(
            states in prop::collection::vec(prop::sample::select(&STATES[..]), 0..60),
        ) {
            let whole = pages(100, states.len() as u64);
            let mut builder = ResidencyBuilder::new(whole, PAGE);
            for (page, &state) in (100..).zip(&states) {
                if state != PageState::Absent {
                    builder.push(run(page, 1, state));
                }
            }
            let residency = builder.finish();

            let read: Vec<_> =
                whole.pages(PAGE).map(|page| residency.state_at(page.start()).unwrap()).collect();
            prop_assert_eq!(&read, &states);
            for state in STATES {
                let expected = states.iter().filter(|&&s| s == state).count() as u64;
                prop_assert_eq!(residency.pages_in(state), PageCount::new(expected));
            }
            for pair in residency.runs().windows(2) {
                prop_assert_eq!(pair[0].range.end(), pair[1].range.start());
                prop_assert_ne!(pair[0].state, pair[1].state);
            }
        }
    }
}
