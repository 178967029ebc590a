//! The pages of all lends of a scope, and lists of the bytes that are to be copied.
//!
//! The lists are of spans of lent bytes and their frames; [`rounds`](super::rounds) has them
//! copied. A span has lent bytes only: the neighbours on a partly lent page are in no span.

use super::{
    PAGE_BYTES,
    lend_pages::{Frames, LendPages, join, pages_of},
    reach::Reach,
    report::Missing,
    shared::Shared,
    states::{PRESENT, State, States},
    table::{Entry, Table},
};
use crate::{
    residency::{kept::Present, memory::Span},
    stats::step,
};
use farptr_hmm::VaRange;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::{Range, RangeBounds},
};

/// A page of a lend: the lend's position, and the page's place in the lend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LentPage {
    lend: usize,
    page: usize,
}

/// Pages that are newer on the device than at home, and the spans that bring them home.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    pages: Vec<LentPage>,
    pub(crate) spans: Vec<Span>,
}

/// All lends of a scope, and the device's table of them.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) table: Table,
    lends: Vec<LendPages>,
    /// Positions by start. Lends do not overlap.
    by_address: BTreeMap<u64, usize>,
    // `change` alone changes the states of pages, and keeps the next two fields in step.
    /// For each state of `PRESENT`, the lends with pages in it.
    having: [BTreeSet<usize>; 3],
    /// The lends that have another number of pages in some state since they were last taken.
    changed: BTreeSet<usize>,
    /// The lends that the running launch is known to write to.
    written: Vec<usize>,
    /// The lent bytes of files, and those among them that are lent twice.
    pub(crate) shared: Shared,
    /// The pages of memory that lies at several addresses, by its number.
    alias_pages: HashMap<usize, Vec<LentPage>>,
    /// The lends that have such pages.
    aliased: BTreeSet<usize>,
    /// The frames of memory that lies at several addresses, by its number.
    alias_frames: HashMap<usize, u64>,
    /// Single frames that no page has any more.
    free: Vec<u64>,
}

impl Pages {
    /// Adds a lend with all pages absent and returns its position.
    ///
    /// `frames` is the address of one stretch of frames for all its pages, or `None` if each frame
    /// is to be found when it is needed; `table` is the device address for its flat table.
    pub(crate) fn add(
        &mut self,
        range: VaRange,
        writable: bool,
        frames: Option<u64>,
        table: u64,
    ) -> usize {
        let pages = pages_of(range);
        let flat = self.table.add_flat(pages, table);
        let frames = frames.map_or_else(|| Frames::Single(vec![0; pages]), Frames::Run);
        let states = States::absent(pages);
        let aliases = BTreeMap::new();
        self.lends.push(LendPages {
            range,
            writable,
            states,
            frames,
            flat,
            written: false,
            missed: 0,
            written_home: 0,
            aliases,
        });
        let position = self.lends.len() - 1;
        debug_assert!(self.are_apart(range), "segments do not overlap");
        self.by_address.insert(range.start().get(), position);
        position
    }

    /// Whether no lend that is there overlaps a range.
    fn are_apart(&self, range: VaRange) -> bool {
        let below = self.by_address.range(..range.end().get()).next_back();
        below.is_none_or(|(_, &lend)| self.lends[lend].range.end() <= range.start())
    }

    /// Says which pages of a new lend, by their place in it, are the same memory as others: pages
    /// of one number get one frame. The lend's frames are not in one stretch.
    pub(crate) fn set_aliases(&mut self, position: usize, aliases: BTreeMap<usize, usize>) {
        if aliases.is_empty() {
            return;
        }
        let lend = &mut self.lends[position];
        debug_assert!(lend.run_start().is_none(), "each page has a frame of its own");
        for (&page, &number) in &aliases {
            let pages = self.alias_pages.entry(number).or_default();
            pages.push(LentPage { lend: position, page });
        }
        lend.aliases = aliases;
        self.aliased.insert(position);
    }

    /// Whether some memory lies at several lent addresses.
    pub(crate) fn has_aliases(&self) -> bool {
        self.shared.has_aliases()
    }

    /// Some lends, and those of memory that lies at several addresses.
    pub(crate) fn with_aliased(&self, reach: Reach) -> Reach {
        match reach {
            Reach::All => Reach::All,
            Reach::These(lends) => Reach::these(lends.into_iter().chain(self.aliased.clone())),
        }
    }

    /// The lends, by position.
    pub(crate) fn lends(&self) -> &[LendPages] {
        &self.lends
    }

