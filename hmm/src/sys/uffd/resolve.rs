//! Filling the holes of watched ranges: copy, zero, move, continue, poison.
//!
//! # Safety
//!
//! These requests give content to pages that had none, and one of them takes pages away from where
//! they were. Only the caller can know whether that may be done to the memory: the functions that
//! do it are unsafe. None of them replaces a page that is there.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::super::abi::{
    self, uffdio_continue, uffdio_copy, uffdio_move, uffdio_poison, uffdio_zeropage,
};
use super::Uffd;
use super::request::{raw, request};
use crate::addr::{VaRange, VirtAddr};

/// How far a request came, and why it ended there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub(crate) struct Outcome {
    /// The bytes that were done, from the start of the range: whole pages.
    pub(crate) done_bytes: u64,
    /// Why no more were done.
    pub(crate) resolution: Resolution,
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resolution {
    /// Everything was done.
    Done,
    /// The next page is there already, or, except to a copy, a mark or a poison marker stands in
    /// its place. Threads that wait for it are not woken.
    AlreadyThere,
    /// A message about a change of mappings was not read yet, or the thread that made the change
    /// has not gone on since. Read messages, then try again.
    Retry,
    /// The request has no object: the area is gone, or is not watched, or a page to be moved is a
    /// hole, or the process has ended.
    Vanished,
    /// It cannot be done.
    Refused(Refusal),
}

/// Why something cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// The next page to be moved is shared with another process, or is pinned. A part of a huge
    /// page may also be busy for a while, for reasons that user space cannot see.
    Busy,
    /// The kind of memory, its permissions or the alignment do not allow it.
    Unsuitable,
    /// There is no memory for another page.
    NoMemory,
    /// The memory to copy from cannot be read.
    Unreadable,
    /// The userfaultfd belongs to the parent process.
    Inherited,
    /// Another error, by its number.
    Os(i32),
}

impl Resolution {
    pub(super) fn from_errno(errno: Errno) -> Self {
        match errno {
            Errno::EXIST => Self::AlreadyThere,
            Errno::AGAIN => Self::Retry,
            Errno::NOENT | Errno::SRCH => Self::Vanished,
            Errno::BUSY => Self::Refused(Refusal::Busy),
            Errno::INVAL => Self::Refused(Refusal::Unsuitable),
            Errno::NOMEM => Self::Refused(Refusal::NoMemory),
            Errno::FAULT => Self::Refused(Refusal::Unreadable),
            other => Self::Refused(Refusal::Os(other.raw_os_error())),
        }
    }
}

/// Whether the threads that wait for a page are woken when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wakeup {
    /// They go on at once.
    Now,
    /// They wait for [`Uffd::wake`].
    Later,
}

impl Wakeup {
    fn mode(self) -> u64 {
        match self {
            Self::Now => 0,
            Self::Later => abi::MODE_DONT_WAKE,
        }
    }
}

/// Whether new pages are write-protected from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fill {
    /// They can be written where the area can.
    Plain,
    /// The first store is reported. The range must be watched for that.
    Protected,
}

impl Fill {
    fn mode(self) -> u64 {
        match self {
            Self::Plain => 0,
            Self::Protected => abi::MODE_PROTECT,
        }
    }
}

impl Uffd {
    /// Fills holes from `dst` on with a copy of the memory `src`. A mark or a poison marker in a
    /// hole is replaced.
    ///
    /// Permissions of the destination do not matter. The kernel reads the source as a system call
    /// does: it must not be watched by a userfaultfd that this thread serves.
    ///
    /// # Safety
    ///
    /// 1. The caller may give the holes in the destination content, and what they hold then is
    ///    what their owner expects to find.
    /// 2. The source is not written during the call.
    pub(crate) unsafe fn copy(
        &self,
        dst: VirtAddr,
        src: VaRange,
        fill: Fill,
        wakeup: Wakeup,
    ) -> Outcome {
        self.drive(src.len_bytes(), |offset, len| {
            let (dst, src) = (dst.get() + offset, src.start().get() + offset);
            let mode = fill.mode() | wakeup.mode();
            let mut arg = uffdio_copy { dst, src, len, mode, copy: 0 };
            // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It reads
            // the source and fills holes in the destination, which the caller allows.
            let status = unsafe { request::<{ abi::UFFDIO_COPY }, _>(self.as_fd(), &mut arg) };
            (status, arg.copy)
        })
    }

    /// Fills holes with zeroes.
    ///
    /// # Safety
    ///
    /// 1. The caller may give the holes in the range content, and zeroes are what their owner
    ///    expects to find.
    pub(crate) unsafe fn zero(&self, range: VaRange, wakeup: Wakeup) -> Outcome {
        self.drive_range(range, |range| {
            let mut arg = uffdio_zeropage { range: raw(range), mode: wakeup.mode(), zeropage: 0 };
            // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It fills
            // holes in the range, which the caller allows.
            let status = unsafe { request::<{ abi::UFFDIO_ZEROPAGE }, _>(self.as_fd(), &mut arg) };
            (status, arg.zeropage)
        })
    }

