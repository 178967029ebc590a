//! Moves of pages, after which the place of each page is known.
//!
//! A move makes one request for each run of present pages, and passes over the holes between the
//! runs itself. It never asks the kernel to pass over holes, because Linux 6.18 may then never
//! return. After a run that the kernel did not move to its end, the move reads from the page table
//! where each page of the run is: the kernel may have moved pages that it did not count.
//! `DESIGN.md` says why each conclusion holds.
//!
//! # Safety
//!
//! The rules are those of `mod.rs`, under which the functions here are called.

use super::requests::{Request, Transfer, within_one_area};
use crate::addr::pages::{above, count_of, pages_from, pages_in};
use crate::addr::{VaRange, VirtAddr};
use crate::sys::survey::Survey;
use crate::sys::uffd::{Outcome, Resolution, Wakeup};

/// The result of a move out.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct MoveOutcome {
    pub(crate) outcome: Outcome,
    /// If a page at the destination blocks the first page of the move: the pages of the
    /// destination, from its start on, that hold none of the moved pages. Else empty.
    pub(crate) blocking: VaRange,
}

impl Transfer {
    /// Moves pages that are in transit to `dst`, which is memory of the mirror or a device. Holes
    /// count as moved. Pages that are not watched are [`Resolution::Vanished`]: a thread that
    /// touches their holes would not wait.
    pub(crate) fn move_out(&self, dst: VirtAddr, src: VaRange) -> MoveOutcome {
        let mut blocking = VaRange::default();
        let outcome = within_one_area(src, |src| {
            // Rule 1. The destination belongs to the mirror or to a device that has given it out
            // for this.
            let mut transfer = Move::new(self, Request::MoveOut, dst, src, Wakeup::Later);
            // This comes after the survey: if a message is unread, the survey may have been of
            // other memory.
            let watched = self.uffd.check_watched(src);
            if watched != Resolution::Done {
                return Outcome { done_bytes: 0, resolution: watched };
            }
            let outcome = transfer.run();
            if outcome.done_bytes == 0 && outcome.resolution == Resolution::AlreadyThere {
                blocking = transfer.free_of_pages();
            }
            outcome
        });
        MoveOutcome { outcome, blocking }
    }

    /// Moves pages from where [`Transfer::move_out`] put them to where they belong.
    pub(crate) fn move_home(&self, dst: VirtAddr, src: VaRange, wakeup: Wakeup) -> Outcome {
        // Rule 2. The source is where the content was put, and is not needed there once it is home.
        within_one_area(src, |src| Move::new(self, Request::MoveHome, dst, src, wakeup).run())
    }
}

/// A move under the lock of the table.
struct Move<'c> {
    transfer: &'c Transfer,
    kind: Request,
    dst: VirtAddr,
    src: VaRange,
    wakeup: Wakeup,
    /// The pages at the source before the move.
    before: Survey,
    /// Whether pages got to the destination without the kernel waking the threads that wait for
    /// them.
    unwoken: bool,
}

impl<'c> Move<'c> {
    /// Looks at the source; moves nothing yet.
    fn new(
        transfer: &'c Transfer,
        kind: Request,
        dst: VirtAddr,
        src: VaRange,
        wakeup: Wakeup,
    ) -> Self {
        let before = transfer.look(src);
        Self { transfer, kind, dst, src, wakeup, before, unwoken: false }
    }

    /// Moves the pages, as far as it goes.
    fn run(&mut self) -> Outcome {
        let count = count_of(self.src);
        let (mut done, mut resolution) = (0, Resolution::Done);
        while done < count && resolution == Resolution::Done {
            let step;
            (step, resolution) = if self.before.is_occupied(done) {
                self.move_run(done)
            } else {
                self.pass_holes(done)
            };
            done += step;
        }
        let done = pages_from(self.dst, done);
        if self.unwoken && self.wakeup == Wakeup::Now {
            // Waking fails only if the process ends.
            let _ = self.transfer.uffd.wake(done);
        }
        Outcome { done_bytes: done.len_bytes(), resolution }
    }

    /// Moves the run of pages from `first` on. Returns how many are at the destination, and whether
    /// the move can go on behind them.
    fn move_run(&mut self, first: usize) -> (usize, Resolution) {
        let count = self.length(first, |page| self.before.is_occupied(page));
        let (to, from) = (above(self.dst, first), self.source(first, count));
        let outcome = self.transfer.attempt(self.kind, from, |from| {
            // SAFETY: 1. and 2. The callers give the rules that allow it.
            unsafe { self.transfer.uffd.move_pages(to, from, self.wakeup) }
        });
        if outcome.resolution == Resolution::Done {
            return (count, Resolution::Done);
        }
        let counted = pages_in(outcome.done_bytes);
        let (at, rest) = (first + counted, count - counted);
        if rest == 0 {
            return (count, Resolution::Done);
        }
        let after = self.look_after(at, rest);
        let uncounted = (0..rest).take_while(|&page| after.has_arrived(page)).count();
        self.unwoken |= uncounted > 0;
        let moved = counted + uncounted;
        if moved == count || uncounted > 0 && outcome.resolution == Resolution::AlreadyThere {
            return (moved, Resolution::Done);
        }
        if !after.is_nowhere(uncounted) || outcome.resolution != Resolution::Vanished {
            return (moved, outcome.resolution);
        }
        let confirmed = self.confirm_hole(first + moved);
        if confirmed == Resolution::Done {
            self.before.vacate(first + moved);
        }
        (moved, confirmed)
    }

