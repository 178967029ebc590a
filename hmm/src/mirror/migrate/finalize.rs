//! The last step: pages enter the table or are put back, and the threads that waited are woken.

use super::block::Block;
use super::copy::Copied;
use super::outcome::{Migration, Skip};
use super::pages::{Content, Ended, Frame, Leaving, Left, Source, Taken, frame_run};
use crate::addr::VaRange;
use crate::addr::pages::{above, count_of, pages_from, pages_in};
use crate::fatal::{die, or_die};
use crate::mirror::shared::State;
use crate::mirror::table::{Held, Mover, Place};
use crate::sys::device::MirrorCall;
use crate::sys::uffd::{Outcome, Refusal, Resolution, Wakeup};

/// Pages that are on the device or home.
pub(super) struct Finalized<'m> {
    block: Block<'m>,
    pages: &'m mut Vec<Ended>,
}

impl<'m> Finalized<'m> {
    /// Enters the pages that are on the device into the table, and puts the others back.
    pub(super) fn after(
        copied: Copied<'m>,
        leaving: &'m mut Vec<Leaving>,
        ended: &'m mut Vec<Ended>,
    ) -> Self {
        let Copied { block, pages } = copied;
        leaving.clear();
        ended.clear();
        let mut finalization = Finalization { block, leaving, ended };
        finalization.drop_protected(pages);
        finalization.run();
        finalization.clean_up();
        let Finalization { block, ended, .. } = finalization;
        Self { block, pages: ended }
    }

    /// Returns the result of the migration of the block.
    pub(super) fn report(&self) -> Migration {
        let mut result = Migration::default();
        for (index, page) in self.pages.iter().enumerate() {
            match *page {
                Ended::Stays(reason) => result.skip(self.block.page(index), reason),
                Ended::There => result.count_already_there(),
                Ended::Moved => result.count_moved(),
            }
        }
        result
    }

    /// Pages that could not be moved because another process shares them. A store to such a page
    /// ends the sharing.
    pub(super) fn shared_pages(&self) -> impl Iterator<Item = VaRange> {
        let pinned = self.pages.iter().enumerate();
        let pinned = pinned.filter(|(_, page)| **page == Ended::Stays(Skip::Pinned));
        pinned.map(|(index, _)| self.block.page(index))
    }
}

/// The pages that leave or go back, and the results of those that are finished. The next page is
/// the one at the index that `ended` has reached.
struct Finalization<'m> {
    block: Block<'m>,
    leaving: &'m mut Vec<Leaving>,
    ended: &'m mut Vec<Ended>,
}

/// The destination of a page, and the place of its content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Destination {
    Device(Left),
    Home(Source),
}

