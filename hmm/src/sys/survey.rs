//! A survey of a short range: the pages that are there, and those of them that are zeroes or huge.
//!
//! # Safety
//!
//! Nothing here is unsafe; the scan is that of `scan.rs`, and has no side effect.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::abi;
use super::scan::Scanner;
use crate::addr::VaRange;
use crate::addr::pages::count_of;
use crate::fatal::{die, or_die};

/// How many pages a survey covers at most: one table of the lowest level.
pub(crate) const SURVEY_PAGES: usize = 512;

/// One bit for each page of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageSet {
    words: [u64; SURVEY_PAGES / 64],
}

impl PageSet {
    /// Tells whether a page is in the set, by its place in the range.
    pub(crate) fn contains(&self, page: usize) -> bool {
        self.words.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// Counts the pages in the set.
    pub(crate) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Puts a page into the set.
    pub(crate) fn insert(&mut self, page: usize) {
        let word = or_die(self.words.get_mut(page / 64), "a survey covers too many pages");
        *word |= 1 << (page % 64);
    }

    /// Takes a page out of the set.
    fn remove(&mut self, page: usize) {
        let word = or_die(self.words.get_mut(page / 64), "a survey covers too many pages");
        *word &= !(1 << (page % 64));
    }

    fn insert_all(&mut self, pages: Range<usize>) {
        pages.for_each(|page| self.insert(page));
    }
}

/// The entries of the page table for each page of a range.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Survey {
    /// Pages that are mapped.
    pub(crate) present: PageSet,
    /// Entries that map nothing and are not empty.
    pub(crate) swapped: PageSet,
    /// Pages that are the page of zeroes.
    pub(crate) zero: PageSet,
    /// Pages mapped by a huge page.
    pub(crate) huge: PageSet,
}

impl Survey {
    /// Finds every page there.
    #[cfg(test)]
    pub(crate) fn of_pages() -> Self {
        Self { present: PageSet { words: [u64::MAX; SURVEY_PAGES / 64] }, ..Self::default() }
    }

    /// Tells whether anything is in the place of a page: a page, one in swap or in flight, a mark.
    pub(crate) fn is_occupied(&self, page: usize) -> bool {
        self.present.contains(page) || self.swapped.contains(page)
    }

    /// Notes that a page has turned out to be a hole.
    pub(crate) fn vacate(&mut self, page: usize) {
        for set in [&mut self.present, &mut self.swapped, &mut self.zero, &mut self.huge] {
            set.remove(page);
        }
    }
}

/// Surveys the page table of this process.
#[derive(Debug)]
pub(crate) struct Surveyor {
    scanner: Scanner,
}

impl Surveyor {
    /// Opens the page table.
    pub(crate) fn open() -> std::io::Result<Self> {
        Ok(Self { scanner: Scanner::open()? })
    }

    /// Surveys a page-aligned range of at most [`SURVEY_PAGES`] pages. Allocates nothing.
    pub(crate) fn survey(&self, range: VaRange) -> rustix::io::Result<Survey> {
        if count_of(range) > SURVEY_PAGES {
            die(&format_args!("a survey of {range} covers too many pages"));
        }
        let wanted = abi::SCAN_PRESENT | abi::SCAN_SWAPPED;
        let returned = wanted | abi::SCAN_ZERO | abi::SCAN_HUGE;
        let mut survey = Survey::default();
        self.scanner.scan_any(range, wanted, returned, |run, categories| {
            let pages = places(range, run);
            let sets = [
                (abi::SCAN_PRESENT, &mut survey.present),
                (abi::SCAN_SWAPPED, &mut survey.swapped),
                (abi::SCAN_ZERO, &mut survey.zero),
                (abi::SCAN_HUGE, &mut survey.huge),
            ];
            for (category, set) in sets {
                if categories & category != 0 {
                    set.insert_all(pages.clone());
                }
            }
        })?;
        Ok(survey)
    }
}

/// The places of the pages of `run` in `range`, in which it lies.
fn places(range: VaRange, run: VaRange) -> Range<usize> {
    let before = VaRange::new(range.start(), run.start());
    let first = count_of(or_die(before, "a survey found pages that it was not to look at"));
    first..first + count_of(run)
}

#[cfg(test)]
mod tests {
    use super::super::owned::Owned;
    use super::*;
    use crate::addr::PageSize;
    use crate::sys::mmap::HugePages;

    #[test]
    fn a_survey_tells_what_is_there() {
        let page = usize::try_from(PageSize::host().bytes()).expect("64 bits");
        let mut memory = Owned::<u8>::new(100 * page, HugePages::Never).expect("memory");
        memory[70 * page] = 1;
        assert_eq!(memory[3 * page], 0);
        let survey = Surveyor::open().expect("pagemap").survey(memory.range()).expect("survey");
        assert_eq!((survey.present.len(), survey.zero.len(), survey.swapped.len()), (2, 1, 0));
        assert!(survey.present.contains(70) && survey.zero.contains(3));
        assert!(!survey.present.contains(71) && !survey.present.contains(512));
    }
}
