//! The first step: which pages go.

use super::area::{Area, Route};
use super::block::Block;
use super::outcome::Skip;
use super::pages::Planned;
use crate::addr::VirtAddr;
use crate::addr::pages::count_of;
use crate::mirror::table::Place;

/// A block whose migration has begun: all devices that mirror it have been told.
pub(super) struct Setup<'m> {
    pub(super) block: Block<'m>,
    pub(super) pages: &'m mut Vec<Planned>,
}

impl<'m> Setup<'m> {
    /// Begins the migration of a block.
    pub(super) fn new(block: Block<'m>, areas: &[Area], pages: &'m mut Vec<Planned>) -> Self {
        pages.clear();
        pages.extend((0..count_of(block.range)).map(|index| plan(block.at(index), areas)));
        let mut setup = Self { block, pages };
        setup.leave_out();
        setup
    }

    /// Leaves out the pages that devices hold.
    fn leave_out(&mut self) {
        let state = self.block.shared.lock();
        for (index, page) in self.pages.iter_mut().enumerate() {
            match state.table.place(self.block.at(index)) {
                Place::Home => {}
                Place::Transit(..) => *page = Planned::Stays(Skip::InTransit),
                Place::Device(held) if held.device == self.block.order.device => {
                    if let Planned::Goes(_) = page {
                        *page = Planned::There;
                    }
                }
                Place::Device(_) => *page = Planned::Stays(Skip::HeldByOther),
            }
        }
    }
}

fn plan(at: VirtAddr, areas: &[Area]) -> Planned {
    let area = areas.iter().find(|area| area.range.contains(at));
    match area.map_or(Route::Stays(Skip::Changed), |area| area.route) {
        Route::Leaves(leave) => Planned::Goes(leave),
        Route::Stays(reason) => Planned::Stays(reason),
    }
}
