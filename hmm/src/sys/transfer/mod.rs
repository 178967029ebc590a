//! Carrying pages between their home and a device.
//!
//! # Safety
//!
//! Giving content to pages and taking it away changes the memory of the program, so the requests
//! of the userfaultfd are unsafe. The program does not notice if a page gets back what it had
//! before anybody can look at it. That is what the protocol in `DESIGN.md` achieves, and what
//! every proof here rests on:
//!
//! 1. A page is taken only while the table says that the caller has it in transit. Whoever touches
//!    it from then on waits.
//! 2. A page gets content only from where its own content was taken to, as the table says, and
//!    zeroes only if the table says that no content was taken.
//! 3. The table is locked from the moment that it is asked until the request is made. Messages
//!    about changes of mappings are read under the same lock, and the kernel refuses the request
//!    while one is unread. So what the table says is true when the request is made.
//! 4. All of this is about memory that is watched: of other memory no message tells. So before
//!    pages are taken, the kernel is asked under the same lock whether they are watched.
//! 5. Pages are moved into holes only. A page that was at the source before, and afterwards is at
//!    the destination and not at the source, was moved, whatever the kernel counts. Nothing else
//!    counts as moved but a hole that has a hole for its destination.

#[cfg(test)]
pub(crate) mod injection;
mod moves;
#[cfg(test)]
pub(crate) mod ring;
// Miri has no userfaultfd.
#[cfg(all(test, not(miri)))]
mod tests;

use std::os::fd::{AsFd, BorrowedFd};

use super::lease::Lease;
use super::mmap::{Locked, MemoryError, drop_pages};
use super::owned::Owned;
use super::survey::{Survey, Surveyor};
use super::uffd::{Fill, Outcome, Refusal, Resolution, Uffd, Wakeup};
use crate::addr::pages::{count_of, pages_from};
use crate::addr::{VaRange, VirtAddr};
use crate::fatal::{die, or_die};
use crate::sync::backoff::Backoff;
use moves::Move;

pub(crate) use moves::MoveOutcome;

/// A userfaultfd through which pages are carried.
#[derive(Debug)]
pub(crate) struct Transfer {
    uffd: Uffd,
    pub(crate) surveyor: Surveyor,
    #[cfg(test)]
    pub(crate) injection: injection::Injection,
}

impl AsFd for Transfer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.uffd.as_fd()
    }
}

impl Transfer {
    pub(crate) fn new(uffd: Uffd, surveyor: Surveyor) -> Self {
        Self {
            uffd,
            surveyor,
            #[cfg(test)]
            injection: Default::default(),
        }
    }

    /// Makes a request, unless a test has it end otherwise.
    fn attempt(
        &self,
        kind: Request,
        range: VaRange,
        request: impl FnOnce(VaRange) -> Outcome,
    ) -> Outcome {
        #[cfg(test)]
        let request = |range| self.injection.ring().note(kind, range, request);
        #[cfg(test)]
        if let Some(failure) = self.injection.next(kind) {
            return failure.instead_of(range, request);
        }
        let _ = kind;
        request(range)
    }

    /// Makes a request that says nothing about how far it came.
    fn attempt_whole(
        &self,
        kind: Request,
        range: VaRange,
        request: impl FnOnce(VaRange) -> Resolution,
    ) -> Resolution {
        let request = |range| Outcome { done_bytes: 0, resolution: request(range) };
        self.attempt(kind, range, request).resolution
    }

    /// The userfaultfd, for requests that change no content, and that no test has fail.
    pub(crate) fn uffd(&self) -> &Uffd {
        &self.uffd
    }