    /// Moves the pages of `src` into holes from `dst` on, leaving holes. Nothing is copied. A hole
    /// in the source ends the move, as [`Resolution::Vanished`]: were the kernel asked to pass over
    /// holes, it could loop without end (Linux 6.18), as `DESIGN.md` tells.
    ///
    /// The source is private anonymous memory, which need not be watched; the destination is
    /// watched and mapped with the same permissions, for writing; else the move is refused as
    /// [`Refusal::Unsuitable`]. Write protection is lost.
    ///
    /// # Safety
    ///
    /// 1. The caller may give the holes in the destination content, and what they hold then is
    ///    what their owner expects to find.
    /// 2. The caller may take the content of the source away: until it is given back, a thread that
    ///    touches the source waits, if the source is watched, or finds zeroes.
    pub(crate) unsafe fn move_pages(&self, dst: VirtAddr, src: VaRange, wakeup: Wakeup) -> Outcome {
        self.drive(src.len_bytes(), |offset, len| {
            let (dst, src) = (dst.get() + offset, src.start().get() + offset);
            let mut arg = uffdio_move { dst, src, len, mode: wakeup.mode(), move_: 0 };
            // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It moves
            // pages from the source to holes in the destination, which the caller allows.
            let status = unsafe { request::<{ abi::UFFDIO_MOVE }, _>(self.as_fd(), &mut arg) };
            (status, arg.move_)
        })
    }

    /// Maps pages of shared memory that are there and not mapped.
    ///
    /// The content is that of the shared memory, which any access would have found.
    pub(crate) fn map_existing(&self, range: VaRange, fill: Fill, wakeup: Wakeup) -> Outcome {
        self.drive_range(range, |range| {
            let mode = fill.mode() | wakeup.mode();
            let mut arg = uffdio_continue { range: raw(range), mode, mapped: 0 };
            // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It maps
            // pages which the area has for its content already.
            let status = unsafe { request::<{ abi::UFFDIO_CONTINUE }, _>(self.as_fd(), &mut arg) };
            (status, arg.mapped)
        })
    }

    /// Finds out whether a whole page-aligned range lies in one watched area of anonymous memory:
    /// [`Resolution::Done`] if it does, [`Resolution::Vanished`] if not. Changes nothing.
    ///
    /// Watching a range skips what is not mapped in it, and says nothing about it. This does: it
    /// asks for pages of shared memory to be mapped, which anonymous memory refuses, and the kernel
    /// looks first whether there is an unread message, and then whether there is one watched area.
    pub(crate) fn check_watched(&self, range: VaRange) -> Resolution {
        if self.is_inherited() {
            return Resolution::Refused(Refusal::Inherited);
        }
        match self.probe_watch(range) {
            Err(Errno::INVAL) => Resolution::Done,
            Err(Errno::AGAIN) => Resolution::Retry,
            _ => Resolution::Vanished,
        }
    }

    /// Asks for pages of shared memory to be mapped.
    fn probe_watch(&self, range: VaRange) -> rustix::io::Result<()> {
        let mut arg = uffdio_continue { range: raw(range), mode: abi::MODE_DONT_WAKE, mapped: 0 };
        // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It maps no
        // page of anonymous memory, and of shared memory only what any access would have found.
        unsafe { request::<{ abi::UFFDIO_CONTINUE }, _>(self.as_fd(), &mut arg) }
    }

    /// Makes every access to holes a bus error, until they are unmapped, dropped or copied to.
    pub(crate) fn poison(&self, range: VaRange, wakeup: Wakeup) -> Outcome {
        self.drive_range(range, |range| {
            let mut arg = uffdio_poison { range: raw(range), mode: wakeup.mode(), updated: 0 };
            // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It changes
            // no content: a thread that touches the holes gets a signal, which ends the process
            // unless a handler does otherwise.
            let status = unsafe { request::<{ abi::UFFDIO_POISON }, _>(self.as_fd(), &mut arg) };
            (status, arg.updated)
        })
    }

    fn drive_range(
        &self,
        range: VaRange,
        mut step: impl FnMut(VaRange) -> (rustix::io::Result<()>, i64),
    ) -> Outcome {
        self.drive(range.len_bytes(), |offset, _| {
            let start = VirtAddr::new(range.start().get() + offset);
            step(VaRange::new(start, range.end()).unwrap_or_default())
        })
    }

    /// Repeats a request on what is left until everything is done or nothing is.
    ///
    /// A request that stops halfway says how far it came and not why. The next request, for the
    /// rest, then does nothing and returns the error. `step` gets an offset and the bytes left, and
    /// returns the status and the field in which the kernel counts: zero or negative if nothing was
    /// done.
    fn drive(
        &self,
        len_bytes: u64,
        mut step: impl FnMut(u64, u64) -> (rustix::io::Result<()>, i64),
    ) -> Outcome {
        let mut done_bytes = 0;
        let ended = |done_bytes, resolution| Outcome { done_bytes, resolution };
        if self.is_inherited() {
            return ended(0, Resolution::Refused(Refusal::Inherited));
        }
        while done_bytes < len_bytes {
            let left = len_bytes - done_bytes;
            match step(done_bytes, left) {
                (Ok(()), _) => return ended(len_bytes, Resolution::Done),
                (Err(errno), counted) => match u64::try_from(counted) {
                    Ok(bytes @ 1..) => done_bytes += bytes.min(left),
                    _ => return ended(done_bytes, Resolution::from_errno(errno)),
                },
            }
        }
        ended(len_bytes, Resolution::Done)
    }
}
