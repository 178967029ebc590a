//! Answers to accesses that need no device: holes that have no content, and left-over protection.

#![forbid(unsafe_code)]

use crate::addr::pages::{above, pages_from, pages_in};
use crate::addr::{VaRange, VirtAddr};
use crate::mirror::home::MEMORY_TRIES;
use crate::mirror::shared::{Shared, State};
use crate::mirror::table::Place;
use crate::sys::uffd::{Outcome, Refusal, Resolution, Wakeup};

/// Answers an access to a page that never had content, or that was dropped, and fills the holes
/// behind it up to the end of its neighbourhood. Returns the end of what was filled, which is the
/// start of the page if nothing had to be; `None` if a change of mappings has to go on first.
///
/// A store gets the page of zeroes too, which it copies: so holes that nobody stores to take no
/// memory, however many are filled.
pub(crate) fn fill(
    shared: &Shared,
    page: VaRange,
    around: VaRange,
    tries: u32,
) -> Option<VirtAddr> {
    let mut state = shared.lock();
    if state.table.place(page.start()) != Place::Home {
        return None;
    }
    let holes = free_around(&state, page, around);
    let mut filled = fill_holes(shared, &mut state, holes);
    if filled.done_bytes == 0 && filled.resolution == Resolution::AlreadyThere {
        // The hole may have the mark of a page that is about to be dropped, or of one that is
        // protected.
        if shared.transfer.unmark(page) == Resolution::Retry {
            return None;
        }
        filled = fill_holes(shared, &mut state, page);
    }
    if filled.done_bytes > 0 {
        shared.stats.zero_filled.add(1);
    }
    match filled.resolution {
        Resolution::Retry if filled.done_bytes == 0 => return None,
        Resolution::Refused(Refusal::NoMemory)
            if filled.done_bytes == 0 && tries < MEMORY_TRIES =>
        {
            return None;
        }
        Resolution::Refused(_) if filled.done_bytes == 0 && !shared.lose(page) => return None,
        _ => {}
    }
    drop(state);
    shared.wake(holes);
    Some(above(page.start(), pages_in(filled.done_bytes)))
}

/// Fills a range of holes with zeroes, from its start on, as far as it goes. The range may span
/// areas.
fn fill_holes(shared: &Shared, state: &mut State, holes: VaRange) -> Outcome {
    let mut done_bytes = 0;
    let mut rest = holes;
    loop {
        let filled = shared.transfer.zero_home(rest);
        let zeroes = pages_from(rest.start(), pages_in(filled.done_bytes));
        // A page that a request for zeroes fills was absent.
        state.sets.pending_drops.remove(zeroes);
        done_bytes += filled.done_bytes;
        rest = VaRange::new(zeroes.end(), holes.end()).unwrap_or_default();
        if filled.resolution != Resolution::Done || rest.is_empty() {
            return Outcome { done_bytes, resolution: filled.resolution };
        }
    }
}

/// The pages from `page` on that may be filled together with it: none of them is away, and the
/// holes of all are watched. So they are private anonymous memory: behind the end of its area there
/// may be shared memory, where a page of zeroes is memory that is taken.
fn free_around(state: &State, page: VaRange, around: VaRange) -> VaRange {
    let from_page = |end| VaRange::new(page.start(), end).unwrap_or(page);
    let around = from_page(around.end());
    let away = state.table.next_away(around);
    let free = away.map_or(around, |(at, _)| from_page(at));
    match state.sets.hole_watched.first_in(free) {
        Some(watched) if watched.start() == page.start() => watched,
        _ => page,
    }
}

/// Answers a store to a page that was protected for a migration that did not take place.
pub(crate) fn unprotect(shared: &Shared, page: VaRange) -> bool {
    let state = shared.lock();
    if state.table.place(page.start()) != Place::Home {
        return false;
    }
    let lifted = shared.transfer.unprotect(page, Wakeup::Now);
    drop(state);
    shared.wake(page);
    lifted != Resolution::Retry
}