    /// The lend that has a byte, and the page that the byte is on.
    pub(crate) fn find(&self, address: u64) -> Option<(usize, usize)> {
        let (_, &lend) = self.by_address.range(..=address).next_back()?;
        if self.lends[lend].range.end().get() <= address {
            return None;
        }
        let page = address / PAGE_BYTES - self.lends[lend].first_page();
        Some((lend, usize::try_from(page).ok()?))
    }

    /// Begins a launch that is known to write to some lends.
    pub(crate) fn begin(&mut self, written: &[usize]) {
        for lend in std::mem::take(&mut self.written) {
            self.lends[lend].written = false;
        }
        written.iter().for_each(|&lend| self.note_write(lend));
    }

    fn note_write(&mut self, lend: usize) {
        if !std::mem::replace(&mut self.lends[lend].written, true) {
            self.written.push(lend);
        }
    }

    /// Remembers how many pages the running launch missed, and in which lends it missed pages for
    /// writing.
    pub(crate) fn note_missed(&mut self, missing: &[Missing]) {
        missing.iter().for_each(|missing| self.lends[missing.lend].missed += 1);
        let written = missing.iter().filter(|missing| missing.write);
        written.for_each(|missing| self.note_write(missing.lend));
    }

    /// Changes the states of a lend's pages. Nothing else does, but what is called here.
    fn change<R>(
        &mut self,
        position: usize,
        change: impl FnOnce(&mut LendPages, &mut Table) -> R,
    ) -> R {
        let lend = &mut self.lends[position];
        let before = lend.states.counts();
        let done = change(lend, &mut self.table);
        let now = lend.states.counts();
        for ((having, before), now) in self.having.iter_mut().zip(before).zip(now) {
            if before == 0 && now > 0 {
                having.insert(position);
            } else if before > 0 && now == 0 {
                having.remove(&position);
            }
        }
        if before != now {
            self.changed.insert(position);
        }
        done
    }

