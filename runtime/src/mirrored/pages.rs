//! Which pages of lends have frames, and what has to be copied.
//!
//! Plans are lists of copies between lent bytes and frames; who executes them is elsewhere. A copy
//! carries lent bytes only: the neighbours on a partly lent page are on no list.

use super::{
    shared::Shared,
    table::{Entry, Flat, Table},
};
use farptr_hmm::VaRange;
use farptr_shaders::rewrite::control::PAGE_BYTES;
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

/// A stretch of lent bytes, at home and in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// The host address.
    pub(crate) home: u64,
    /// The device address.
    pub(crate) device: u64,
    /// The length.
    pub(crate) bytes: u64,
}

/// A page of a lend that the device missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Missing {
    /// The position of the lend.
    pub(crate) lend: usize,
    /// The page's place in it, from 0.
    pub(crate) page: usize,
    /// Whether it is to be written.
    pub(crate) write: bool,
}

/// What the device has of a page, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Nothing.
    Absent,
    /// A copy to read.
    Read,
    /// A copy to write; home is as new, but for the launch under way.
    Write,
    /// A copy that is newer than home.
    Dirty,
}

/// Where the frames of a lend are.
#[derive(Debug)]
enum Frames {
    /// One after the other from this address.
    Run(u64),
    /// Each where there was room; 0 for none yet.
    Single(Vec<u64>),
}

/// Lent memory and what the device has of it.
#[derive(Debug)]
pub(crate) struct Lend {
    range: VaRange,
    writable: bool,
    states: Vec<State>,
    frames: Frames,
    flat: Flat,
    /// The launch under way has missed a page for writing, or will write by what is known of it.
    written: bool,
    /// Pages, by their place, whose memory lies at other lent addresses too: the number of it.
    twins: HashMap<usize, usize>,
}

/// All lends of a scope, and the device's table of them.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) table: Table,
    lends: Vec<Lend>,
    /// Positions by start, then by end.
    by_address: BTreeMap<(u64, u64), usize>,
    /// The longest lend: how far below an address its lend can start.
    longest: u64,
    /// What is lent of files, and which of it twice.
    pub(crate) shared: Shared,
    /// The frames of memory that lies at several addresses, by its number.
    twin_frames: HashMap<usize, u64>,
    /// Single frames that no page has any more.
    free: Vec<u64>,
}

impl Lend {
    /// The pages that it covers wholly or in part.
    pub(crate) fn pages(&self) -> usize {
        self.states.len()
    }

    /// The number, in the address space, of its first page.
    pub(crate) fn first_page(&self) -> u64 {
        self.range.start().get() / PAGE_BYTES
    }

    /// The lent bytes.
    #[cfg(test)]
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

    /// Whether the launch under way writes to it, as far as is known by now.
    pub(crate) fn written(&self) -> bool {
        self.written
    }

    /// Whether serving the page would give the device something that it has not.
    pub(crate) fn lacks(&self, page: usize, write: bool) -> bool {
        let needed = if write { State::Write } else { State::Read };
        let allowed = self.writable || !write;
        allowed && self.states.get(page).is_some_and(|&state| state < needed)
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
        let all = self.states.iter().all(|&state| state >= needed);
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

    fn copy(&self, page: usize) -> Copy {
        let Range { start, end } = self.lent_bytes(page);
        let device = self.frame(page) + start % PAGE_BYTES;
        Copy { home: start, device, bytes: end - start }
    }

    /// Adds a copy for each page in a state, joining neighbours, but none of another lend: what two
    /// lends have is lent apart, and copied apart.
    fn plan(&self, wanted: impl Fn(State) -> bool, plan: &mut Vec<Copy>) {
        let mut own = Vec::new();
        for (page, &state) in self.states.iter().enumerate() {
            if wanted(state) {
                join(&mut own, self.copy(page));
            }
        }
        plan.append(&mut own);
    }
}

/// Appends a copy, or lengthens the last one if both sides go on where it ends.
fn join(plan: &mut Vec<Copy>, copy: Copy) {
    if let Some(last) = plan.last_mut() {
        let end = (last.home + last.bytes, last.device + last.bytes);
        if end == (copy.home, copy.device) {
            last.bytes += copy.bytes;
            return;
        }
    }
    plan.push(copy);
}

impl Pages {
    /// Adds a lend with all pages absent and returns its position.
    ///
    /// `frames` is where frames for all its pages are in one stretch, or `None` if each is to be
    /// found when it is needed; `table` is where its flat table goes.
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
        let states = vec![State::Absent; pages];
        let twins = HashMap::new();
        self.lends.push(Lend { range, writable, states, frames, flat, written: false, twins });
        let (start, end) = (range.start().get(), range.end().get());
        self.by_address.insert((start, end), self.lends.len() - 1);
        self.longest = self.longest.max(range.len_bytes());
        self.lends.len() - 1
    }

    /// Says which pages of a new lend, by their place in it, are the same memory as others: pages
    /// of one number get one frame. The lend's frames are not in one stretch.
    pub(crate) fn pair(&mut self, lend: usize, twins: HashMap<usize, usize>) {
        let lend = &mut self.lends[lend];
        debug_assert!(twins.is_empty() || lend.run_start().is_none(), "frames are found singly");
        lend.twins = twins;
    }

    /// Whether some memory lies at several lent addresses.
    pub(crate) fn has_twins(&self) -> bool {
        self.shared.has_twins()
    }

