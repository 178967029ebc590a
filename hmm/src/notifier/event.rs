//! The events that a device is told, and its answers.

use std::fmt;

use crate::addr::VaRange;
use crate::device::Owner;
use crate::error::debug_in_words;
use crate::sync::{AtomicU64, Ordering};

/// Why a range is invalidated.
///
/// The names are those of the kernel's events. Those that user space cannot see, because they
/// change the physical page and not the contents of an address, have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// The addresses are taken away: `munmap`, `MAP_FIXED` over them, the old place of an
    /// `mremap`.
    Unmap,
    /// The addresses stay, the pages go: `MADV_DONTNEED`, `MADV_REMOVE`, a truncated file.
    Clear,
    /// The protection of the area changes: `mprotect`.
    ProtectionVma,
    /// The protection of single pages changes: write protection, copy on write at `fork`.
    ProtectionPage,
    /// Pages move to or from a device.
    Migrate {
        /// The owner that moves them. Its own notifiers are not told.
        by: Option<Owner>,
    },
    /// A device takes pages for itself alone, or gives them back.
    Exclusive {
        /// The owner that takes them, which is not told; `None` when they are given back.
        by: Option<Owner>,
    },
    /// The address space ends, or the mirror of it does.
    Release,
}

impl Event {
    /// Returns the owner that caused the event itself, if it named itself.
    #[must_use]
    pub const fn owner(self) -> Option<Owner> {
        match self {
            Self::Migrate { by } | Self::Exclusive { by } => by,
            _ => None,
        }
    }
}

/// A device that keeps a copy of a part of the host page table.
pub trait Invalidate: Send + Sync {
    /// Removes every trace of the invalidated addresses from the device.
    ///
    /// The host page table is still as it was; it changes after the last callback has returned.
    /// The steps, in this order:
    ///
    /// 1. Take the lock that guards the device's page table. If the invalidation may not block and
    ///    the lock is taken, return [`Invalidation::would_block`].
    /// 2. Call [`Invalidation::set_seq`], even if the device holds nothing there: an attempt to
    ///    read the host page table may be under way and must fail.
    /// 3. Remove the addresses from the device's page table and wait until the device uses none of
    ///    them any more.
    /// 4. Release the lock and return what `set_seq` gave.
    ///
    /// The callback must not touch mirrored memory, register memory, drop a
    /// [`Notifier`](super::Notifier), begin a read, or wait for a thread that may be doing so.
    ///
    /// # Errors
    ///
    /// - [`WouldBlock`] if the invalidation may not block and the device would have to. The change
    ///   is then not made, and the host page table stays as it is.
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock>;
}

/// One change to one notifier's range, as the callback sees it.
pub struct Invalidation<'a> {
    pub(super) event: Event,
    /// The part that lies in the range of the notifier.
    pub(super) range: VaRange,
    pub(super) may_block: bool,
    /// The number of the running invalidations, odd.
    pub(super) seq: u64,
    /// The number of the last invalidation that hit the notifier.
    pub(super) last: &'a AtomicU64,
}

impl Invalidation<'_> {
    /// Returns why the range is invalidated.
    #[must_use]
    pub fn event(&self) -> Event {
        self.event
    }

    /// Returns the addresses that change, those outside the notifier's range left out.
    #[must_use]
    pub fn range(&self) -> VaRange {
        self.range
    }

    /// Marks every attempt to read that began before now as failed.
    ///
    /// Call it under the lock under which [`Notifier::read_retry`](super::Notifier::read_retry) is
    /// called.
    pub fn set_seq(&self) -> SeqSet {
        // Relaxed: the caller's lock orders it before the next `read_retry`.
        self.last.store(self.seq, Ordering::Relaxed);
        SeqSet(())
    }

    /// Returns the answer of a device that cannot do it without waiting, or `None` if it may wait
    /// and therefore has to do it.
    #[must_use]
    pub fn would_block(&self) -> Option<WouldBlock> {
        (!self.may_block).then_some(WouldBlock(()))
    }
}

impl fmt::Debug for Invalidation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invalidation")
            .field("event", &self.event)
            .field("range", &self.range())
            .field("may_block", &self.may_block)
            .finish_non_exhaustive()
    }
}

/// The proof that [`Invalidation::set_seq`] was called.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the callback returns it"]
pub struct SeqSet(pub(super) ());

/// The refusal of an invalidation that was not allowed to block.
#[derive(PartialEq, Eq, thiserror::Error)]
#[error("a device could not be invalidated without waiting; the mapping must not change")]
pub struct WouldBlock(pub(super) ());

debug_in_words!(WouldBlock);
