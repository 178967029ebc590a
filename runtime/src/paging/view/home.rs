//! Results that come home, and lends that the device has whole.

use super::view::View;
use crate::{
    VulkanError,
    lend::{
        homes::Homes,
        lends::{Lends, Segment},
        shown::Shown,
    },
    paging::{
        PAGE_BYTES, bitmap::FaultBitmap, lend_pages::pages_of, pages::Dirty, reach::Reach, rounds,
        shared::is_shared,
    },
    residency::frames::Copies,
    stats::{Counters, step},
};
use farptr_hmm::{VaRange, VirtAddr};

impl View {
    /// Writes home all bytes that are newer on the device, once nothing is running.
    pub(crate) fn bring_home(&mut self, homes: &mut Homes) -> Result<(), VulkanError> {
        let dirty = self.pages.dirty(&Reach::All);
        self.write_back(&dirty, homes)
    }

    /// Writes home the pages that a lent range touches, with those that are the same memory at
    /// other addresses, as far as they are newer on the device. Nothing is running. No byte that is
    /// `shown` is written.
    pub(crate) fn bring_home_range(
        &mut self,
        range: VaRange,
        homes: &mut Homes,
        shown: &Shown,
    ) -> Result<(), VulkanError> {
        let dirty = match self.place_of(range) {
            Some((lend, pages)) if self.areas.is_some() => self.pages.dirty_among(lend, pages),
            _ if self.pages.any_dirty() && self.may_be_shared(range) => {
                self.pages.dirty(&Reach::All)
            }
            _ => return Ok(()),
        };
        let unseen = dirty.spans.iter().all(|span| !shown.overlap(span.home, span.bytes));
        assert!(unseen, "bytes that the host has seen are not written before the next launch");
        self.write_back(&dirty, homes)
    }

    fn write_back(&mut self, dirty: &Dirty, homes: &mut Homes) -> Result<(), VulkanError> {
        let mut memory = Copies { frames: &mut self.frames, homes };
        let bytes = rounds::write_back(&mut memory, &mut self.pages, dirty)?;
        Counters::add(&self.launcher.device().counters.bytes_home, bytes);
        Ok(())
    }

    /// Writes home the pages that a lent range touches, as
    /// [`bring_home_range`](Self::bring_home_range) does, and drops them, because the host is about
    /// to change them. If the range is not in the view yet and is shared memory, all pages are
    /// dropped.
    pub(crate) fn take_home(
        &mut self,
        range: VaRange,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), VulkanError> {
        self.bring_home_range(range, homes, &Shown::default())?;
        match self.place_of(range) {
            Some((lend, pages)) => self.pages.forget_pages(lend, pages),
            None if self.may_be_shared(range) => {
                self.pages.forget(self.bitmaps.values().map(|bitmap| bitmap.lend));
            }
            None => {}
        }
        self.note_resident(lends);
        Ok(())
    }

    /// The position of the lend that has a range, and the pages of the lend that the range touches.
    fn place_of(&self, range: VaRange) -> Option<(usize, std::ops::Range<usize>)> {
        let bitmap = self.bitmap_of(range.start())?;
        let first = self.pages.lends()[bitmap.lend].first_page();
        let start = (range.start().get() / PAGE_BYTES - first) as usize;
        Some((bitmap.lend, start..start + pages_of(range)))
    }

    fn bitmap_of(&self, address: VirtAddr) -> Option<&FaultBitmap> {
        let (_, bitmap) = self.bitmaps.range(..=address).next_back()?;
        bitmap.range.contains(address).then_some(bitmap)
    }

    /// Whether a range is in shared memory, or Linux does not tell.
    fn may_be_shared(&mut self, range: VaRange) -> bool {
        self.refresh_areas();
        let areas = self.areas.as_mut().and_then(|areas| areas.within(range).ok());
        areas.is_none_or(|areas| areas.iter().any(is_shared))
    }

    /// Where the device works on copies, notes which segments it has whole, and their distance to
    /// it: of the lends with pages that have come or gone since the last time.
    pub(super) fn note_resident(&mut self, lends: &mut Lends) {
        if self.config.imports() {
            return;
        }
        for position in self.pages.take_changed() {
            step(1);
            let start = self.pages.lends()[position].range().start();
            if let Some(segment) = lends.containing(start) {
                let (start, delta) = (segment.range.start(), self.delta(segment));
                lends.set_delta(start, delta);
            }
        }
    }

    /// The number that is added to host addresses of a segment, if the device has all of it.
    fn delta(&self, segment: &Segment) -> Option<u64> {
        let bitmap = self.placed(segment)?;
        self.pages.lends()[bitmap.lend].resident_delta()
    }
}
