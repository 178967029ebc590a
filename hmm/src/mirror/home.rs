//! Bringing pages home: the same steps for the thread that migrates and for the fault handler.
//!
//! A run of pages is claimed, the devices stop using it, its bytes are fetched, and then it is put
//! where it belongs by now. `DESIGN.md` draws what may happen in between.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::addr::pages::{above, bytes_of, count_of, page_bytes, pages_from, pages_in};
use crate::addr::{PageCount, VaRange, VirtAddr};
use crate::device::Hold;
use crate::fatal::or_die;
use crate::mirror::shared::{Shared, State};
use crate::mirror::table::{BLOCK, Held, HeldRun, Mover, Place};
use crate::notifier::Event;
use crate::sync::MutexGuard;
use crate::sys::device::{DeviceMemory, HostDevice, MirrorCall};
use crate::sys::owned::Owned;
use crate::sys::survey::PageSet;
use crate::sys::uffd::{Outcome, Refusal, Resolution, Wakeup};

/// How often bringing a page home is tried while the host has no memory for it.
pub(crate) const MEMORY_TRIES: u32 = 100;

/// How many pages are fetched before they are put where they belong: few enough that their bytes
/// are still in the cache of the processor by then.
const PORTION: usize = 64;

const TOO_SHORT: &str = "a buffer is too short for the pages that come home";

/// A thread that brings pages home.
pub(crate) trait BringsHome {
    /// The list of pages in transit that the thread has.
    fn mover(&self) -> Mover;

    /// Pauses, so that the change of mappings goes on for whose sake the kernel refused a request.
    fn pause(&mut self, shared: &Shared);

    /// Room for [`BLOCK`] pages, none of which ever moves.
    fn buffer(&mut self) -> &mut Owned<u8>;
}

/// A run of pages that is being brought home.
struct HomeMigration<'c> {
    shared: &'c Shared,
    run: HeldRun,
    count: usize,
    /// The mover itself has cleared the marks of the pages before this index.
    unmarked: usize,
    memory_tries: u32,
    /// Pages that the device does not give back.
    unfetched: PageSet,
}

/// Brings the first pages of `range` home that a device holds, at most `limit` of them, and returns
/// which they were; `None` if no device holds any.
pub(crate) fn bring_next(
    shared: &Shared,
    thread: &mut dyn BringsHome,
    range: VaRange,
    limit: usize,
) -> Option<VaRange> {
    let run = claim(shared, thread.mover(), range, limit)?;
    let by = None;
    let event = match run.first.hold {
        Hold::Private => Event::Migrate { by },
        Hold::Exclusive => Event::Exclusive { by },
    };
    let guard = shared.invalidate(event, run.range);
    let device = shared.lock().devices.get(run.first.device);
    let device = or_die(device, "a page is on a device that is not attached");
    let count = count_of(run.range);
    let unfetched = PageSet::default();
    let mut migration =
        HomeMigration { shared, run, count, unmarked: 0, memory_tries: 0, unfetched };
    migration.run(thread, &*device);
    device.free(&MirrorCall::BY_MIRROR, run.first.frame, run.range);
    drop(guard);
    Some(run.range)
}

/// Claims pages: in the table they change from held by the device to in transit.
fn claim(shared: &Shared, mover: Mover, range: VaRange, limit: usize) -> Option<HeldRun> {
    let mut state = shared.lock();
    let run = state.table.next_held(range, limit.min(BLOCK) as u64)?;
    for index in 0..count_of(run.range) {
        // A page that is in the table has room there.
        let set = state.table.set(above(run.range.start(), index), Place::Transit(mover, index));
        or_die(set.ok(), "no room to note that a page is on its way home");
    }
    Some(run)
}