impl Finalization<'_> {
    /// Drops the pages whose content was copied, run by run.
    fn drop_protected(&mut self, pages: &[Taken]) {
        while let Some(&page) = pages.get(self.leaving.len()) {
            self.leaving.push(match page {
                Taken::Stays(stay) => Leaving::Stays(stay),
                Taken::There => Leaving::There,
                Taken::Returns { reason, frame, content } => {
                    Leaving::Returns { reason, frame, source: source(content) }
                }
                Taken::Goes { frame, content } => match left(content) {
                    Some(left) => Leaving::Goes { frame, left },
                    None => {
                        self.drop_run(pages);
                        continue;
                    }
                },
            });
        }
    }

    /// Drops the next run of protected pages, whose frames follow each other.
    fn drop_run(&mut self, pages: &[Taken]) {
        let index = self.leaving.len();
        let count = frame_run(pages, index, protected);
        let range = pages_from(self.block.at(index), count);
        let shared = self.block.shared;
        let state = shared.lock();
        let all = self.block.still_there(&state, index, count) == count;
        let lease = self.block.order.lease;
        let lease = lease.filter(|lease| all && lease.range().contains_range(&range));
        let stayed = lease.map(|lease| {
            let _own = shared.announce_own_drop(state, range);
            shared.transfer.drop_copied(range, lease)
        });
        for (offset, &page) in pages.iter().skip(index).take(count).enumerate() {
            let (frame, ()) = or_die(protected(page), "a page was dropped that is not protected");
            let source = Source::Protected;
            self.leaving.push(match &stayed {
                None => Leaving::Returns { reason: Skip::Changed, frame, source },
                Some(stayed) if stayed.is_occupied(offset) => {
                    Leaving::Returns { reason: Skip::Unmovable, frame, source }
                }
                Some(_) => Leaving::Goes { frame, left: Left::Dropped },
            });
        }
    }

    fn run(&mut self) {
        while let Some(&page) = self.leaving.get(self.ended.len()) {
            let before = self.ended.len();
            match page {
                Leaving::Stays(stay) => self.ended.push(Ended::Stays(stay.reason)),
                Leaving::There => self.ended.push(Ended::There),
                Leaving::Goes { left, .. } => self.finish(Destination::Device(left)),
                Leaving::Returns { source, .. } => self.finish(Destination::Home(source)),
            }
            if self.ended.len() == before {
                self.block.pause();
            }
        }
    }

    /// Finishes the next pages that belong together and are alike. If a change of mappings has to
    /// go on first, none is finished.
    fn finish(&mut self, to: Destination) {
        let (shared, index) = (self.block.shared, self.ended.len());
        let mut state = shared.lock();
        let transit = state.table.transit(Mover::Migrator);
        let Some(at) = transit.at(index) else {
            drop(state);
            // The page was dropped or unmapped while it was in transit.
            self.ended.push(Ended::Stays(Skip::Changed));
            return shared.stats.discarded.add(1);
        };
        let is_next = |&next: &usize| {
            self.leaving.get(next).copied().and_then(destination) == Some(to)
                && transit.at(next) == Some(above(at, next - index))
        };
        let count = 1 + (index + 1..self.leaving.len()).take_while(is_next).count();
        let range = pages_from(at, count);
        let left = !matches!(to, Destination::Home(Source::Home | Source::Protected));
        if left && self.find_at_home(range) {
            return;
        }
        match to {
            Destination::Device(left) => self.enter_on_device(&mut state, range, left),
            Destination::Home(source) => self.put_back(&mut state, range, source),
        }
        drop(state);
        shared.wake(range);
    }

    /// Marks the holes and notes that the device holds the next pages.
    fn enter_on_device(&mut self, state: &mut State, range: VaRange, left: Left) {
        let (shared, count) = (self.block.shared, count_of(range));
        let may_wait = left == Left::Dropped || !self.block.backoff.is_exhausted();
        let reason = match shared.transfer.mark(range) {
            Resolution::Done => return self.enter(state, range),
            Resolution::Retry => return,
            Resolution::Refused(Refusal::NoMemory) if may_wait => return,
            Resolution::Refused(Refusal::NoMemory) => Skip::NoHostMemory,
            _ => Skip::Changed,
        };
        for page in self.leaving.iter_mut().skip(self.ended.len()).take(count) {
            if let Leaving::Goes { frame, left } = *page {
                *page = Leaving::Returns { reason, frame, source: Source::Left(left) };
            }
        }
        self.put_back(state, range, Source::Left(left));
    }

    /// Enters the next pages into the table.
    fn enter(&mut self, state: &mut State, range: VaRange) {
        let (device, hold) = (self.block.order.device, self.block.order.hold);
        let pages = self.leaving.iter().skip(self.ended.len()).take(count_of(range));
        for (offset, page) in pages.enumerate() {
            let Leaving::Goes { frame, .. } = *page else {
                die(&"a page that goes back was to be entered on a device");
            };
            let held = Held { device, frame: frame.number, hold, huge: frame.huge };
            // The page is in the table, so there is room for it.
            let set = state.table.set(above(range.start(), offset), Place::Device(held));
            or_die(set.ok(), "no room to note that a page is on a device");
            self.ended.push(Ended::Moved);
        }
    }

    /// Finds pages among the next that are where they belong, and notes that they never left. Such
    /// a page was taken for moved, although a change of mappings, whose message was unread then,
    /// had moved it to its new home. Under the lock no other thread fills the hole of a page in
    /// transit; but while a message is unread, the page there may be that of another mapping, so
    /// `check_watched` comes after the survey. Tells whether to begin again.
    fn find_at_home(&mut self, range: VaRange) -> bool {
        let transfer = &self.block.shared.transfer;
        let survey = transfer.look(range);
        let mut again = false;
        let pages = self.leaving.iter_mut().skip(self.ended.len()).take(count_of(range));
        for (place, page) in pages.enumerate().filter(|(place, _)| survey.present.contains(*place))
        {
            let at = pages_from(above(range.start(), place), 1);
            match transfer.uffd().check_watched(at) {
                Resolution::Done => {
                    if let Leaving::Goes { frame, .. } | Leaving::Returns { frame, .. } = *page {
                        let (reason, source) = (Skip::Changed, Source::Home);
                        *page = Leaving::Returns { reason, frame, source };
                    }
                    again = true;
                }
                Resolution::Retry => again = true,
                _ => {}
            }
        }
        again
    }

    /// Puts the next pages back where they belong.
    fn put_back(&mut self, state: &mut State, range: VaRange, source: Source) {
        let mut outcome = self.restore(range, source);
        if outcome.done_bytes == 0 && outcome.resolution == Resolution::AlreadyThere {
            // Marks were placed in a part of the range.
            match self.block.shared.transfer.unmark(range) {
                Resolution::Retry => return,
                _ => outcome = self.restore(range, source),
            }
        }
        let is_elsewhere = !matches!(source, Source::Protected | Source::Left(Left::Nothing));
        let mut done = pages_in(outcome.done_bytes);
        if done == 0 {
            let first = pages_from(range.start(), 1);
            match outcome.resolution {
                Resolution::Retry | Resolution::Refused(Refusal::NoMemory) => return,
                _ if is_elsewhere && !self.block.shared.lose(first) => return,
                _ => done = 1,
            }
        }
        state.table.forget(pages_from(range.start(), done));
        for page in self.leaving.iter().skip(self.ended.len()).take(done) {
            let Leaving::Returns { reason, .. } = *page else {
                die(&"a page that goes to a device was put back");
            };
            self.ended.push(Ended::Stays(reason));
        }
    }

    /// Restores the content of pages.
    fn restore(&self, range: VaRange, source: Source) -> Outcome {
        let transfer = &self.block.shared.transfer;
        let src = match source {
            Source::Home => {
                return Outcome { done_bytes: range.len_bytes(), resolution: Resolution::Done };
            }
            Source::Left(Left::Dropped) => {
                let resolution = Resolution::Refused(Refusal::Unsuitable);
                return Outcome { done_bytes: 0, resolution };
            }
            Source::Protected | Source::Left(Left::Nothing) => {
                let lifted = transfer.unprotect(range, Wakeup::Later);
                let done_bytes = if lifted == Resolution::Done { range.len_bytes() } else { 0 };
                return Outcome { done_bytes, resolution: lifted };
            }
            Source::Left(Left::Staging) => self.block.staged(self.ended.len(), count_of(range)),
            // Frames of neighbouring pages need not be neighbours, so they go back one by one.
            Source::Left(Left::Frame) => self.next_frame(),
        };
        let moved = transfer.move_home(range.start(), src, Wakeup::Later);
        match moved.resolution {
            Resolution::Refused(_) if moved.done_bytes == 0 => {
                transfer.copy_home(range.start(), src, Wakeup::Later)
            }
            _ => moved,
        }
    }

    /// The addresses of the frame of the next page.
    fn next_frame(&self) -> VaRange {
        let frame = self.leaving.get(self.ended.len()).copied().and_then(frame_of);
        let range = frame.and_then(|frame| self.block.frame_range(frame.number, 1));
        or_die(range, "a page was moved to a frame that its device does not have")
    }

    /// Gives back the frames of pages that stayed, and empties the staging memory.
    fn clean_up(&mut self) {
        let (mut moved, mut skipped) = (0, 0);
        for (index, (page, ended)) in self.leaving.iter().zip(&*self.ended).enumerate() {
            match ended {
                Ended::Moved => moved += 1,
                Ended::There => {}
                Ended::Stays(_) => {
                    skipped += 1;
                    if let Some(frame) = frame_of(*page) {
                        let host = self.block.page(index);
                        self.block.device.free(&MirrorCall::BY_MIRROR, frame.number, host);
                    }
                }
            }
        }
        self.block.shared.stats.pages_out.add(moved);
        self.block.shared.stats.skipped.add(skipped);
        let was_staged = |page: &Leaving| {
            matches!(
                destination(*page),
                Some(
                    Destination::Device(Left::Staging | Left::Nothing)
                        | Destination::Home(Source::Left(Left::Staging | Left::Nothing))
                )
            )
        };
        if self.leaving.iter().any(was_staged) && self.block.device.as_host().is_none() {
            self.block.empty_staging();
        }
    }
}

