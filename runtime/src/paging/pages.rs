//! The state of each page of each lend, and lists of the bytes that are to be copied.
//!
//! The lists are of spans of lent bytes and their frames; [`rounds`](super::rounds) has them
//! copied. A span has lent bytes only: the neighbours on a partly lent page are in no span.

use super::{
    PAGE_BYTES,
    reach::Reach,
    report::Missing,
    shared::Shared,
    states::{State, States},
    table::{Entry, Flat, Table},
};
use crate::residency::memory::Span;
use farptr_hmm::VaRange;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

/// The frames of a lend.
#[derive(Debug)]
enum Frames {
    /// One after the other from this address.
    Run(u64),
    /// Each where there was room; 0 for none yet.
    Single(Vec<u64>),
}

/// The pages of a lend, and their frames.
#[derive(Debug)]
pub(crate) struct LendPages {
    range: VaRange,
    writable: bool,
    states: States,
    frames: Frames,
    flat: Flat,
    /// The running launch has missed a page for writing, or its arguments say that it will write.
    written: bool,
    /// For each page whose memory is lent at another address too, by its place: the number of that
    /// memory.
    aliases: HashMap<usize, usize>,
}

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
    /// Positions by start, then by end.
    by_address: BTreeMap<(u64, u64), usize>,
    /// The length of the longest lend. The lend that contains an address starts at most this far
    /// below it.
    longest: u64,
    /// The lent bytes of files, and those among them that are lent twice.
    pub(crate) shared: Shared,
    /// The frames of memory that lies at several addresses, by its number.
    alias_frames: HashMap<usize, u64>,
    /// Single frames that no page has any more.
    free: Vec<u64>,
}

impl LendPages {
    /// The pages that it covers wholly or in part.
    pub(crate) fn pages(&self) -> usize {
        self.states.len()
    }

    /// The number, in the address space, of its first page.
    pub(crate) fn first_page(&self) -> u64 {
        self.range.start().get() / PAGE_BYTES
    }

    /// The lent bytes.
    pub(crate) fn range(&self) -> VaRange {
        self.range
    }

    /// Whether kernels may write.
    pub(crate) fn writable(&self) -> bool {
        self.writable
    }

    /// Its flat table.
    pub(crate) fn flat(&self) -> Flat {
        self.flat
    }

    /// Whether the running launch is known to write to it.
    pub(crate) fn written(&self) -> bool {
        self.written
    }

    /// Whether the device lacks the page, or the permission to write it, and may get it.
    pub(crate) fn lacks(&self, page: usize, write: bool) -> bool {
        let needed = if write { State::Write } else { State::Read };
        let allowed = self.writable || !write;
        allowed && self.states.get(page).is_some_and(|state| state < needed)
    }

    /// The host addresses of the lent bytes of a page.
    pub(crate) fn lent_bytes(&self, page: usize) -> Range<u64> {
        let start = (self.first_page() + page as u64) * PAGE_BYTES;
        start.max(self.range.start().get())..(start + PAGE_BYTES).min(self.range.end().get())
    }

    /// The device address of host address 0 as seen from this lend, wrapping, if it is resident
    /// whole and in one stretch: with it the kernel needs no table.
    pub(crate) fn resident_delta(&self) -> Option<u64> {
        let needed = if self.writable { State::Write } else { State::Read };
        let base = self.run_start()?;
        let all = self.states.all_at_least(needed);
        all.then(|| base.wrapping_sub(self.first_page() * PAGE_BYTES))
    }

    /// The address of its frames, if they are in one stretch.
    pub(crate) fn run_start(&self) -> Option<u64> {
        match self.frames {
            Frames::Run(start) => Some(start),
            Frames::Single(_) => None,
        }
    }

    fn frame(&self, page: usize) -> u64 {
        match &self.frames {
            Frames::Run(start) => start + page as u64 * PAGE_BYTES,
            Frames::Single(frames) => frames[page],
        }
    }

    fn span(&self, page: usize) -> Span {
        let Range { start, end } = self.lent_bytes(page);
        let device = self.frame(page) + start % PAGE_BYTES;
        Span { home: start, device, bytes: end - start }
    }
}

