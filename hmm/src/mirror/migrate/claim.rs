//! The third step: the pages that go enter the list of those in transit, and are watched.

use super::allocate::Allocated;
use super::area::{Area, Leave};
use super::block::Block;
use super::outcome::Skip;
use super::pages::{Claimed, Frame, Placed, Stay};
use crate::addr::VaRange;
use crate::addr::pages::{count_of, pages_from};
use crate::mirror::shared::State;
use crate::mirror::table::{Mover, Place};
use crate::sys::survey::PageSet;
use crate::sys::uffd::Resolution;

/// A block whose leaving pages are in transit: a thread that touches one waits.
pub(super) struct InTransit<'m> {
    pub(super) block: Block<'m>,
    pub(super) pages: &'m mut Vec<Claimed>,
}

impl<'m> InTransit<'m> {
    /// Claims the pages, and then watches them.
    pub(super) fn after(
        allocated: Allocated<'m>,
        areas: &[Area],
        claimed: &'m mut Vec<Claimed>,
    ) -> Self {
        let Allocated { mut block, pages } = allocated;
        claimed.clear();
        let were_armed = claim(&block, pages, claimed);
        watch(&block, areas, claimed);
        if were_armed {
            lift_protection(&mut block, claimed);
        }
        Self { block, pages: claimed }
    }
}

/// Enters the pages into the list of those in transit. From now on faults on them wait. Tells
/// whether pages of the block were protected so that stores to them are known.
fn claim(block: &Block<'_>, pages: &[Placed], claimed: &mut Vec<Claimed>) -> bool {
    let mut state = block.shared.lock();
    let were_armed = state.sets.armed.overlaps(block.range);
    let dropping = dropping(block, &mut state, pages.len());
    for (index, page) in pages.iter().enumerate() {
        claimed.push(match *page {
            Placed::Stays(reason) => Claimed::Stays(Stay { reason, frame: None }),
            Placed::There => Claimed::There,
            Placed::Goes { frame, .. } if dropping.contains(index) => stays(Skip::Dropping, frame),
            Placed::Goes { frame, leave } => claim_page(block, &mut state, index, frame, leave),
        });
    }
    were_armed
}

fn claim_page(
    block: &Block<'_>,
    state: &mut State,
    index: usize,
    frame: Frame,
    leave: Leave,
) -> Claimed {
    let at = block.at(index);
    if state.table.place(at) != Place::Home {
        return stays(Skip::InTransit, frame);
    }
    let transit = Place::Transit(Mover::Migrator, index);
    if !state.table.has_room() || state.table.set(at, transit).is_err() {
        return stays(Skip::NoRoom, frame);
    }
    Claimed::Goes { frame, leave }
}

fn stays(reason: Skip, frame: Frame) -> Claimed {
    Claimed::Stays(Stay { reason, frame: Some(frame) })
}

/// The pages that may be about to be dropped. Those that are absent now are not.
fn dropping(block: &Block<'_>, state: &mut State, count: usize) -> PageSet {
    let mut dropping = PageSet::default();
    if !state.sets.pending_drops.overlaps(block.range) {
        return dropping;
    }
    block.shared.review_pending_drops(state, block.range);
    for index in 0..count {
        if state.sets.pending_drops.overlaps(block.page(index)) {
            dropping.insert(index);
        }
    }
    dropping
}

/// Watches the claimed pages. Watching them before the claim would be too early: a mapping that is
/// not watched could take their place without a message, and its pages would be collected.
fn watch(block: &Block<'_>, areas: &[Area], claimed: &mut [Claimed]) {
    for area in areas.iter().filter(|area| area.can_leave()) {
        let Some(part) = area.range.intersection(&block.range) else {
            continue;
        };
        if block.shared.watch_holes(part).is_err() {
            let index = VaRange::new(block.range.start(), part.start()).map_or(0, count_of);
            claimed.iter_mut().skip(index).take(count_of(part)).for_each(leave_unwatched);
        }
    }
}

/// Lifts the protection of the claimed pages by which stores were known: on holes it left marks,
/// which do not move. So the pages count as written, as all do that are away or come home.
fn lift_protection(block: &mut Block<'_>, claimed: &[Claimed]) {
    let goes = |page: &&Claimed| matches!(page, Claimed::Goes { .. });
    let mut index = 0;
    while index < claimed.len() {
        let count = claimed.iter().skip(index).take_while(goes).count();
        if count == 0 {
            index += 1;
            continue;
        }
        let state = block.shared.lock();
        // Where the page of another mapping is by now, a mark may be its own.
        let stays = block.still_there(&state, index, count);
        let lifted = block.shared.transfer.unmark(pages_from(block.at(index), stays));
        drop(state);
        match lifted {
            Resolution::Retry => block.pause(),
            _ => index += stays.max(1),
        }
    }
}

/// Notes that a page cannot be watched, and so is not taken.
fn leave_unwatched(page: &mut Claimed) {
    let reason = Skip::Unwatchable;
    match *page {
        Claimed::There => *page = Claimed::Stays(Stay { reason, frame: None }),
        Claimed::Goes { frame, .. } => *page = Claimed::Returns { reason, frame },
        Claimed::Stays(_) | Claimed::Returns { .. } => {}
    }
}
