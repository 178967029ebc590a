//! The requests of a userfaultfd that transfer pages, and the survey of where pages are.
//!
//! # Safety
//!
//! The rules that the proofs name are those of `mod.rs`.

use std::os::fd::{AsFd, BorrowedFd};

use super::super::lease::Lease;
use super::super::mmap::{Locked, drop_pages};
use super::super::survey::{Survey, Surveyor};
use super::super::uffd::{Fill, Outcome, Refusal, Resolution, Uffd, Wakeup};
#[cfg(test)]
use super::injection::Injection;
use crate::addr::pages::{count_of, pages_from};
use crate::addr::{VaRange, VirtAddr};
use crate::fatal::die;
use crate::sync::backoff::Backoff;

/// The userfaultfd through which pages are moved and copied, and the survey of their places.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(super) uffd: Uffd,
    pub(crate) surveyor: Surveyor,
    #[cfg(test)]
    pub(crate) injection: Injection,
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

    /// Makes a request, unless a test injects another end.
    pub(super) fn attempt(
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

    /// The userfaultfd, for requests that change no content and that tests do not make fail.
    pub(crate) fn uffd(&self) -> &Uffd {
        &self.uffd
    }

    /// Surveys pages whose places must be known. If the survey fails again and again, the process
    /// ends: any further step could lose bytes.
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

    /// Write-protects pages so that stores to them are known, and marks holes for the same reason.
    /// Pages of an area that is not watched are [`Resolution::Vanished`].
    pub(crate) fn arm(&self, range: VaRange) -> Resolution {
        self.attempt_whole(Request::Arm, range, |range| self.uffd.write_protect(range))
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

    /// Takes the marks of a range away. Wakes no thread.
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
            // it has not been replaced since. 2. Rule 1, and the content is on a device.
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
    Arm,
    Unprotect,
    Mark,
    Unmark,
    DropCopied,
    #[cfg(test)]
    Survey,
}

/// Makes a request that the kernel grants within one area only, and refuses as if there were no
/// area if the range spans two: tries a shorter range until it knows about the first page.
pub(super) fn within_one_area(
    range: VaRange,
    mut request: impl FnMut(VaRange) -> Outcome,
) -> Outcome {
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
