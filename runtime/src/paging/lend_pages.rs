//! The pages of one lend: their states, their frames, and the bytes that are copied for each.

use super::{
    PAGE_BYTES,
    states::{State, States},
    table::Flat,
};
use crate::residency::{kept::Present, memory::Span};
use farptr_hmm::VaRange;
use std::{collections::BTreeMap, ops::Range};

/// The frames of a lend.
#[derive(Debug)]
pub(super) enum Frames {
    /// One after the other from this address.
    Run(u64),
    /// Each where there was room; 0 for none yet.
    Single(Vec<u64>),
}

/// The pages of a lend, and their frames.
#[derive(Debug)]
pub(crate) struct LendPages {
    pub(super) range: VaRange,
    pub(super) writable: bool,
    pub(super) states: States,
    pub(super) frames: Frames,
    pub(super) flat: Flat,
    /// The running launch has missed a page for writing, or its arguments say that it will write.
    pub(super) written: bool,
    /// Pages that rounds have missed.
    pub(super) missed: usize,
    /// Pages that were written home, each time.
    pub(super) written_home: usize,
    /// For each page whose memory is lent at another address too, by its place: the number of that
    /// memory.
    pub(super) aliases: BTreeMap<usize, usize>,
}

impl LendPages {
    /// The pages that it covers wholly or in part.
    pub(crate) fn pages(&self) -> usize {
        self.states.len()
    }

    /// How many pages rounds have missed so far.
    pub(crate) fn missed(&self) -> usize {
        self.missed
    }

    /// How many pages were written home so far.
    pub(crate) fn written_home(&self) -> usize {
        self.written_home
    }

    /// Those of some places whose pages the device has, and none if one of its pages is newer than
    /// home.
    pub(crate) fn clean(&self, places: Range<usize>) -> Present {
        let mut clean = Present::default();
        if self.states.count(State::Dirty) > 0 {
            return clean;
        }
        for page in self.states.within(places, State::Read) {
            let may_write = self.states.at(page) == State::Write;
            let of_state = if may_write { &mut clean.write } else { &mut clean.read };
            match of_state.last_mut() {
                Some(last) if last.end == page => last.end += 1,
                _ => of_state.push(page..page + 1),
            }
        }
        clean
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

    pub(super) fn frame(&self, page: usize) -> u64 {
        match &self.frames {
            Frames::Run(start) => start + page as u64 * PAGE_BYTES,
            Frames::Single(frames) => frames[page],
        }
    }

    pub(super) fn span(&self, page: usize) -> Span {
        let Range { start, end } = self.lent_bytes(page);
        let device = self.frame(page) + start % PAGE_BYTES;
        Span { home: start, device, bytes: end - start }
    }
}

/// Appends a span, or lengthens the last one if both sides go on at its end.
pub(super) fn join(spans: &mut Vec<Span>, span: Span) {
    if let Some(last) = spans.last_mut() {
        let end = (last.home + last.bytes, last.device + last.bytes);
        if end == (span.home, span.device) {
            last.bytes += span.bytes;
            return;
        }
    }
    spans.push(span);
}

/// The pages that a range covers wholly or in part.
pub(crate) fn pages_of(range: VaRange) -> usize {
    if range.is_empty() {
        return 0;
    }
    let pages = (range.end().get() - 1) / PAGE_BYTES - range.start().get() / PAGE_BYTES + 1;
    usize::try_from(pages).expect("mapped memory has fewer pages than addresses")
}
