//! The fourth step: pages are taken from their places, by a move or by write protection.

use super::area::Leave;
use super::block::Block;
use super::claim::InTransit;
use super::outcome::Skip;
use super::pages::{Claimed, Content, Frame, Taken, frame_run};
use crate::addr::pages::{count_of, pages_from, pages_in};
use crate::addr::{PageCount, VaRange};
use crate::fatal::die;
use crate::mirror::shared::State;
use crate::sync::MutexGuard;
use crate::sys::survey::Survey;
use crate::sys::uffd::{Refusal, Resolution};

/// How often pages that block a move are removed before the move is given up: another process may
/// read there again and again, and so make them anew.
const CLEARINGS: u32 = 100;

/// Pages taken from their places.
pub(super) struct Collected<'m> {
    pub(super) block: Block<'m>,
    pub(super) pages: &'m mut Vec<Taken>,
}

impl<'m> Collected<'m> {
    /// Takes the pages.
    pub(super) fn after(in_transit: InTransit<'m>, taken: &'m mut Vec<Taken>) -> Self {
        let InTransit { mut block, pages } = in_transit;
        if !block.staging.is_clean() {
            block.empty_staging();
        }
        taken.clear();
        let mut collection = Collection { block, pages, taken, clearings: 0, unlocked: false };
        collection.run();
        let Collection { block, taken, .. } = collection;
        Self { block, pages: taken }
    }
}

/// The pages in transit, and those of them that were taken so far. The next page to be taken is the
/// one at the index that `taken` has reached.
struct Collection<'m> {
    block: Block<'m>,
    pages: &'m mut [Claimed],
    taken: &'m mut Vec<Taken>,
    /// How often pages blocked a move and were removed.
    clearings: u32,
    /// Whether the destination was unlocked.
    unlocked: bool,
}

impl<'m> Collection<'m> {
    fn run(&mut self) {
        while let Some(&page) = self.pages.get(self.taken.len()) {
            let before = self.taken.len();
            match page {
                Claimed::Stays(stay) => self.taken.push(Taken::Stays(stay)),
                Claimed::There => self.taken.push(Taken::There),
                Claimed::Returns { reason, frame } => {
                    self.taken.push(Taken::Returns { reason, frame, content: None });
                }
                Claimed::Goes { frame, leave: Leave::ByMove } => self.take_by_move(frame),
                Claimed::Goes { leave: Leave::ByCopy, .. } => {
                    self.take_by_protection(self.next_run());
                }
            }
            if self.taken.len() == before {
                self.block.pause();
            }
        }
    }

    /// The length of the run of pages that leave in the same way, into frames that follow each
    /// other.
    fn next_run(&self) -> usize {
        frame_run(self.pages, self.taken.len(), |page| match page {
            Claimed::Goes { frame, leave } => Some((frame, leave)),
            _ => None,
        })
    }

    /// Notes the results for the next `count` pages, which go.
    fn note(&mut self, count: usize, become_of: impl Fn(usize, Frame) -> Taken) {
        let next = self.pages.iter().skip(self.taken.len()).take(count).enumerate();
        for (offset, page) in next {
            let Claimed::Goes { frame, .. } = *page else {
                die(&"a page was taken that is not to go");
            };
            self.taken.push(become_of(offset, frame));
        }
    }

    fn note_taken(&mut self, count: usize, content: Content) {
        self.note(count, |_, frame| Taken::Goes { frame, content });
    }

    fn note_returns(&mut self, count: usize, reason: Skip, content: Option<Content>) {
        self.note(count, |_, frame| Taken::Returns { reason, frame, content });
    }

    /// Moves the next run of pages to the frames or to the staging memory, as far as it goes. If
    /// the kernel refuses because a change of mappings has to go on first, no page is noted.
    fn take_by_move(&mut self, frame: Frame) {
        let (index, count) = (self.taken.len(), self.next_run());
        let Some((content, dst)) = self.destination(frame, count) else {
            return self.note_returns(count, Skip::DeviceFailed, None);
        };
        let Some((state, stays)) = self.lock_claimed(count) else {
            return;
        };
        if content == Content::Frame {
            self.note_filled(frame, stays);
        }
        let transfer = &self.block.shared.transfer;
        let moved = transfer.move_out(dst.start(), pages_from(self.block.at(index), stays));
        drop(state);
        let done = pages_in(moved.outcome.done_bytes);
        self.note_taken(done, content);
        match moved.outcome.resolution {
            Resolution::Done => {}
            _ if done > 0 => {}
            Resolution::AlreadyThere if self.clear_blocking(frame, moved.blocking) => {}
            Resolution::Refused(Refusal::Unsuitable) if self.unlock_destination() => {}
            why => self.note_refused(count, why),
        }
    }

