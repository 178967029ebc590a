//! The first step: which pages go.

use super::area::{Area, Route};
use super::block::{Block, Order};
use super::outcome::Skip;
use super::pages::{Claimed, Ended, Leaving, PageLists, Placed, Planned, Taken};
use super::scratch::Scratch;
use crate::addr::pages::{above, count_of};
use crate::addr::{VaRange, VirtAddr};
use crate::mirror::shared::Shared;
use crate::mirror::table::Place;
use crate::sys::device::DeviceMemory;

/// A block whose migration has begun: all devices that mirror it have been told.
pub(super) struct Setup<'m> {
    pub(super) block: Block<'m>,
    pub(super) pages: &'m mut Vec<Planned>,
    pub(super) placed: &'m mut Vec<Placed>,
    pub(super) claimed: &'m mut Vec<Claimed>,
    pub(super) taken: &'m mut Vec<Taken>,
    pub(super) leaving: &'m mut Vec<Leaving>,
    pub(super) ended: &'m mut Vec<Ended>,
}

impl<'m> Setup<'m> {
    /// Begins the migration of a range inside one block.
    pub(super) fn new(
        shared: &'m Shared,
        scratch: &'m mut Scratch,
        device: &'m dyn DeviceMemory,
        order: Order<'m>,
        range: VaRange,
        areas: &[Area],
    ) -> Self {
        let Scratch { staging, buffer, lists } = scratch;
        let PageLists { planned: pages, placed, claimed, taken, leaving, ended } = lists;
        let block = Block::new(shared, device, order, range, (staging, buffer));
        pages.clear();
        pages.extend((0..count_of(range)).map(|index| plan(above(range.start(), index), areas)));
        let mut setup = Self { block, pages, placed, claimed, taken, leaving, ended };
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
