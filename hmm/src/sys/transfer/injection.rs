//! Requests that end as a test wants, instead of as the kernel would end them.

#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use super::Request;
use super::ring::Ring;
use crate::addr::{PageSize, VaRange};
use crate::sys::uffd::{Outcome, Refusal, Resolution};

/// How requests end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    /// The kind of requests; any if `None`.
    pub(crate) on: Option<Request>,
    /// How many of them the kernel answers first.
    pub(crate) after: u32,
    /// How many fail then.
    pub(crate) times: u32,
    pub(crate) resolution: Resolution,
    /// The effect on the first half of the range.
    pub(crate) half: Half,
}

/// The effect of a request that fails on the first half of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Undone,
    Done,
    /// It is done, and not counted.
    Uncounted,
    /// It is counted, and not done.
    Imagined,
}

/// Counts the requests of a transfer, and lets some fail.
#[derive(Debug, Default)]
pub(crate) struct Injection {
    plan: Mutex<Vec<Failure>>,
    failed: Mutex<Vec<Request>>,
    ring: Ring,
}

impl Injection {
    /// Sets what fails from now on. The first failure whose turn it is decides.
    pub(crate) fn plan(&self, failures: impl IntoIterator<Item = Failure>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = failures.into_iter().collect();
    }

    /// The requests that failed since the last call.
    pub(crate) fn take_failed(&self) -> Vec<Request> {
        std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last requests that the kernel answered.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(super) fn next(&self, kind: Request) -> Option<Failure> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = plan.iter_mut().find_map(|failure| failure.turn(kind))?;
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(kind);
        Some(failure)
    }
}

impl Request {
    /// Tells whether the kernel may give this answer. Of the changes of protection, only those that
    /// leave marks can want memory (for page tables), and none of them fails because a page is
    /// busy.
    pub(super) fn may_end_as(self, resolution: Resolution) -> bool {
        match self {
            Self::Protect | Self::Arm | Self::Mark => {
                matches!(resolution, Resolution::Retry | Resolution::Refused(Refusal::NoMemory))
            }
            Self::Unprotect | Self::Unmark => resolution == Resolution::Retry,
            Self::Survey
            | Self::MoveOut
            | Self::MoveHome
            | Self::CopyHome
            | Self::ZeroHome
            | Self::DropCopied => true,
        }
    }

    /// Tells whether the kernel may do a part of the range first. It looks for unread messages
    /// before it changes any protection, and after each page that it fills.
    fn may_do_half(self, resolution: Resolution) -> bool {
        match self {
            Self::Protect | Self::Arm | Self::Unprotect | Self::Mark | Self::Unmark => {
                resolution != Resolution::Retry
            }
            Self::Survey => false,
            Self::MoveOut | Self::MoveHome | Self::CopyHome | Self::ZeroHome | Self::DropCopied => {
                true
            }
        }
    }
}

impl Failure {
    /// Counts a request; the failure if it is this one's turn.
    fn turn(&mut self, kind: Request) -> Option<Self> {
        // A survey fails only if a test names surveys.
        let is_meant = self.on.map_or(kind != Request::Survey, |on| on == kind);
        if !is_meant || !kind.may_end_as(self.resolution) {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        let half = if kind.may_do_half(self.resolution) { self.half } else { Half::Undone };
        Some(Self { half, ..*self })
    }

    pub(super) fn instead_of(
        self,
        range: VaRange,
        request: impl FnOnce(VaRange) -> Outcome,
    ) -> Outcome {
        let size = PageSize::host();
        // At least one page is done and not counted.
        let least = u64::from(self.half == Half::Uncounted);
        let half = (range.page_count(size).get() / 2).max(least) * size.bytes();
        let done_bytes = match self.half {
            Half::Undone => 0,
            Half::Imagined => half,
            Half::Done | Half::Uncounted => return self.after_half(range, half, request),
        };
        Outcome { done_bytes, resolution: self.resolution }
    }

    fn after_half(
        self,
        range: VaRange,
        half: u64,
        request: impl FnOnce(VaRange) -> Outcome,
    ) -> Outcome {
        if half == 0 {
            return Outcome { done_bytes: 0, resolution: self.resolution };
        }
        let done = request(VaRange::from_len(range.start(), half).unwrap_or_default());
        match done.resolution {
            Resolution::Done => {
                let done_bytes = if self.half == Half::Done { done.done_bytes } else { 0 };
                Outcome { done_bytes, resolution: self.resolution }
            }
            _ => done,
        }
    }
}