    /// Takes the lends that have another number of pages in some state since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.changed)
    }

    /// Those among some lends that have pages in certain states, other than absent.
    fn having(&self, reach: &Reach, states: impl RangeBounds<State>) -> BTreeSet<usize> {
        let states =
            || PRESENT.iter().zip(&self.having).filter(|(state, _)| states.contains(state));
        let found: BTreeSet<usize> = match reach {
            Reach::All => states().flat_map(|(_, lends)| lends).copied().collect(),
            Reach::These(lends) => {
                let has = |lend: &&usize| states().any(|(_, having)| having.contains(lend));
                lends.iter().filter(has).copied().collect()
            }
        };
        step(found.len());
        found
    }

    /// Gives pages to the device and returns the spans to copy in before the next round.
    ///
    /// Pages that the device has already, with the permission that is asked for, are left alone.
    ///
    /// # Errors
    ///
    /// Those of `allocate`, which finds a frame; no page has then changed its state.
    pub(crate) fn serve<E>(
        &mut self,
        pages: &[Missing],
        mut allocate: impl FnMut() -> Result<u64, E>,
    ) -> Result<Vec<Span>, E> {
        for missing in pages {
            let lend = &mut self.lends[missing.lend];
            let Frames::Single(frames) = &mut lend.frames else { continue };
            if frames[missing.page] != 0 {
                continue;
            }
            let alias = lend.aliases.get(&missing.page);
            let held = alias.and_then(|alias| self.alias_frames.get(alias)).copied();
            let frame = match held.or_else(|| self.free.pop()) {
                Some(frame) => frame,
                None => allocate()?,
            };
            frames[missing.page] = frame;
            self.alias_frames.extend(alias.map(|&alias| (alias, frame)));
        }
        let mut absent = Vec::new();
        for missing in pages.chunk_by(|a, b| a.lend == b.lend) {
            self.change(missing[0].lend, |lend, table| {
                for &at in missing {
                    let Missing { page, write, .. } = at;
                    if !lend.lacks(page, write) {
                        continue;
                    }
                    if lend.states.at(page) == State::Absent {
                        absent.push(at);
                    }
                    lend.states.set(page, if write { State::Write } else { State::Read });
                    table.set(lend.flat, page, Entry::new(lend.frame(page), write));
                }
            });
        }
        Ok(self.spans(&absent))
    }

    /// Notes that the device has pages of a new lend already, in their frames and equal to home.
    pub(crate) fn restore(&mut self, position: usize, present: &Present) {
        self.change(position, |lend, table| {
            for (places, write) in [(&present.read, false), (&present.write, lend.writable)] {
                let state = if write { State::Write } else { State::Read };
                for page in places.iter().cloned().flatten() {
                    lend.states.set(page, state);
                    table.set(lend.flat, page, Entry::new(lend.frame(page), write));
                }
            }
        });
    }

    /// The spans of pages that the device is taken to have, to be copied from home.
    pub(crate) fn spans(&self, pages: &[Missing]) -> Vec<Span> {
        let mut spans = Vec::new();
        for of_one in pages.chunk_by(|a, b| a.lend == b.lend) {
            let mut own = Vec::new();
            of_one.iter().for_each(|at| join(&mut own, self.lends[at.lend].span(at.page)));
            spans.append(&mut own);
        }
        spans
    }

    /// The bytes that the launch under way may have written, to be copied from home again.
    pub(crate) fn writable(&self, reach: &Reach) -> Vec<Span> {
        let mut spans = Vec::new();
        for position in self.having(reach, State::Write..) {
            let lend = &self.lends[position];
            debug_assert_eq!(lend.states.count(State::Dirty), 0, "home is the pre-image");
            // Spans of two lends are not joined: each lend is checked and copied by itself.
            let mut own = Vec::new();
            lend.states.at_least(State::Write).for_each(|page| join(&mut own, lend.span(page)));
            spans.append(&mut own);
        }
        spans
    }

    /// Ends a launch that counts, or notes that one was recorded: frames that the device may write
    /// in the lends that the launch may write are newer than home.
    pub(crate) fn commit(&mut self, reach: &Reach) {
        for position in self.having(reach, State::Write..=State::Write) {
            self.change(position, |lend, _| lend.states.replace(State::Write, State::Dirty));
        }
    }

    /// Ends a launch that does not count: drops the pages that it may have written. Dirty pages of
    /// these lends were written back before it.
    pub(crate) fn discard(&mut self, reach: &Reach) {
        for position in self.having(reach, State::Write..) {
            self.drop_pages(position, State::Write);
        }
        // A frame may have been written through another page of it.
        self.forget_aliases();
    }

    /// Drops all pages that are not newer than home, after the device has failed: what was queued
    /// to be copied to them, or to the table, may not have come there.
    pub(crate) fn doubt(&mut self) {
        for position in self.having(&Reach::All, State::Read..) {
            let states = &self.lends[position].states;
            let pages = states.at_least(State::Read);
            let doubted: Vec<_> = pages.filter(|&at| states.at(at) != State::Dirty).collect();
            self.drop_these(position, &doubted);
        }
        self.table.doubt();
    }

    /// Drops all pages of some lends, and of memory that lies at several addresses, because home
    /// has changed. Dirty ones were written back before.
    pub(crate) fn forget(&mut self, lends: impl IntoIterator<Item = usize>) {
        lends.into_iter().for_each(|lend| self.drop_pages(lend, State::Read));
        self.forget_aliases();
    }

    /// Drops pages of a lend, and those that are the same memory at other addresses, because home
    /// will change. Dirty ones were written back before.
    pub(crate) fn forget_pages(&mut self, lend: usize, pages: Range<usize>) {
        for pages in self.with_aliases(lend, pages, State::Read).chunk_by(|a, b| a.lend == b.lend) {
            let of_one: Vec<usize> = pages.iter().map(|at| at.page).collect();
            self.drop_these(pages[0].lend, &of_one);
        }
    }

    /// Drops all pages of memory that lies at several addresses, because home has changed at one of
    /// them, or a frame has. Dirty ones were written back before.
    fn forget_aliases(&mut self) {
        let aliased = Reach::these(self.aliased.iter().copied());
        for position in self.having(&aliased, State::Read..) {
            let LendPages { states, aliases, .. } = &self.lends[position];
            let present = states.at_least(State::Read);
            let pages: Vec<_> = present.filter(|page| aliases.contains_key(page)).collect();
            self.drop_these(position, &pages);
        }
    }

    /// Takes a lend away, for another one in its place, and returns its stretch of frames, if they
    /// are in one. Dirty pages were written back before.
    pub(crate) fn retire(&mut self, lend: usize) -> Option<u64> {
        self.forget([lend]);
        self.aliased.remove(&lend);
        let aliases = std::mem::take(&mut self.lends[lend].aliases);
        for number in aliases.values() {
            if let Some(pages) = self.alias_pages.get_mut(number) {
                pages.retain(|at| at.lend != lend);
            }
        }
        let lend = &mut self.lends[lend];
        self.by_address.remove(&lend.range.start().get());
        // All are absent, so no count changes that `change` keeps in step.
        lend.states = States::absent(0);
        match std::mem::replace(&mut lend.frames, Frames::Single(Vec::new())) {
            Frames::Run(start) => Some(start),
            Frames::Single(frames) => {
                let own = (0..).zip(frames).filter(|(page, _)| !aliases.contains_key(page));
                self.free.extend(own.map(|(_, frame)| frame).filter(|&frame| frame != 0));
                None
            }
        }
    }

    /// Drops the pages of a lend that are in this state or a higher one.
    fn drop_pages(&mut self, lend: usize, least: State) {
        let pages: Vec<usize> = self.lends[lend].states.at_least(least).collect();
        self.drop_these(lend, &pages);
    }

    fn drop_these(&mut self, lend: usize, pages: &[usize]) {
        let states = &self.lends[lend].states;
        let is_clean = |&page: &usize| states.at(page) != State::Dirty;
        debug_assert!(pages.iter().all(is_clean), "dirty pages were written back before");
        self.remove(lend, pages);
    }

    /// Drops pages that nothing was copied to, and nothing will be written to, whatever their
    /// state.
    pub(crate) fn drop_unfetched(&mut self, pages: &[Missing]) {
        for of_one in pages.chunk_by(|a, b| a.lend == b.lend) {
            let places: Vec<usize> = of_one.iter().map(|at| at.page).collect();
            self.remove(of_one[0].lend, &places);
        }
    }

    fn remove(&mut self, lend: usize, pages: &[usize]) {
        self.change(lend, |lend, table| {
            for &page in pages {
                lend.states.set(page, State::Absent);
                table.set(lend.flat, page, Entry::ABSENT);
            }
        });
    }

    /// Pages of a lend, and behind them those that are the same memory at other addresses, as far
    /// as they are in this state or a higher one.
    fn with_aliases(&self, lend: usize, pages: Range<usize>, least: State) -> Vec<LentPage> {
        let LendPages { states, aliases, .. } = &self.lends[lend];
        let own = states.within(pages.clone(), least).map(|page| LentPage { lend, page });
        let numbers = aliases.range(pages.clone()).map(|(_, number)| number);
        let same = numbers.filter_map(|number| self.alias_pages.get(number)).flatten();
        let is_other = |at: &&LentPage| {
            let is_here = at.lend == lend && pages.contains(&at.page);
            !is_here && self.lends[at.lend].states.at(at.page) >= least
        };
        let mut others: Vec<LentPage> = same.filter(is_other).copied().collect();
        others.sort_unstable();
        others.dedup();
        own.chain(others).collect()
    }

    /// Whether a page is newer on the device than at home.
    pub(crate) fn any_dirty(&self) -> bool {
        !self.having[State::Dirty as usize - 1].is_empty()
    }

    /// The pages of some lends that are newer on the device than at home.
    pub(crate) fn dirty(&self, reach: &Reach) -> Dirty {
        self.dirty_of(self.having(reach, State::Dirty..).into_iter().flat_map(|lend| {
            let pages = self.lends[lend].states.at_least(State::Dirty);
            pages.map(move |page| LentPage { lend, page })
        }))
    }

    /// The pages that are newer on the device than at home, of some pages of a lend and of those
    /// that are the same memory at other addresses: these share a frame, so they go home together.
    pub(crate) fn dirty_among(&self, lend: usize, pages: Range<usize>) -> Dirty {
        self.dirty_of(self.with_aliases(lend, pages, State::Dirty).into_iter())
    }

    /// Pages that are newer on the device than at home, and their spans.
    fn dirty_of(&self, pages: impl Iterator<Item = LentPage>) -> Dirty {
        let mut dirty = Dirty::default();
        for at in pages {
            let span = self.lends[at.lend].span(at.page);
            // Each lend is checked and copied by itself.
            if dirty.pages.last().is_some_and(|last| last.lend == at.lend) {
                join(&mut dirty.spans, span);
            } else {
                dirty.spans.push(span);
            }
            dirty.pages.push(at);
        }
        dirty
    }

    /// Notes that pages were copied home.
    pub(crate) fn written_back(&mut self, dirty: &Dirty) {
        for pages in dirty.pages.chunk_by(|a, b| a.lend == b.lend) {
            self.change(pages[0].lend, |lend, _| {
                lend.written_home += pages.len();
                pages.iter().for_each(|at| lend.states.set(at.page, State::Write));
            });
        }
    }
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
