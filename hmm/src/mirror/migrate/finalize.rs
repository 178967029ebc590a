//! The last step: the table says where each page is, and who waited goes on.

use super::{Content, Copied, Finalized, Passenger, Skip, Voyage};
use crate::addr::pages::{above, count_of, pages_from, pages_in};
use crate::addr::{PageCount, VaRange};
use crate::fatal::{die, or_die};
use crate::mirror::shared::State;
use crate::mirror::table::{Held, Mover, Place};
use crate::sys::device::MirrorCall;
use crate::sys::uffd::{Modes, Outcome, Refusal, Resolution, Wakeup};

impl<'m> Copied<'m> {
    /// Enters the pages that are on the device into the table, and puts the others back.
    pub(crate) fn finalize(mut self) -> Finalized<'m> {
        let voyage = &mut self.0;
        voyage.drop_protected();
        let mut index = 0;
        while index < voyage.pages.len() {
            let claimed = voyage.pages.get(index).is_some_and(|page| page.claimed);
            match if claimed { voyage.finish(index) } else { 1 } {
                0 => voyage.pause(),
                done => index += done,
            }
        }
        voyage.clean_up();
        Finalized(self.0)
    }
}

impl Voyage<'_> {
    /// Drops the pages whose content was copied, run by run.
    fn drop_protected(&mut self) {
        let mut index = 0;
        while index < self.pages.len() {
            let run = self.frame_run(index).max(1);
            let page = self.pages.get(index);
            if page.is_some_and(|page| page.goes() && page.content == Content::Protected) {
                self.drop_run(index, run);
            }
            index += run;
        }
    }

    fn drop_run(&mut self, index: usize, count: usize) {
        let range = pages_from(self.at(index), count);
        let mut state = self.core.lock();
        let all = self.still_there(&state, index, count) == count;
        let lease = self.order.lease.filter(|lease| all && lease.range().contains_range(&range));
        let Some(lease) = lease else {
            drop(state);
            return self.skip(index, count, Skip::Changed);
        };
        state.own_drop = Some(range);
        drop(state);
        let stayed = self.core.transfer.drop_copied(range, lease);
        self.core.lock().own_drop = None;
        for (place, page) in self.pages.iter_mut().skip(index).take(count).enumerate() {
            match stayed.is_occupied(place) {
                true => page.skip = Some(Skip::Unmovable),
                false => page.content = Content::Dropped,
            }
        }
    }

    /// Settles the pages from `index` on that belong together and returns how many; none if a
    /// change of mappings has to go on first.
    fn finish(&mut self, index: usize) -> usize {
        let core = self.core;
        let mut state = core.lock();
        let transit = state.table.transit(Mover::Migrator);
        let Some(at) = transit.at(index) else {
            drop(state);
            return self.gone(index);
        };
        let alike = self.run(index, |page, first| {
            (page.goes(), page.content, page.claimed)
                == (first.goes(), first.content, first.claimed)
        });
        let follows = |&next: &usize| transit.at(next) == Some(above(at, next - index));
        let count = 1 + (index + 1..index + alike.max(1)).take_while(follows).count();
        let range = pages_from(at, count);
        let left = !matches!(self.content(index), Content::Home | Content::Protected);
        if left && self.find_at_home(index, range) {
            return 0;
        }
        let done = if self.pages.get(index).is_some_and(Passenger::goes) {
            self.enter_on_device(&mut state, index, range)
        } else {
            self.put_back_home(&mut state, index, range)
        };
        drop(state);
        core.wake(range);
        done
    }

    /// A page that was dropped or unmapped on its way.
    fn gone(&mut self, index: usize) -> usize {
        self.skip(index, 1, Skip::Changed);
        self.core.stats.discarded.add(1);
        1
    }

    /// Marks the holes and says who holds the pages.
    fn enter_on_device(&mut self, state: &mut State, index: usize, range: VaRange) -> usize {
        let content = self.content(index);
        if content == Content::Home {
            die(&format_args!("{range} was to go to a device and was never taken"));
        }
        let may_wait = content == Content::Dropped || !self.backoff.is_exhausted();
        let reason = match self.core.transfer.mark(range) {
            Resolution::Done => None,
            Resolution::Retry => return 0,
            Resolution::Refused(Refusal::NoMemory) if may_wait => return 0,
            Resolution::Refused(Refusal::NoMemory) => Some(Skip::NoHostMemory),
            _ => Some(Skip::Changed),
        };
        if let Some(reason) = reason {
            self.skip(index, count_of(range), reason);
            return self.put_back_home(state, index, range);
        }
        let (device, hold) = (self.order.device, self.order.hold);
        let pages = self.pages.iter().skip(index).take(count_of(range));
        for (offset, page) in pages.enumerate() {
            let frame = or_die(page.frame, "a page went to a device without a frame");
            let held = Held { device, frame, hold, huge: page.huge };
            // The page is in the table, so there is room for it.
            let set = state.table.set(above(range.start(), offset), Place::Device(held));
            or_die(set.ok(), "no room to note that a page is on a device");
        }
        count_of(range)
    }

    /// Finds pages that are where they belong, and says so: they never left. A page was taken for
    /// moved that a change of mappings, not yet read then, had only taken along. Under the lock
    /// nobody else fills the hole of a page in transit; but what is there may be another mapping
    /// while a message is unread, so the kernel is asked afterwards. Tells whether to begin again.
    fn find_at_home(&mut self, index: usize, range: VaRange) -> bool {
        let core = self.core;
        let survey = core.transfer.look(range);
        let mut again = false;
        let pages = self.pages.iter_mut().skip(index).take(count_of(range)).enumerate();
        for (place, page) in pages.filter(|(place, _)| survey.present.contains(*place)) {
            let at = pages_from(above(range.start(), place), 1);
            match core.transfer.uffd().check_watched(at) {
                Resolution::Done => {
                    (page.content, page.skip) = (Content::Home, Some(Skip::Changed));
                    again = true;
                }
                Resolution::Retry => again = true,
                _ => {}
            }
        }
        again
    }

    fn content(&self, index: usize) -> Content {
        or_die(self.pages.get(index), "a page under migration is not in its block").content
    }

    /// Puts pages back where they belong.
    fn put_back_home(&mut self, state: &mut State, index: usize, range: VaRange) -> usize {
        let content = self.content(index);
        let mut outcome = self.put_back(index, range, content);
        if outcome.done_bytes == 0 && outcome.resolution == Resolution::AlreadyThere {
            // Marks were placed in a part of the range.
            match self.core.transfer.unmark(range) {
                Resolution::Retry => return 0,
                _ => outcome = self.put_back(index, range, content),
            }
        }
        let is_elsewhere = !matches!(content, Content::Protected | Content::Nothing);
        let mut done = pages_in(outcome.done_bytes);
        if done == 0 {
            match outcome.resolution {
                Resolution::Retry | Resolution::Refused(Refusal::NoMemory) => return 0,
                _ if is_elsewhere && !self.core.lose(pages_from(range.start(), 1)) => return 0,
                _ => done = 1,
            }
        }
        state.table.forget(pages_from(range.start(), done));
        done
    }

    fn put_back(&self, index: usize, range: VaRange, content: Content) -> Outcome {
        let count = count_of(range);
        let src = match content {
            Content::Frame => {
                let frame = self.pages.get(index).and_then(|page| page.frame);
                let src = frame.and_then(|frame| self.frame_range(frame, 1));
                or_die(src, "a page went to a device without a frame")
            }
            Content::Staging => self.staged(index, count),
            Content::Home => {
                return Outcome { done_bytes: range.len_bytes(), resolution: Resolution::Done };
            }
            Content::Dropped => {
                let resolution = Resolution::Refused(Refusal::Unsuitable);
                return Outcome { done_bytes: 0, resolution };
            }
            Content::Protected | Content::Nothing => {
                let lifted = self.core.transfer.unprotect(range, Wakeup::Later);
                let done_bytes = if lifted == Resolution::Done { range.len_bytes() } else { 0 };
                return Outcome { done_bytes, resolution: lifted };
            }
        };
        // Frames of neighbouring pages need not be neighbours.
        let moved = self.core.transfer.move_home(range.start(), src, Wakeup::Later);
        match moved.resolution {
            Resolution::Refused(_) if moved.done_bytes == 0 => {
                self.core.transfer.copy_home(range.start(), src, Wakeup::Later)
            }
            _ => moved,
        }
    }

    /// Gives back the frames of pages that stayed, and empties the staging memory.
    fn clean_up(&mut self) {
        let mut went = 0;
        let staged = self.pages.iter().any(|page| page.content == Content::Staging);
        let moved_nothing = self.pages.iter().any(|page| page.content == Content::Nothing);
        for page in &self.pages {
            match page.frame {
                Some(frame) if !page.goes() => {
                    self.device.free(&MirrorCall::BY_MIRROR, frame, PageCount::new(1));
                }
                _ => went += u64::from(page.goes()),
            }
        }
        self.core.stats.pages_out.add(went);
        let skipped = self.pages.iter().filter(|page| page.skip.is_some()).count();
        self.core.stats.skipped.add(skipped as u64);
        if (staged || moved_nothing) && self.device.as_host().is_none() {
            self.empty_staging();
        }
    }

    /// Drops what was moved to the staging memory. What cannot be dropped is in the way of the next
    /// migration, which tries again and then skips.
    pub(super) fn empty_staging(&mut self) {
        let is_clean = self.make_holes(self.scratch.staging.range());
        self.scratch.staging.set_clean(is_clean);
    }

    /// Makes holes of a part of the staging memory, which meanwhile is not watched: else the kernel
    /// would wait until the handler has read about it. Tells whether they are holes and watched.
    pub(super) fn make_holes(&mut self, part: VaRange) -> bool {
        let uffd = self.core.transfer.uffd();
        let _ = uffd.unregister(part);
        let cleared = self.scratch.staging.clear(part).is_ok();
        let watched = uffd.register(part, Modes::PROTECTED).is_ok();
        if !watched {
            self.scratch.staging.set_clean(false);
        }
        cleared && watched
    }
}
