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
//! 5. Pages are moved into holes only, and under the lock nobody else fills them. A page that is
//!    found in one afterwards is the one that was to go there, whatever the kernel counts.

#[cfg(test)]
pub(crate) mod injection;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd};

use super::lease::Lease;
use super::mmap::{MemoryError, drop_pages};
use super::owned::Owned;
use super::survey::{Survey, Surveyor};
use super::uffd::{Fill, Outcome, Refusal, Resolution, SourceHoles, Uffd, Wakeup};
use crate::addr::{PageSize, VaRange, VirtAddr};

/// A userfaultfd through which pages are carried.
#[derive(Debug)]
pub(crate) struct Carrier {
    uffd: Uffd,
    pub(crate) surveyor: Surveyor,
    #[cfg(test)]
    pub(crate) injection: injection::Injection,
}

impl AsFd for Carrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.uffd.as_fd()
    }
}

impl Carrier {
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
    pub(crate) fn move_out(&self, dst: VirtAddr, src: VaRange) -> Outcome {
        within_one_area(src, |src| {
            let watched = self.uffd.check_watched(src);
            if watched != Resolution::Done {
                return Outcome { done_bytes: 0, resolution: watched };
            }
            // Rule 1. The destination belongs to the mirror or to a device that has given it out
            // for this.
            self.move_counted(Request::MoveOut, dst, src, Wakeup::Later)
        })
    }

    /// Moves pages from where [`Carrier::move_out`] put them to where they belong.
    pub(crate) fn move_home(&self, dst: VirtAddr, src: VaRange, wakeup: Wakeup) -> Outcome {
        // Rule 2. The source is where the content was put, which nobody needs there once it is
        // home.
        within_one_area(src, |src| self.move_counted(Request::MoveHome, dst, src, wakeup))
    }

    /// Moves pages and counts those that the kernel forgot to count.
    ///
    /// Linux 6.18 moves neighbouring pages together. If a page fault comes between it and the first
    /// of them it begins again, and then forgets to go on behind those that it moved: it finds its
    /// own pages in its way, and says so (`EEXIST`) without counting them.
    fn move_counted(&self, kind: Request, dst: VirtAddr, src: VaRange, wakeup: Wakeup) -> Outcome {
        let mut done_bytes = 0;
        while let Some((to, rest)) = behind(dst, src, done_bytes) {
            let outcome = self.attempt(kind, rest, |rest| {
                // SAFETY: 1. and 2. The callers give the rules that allow it.
                unsafe { self.uffd.move_pages(to, rest, SourceHoles::Skip, wakeup) }
            });
            done_bytes += outcome.done_bytes;
            let resolution = outcome.resolution;
            if resolution != Resolution::AlreadyThere {
                return Outcome { done_bytes, resolution };
            }
            let uncounted = behind(dst, src, done_bytes).map_or(0, |(to, rest)| {
                let bytes = self.moved_bytes(to, rest);
                if wakeup == Wakeup::Now && bytes > 0 {
                    // Waking fails only if the process ends.
                    let _ = self.uffd.wake(VaRange::from_len(to, bytes).unwrap_or_default());
                }
                bytes
            });
            if uncounted == 0 {
                return Outcome { done_bytes, resolution };
            }
            done_bytes += uncounted;
        }
        Outcome { done_bytes, resolution: Resolution::Done }
    }

    /// How many bytes from the start on are at the destination of a move and no more at its source.
    fn moved_bytes(&self, dst: VirtAddr, src: VaRange) -> u64 {
        let size = PageSize::host();
        let dst = VaRange::from_len(dst, src.len_bytes()).unwrap_or_default();
        let surveys =
            self.surveyor.survey(src).and_then(|from| Ok((from, self.surveyor.survey(dst)?)));
        let Ok((from, to)) = surveys else {
            return 0;
        };
        let count = usize::try_from(src.page_count(size).get()).unwrap_or(0);
        let is_there =
            |survey: &Survey, page| survey.present.contains(page) || survey.swapped.contains(page);
        let moved = |&page: &usize| is_there(&to, page) && !is_there(&from, page);
        (0..count).take_while(moved).count() as u64 * size.bytes()
    }

    /// Copies pages from memory of the mirror or a device to where they belong.
    pub(crate) fn copy_home(&self, dst: VirtAddr, src: VaRange, wakeup: Wakeup) -> Outcome {
        within_one_area(src, |src| {
            self.attempt(Request::CopyHome, src, |src| {
                // SAFETY: 1. Rule 2. 2. The source is the caller's, or a slot that its device has
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

    /// Drops pages in transit whose content was copied to a device. The thread that reads the
    /// messages of the userfaultfd must be another.
    pub(crate) fn drop_copied(&self, range: VaRange, lease: &Lease) -> Result<(), MemoryError> {
        debug_assert!(lease.range().contains_range(&range), "{range} is not leased");
        #[cfg(test)]
        if self.injection.next(Request::DropCopied).is_some() {
            let source = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
            return Err(MemoryError::Advise { what: "drop", range, source });
        }
        // SAFETY: 1. The caller found private anonymous memory there, and the lease says that
        // nobody has replaced it since. 2. Rule 1, and the content is on a device.
        unsafe { drop_pages(range) }
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
    #[cfg(test)]
    DropCopied,
}

/// Makes a request that the kernel grants within one area only, and refuses as if there were no
/// area if the range spans two: tries a shorter range until it knows about the first page.
fn within_one_area(range: VaRange, request: impl Fn(VaRange) -> Outcome) -> Outcome {
    let size = PageSize::host();
    let mut part = range;
    loop {
        let outcome = request(part);
        let unclear = matches!(
            outcome.resolution,
            Resolution::Vanished | Resolution::Refused(Refusal::Unsuitable)
        );
        let half = part.page_count(size).get() / 2;
        if outcome.done_bytes > 0 || !unclear || half == 0 {
            return outcome;
        }
        part = VaRange::from_len(part.start(), half * size.bytes()).unwrap_or_default();
    }
}

/// What is left of a move when so many bytes are done; `None` if nothing is.
fn behind(dst: VirtAddr, src: VaRange, done_bytes: u64) -> Option<(VirtAddr, VaRange)> {
    let start = src.start().checked_add(done_bytes)?;
    let rest = VaRange::new(start, src.end()).filter(|rest| !rest.is_empty())?;
    Some((dst.checked_add(done_bytes)?, rest))
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
        Ok(Self { memory: Owned::new(len, super::mmap::HugePages::Prefer)?, is_clean: true })
    }

    /// The addresses.
    pub(crate) fn range(&self) -> VaRange {
        self.memory.range()
    }

    /// Bytes that were moved here, by their place.
    pub(crate) fn bytes(&self, place: std::ops::Range<usize>) -> &[u8] {
        self.memory.get(place).unwrap_or_default()
    }

    /// Whether the last attempt to make everything a hole was successful.
    pub(crate) fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// Makes everything a hole again. The thread that reads the messages must be another.
    pub(crate) fn clear(&mut self) {
        // SAFETY: 1. The memory is a mapping of the crate's. 2. It is borrowed mutably: whoever
        // had pages here has taken them on.
        self.is_clean = unsafe { drop_pages(self.memory.range()) }.is_ok();
    }
}