    /// Moves pages that are in transit to `dst`, which is memory of the mirror or a device. Holes
    /// count as moved. Pages that are not watched are [`Resolution::Vanished`]: nobody who touches
    /// their holes would wait.
    pub(crate) fn move_out(&self, dst: VirtAddr, src: VaRange) -> MoveOutcome {
        let mut blocking = VaRange::default();
        let outcome = within_one_area(src, |src| {
            // Rule 1. The destination belongs to the mirror or to a device that has given it out
            // for this.
            let mut departure = Move::new(self, Request::MoveOut, dst, src, Wakeup::Later);
            // After the look: where a message is unread, it may have been a look at other memory.
            let watched = self.uffd.check_watched(src);
            if watched != Resolution::Done {
                return Outcome { done_bytes: 0, resolution: watched };
            }
            let outcome = departure.run();
            if outcome.done_bytes == 0 && outcome.resolution == Resolution::AlreadyThere {
                blocking = departure.free_of_pages();
            }
            outcome
        });
        MoveOutcome { outcome, blocking }
    }

    /// Moves pages from where [`Transfer::move_out`] put them to where they belong.
    pub(crate) fn move_home(&self, dst: VirtAddr, src: VaRange, wakeup: Wakeup) -> Outcome {
        // Rule 2. The source is where the content was put, which nobody needs there once it is
        // home.
        within_one_area(src, |src| Move::new(self, Request::MoveHome, dst, src, wakeup).run())
    }

    /// Surveys pages of which it has to be known where they are. If that cannot be found out, the
    /// process ends: whatever was done next could lose bytes.
    pub(crate) fn look(&self, range: VaRange) -> Survey {
        let mut backoff = Backoff::default();
        loop {
            match self.survey(range) {
                Ok(survey) => return survey,
                Err(error) if backoff.is_exhausted() => {
                    die(&format_args!("cannot find out which pages of {range} are there: {error}"))
                }
                Err(_) => backoff.pause(),
            }
        }
    }

    fn survey(&self, range: VaRange) -> rustix::io::Result<Survey> {
        #[cfg(test)]
        if let Some(failure) = self.injection.next(Request::Survey) {
            let all = failure.resolution == Resolution::AlreadyThere;
            return if all { Ok(Survey::of_pages()) } else { Err(rustix::io::Errno::NOMEM) };
        }
        self.surveyor.survey(range)
    }

    /// Copies pages from memory of the mirror or a device to where they belong.
    pub(crate) fn copy_home(&self, dst: VirtAddr, src: VaRange, wakeup: Wakeup) -> Outcome {
        within_one_area(src, |src| {
            self.attempt(Request::CopyHome, src, |src| {
                // SAFETY: 1. Rule 2. 2. The source is the caller's, or a frame that its device has
                // stopped using: the invalidation that announced this has returned.
                unsafe { self.uffd.copy(dst, src, Fill::Plain, wakeup) }
            })
        })
    }

    /// Fills holes whose content is zeroes.
    pub(crate) fn zero_home(&self, range: VaRange) -> Outcome {
        within_one_area(range, |range| {
            // SAFETY: 1. Rule 2.
            self.attempt(Request::ZeroHome, range, |range| unsafe {
                self.uffd.zero(range, Wakeup::Later)
            })
        })
    }

    /// Write-protects pages in transit, and marks their holes. Pages that are not watched are
    /// [`Resolution::Vanished`].
    pub(crate) fn protect(&self, range: VaRange) -> Resolution {
        let watched = self.uffd.check_watched(range);
        if watched != Resolution::Done {
            return watched;
        }
        self.attempt_whole(Request::Protect, range, |range| self.uffd.write_protect(range))
    }

    /// Lifts the write protection of pages.
    pub(crate) fn unprotect(&self, range: VaRange, wakeup: Wakeup) -> Resolution {
        self.attempt_whole(Request::Unprotect, range, |range| self.uffd.unprotect(range, wakeup))
    }

    /// Leaves a mark on each hole of a range of holes.
    pub(crate) fn mark(&self, range: VaRange) -> Resolution {
        let unsuitable = Resolution::Refused(Refusal::Unsuitable);
        let mark = |range| self.uffd.place_marks(range).unwrap_or(unsuitable);
        self.attempt_whole(Request::Mark, range, mark)
    }

