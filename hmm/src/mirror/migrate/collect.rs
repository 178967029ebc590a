//! Taking pages from their places: a move, or write protection.

use super::{Content, Passenger, Route, Skip, Voyage};
use crate::addr::pages::{above, count_of, pages_from, pages_in};
use crate::addr::{PageCount, PageNumber, VaRange};
use crate::mirror::shared::State;
use crate::mirror::table::{Mover, Place};
use crate::sync::MutexGuard;
use crate::sys::survey::{PageSet, Survey};
use crate::sys::uffd::{Refusal, Resolution};

/// How often something is removed that is in the way, before the pages stay for this time: somebody
/// may go on reading there.
const CLEARINGS: u32 = 100;

impl<'m> Voyage<'m> {
    /// Enters the pages into the list of those in transit. From now on faults on them wait.
    pub(super) fn claim(&mut self) {
        let mut state = self.core.lock();
        let dropping = self.dropping(&mut state);
        for (index, page) in self.pages.iter_mut().enumerate() {
            if !page.goes() {
                continue;
            }
            let at = above(self.range.start(), index);
            if dropping.contains(index) {
                page.skip = Some(Skip::Dropping);
            } else if state.table.place(at) != Place::Home {
                page.skip = Some(Skip::InTransit);
            } else if !state.table.has_room()
                || state.table.set(at, Place::Transit(Mover::Migrator, index)).is_err()
            {
                page.skip = Some(Skip::NoRoom);
            } else {
                page.claimed = true;
            }
        }
    }

    /// The pages that may be about to be dropped. Those that are absent now are not.
    fn dropping(&self, state: &mut State) -> PageSet {
        let mut dropping = PageSet::default();
        if !state.pending_drops.overlaps(&self.range) {
            return dropping;
        }
        self.core.review_pending_drops(state, self.range);
        for index in 0..self.pages.len() {
            if state.pending_drops.overlaps(&self.page(index)) {
                dropping.insert(index);
            }
        }
        dropping
    }

    pub(super) fn take_all(&mut self) {
        if !self.scratch.staging.is_clean() {
            self.empty_staging();
        }
        let mut index = 0;
        while index < self.pages.len() {
            let run = self.frame_run(index).max(1);
            let taken = match self.pages.get(index) {
                Some(page) if page.goes() && page.claimed => match page.route {
                    Route::Move => self.take_by_move(index, run),
                    Route::Copy | Route::Stay(_) => self.take_by_protection(index, run),
                },
                _ => run,
            };
            match taken {
                0 => self.pause(),
                taken => index += taken,
            }
        }
    }

    /// Moves a run of pages to the frames or to the staging memory. Returns how many pages need
    /// nothing more; none if a change of mappings has to go on first.
    fn take_by_move(&mut self, index: usize, count: usize) -> usize {
        let (range, content) = (pages_from(self.at(index), count), self.destination());
        let dst = match (content, self.pages.get(index).and_then(|page| page.frame)) {
            (Content::Frame, Some(frame)) => self.frame_range(frame, count),
            _ => Some(self.staged(index, count)).filter(|_| self.scratch.staging.is_clean()),
        };
        let Some(dst) = dst else {
            self.skip(index, count, Skip::DeviceFailed);
            return count;
        };
        let core = self.core;
        let Some((state, stays)) = self.lock_claimed(index, count) else {
            return 1;
        };
        if content == Content::Frame {
            self.note_filled(index, stays);
        }
        let departure = core.transfer.move_out(dst.start(), pages_from(range.start(), stays));
        drop(state);
        let moved = pages_in(departure.outcome.done_bytes);
        self.set_content(index, moved, content);
        match departure.outcome.resolution {
            Resolution::Done => moved,
            _ if moved > 0 => moved,
            Resolution::AlreadyThere if self.clear_blocking(index, departure.blocking) => 0,
            Resolution::Refused(Refusal::Unsuitable) if self.unlock_destination() => 0,
            why => self.refused(index, count, why),
        }
    }

    /// Makes holes of the part of the destination in which there is something, but nothing of what
    /// is moved: zeroes that somebody read there. Tells whether it is worth another try.
    fn clear_blocking(&mut self, index: usize, part: VaRange) -> bool {
        self.clearings += 1;
        if part.is_empty() || self.clearings > CLEARINGS {
            return false;
        }
        let frame = self.pages.get(index).and_then(|page| page.frame);
        match self.device.as_host().zip(frame) {
            Some((host, frame)) => {
                self.empty(host, frame, PageCount::new(count_of(part) as u64)).is_ok()
            }
            None => self.make_holes(part),
        }
    }