/// Appends a span, or lengthens the last one if both sides go on at its end.
fn join(spans: &mut Vec<Span>, span: Span) {
    if let Some(last) = spans.last_mut() {
        let end = (last.home + last.bytes, last.device + last.bytes);
        if end == (span.home, span.device) {
            last.bytes += span.bytes;
            return;
        }
    }
    spans.push(span);
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
        let aliases = HashMap::new();
        self.lends.push(LendPages {
            range,
            writable,
            states,
            frames,
            flat,
            written: false,
            aliases,
        });
        let (start, end) = (range.start().get(), range.end().get());
        self.by_address.insert((start, end), self.lends.len() - 1);
        self.longest = self.longest.max(range.len_bytes());
        self.lends.len() - 1
    }

    /// Says which pages of a new lend, by their place in it, are the same memory as others: pages
    /// of one number get one frame. The lend's frames are not in one stretch.
    pub(crate) fn set_aliases(&mut self, lend: usize, aliases: HashMap<usize, usize>) {
        let lend = &mut self.lends[lend];
        debug_assert!(
            aliases.is_empty() || lend.run_start().is_none(),
            "each page has a frame of its own"
        );
        lend.aliases = aliases;
    }

    /// Whether some memory lies at several lent addresses.
    pub(crate) fn has_aliases(&self) -> bool {
        self.shared.has_aliases()
    }

    /// The lends, by position.
    pub(crate) fn lends(&self) -> &[LendPages] {
        &self.lends
    }

    /// The lend that has a byte, and the page that the byte is on.
    pub(crate) fn find(&self, address: u64) -> Option<(usize, usize)> {
        let low = address.saturating_sub(self.longest);
        let below = self.by_address.range((low, 0)..=(address, u64::MAX)).rev();
        let (_, &lend) = below.into_iter().find(|&(&(_, end), _)| address < end)?;
        let page = address / PAGE_BYTES - self.lends[lend].first_page();
        Some((lend, usize::try_from(page).ok()?))
    }

    /// Begins a launch that is known to write to some lends.
    pub(crate) fn begin(&mut self, written: &[usize]) {
        for (position, lend) in self.lends.iter_mut().enumerate() {
            lend.written = written.contains(&position);
        }
    }

    /// Remembers in which lends the running launch missed pages for writing.
    pub(crate) fn note_writes(&mut self, missing: &[Missing]) {
        for missing in missing.iter().filter(|missing| missing.write) {
            self.lends[missing.lend].written = true;
        }
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
        let mut spans = Vec::new();
        for missing in pages.chunk_by(|a, b| a.lend == b.lend) {
            let mut own = Vec::new();
            for &Missing { lend, page, write } in missing {
                let lend = &mut self.lends[lend];
                if !lend.lacks(page, write) {
                    continue;
                }
                if lend.states.at(page) == State::Absent {
                    join(&mut own, lend.span(page));
                }
                lend.states.set(page, if write { State::Write } else { State::Read });
                self.table.set(lend.flat, page, Entry::new(lend.frame(page), write));
            }
            spans.append(&mut own);
        }
        Ok(spans)
    }

    /// The bytes that the launch under way may have written, to be copied from home again.
    pub(crate) fn writable(&self, reach: &Reach) -> Vec<Span> {
        let mut spans = Vec::new();
        for lend in self.reached(reach) {
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
        for position in reach.among(self.lends.len()) {
            self.lends[position].states.replace(State::Write, State::Dirty);
        }
    }

    /// Ends a launch that does not count: drops the pages that it may have written. Dirty pages of
    /// these lends were written back before it.
    pub(crate) fn discard(&mut self, reach: &Reach) {
        for position in reach.among(self.lends.len()) {
            self.drop_pages(position, State::Write);
        }
        // A frame may have been written through another page of it.
        self.forget_aliases();
    }

    /// Drops all pages that are not newer than home, after the device has failed: what was queued
    /// to be copied to them, or to the table, may not have come there.
    pub(crate) fn doubt(&mut self) {
        for lend in &mut self.lends {
            let pages = lend.states.at_least(State::Read);
            let doubted = pages.filter(|&page| lend.states.at(page) != State::Dirty);
            for page in doubted.collect::<Vec<_>>() {
                lend.states.set(page, State::Absent);
                self.table.set(lend.flat, page, Entry::ABSENT);
            }
        }
        self.table.doubt();
    }

    /// Drops all pages of a lend, because home has changed. Dirty ones were written back before,
    /// those of memory that lies at several addresses too.
    pub(crate) fn forget(&mut self, lend: usize) {
        self.drop_pages(lend, State::Read);
        self.forget_aliases();
    }

    /// Drops pages of a lend, and those that are the same memory at other addresses, because home
    /// will change. Dirty ones were written back before.
    pub(crate) fn forget_pages(&mut self, lend: usize, pages: Range<usize>) {
        for page in self.with_aliases(lend, pages) {
            self.drop_page(page);
        }
    }

    /// Drops all pages of memory that lies at several addresses, because home has changed at one of
    /// them, or a frame has. Dirty ones were written back before.
    pub(crate) fn forget_aliases(&mut self) {
        if !self.has_aliases() {
            return;
        }
        for lend in 0..self.lends.len() {
            let aliased: Vec<usize> = self.lends[lend].aliases.keys().copied().collect();
            aliased.into_iter().for_each(|page| self.drop_page(LentPage { lend, page }));
        }
    }

    /// Takes a lend away, for another one in its place, and returns its stretch of frames, if they
    /// are in one. Dirty pages were written back before.
    pub(crate) fn retire(&mut self, lend: usize) -> Option<u64> {
        self.forget(lend);
        let lend = &mut self.lends[lend];
        let range = lend.range;
        self.by_address.remove(&(range.start().get(), range.end().get()));
        let aliases = std::mem::take(&mut lend.aliases);
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
        pages.into_iter().for_each(|page| self.drop_page(LentPage { lend, page }));
    }

    fn drop_page(&mut self, LentPage { lend, page }: LentPage) {
        let lend = &mut self.lends[lend];
        debug_assert_ne!(lend.states.at(page), State::Dirty, "it was written back before");
        lend.states.set(page, State::Absent);
        self.table.set(lend.flat, page, Entry::ABSENT);
    }

    /// Pages of a lend, and behind them those that are the same memory at other addresses.
    fn with_aliases(&self, lend: usize, pages: Range<usize>) -> Vec<LentPage> {
        let aliases = &self.lends[lend].aliases;
        let mut numbers: HashSet<&usize> = HashSet::new();
        if !aliases.is_empty() {
            numbers.extend(pages.clone().filter_map(|page| aliases.get(&page)));
        }
        let mut others = Vec::new();
        for (other, lend) in self.lends.iter().enumerate().filter(|_| !numbers.is_empty()) {
            let same = lend.aliases.iter().filter(|(_, number)| numbers.contains(number));
            others.extend(same.map(|(&page, _)| LentPage { lend: other, page }));
        }
        others.retain(|other| other.lend != lend || !pages.contains(&other.page));
        others.sort_unstable();
        pages.map(|page| LentPage { lend, page }).chain(others).collect()
    }

    /// Whether a page is newer on the device than at home.
    pub(crate) fn any_dirty(&self) -> bool {
        self.lends.iter().any(|lend| lend.states.count(State::Dirty) > 0)
    }

    /// The pages of some lends that are newer on the device than at home.
    pub(crate) fn dirty(&self, reach: &Reach) -> Dirty {
        self.dirty_of(reach.among(self.lends.len()).flat_map(|lend| {
            let pages = self.lends[lend].states.at_least(State::Dirty);
            pages.map(move |page| LentPage { lend, page })
        }))
    }

    /// The pages that are newer on the device than at home, of some pages of a lend and of those
    /// that are the same memory at other addresses: these share a frame, so they go home together.
    pub(crate) fn dirty_among(&self, lend: usize, pages: Range<usize>) -> Dirty {
        let LendPages { states, aliases, .. } = &self.lends[lend];
        if aliases.is_empty() && states.count(State::Dirty) == 0 {
            return Dirty::default();
        }
        self.dirty_of(self.with_aliases(lend, pages).into_iter())
    }

    /// The lends that a launch reaches.
    fn reached(&self, reach: &Reach) -> impl Iterator<Item = &LendPages> {
        reach.among(self.lends.len()).map(|position| &self.lends[position])
    }

    /// Those of some pages that are newer on the device than at home.
    fn dirty_of(&self, pages: impl Iterator<Item = LentPage>) -> Dirty {
        let mut dirty = Dirty::default();
        for at in pages {
            let lend = &self.lends[at.lend];
            if lend.states.at(at.page) != State::Dirty {
                continue;
            }
            let span = lend.span(at.page);
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
        for &LentPage { lend, page } in &dirty.pages {
            self.lends[lend].states.set(page, State::Write);
        }
    }
}

/// The pages that a range covers wholly or in part.
pub(crate) fn pages_of(range: VaRange) -> usize {
    if range.is_empty() {
        return 0;
    }
    let pages = (range.end().get() - 1) / PAGE_BYTES - range.start().get() / PAGE_BYTES + 1;
    usize::try_from(pages).expect("mapped memory has fewer pages than addresses")
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
