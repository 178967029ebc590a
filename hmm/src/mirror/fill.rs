//! Answers to accesses that need no device: holes that have no content, and left-over protection.

#![forbid(unsafe_code)]

use crate::addr::VaRange;
use crate::addr::pages::{pages_from, pages_in};
use crate::mirror::home::MEMORY_TRIES;
use crate::mirror::shared::{Shared, State};
use crate::mirror::table::Place;
use crate::sys::uffd::{Refusal, Resolution, Wakeup};

/// Answers an access to a page that never had content, or that was dropped; `false` if a change of
/// mappings has to go on first.
pub(crate) fn fill(shared: &Shared, page: VaRange, write: bool, tries: u32) -> bool {
    let mut state = shared.lock();
    if state.table.place(page.start()) != Place::Home {
        return false;
    }
    let around = if write { page } else { free_around(shared, &state, page) };
    let mut filled = shared.transfer.zero_home(around);
    // A page that a request for zeroes fills was absent.
    let zeroes = pages_from(around.start(), pages_in(filled.done_bytes));
    state.sets.pending_drops.remove(zeroes);
    if filled.done_bytes == 0 && filled.resolution == Resolution::AlreadyThere {
        // The hole may have the mark of a page that is about to be dropped.
        if shared.transfer.unmark(page) == Resolution::Retry {
            return false;
        }
        filled = shared.transfer.zero_home(page);
    }
    if filled.done_bytes > 0 {
        shared.stats.zero_filled.add(1);
    }
    match filled.resolution {
        Resolution::Retry if filled.done_bytes == 0 => return false,
        Resolution::Refused(Refusal::NoMemory)
            if filled.done_bytes == 0 && tries < MEMORY_TRIES =>
        {
            return false;
        }
        Resolution::Refused(_) if filled.done_bytes == 0 && !shared.lose(page) => return false,
        _ => {}
    }
    drop(state);
    shared.wake(around);
    true
}

/// The pages from `page` on that may be filled together with it: none of them is away.
fn free_around(shared: &Shared, state: &State, page: VaRange) -> VaRange {
    let end = page.pages_covering(shared.fault_around).end();
    let around = VaRange::new(page.start(), end).unwrap_or(page);
    match state.table.next_away(around) {
        Some((at, _)) => VaRange::new(page.start(), at).unwrap_or(page),
        None => around,
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
