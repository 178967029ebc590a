//! The second step: a frame for each page that goes. No lock is held.

use super::block::{Block, guarded};
use super::outcome::Skip;
use super::pages::{Frame, Placed, Planned};
use super::setup::Setup;
use crate::addr::pages::pages_from;
use crate::addr::{PageCount, PageNumber, PageSize};
use crate::fatal::{die, or_die};
use crate::mirror::table::{BLOCK, block_size};
use crate::sys::device::MirrorCall;
use crate::sys::survey::Survey;

/// A block in which each page that goes has a frame.
pub(super) struct Allocated<'m> {
    pub(super) block: Block<'m>,
    pub(super) pages: &'m mut Vec<Placed>,
}

impl<'m> Allocated<'m> {
    /// Finds frames: a huge page where it fits, then runs, then single ones.
    pub(super) fn after(setup: Setup<'m>, placed: &'m mut Vec<Placed>) -> Self {
        let Setup { block, pages } = setup;
        placed.clear();
        let mut allocation = Allocation { block, pages, placed };
        if !(allocation.wants_huge() && allocation.allocate_huge()) {
            allocation.allocate_runs();
        }
        let Allocation { block, placed, .. } = allocation;
        Self { block, pages: placed }
    }
}

/// The pages that are to go, and those of them that have frames.
struct Allocation<'m> {
    block: Block<'m>,
    pages: &'m [Planned],
    placed: &'m mut Vec<Placed>,
}

impl Allocation<'_> {
    /// A huge page is worth it if the block is one already, or holds nothing yet.
    fn wants_huge(&self) -> bool {
        let whole = self.pages.len() == BLOCK
            && self.pages.iter().all(|page| matches!(page, Planned::Goes(_)));
        let survey = || self.block.shared.transfer.surveyor.survey(self.block.range);
        let is_huge = |survey: Survey| {
            let (huge, present) = (survey.huge.len(), survey.present.len());
            huge == BLOCK || present == 0 && survey.swapped.len() == 0
        };
        whole && survey().is_ok_and(is_huge)
    }

    fn allocate_huge(&mut self) -> bool {
        let Some(first) = self.frames(BLOCK, block_size()) else {
            return false;
        };
        self.assign(BLOCK, first, true);
        true
    }

    fn allocate_runs(&mut self) {
        while let Some(&page) = self.pages.get(self.placed.len()) {
            match page {
                Planned::Stays(reason) => self.placed.push(Placed::Stays(reason)),
                Planned::There => self.placed.push(Placed::There),
                Planned::Goes(_) => {
                    let rest = self.pages.iter().skip(self.placed.len());
                    let goes = |page: &&Planned| matches!(page, Planned::Goes(_));
                    self.allocate_run(rest.take_while(goes).count());
                }
            }
        }
    }

    fn allocate_run(&mut self, count: usize) {
        let end = self.placed.len() + count;
        let mut portion = count;
        while self.placed.len() < end {
            let rest = end - self.placed.len();
            portion = portion.min(rest);
            match self.frames(portion, PageSize::host()) {
                Some(first) => self.assign(portion, first, false),
                None if portion == 1 => {
                    let stays = Placed::Stays(Skip::NoDeviceMemory);
                    self.placed.extend(std::iter::repeat_n(stays, rest));
                }
                None => portion = portion.div_ceil(2),
            }
        }
    }

    /// Takes frames for the next pages, empty ones if pages can be moved there.
    fn frames(&self, count: usize, page_size: PageSize) -> Option<PageNumber> {
        let device = self.block.device;
        let pages = pages_from(self.block.at(self.placed.len()), count);
        let first = guarded(|| device.alloc(&MirrorCall::BY_MIRROR, pages, page_size))?;
        if let Some(host) = device.as_host()
            && self.block.empty_frames(host, first, PageCount::new(count as u64)).is_err()
        {
            device.free(&MirrorCall::BY_MIRROR, first, pages);
            return None;
        }
        Some(first)
    }

    /// Gives frames to the next pages, which go.
    fn assign(&mut self, count: usize, first: PageNumber, huge: bool) {
        for (offset, page) in self.pages.iter().skip(self.placed.len()).take(count).enumerate() {
            let Planned::Goes(leave) = *page else {
                die(&"a frame was to be given to a page that stays");
            };
            let number = first.checked_add(PageCount::new(offset as u64));
            let number = or_die(number, "a device gave out more frames than there are numbers");
            self.placed.push(Placed::Goes { frame: Frame { number, huge }, leave });
        }
    }
}
