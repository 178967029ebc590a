//! The first step: which pages go. If none does, there is no second step.

use super::area::{Area, Route};
use super::block::{Block, BlockOrder};
use super::outcome::{Migration, Skip};
use super::pages::Planned;
use crate::addr::VirtAddr;
use crate::addr::pages::{above, count_of, pages_from};
use crate::mirror::table::Place;

/// A block of which a page goes, and whose migration has begun: all devices that mirror it have
/// been told.
pub(super) struct Setup<'m> {
    pub(super) block: Block<'m>,
    pub(super) pages: &'m [Planned],
}

/// Says for each page of a block whether it goes. Nothing begins: no device is told, and no request
/// is made.
pub(super) fn plan(block: &BlockOrder<'_>, pages: &mut Vec<Planned>) {
    let at = |index| above(block.range.start(), index);
    pages.clear();
    pages.extend((0..count_of(block.range)).map(|index| plan_page(at(index), block.areas)));
    let state = block.shared.lock();
    for (index, page) in pages.iter_mut().enumerate() {
        match state.table.place(at(index)) {
            Place::Home => {}
            Place::Transit(..) => *page = Planned::Stays(Skip::InTransit),
            Place::Device(held) if held.device == block.order.device => {
                if let Planned::Goes(_) = page {
                    *page = Planned::There;
                }
            }
            Place::Device(_) => *page = Planned::Stays(Skip::HeldByOther),
        }
    }
}

fn plan_page(at: VirtAddr, areas: &[Area]) -> Planned {
    let area = areas.iter().find(|area| area.range.contains(at));
    match area.map_or(Route::Stays(Skip::Changed), |area| area.route) {
        Route::Leaves(leave) => Planned::Goes(leave),
        Route::Stays(reason) => Planned::Stays(reason),
    }
}

/// The result for a block of which no page goes; `None` if one does.
pub(super) fn at_rest(block: &BlockOrder<'_>, pages: &[Planned]) -> Option<Migration> {
    let mut result = Migration::default();
    let mut skipped = 0;
    for (index, page) in pages.iter().enumerate() {
        match *page {
            Planned::Goes(_) => return None,
            Planned::There => result.count_already_there(),
            Planned::Stays(reason) => {
                skipped += 1;
                result.skip(pages_from(above(block.range.start(), index), 1), reason);
            }
        }
    }
    block.shared.stats.skipped.add(skipped);
    Some(result)
}