    /// Looks where pages of the source are after a request that did not finish.
    fn look_after(&self, first: usize, count: usize) -> After {
        let source = self.source(first, count);
        let here = self.transfer.look(pages_from(above(self.dst, first), count));
        let there = self.transfer.look(source);
        // This comes after the survey: if a message is unread, the survey may have been of other
        // memory. The mirror's own memory is never replaced.
        let unread = self.kind == Request::MoveOut
            && self.transfer.uffd.check_watched(source) == Resolution::Retry;
        After { here, there, unread }
    }

    /// Finds out whether a page of the source that the survey did not find is a hole, because it
    /// was dropped or reclaimed: [`Resolution::Done`] if so. Otherwise a change of mappings whose
    /// message is unread may have moved the page; that cannot happen to memory of the mirror.
    fn confirm_hole(&self, page: usize) -> Resolution {
        match self.kind {
            Request::MoveHome => Resolution::Done,
            _ => self.transfer.uffd.check_watched(self.source(page, 1)),
        }
    }

    /// Passes over the run of holes from `first` on, as far as there are holes at the destination
    /// too, and as the kernel would move pages in their places.
    fn pass_holes(&mut self, first: usize) -> (usize, Resolution) {
        let count = self.length(first, |page| !self.before.is_occupied(page));
        let here = self.transfer.look(pages_from(above(self.dst, first), count));
        let holes = (0..count).take_while(|&page| !here.is_occupied(page)).count();
        if holes == 0 {
            return (0, Resolution::AlreadyThere);
        }
        if self.kind == Request::MoveOut {
            let asked = self.request_hole(first);
            if asked.resolution != Resolution::Done || asked.done_bytes > 0 {
                return (pages_in(asked.done_bytes), asked.resolution);
            }
        }
        self.unwoken = true;
        (holes, Resolution::Done)
    }

    /// Asks the kernel to move a hole, which it cannot: [`Resolution::Done`] if that is the only
    /// reason. If the memory was protected or replaced since its areas were looked up, the kernel
    /// refuses, and the device does not get zeroes for it. If a page was stored there meanwhile, it
    /// moves.
    fn request_hole(&self, page: usize) -> Outcome {
        let (to, from) = (above(self.dst, page), self.source(page, 1));
        // SAFETY: 1. and 2. The callers give the rules that allow it.
        let outcome = unsafe { self.transfer.uffd.move_pages(to, from, self.wakeup) };
        match outcome.resolution {
            Resolution::Vanished => Outcome { done_bytes: 0, resolution: self.confirm_hole(page) },
            _ => outcome,
        }
    }

    /// The pages of the destination, from its start on, up to the first that holds a moved page.
    fn free_of_pages(&self) -> VaRange {
        let count = count_of(self.src);
        let after = self.look_after(0, count);
        let holds = |&page: &usize| self.before.is_occupied(page) && after.has_arrived(page);
        let free = (0..count).take_while(|page| !holds(page)).count();
        pages_from(self.dst, free)
    }

    /// The length of the run of pages from `first` on.
    fn length(&self, first: usize, is_in: impl Fn(usize) -> bool) -> usize {
        (first..count_of(self.src)).take_while(|&page| is_in(page)).count()
    }

    fn source(&self, first: usize, count: usize) -> VaRange {
        pages_from(above(self.src.start(), first), count)
    }
}

/// The places of pages after a request that did not finish.
struct After {
    /// The pages at the destination.
    here: Survey,
    /// The pages at the source.
    there: Survey,
    /// Whether a message about a change of mappings is unread. The change may have moved the pages
    /// of the source, so that other memory may be in their place.
    unread: bool,
}

impl After {
    /// Tells whether a page that was at the source is at the destination. If a message is unread, a
    /// change of mappings may have moved the page instead: the migration then finds the page at
    /// home before it enters the page into the table.
    fn has_arrived(&self, page: usize) -> bool {
        self.here.is_occupied(page) && (self.unread || !self.there.is_occupied(page))
    }

    fn is_nowhere(&self, page: usize) -> bool {
        !self.here.is_occupied(page) && !self.there.is_occupied(page)
    }
}