impl HomeMigration<'_> {
    fn run(&mut self, thread: &mut dyn BringsHome, device: &dyn DeviceMemory) {
        let mut fetched = if device.as_host().is_some() { self.count } else { 0 };
        let mut index = 0;
        while index < self.count {
            if index == fetched {
                fetched = self.count.min(index + PORTION);
                self.fetch(thread, device, index..fetched);
            }
            match self.put_next(thread, device, index..fetched) {
                0 => {
                    self.shared.stats.retries.add(1);
                    thread.pause(self.shared);
                }
                done => index += done,
            }
        }
    }

    /// Fetches the bytes into the buffer. A page that cannot be fetched is lost.
    fn fetch(
        &mut self,
        thread: &mut dyn BringsHome,
        device: &dyn DeviceMemory,
        pages: Range<usize>,
    ) {
        let run = self.run;
        let mut fetch = |pages: Range<usize>| {
            let host = pages_from(above(run.range.start(), pages.start), pages.len());
            let first = run.first.advance(pages.start as u64);
            let bytes = or_die(thread.buffer().get_mut(bytes_of(pages)), TOO_SHORT);
            copy_out(device, first, host, bytes)
        };
        if fetch(pages.clone()) {
            return;
        }
        for index in pages {
            if !fetch(index..index + 1) {
                self.unfetched.insert(index);
            }
        }
    }

    /// Gives a page up. Returns how many pages need nothing more.
    fn lose(&self, mover: Mover, index: usize) -> usize {
        let mut state = self.shared.lock();
        let Some(at) = state.table.transit(mover).at(index) else {
            return 1;
        };
        let page = pages_from(at, 1);
        if !self.shared.lose(page) {
            return 0;
        }
        state.table.forget(page);
        drop(state);
        self.shared.wake(page);
        1
    }

    /// Puts the first of `pages` where they belong and returns how many need nothing more; none
    /// if a change of mappings has to go on first.
    fn put_next(
        &mut self,
        thread: &mut dyn BringsHome,
        device: &dyn DeviceMemory,
        pages: Range<usize>,
    ) -> usize {
        let (mover, index) = (thread.mover(), pages.start);
        let state = self.shared.lock();
        let Some(at) = state.table.transit(mover).at(index) else {
            // It was dropped or unmapped meanwhile and has no home any more.
            self.shared.stats.discarded.add(1);
            return 1;
        };
        if self.unfetched.contains(index) {
            drop(state);
            return self.lose(mover, index);
        }
        let end = pages.clone().find(|&index| self.unfetched.contains(index));
        let range = together(&state, mover, at, index..end.unwrap_or(pages.end));
        match self.marked(index, range) {
            Found::Marked(range) => self.put(thread, device, state, index, range),
            Found::Unmarked(range) => self.discard(state, range),
            Found::Unknown => 0,
        }
    }

    /// Finds out how far the pages are still the mirror's.
    fn marked(&self, index: usize, range: VaRange) -> Found {
        if index < self.unmarked {
            let known = count_of(range).min(self.unmarked - index);
            return Found::Marked(pages_from(range.start(), known));
        }
        let mut first = None;
        let found = self.shared.marks.for_each(range, |run| {
            first = Some(match first {
                None => run,
                Some(first) => joined(first, run).unwrap_or(first),
            });
        });
        match first.filter(|_| found.is_ok()) {
            Some(run) if run.start() == range.start() => Found::Marked(run),
            Some(run) => {
                VaRange::new(range.start(), run.start()).map_or(Found::Unknown, Found::Unmarked)
            }
            None if found.is_ok() => Found::Unmarked(range),
            None => Found::Unknown,
        }
    }

    /// Forgets pages whose marks are gone. If the message about a change of mappings is unread, the
    /// change may have moved the marks, and nothing is forgotten.
    fn discard(&self, mut state: MutexGuard<'_, State>, range: VaRange) -> usize {
        if self.shared.transfer.unmark(range) == Resolution::Retry {
            return 0;
        }
        state.table.forget(range);
        drop(state);
        self.shared.stats.discarded.add(count_of(range) as u64);
        self.shared.wake(range);
        count_of(range)
    }

    fn put(
        &mut self,
        thread: &mut dyn BringsHome,
        device: &dyn DeviceMemory,
        mut state: MutexGuard<'_, State>,
        index: usize,
        range: VaRange,
    ) -> usize {
        let outcome = match device.as_host() {
            Some(host) => self.put_frames(host, index, range),
            None => {
                let bytes = thread.buffer().range();
                let src = pages_from(above(bytes.start(), index), count_of(range));
                self.shared.transfer.copy_home(range.start(), src, Wakeup::Now)
            }
        };
        let mut done = pages_in(outcome.done_bytes);
        // The request has woken the threads that wait for these pages. The threads find the pages,
        // whatever the table says; if they change mappings then, the messages are read only after
        // this lock is released. The pages are counted under the lock, which `Mirror::stats` takes:
        // a thread that was woken sees its page counted.
        state.table.forget(pages_from(range.start(), done));
        self.shared.stats.pages_home.add(done as u64);
        drop(state);
        // If a part of the run came home, the rest is requested again: a single page may come home
        // where a run cannot.
        if done == 0 {
            done += self.overcome(thread.mover(), index + done, outcome.resolution);
        }
        done
    }

    /// Moves frames, or copies them where pages cannot be moved to.
    fn put_frames(&mut self, host: &HostDevice, index: usize, range: VaRange) -> Outcome {
        let (frame, count) = (self.run.first.advance(index as u64).frame, count_of(range));
        let count = PageCount::new(count as u64);
        let src = or_die(host.frames().range_of(frame, count).ok(), "a page is in no frame");
        let cleared = self.shared.transfer.unmark(range);
        if cleared != Resolution::Done {
            return Outcome { done_bytes: 0, resolution: cleared };
        }
        self.unmarked = self.unmarked.max(index + count_of(range));
        let moved = self.shared.transfer.move_home(range.start(), src, Wakeup::Now);
        let pages = PageCount::new(moved.done_bytes / page_bytes());
        host.frames().note_emptied(frame, pages);
        match moved.resolution {
            Resolution::Refused(_) if moved.done_bytes == 0 => {
                self.shared.transfer.copy_home(range.start(), src, Wakeup::Now)
            }
            _ => moved,
        }
    }

    /// Handles the reason why a page did not come home. Returns 1 if the page is finished, and 0 if
    /// it is to be tried again.
    fn overcome(&mut self, mover: Mover, index: usize, why: Resolution) -> usize {
        match why {
            Resolution::Done | Resolution::Retry => 0,
            Resolution::Refused(Refusal::NoMemory) if self.memory_tries < MEMORY_TRIES => {
                self.memory_tries += 1;
                0
            }
            // A page of another mapping is at the address, or nothing is mapped there any more, and
            // no message told of it.
            _ => self.lose(mover, index),
        }
    }
}

/// The pages of a range that have marks, from its start on.
enum Found {
    Marked(VaRange),
    Unmarked(VaRange),
    Unknown,
}

/// The pages at the start of `pages` whose homes are neighbours now; the first page belongs at
/// `at`.
fn together(state: &State, mover: Mover, at: VirtAddr, pages: Range<usize>) -> VaRange {
    let (transit, first) = (state.table.transit(mover), pages.start);
    let follows = |&next: &usize| transit.at(next) == Some(above(at, next - first));
    pages_from(at, pages.take_while(follows).count())
}

fn joined(first: VaRange, next: VaRange) -> Option<VaRange> {
    if first.end() == next.start() { VaRange::new(first.start(), next.end()) } else { None }
}

/// Reads frames; a device that panics has failed.
fn copy_out(device: &dyn DeviceMemory, first: Held, host: VaRange, bytes: &mut [u8]) -> bool {
    let copied = catch_unwind(AssertUnwindSafe(|| {
        device.copy_out(&MirrorCall::BY_MIRROR, first.frame, host, bytes)
    }));
    matches!(copied, Ok(Ok(())))
}