/// The frame of a page that goes and whose content is still at home, write-protected.
fn protected(page: Taken) -> Option<(Frame, ())> {
    match page {
        Taken::Goes { frame, content: Content::Protected } => Some((frame, ())),
        _ => None,
    }
}

/// The place of the content of a page that has left its home; `None` if it has not.
fn left(content: Content) -> Option<Left> {
    match content {
        Content::Frame => Some(Left::Frame),
        Content::Staging => Some(Left::Staging),
        Content::Nothing => Some(Left::Nothing),
        Content::Protected => None,
    }
}

/// The place of the content of a page that goes back; the page was never taken if there is none.
fn source(content: Option<Content>) -> Source {
    content.map_or(Source::Home, |content| left(content).map_or(Source::Protected, Source::Left))
}

/// The destination of a page in transit.
fn destination(page: Leaving) -> Option<Destination> {
    match page {
        Leaving::Goes { left, .. } => Some(Destination::Device(left)),
        Leaving::Returns { source, .. } => Some(Destination::Home(source)),
        Leaving::Stays(_) | Leaving::There => None,
    }
}

fn frame_of(page: Leaving) -> Option<Frame> {
    match page {
        Leaving::Stays(stay) => stay.frame,
        Leaving::There => None,
        Leaving::Goes { frame, .. } | Leaving::Returns { frame, .. } => Some(frame),
    }
}
