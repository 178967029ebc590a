//! The ranges that a mirror watches: devices are told of their changes.

#![forbid(unsafe_code)]

use std::io;

use super::Mirror;
use crate::addr::{PageSize, VaRange};
use crate::error::debug_in_words;
use crate::host::HostMm;
use crate::notifier::Event;
use crate::sys::uffd::{MirrorTier, Modes};

/// A range that cannot be watched.
#[derive(thiserror::Error)]
#[error(
    "{range} cannot be watched: it must be made of whole pages that are mapped, not be a file, and \
     not be watched by somebody else"
)]
pub struct WatchError {
    range: VaRange,
    source: io::Error,
}

debug_in_words!(WatchError);

/// A range that cannot be left to itself.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum UnwatchError {
    /// The range is empty or not made of whole pages.
    #[error("{range} is not made of whole pages")]
    Invalid {
        /// The range that was passed.
        range: VaRange,
    },

    /// This process inherited the mirror by a fork.
    #[error("{range} is watched by the mirror of the parent process, if by any")]
    Inherited {
        /// The range that was passed.
        range: VaRange,
    },

    /// The kernel refused. The range is watched as before.
    #[error(
        "the kernel goes on watching {range}; something must be mapped there, and no other \
         userfaultfd may watch it"
    )]
    Refused {
        /// The range that was passed.
        range: VaRange,
        /// The error of the kernel.
        source: io::Error,
    },
}

debug_in_words!(UnwatchError);

impl Mirror {
    /// Watches a range: devices are told when it is unmapped, moved or dropped.
    ///
    /// Pages that are moved to a device are watched anyway. Every range that a device mirrors
    /// should be watched: otherwise the device is told of explicit invalidations only.
    ///
    /// In [`MirrorTier::KernelFaults`] the mirror then answers the first touch of a page of private
    /// anonymous memory, with zeroes: the mirror has to tell the bytes that a page gets after it
    /// was dropped from those that it had before. Such a range gets no huge pages from touches. The
    /// thread that answers also runs the callbacks of devices, so nothing that they use may lie in
    /// these pages: watch pages that a buffer has to itself, see [`VaRange::whole_pages`].
    ///
    /// # Errors
    ///
    /// - [`WatchError`] if the kernel does not let this range be watched.
    pub fn watch(&self, range: VaRange) -> Result<(), WatchError> {
        let fail = |source| WatchError { range, source };
        if self.tier() != MirrorTier::KernelFaults {
            return self.register(range, Modes::PROTECTED);
        }
        let vmas = self.migrator.host.vmas(range).map_err(|e| fail(io::Error::other(e)))?;
        let mut cursor = range.start();
        for vma in vmas {
            let rest = VaRange::new(cursor, range.end()).unwrap_or_default();
            let Some(part) = vma.range.intersection(&rest) else {
                continue;
            };
            if part.start() != cursor {
                break;
            }
            if vma.is_private_anonymous() {
                let watched = self.shared().watch_holes(part);
                watched.map_err(|error| WatchError { range, source: io::Error::other(error) })?;
            } else {
                self.register(part, Modes::PROTECTED)?;
            }
            cursor = part.end();
        }
        if cursor < range.end() {
            return Err(fail(io::ErrorKind::NotFound.into()));
        }
        Ok(())
    }

    fn register(&self, range: VaRange, modes: Modes) -> Result<(), WatchError> {
        let registered = self.shared().register(range, modes);
        registered.map_err(|error| WatchError { range, source: io::Error::other(error) })
    }

    /// Stops watching a range: its pages come home, and devices are told of none of its changes any
    /// more.
    ///
    /// Devices are told once more, as by [`Mirror::invalidate`], so that they keep nothing that
    /// could become stale without a message. Parts that are not mapped, or that are mapped and were
    /// not watched, are passed over. A range that is a part of an area makes an area of its own, as
    /// it does when it is watched. A later [`Mirror::watch`] or migration watches the range again.
    ///
    /// # Errors
    ///
    /// - [`UnwatchError`] says why the range is still watched. Its pages are at home all the same,
    ///   unless it is [`UnwatchError::Invalid`] or [`UnwatchError::Inherited`].
    pub fn unwatch(&self, range: VaRange) -> Result<(), UnwatchError> {
        if range.is_empty() || !range.is_aligned(PageSize::host()) {
            return Err(UnwatchError::Invalid { range });
        }
        if self.is_inherited() {
            return Err(UnwatchError::Inherited { range });
        }
        let shared = self.shared();
        let _guard = shared.migration_lock.lock();
        self.migrator.bring_home(range, None);
        let _invalidation = shared.invalidate(Event::ProtectionVma, range);
        shared.transfer.uffd().unregister(range).map_err(|error| {
            let source = io::Error::other(error);
            UnwatchError::Refused { range, source }
        })?;
        let mut state = shared.lock();
        state.sets.hole_watched.remove(range);
        state.sets.armed.remove(range);
        Ok(())
    }
}