    /// Unlocks the destination, once: the program may have locked all memory of the process, while
    /// these pages are not locked. Tells whether it is worth another try.
    fn unlock_destination(&mut self) -> bool {
        if std::mem::replace(&mut self.unlocked, true) {
            return false;
        }
        match self.device.as_host() {
            Some(host) => host.frames().unlock().is_ok(),
            None => self.scratch.staging.unlock().is_ok(),
        }
    }

    /// Notes why a page did not move, and how many others will not for the same reason.
    fn refused(&mut self, index: usize, count: usize, why: Resolution) -> usize {
        let (skipped, reason) = match why {
            Resolution::Done | Resolution::Retry => return 0,
            Resolution::Refused(Refusal::Busy) => (1, Skip::Pinned),
            Resolution::Refused(Refusal::NoMemory) => (1, Skip::NoHostMemory),
            Resolution::Vanished => (1, Skip::Changed),
            Resolution::AlreadyThere => (1, Skip::DeviceFailed),
            Resolution::Refused(_) if self.order.lease.is_some() => {
                for page in self.pages.iter_mut().skip(index).take(count) {
                    page.route = Route::Copy;
                }
                return self.take_by_protection(index, count);
            }
            Resolution::Refused(_) => (count, Skip::Unmovable),
        };
        self.skip(index, skipped, reason);
        skipped
    }

    /// Protects a run of pages and marks its holes.
    fn take_by_protection(&mut self, index: usize, count: usize) -> usize {
        let core = self.core;
        let Some((state, stays)) = self.lock_claimed(index, count) else {
            return 1;
        };
        let range = pages_from(self.at(index), stays);
        // Under the lock a hole stays a hole: nobody but the mirror fills it.
        let survey = core.transfer.surveyor.survey(range);
        let protected = core.transfer.protect(range);
        drop(state);
        match (protected, survey) {
            (Resolution::Done, Ok(survey)) => self.sort(index, stays, &survey),
            (Resolution::Retry, _) => return 0,
            // Parts of several areas, or not watched.
            (Resolution::Vanished, _) if stays > 1 => {
                return self.take_by_protection(index, stays / 2);
            }
            (Resolution::Vanished, _) => self.skip(index, stays, Skip::Changed),
            _ => {
                self.set_content(index, stays, Content::Protected);
                self.skip(index, stays, Skip::Unmovable);
            }
        }
        stays
    }

    fn sort(&mut self, index: usize, count: usize, survey: &Survey) {
        for (place, page) in self.pages.iter_mut().skip(index).take(count).enumerate() {
            page.content = Content::Protected;
            if survey.swapped.contains(place) {
                page.skip = Some(Skip::Swapped);
            } else if !survey.present.contains(place) {
                page.content = Content::Nothing;
            }
        }
    }

    /// Locks the table, and says how many of the pages from `index` on are still where they were
    /// claimed; leaves the first out if it is not.
    fn lock_claimed(
        &mut self,
        index: usize,
        count: usize,
    ) -> Option<(MutexGuard<'m, State>, usize)> {
        let core = self.core;
        let state = core.lock();
        let stays = self.still_there(&state, index, count);
        if stays == 0 {
            drop(state);
            self.skip(index, 1, Skip::Changed);
            return None;
        }
        Some((state, stays))
    }

    /// How many of the pages from `index` on are in transit and belong where they did.
    pub(super) fn still_there(&self, state: &State, index: usize, count: usize) -> usize {
        let transit = state.table.transit(Mover::Migrator);
        (index..index + count).take_while(|&page| transit.at(page) == Some(self.at(page))).count()
    }

    fn destination(&self) -> Content {
        if self.device.as_host().is_some() { Content::Frame } else { Content::Staging }
    }

    pub(super) fn frame_range(&self, frame: PageNumber, count: usize) -> Option<VaRange> {
        let count = PageCount::new(count as u64);
        self.device.as_host()?.frames().range_of(frame, count).ok()
    }

    fn note_filled(&self, index: usize, count: usize) {
        let frame = self.pages.get(index).and_then(|page: &Passenger| page.frame);
        if let (Some(host), Some(frame)) = (self.device.as_host(), frame) {
            host.frames().note_filled(frame, PageCount::new(count as u64));
        }
        debug_assert!(count <= count_of(self.range));
    }
}
