//! The block that is being migrated: the state that all steps share, and how frames and staging
//! memory are emptied.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::area::Area;
use crate::addr::pages::{above, pages_from};
use crate::addr::{PageCount, PageNumber, VaRange, VirtAddr};
use crate::device::{DeviceError, Hold};
use crate::mirror::shared::{Shared, State};
use crate::mirror::table::{DeviceIndex, Mover};
use crate::notifier::{Event, InvalidationGuard};
use crate::sync::backoff::Backoff;
use crate::sys::device::{DeviceMemory, HostDevice};
use crate::sys::lease::Lease;
use crate::sys::owned::Owned;
use crate::sys::transfer::Staging;
use crate::sys::uffd::Modes;

/// The destination of a migration, and how the device is to hold the pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'m> {
    pub(crate) device: DeviceIndex,
    pub(crate) hold: Hold,
    pub(crate) lease: Option<&'m Lease>,
}

/// One block to migrate, with its destination.
#[derive(Clone, Copy)]
pub(crate) struct BlockOrder<'m> {
    pub(crate) shared: &'m Shared,
    pub(crate) device: &'m dyn DeviceMemory,
    pub(crate) order: Order<'m>,
    /// Pages of one block.
    pub(crate) range: VaRange,
    pub(crate) areas: &'m [Area],
}

/// The block that is being migrated, passed on from step to step.
pub(super) struct Block<'m> {
    pub(super) shared: &'m Shared,
    pub(super) device: &'m dyn DeviceMemory,
    pub(super) order: Order<'m>,
    /// Pages of one block.
    pub(super) range: VaRange,
    pub(super) staging: &'m mut Staging,
    pub(super) buffer: &'m mut Owned<u8>,
    pub(super) backoff: Backoff,
    /// The invalidation runs from before the first change until after the last.
    _guard: InvalidationGuard,
}

impl<'m> Block<'m> {
    /// Begins: all devices that mirror the range are told.
    pub(super) fn new(
        shared: &'m Shared,
        device: &'m dyn DeviceMemory,
        order: Order<'m>,
        range: VaRange,
        (staging, buffer): (&'m mut Staging, &'m mut Owned<u8>),
    ) -> Self {
        let by = Some(device.owner());
        let event = match order.hold {
            Hold::Private => Event::Migrate { by },
            Hold::Exclusive => Event::Exclusive { by },
        };
        let guard = shared.invalidate(event, range);
        let backoff = Backoff::default();
        Self { shared, device, order, range, staging, buffer, backoff, _guard: guard }
    }

    pub(super) fn at(&self, index: usize) -> VirtAddr {
        above(self.range.start(), index)
    }

    pub(super) fn page(&self, index: usize) -> VaRange {
        pages_from(self.at(index), 1)
    }

    pub(super) fn staged(&self, index: usize, count: usize) -> VaRange {
        pages_from(above(self.staging.range().start(), index), count)
    }

    /// Pauses, so that a change of mappings can go on.
    pub(super) fn pause(&mut self) {
        self.shared.stats.retries.add(1);
        self.backoff.pause();
    }

    /// How many of the `count` pages from `index` on are in transit and still belong where they
    /// were claimed.
    pub(super) fn still_there(&self, state: &State, index: usize, count: usize) -> usize {
        let transit = state.table.transit(Mover::Migrator);
        (index..index + count).take_while(|&page| transit.at(page) == Some(self.at(page))).count()
    }

    /// The addresses of frames of a host device.
    pub(super) fn frame_range(&self, first: PageNumber, count: usize) -> Option<VaRange> {
        let count = PageCount::new(count as u64);
        self.device.as_host()?.frames().range_of(first, count).ok()
    }

    /// Makes frames holes, to which huge pages can be moved whole. The frames are not watched
    /// meanwhile: otherwise each drop would wait until the handler has read its message.
    pub(super) fn empty_frames(
        &self,
        host: &HostDevice,
        first: PageNumber,
        count: PageCount,
    ) -> Result<(), DeviceError> {
        if host.frames().is_empty(first, count) {
            return Ok(());
        }
        let (uffd, range) = (self.shared.transfer.uffd(), host.frames().range_of(first, count)?);
        // Frames that are still watched are dropped too, only more slowly.
        let _ = uffd.unregister(range);
        let cleared = host.frames().clear(first, count);
        if let Err(error) = self.shared.register(range, Modes::PROTECTED) {
            // Pages cannot be moved to frames that are not watched. So the frames count as filled,
            // and the next migration empties them again.
            host.frames().note_filled(first, count);
            return Err(DeviceError::Other { source: error.into() });
        }
        cleared
    }

    /// Drops the pages that were moved to the staging memory. Pages that cannot be dropped block
    /// the next migration, which tries again and then skips.
    pub(super) fn empty_staging(&mut self) {
        let is_clean = self.make_holes(self.staging.range());
        self.staging.set_clean(is_clean);
    }

    /// Turns a part of the staging memory into holes. It is not watched meanwhile: otherwise the
    /// drop would wait until the handler has read its message. Tells whether the part now consists
    /// of holes and is watched again.
    pub(super) fn make_holes(&mut self, part: VaRange) -> bool {
        let _ = self.shared.transfer.uffd().unregister(part);
        let cleared = self.staging.clear(part).is_ok();
        let watched = self.shared.register(part, Modes::PROTECTED).is_ok();
        if !watched {
            self.staging.set_clean(false);
        }
        cleared && watched
    }
}

/// Calls a device; one that panics has failed.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, DeviceError>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()?.ok()
}