    /// Takes the marks of a range away. Wakes nobody.
    pub(crate) fn unmark(&self, range: VaRange) -> Resolution {
        self.attempt_whole(Request::Unmark, range, |range| self.uffd.clear_marks(range))
    }

    /// Drops pages in transit whose content was copied to a device, and tells which of them are
    /// still there: those of memory that is locked. The thread that reads the messages of the
    /// userfaultfd must be another.
    pub(crate) fn drop_copied(&self, range: VaRange, lease: &Lease) -> Survey {
        debug_assert!(lease.range().contains_range(&range), "{range} is not leased");
        let drop = |range| {
            // SAFETY: 1. The caller found private anonymous memory there, and the lease says that
            // nobody has replaced it since. 2. Rule 1, and the content is on a device.
            let dropped = unsafe { drop_pages(range, Locked::Stays) };
            let unsuitable = Resolution::Refused(Refusal::Unsuitable);
            if dropped.is_ok() { Resolution::Done } else { unsuitable }
        };
        // A drop that fails may have dropped the pages of areas before the one it failed in.
        match self.attempt_whole(Request::DropCopied, range, drop) {
            Resolution::Done => Survey::default(),
            _ => self.look(range),
        }
    }
}

/// The requests that change content or protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    MoveOut,
    MoveHome,
    CopyHome,
    ZeroHome,
    Protect,
    Unprotect,
    Mark,
    Unmark,
    DropCopied,
    #[cfg(test)]
    Survey,
}

/// Makes a request that the kernel grants within one area only, and refuses as if there were no
/// area if the range spans two: tries a shorter range until it knows about the first page.
fn within_one_area(range: VaRange, mut request: impl FnMut(VaRange) -> Outcome) -> Outcome {
    let mut part = range;
    loop {
        let outcome = request(part);
        let unclear = matches!(
            outcome.resolution,
            Resolution::Vanished | Resolution::Refused(Refusal::Unsuitable)
        );
        let count = count_of(part);
        if outcome.done_bytes > 0 || !unclear || count < 2 {
            return outcome;
        }
        part = pages_from(part.start(), count / 2);
    }
}

/// Memory of the mirror to which pages are moved on their way to a device.
#[derive(Debug)]
pub(crate) struct Staging {
    memory: Owned<u8>,
    /// Whether all of it is holes between two migrations, as it has to be.
    is_clean: bool,
}

impl Staging {
    /// Makes room for `len` bytes, huge pages included.
    pub(crate) fn new(len: usize) -> Result<Self, MemoryError> {
        let memory = Owned::new(len, super::mmap::HugePages::Prefer)?.keep_home();
        Ok(Self { memory, is_clean: true })
    }

    /// The addresses.
    pub(crate) fn range(&self) -> VaRange {
        self.memory.range()
    }

    /// Bytes that were moved here, by their place.
    pub(crate) fn bytes(&self, place: std::ops::Range<usize>) -> &[u8] {
        or_die(self.memory.get(place), "the staging memory is too short")
    }

    /// Whether all of it was holes when it was last emptied, and it is watched.
    pub(crate) fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// Notes whether it is.
    pub(crate) fn set_clean(&mut self, is_clean: bool) {
        self.is_clean = is_clean;
    }

    /// Makes a part of it holes again. The thread that reads the messages must be another.
    pub(crate) fn clear(&mut self, part: VaRange) -> Result<(), MemoryError> {
        if !self.memory.range().contains_range(&part) {
            die(&format_args!("{part} is not in the staging memory"));
        }
        // SAFETY: 1. The memory is a mapping of the crate's. 2. It is borrowed mutably: whoever
        // had pages here has taken them on.
        unsafe { drop_pages(part, Locked::Goes) }
    }

    /// Takes back what the program did by locking all memory of the process: pages cannot be moved
    /// between locked and other memory.
    pub(crate) fn unlock(&self) -> Result<(), MemoryError> {
        self.memory.unlock()
    }
}