    /// The memory to which the next pages are moved.
    fn destination(&self, frame: Frame, count: usize) -> Option<(Content, VaRange)> {
        if self.block.device.as_host().is_some() {
            return Some((Content::Frame, self.block.frame_range(frame.number, count)?));
        }
        let staged = self.block.staged(self.taken.len(), count);
        self.block.staging.is_clean().then_some((Content::Staging, staged))
    }

    fn note_filled(&self, frame: Frame, count: usize) {
        if let Some(host) = self.block.device.as_host() {
            host.frames().note_filled(frame.number, PageCount::new(count as u64));
        }
    }

    /// Turns into holes the part of the destination that holds other pages than the moved ones:
    /// zeroes that another thread or process has read there. Tells whether to try the move again.
    fn clear_blocking(&mut self, frame: Frame, part: VaRange) -> bool {
        self.clearings += 1;
        if part.is_empty() || self.clearings > CLEARINGS {
            return false;
        }
        match self.block.device.as_host() {
            Some(host) => {
                let count = PageCount::new(count_of(part) as u64);
                self.block.empty_frames(host, frame.number, count).is_ok()
            }
            None => self.block.make_holes(part),
        }
    }

    /// Unlocks the destination, once: the program may have locked all memory of the process, the
    /// destination included, while the pages that move are not locked. Tells whether it is worth
    /// another try.
    fn unlock_destination(&mut self) -> bool {
        if std::mem::replace(&mut self.unlocked, true) {
            return false;
        }
        match self.block.device.as_host() {
            Some(host) => host.frames().unlock().is_ok(),
            None => self.block.staging.unlock().is_ok(),
        }
    }

    /// Notes why a page did not move, for this page and for others of the run that will not move
    /// for the same reason.
    fn note_refused(&mut self, count: usize, why: Resolution) {
        let (count, reason) = match why {
            Resolution::Done | Resolution::Retry => return,
            Resolution::Refused(Refusal::Busy) => (1, Skip::Pinned),
            Resolution::Refused(Refusal::NoMemory) => (1, Skip::NoHostMemory),
            Resolution::Vanished => (1, Skip::Changed),
            Resolution::AlreadyThere => (1, Skip::DeviceFailed),
            Resolution::Refused(_) if self.may_copy() => {
                for page in self.pages.iter_mut().skip(self.taken.len()).take(count) {
                    if let Claimed::Goes { leave, .. } = page {
                        *leave = Leave::ByCopy;
                    }
                }
                return self.take_by_protection(count);
            }
            Resolution::Refused(_) => (count, Skip::Unmovable),
        };
        self.note_returns(count, reason, None);
    }

    /// Tells whether pages that can be written, and that cannot be moved, may be copied and
    /// dropped: the owner of the memory allows it, and protection makes stores wait.
    fn may_copy(&self) -> bool {
        let stores_wait = !self.block.shared.transfer.uffd().tracks_stores();
        self.block.order.lease.is_some() && stores_wait
    }

    /// Protects a run of pages and marks its holes.
    fn take_by_protection(&mut self, count: usize) {
        let Some((state, stays)) = self.lock_claimed(count) else {
            return;
        };
        let range = pages_from(self.block.at(self.taken.len()), stays);
        let transfer = &self.block.shared.transfer;
        // Under the lock a hole stays a hole: only the mirror fills it.
        let survey = transfer.surveyor.survey(range);
        let protected = transfer.protect(range);
        drop(state);
        match (protected, survey) {
            (Resolution::Done, Ok(survey)) => self.note_protected(stays, &survey),
            (Resolution::Retry, _) => {}
            // Parts of several areas, or not watched.
            (Resolution::Vanished, _) if stays > 1 => self.take_by_protection(stays / 2),
            (Resolution::Vanished, _) => self.note_returns(stays, Skip::Changed, None),
            _ => self.note_returns(stays, Skip::Unmovable, Some(Content::Protected)),
        }
    }

    fn note_protected(&mut self, count: usize, survey: &Survey) {
        self.note(count, |offset, frame| {
            if survey.swapped.contains(offset) {
                let (reason, content) = (Skip::Swapped, Some(Content::Protected));
                return Taken::Returns { reason, frame, content };
            }
            let there = survey.present.contains(offset);
            let content = if there { Content::Protected } else { Content::Nothing };
            Taken::Goes { frame, content }
        });
    }

    /// Locks the table, and says how many of the next pages are still where they were claimed; if
    /// the first is not, leaves it out.
    fn lock_claimed(&mut self, count: usize) -> Option<(MutexGuard<'m, State>, usize)> {
        let shared = self.block.shared;
        let state = shared.lock();
        let stays = self.block.still_there(&state, self.taken.len(), count);
        if stays == 0 {
            drop(state);
            self.note_returns(1, Skip::Changed, None);
            return None;
        }
        Some((state, stays))
    }
}