    /// The lends, by position.
    pub(crate) fn lends(&self) -> &[Lend] {
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

    /// Begins a launch, of which is known that it writes to some lends.
    pub(crate) fn begin(&mut self, written: &[usize]) {
        for (position, lend) in self.lends.iter_mut().enumerate() {
            lend.written = written.contains(&position);
        }
    }

    /// Remembers which lends the launch under way missed for writing.
    pub(crate) fn note_writes(&mut self, missing: &[Missing]) {
        for missing in missing.iter().filter(|missing| missing.write) {
            self.lends[missing.lend].written = true;
        }
    }

    /// Gives pages to the device and returns what has to be copied in before the next round.
    ///
    /// Pages that the device has already, with what is asked for, are left as they are.
    ///
    /// # Errors
    ///
    /// What `allocate` returns, which finds a frame; no page has changed its state then.
    pub(crate) fn serve<E>(
        &mut self,
        pages: &[Missing],
        mut allocate: impl FnMut() -> Result<u64, E>,
    ) -> Result<Vec<Copy>, E> {
        for missing in pages {
            let lend = &mut self.lends[missing.lend];
            let Frames::Single(frames) = &mut lend.frames else { continue };
            if frames[missing.page] != 0 {
                continue;
            }
            let twin = lend.twins.get(&missing.page);
            let held = twin.and_then(|twin| self.twin_frames.get(twin)).copied();
            let frame = match held.or_else(|| self.free.pop()) {
                Some(frame) => frame,
                None => allocate()?,
            };
            frames[missing.page] = frame;
            self.twin_frames.extend(twin.map(|&twin| (twin, frame)));
        }
        let mut plan = Vec::new();
        for missing in pages.chunk_by(|a, b| a.lend == b.lend) {
            let mut own = Vec::new();
            for &Missing { lend, page, write } in missing {
                let lend = &mut self.lends[lend];
                if !lend.lacks(page, write) {
                    continue;
                }
                if lend.states[page] == State::Absent {
                    join(&mut own, lend.copy(page));
                }
                lend.states[page] = if write { State::Write } else { State::Read };
                self.table.set(lend.flat, page, Entry::new(lend.frame(page), write));
            }
            plan.append(&mut own);
        }
        Ok(plan)
    }

    /// What a launch may have written, to be copied from home again.
    pub(crate) fn undo(&self) -> Vec<Copy> {
        let mut plan = Vec::new();
        for lend in &self.lends {
            debug_assert!(!lend.states.contains(&State::Dirty), "home is the pre-image");
            lend.plan(|state| state == State::Write, &mut plan);
        }
        plan
    }

    /// Ends a launch that counts: what the device may have written is newer than home.
    pub(crate) fn commit(&mut self) {
        for state in self.lends.iter_mut().flat_map(|lend| &mut lend.states) {
            if *state == State::Write {
                *state = State::Dirty;
            }
        }
    }

    /// Ends a launch that does not count and was flushed before: drops what it may have written.
    pub(crate) fn discard(&mut self) {
        for position in 0..self.lends.len() {
            self.drop_pages(position, |state| state >= State::Write);
        }
        // A frame may have been written through another page of it.
        self.forget_twins();
    }

    /// Drops all that the device has of a lend, because home has changed. It was flushed before.
    pub(crate) fn forget(&mut self, lend: usize) {
        self.drop_pages(lend, |_| true);
        self.forget_twins();
    }

    /// Drops all that the device has of memory that lies at several addresses: home has changed at
    /// one of them, or a frame. It was flushed before.
    pub(crate) fn forget_twins(&mut self) {
        for lend in &mut self.lends {
            for &page in lend.twins.keys() {
                lend.states[page] = State::Absent;
                self.table.set(lend.flat, page, Entry::ABSENT);
            }
        }
    }

    /// Takes a lend away in whose place there will be another one, and returns the stretch of its
    /// frames, if they are in one. It was flushed before.
    pub(crate) fn retire(&mut self, lend: usize) -> Option<u64> {
        self.forget(lend);
        let lend = &mut self.lends[lend];
        let range = lend.range;
        self.by_address.remove(&(range.start().get(), range.end().get()));
        let twins = std::mem::take(&mut lend.twins);
        lend.states.clear();
        match std::mem::replace(&mut lend.frames, Frames::Single(Vec::new())) {
            Frames::Run(start) => Some(start),
            Frames::Single(frames) => {
                let own = (0..).zip(frames).filter(|(page, _)| !twins.contains_key(page));
                self.free.extend(own.map(|(_, frame)| frame).filter(|&frame| frame != 0));
                None
            }
        }
    }

    fn drop_pages(&mut self, lend: usize, dropped: impl Fn(State) -> bool) {
        let lend = &mut self.lends[lend];
        for (page, state) in lend.states.iter_mut().enumerate() {
            if dropped(*state) {
                *state = State::Absent;
                self.table.set(lend.flat, page, Entry::ABSENT);
            }
        }
    }

    /// What has to be copied home, so that home has the newest bytes.
    pub(crate) fn flush(&self) -> Vec<Copy> {
        let mut plan = Vec::new();
        for lend in &self.lends {
            lend.plan(|state| state == State::Dirty, &mut plan);
        }
        plan
    }

    /// Notes that [`flush`](Self::flush)'s plan was executed.
    pub(crate) fn flushed(&mut self) {
        for state in self.lends.iter_mut().flat_map(|lend| &mut lend.states) {
            if *state == State::Dirty {
                *state = State::Write;
            }
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
