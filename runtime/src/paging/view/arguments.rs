//! Bytes that a launch is known to touch, brought in before it runs.

use super::view::View;
use crate::{
    VulkanError,
    lend::{
        homes::Homes,
        lends::{Lends, Segment},
    },
    paging::{
        PAGE_BYTES,
        first::{self, Overwritten, Stretch},
    },
    residency::{
        frames::Copies,
        memory::{Memory, Span},
    },
    stats::Counters,
    trace,
};

impl View {
    /// Brings in pages that a launch is known to touch, before it runs. Nothing is running.
    ///
    /// Those that it overwrites, which is asked if there are pages to write, are not copied. Then
    /// the launch is run, and [`overwritten`](Self::overwritten) says so; or they are
    /// [fetched](Self::fetch) or [dropped](Self::drop_unfetched).
    ///
    /// # Errors
    ///
    /// Those of the device. What was to come may not be there then, and the device is not taken to
    /// have it.
    pub(crate) fn bring(
        &mut self,
        stretches: &[Stretch],
        overwritten: impl FnOnce(&Lends) -> Overwritten,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), VulkanError> {
        let lend = |stretch: &Stretch| lends.containing(stretch.range.start()).copied();
        let mut reached: Vec<Segment> = stretches.iter().filter_map(lend).collect();
        reached.sort_unstable_by_key(|segment| segment.range.start());
        reached.dedup();
        let placed = self.place(Some(&reached), lends, homes);
        self.note_resident(lends);
        placed?;
        let missing = first::missing(&self.pages, stretches);
        // Of memory that lies at several addresses the newest bytes may be on the device: rounds
        // write them home first.
        if missing.is_empty() || self.pages.has_aliases() {
            return Ok(());
        }
        let writes = missing.iter().any(|missing| missing.write);
        let overwritten = if writes { overwritten(lends) } else { Overwritten::default() };
        let (fetched, unfetched) = first::parted(&self.pages, missing, &overwritten);
        self.is_changing = true;
        let Self { pages, frames, .. } = self;
        let mut allocate = || frames.allocate(PAGE_BYTES);
        let spans = pages.serve(&fetched, &mut allocate).and_then(|spans| {
            pages.serve(&unfetched, &mut allocate)?;
            Ok(spans)
        });
        let brought = spans.and_then(|spans| self.copy_in(&spans, homes));
        match brought {
            Ok(()) => self.unfetched = unfetched,
            Err(_) => self.doubt(),
        }
        self.is_changing = false;
        self.note_resident(lends);
        brought
    }

    /// Copies spans in, and waits until they are there.
    fn copy_in(&mut self, spans: &[Span], homes: &mut Homes) -> Result<(), VulkanError> {
        let Self { frames, launcher, .. } = self;
        let bytes = Span::sum(spans);
        let _copy = trace::span!("copy", to = "device", bytes = bytes);
        Counters::add(&launcher.device().counters.bytes_in, bytes);
        Copies { frames, homes }.copy_in(spans)?;
        frames.finish_writes()
    }

    /// Copies in what [`bring`](Self::bring) left out, for a launch that may not write all of it.
    /// Nothing is running.
    ///
    /// # Errors
    ///
    /// Those of the device, which has none of it then.
    pub(crate) fn fetch(
        &mut self,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), VulkanError> {
        if self.unfetched.is_empty() {
            return Ok(());
        }
        let spans = self.pages.spans(&self.unfetched);
        let fetched = self.copy_in(&spans, homes);
        match fetched {
            Ok(()) => self.unfetched.clear(),
            Err(_) => {
                self.drop_unfetched(lends);
                self.doubt();
                self.note_resident(lends);
            }
        }
        fetched
    }

    /// Whether [`bring`](Self::bring) left something out that no launch has overwritten yet.
    pub(crate) fn has_unfetched(&self) -> bool {
        !self.unfetched.is_empty()
    }

    /// The launch runs that overwrites what [`bring`](Self::bring) left out.
    pub(crate) fn overwritten(&mut self) {
        self.unfetched.clear();
    }

    /// Drops what [`bring`](Self::bring) left out, because the launch does not run.
    pub(crate) fn drop_unfetched(&mut self, lends: &mut Lends) {
        if !self.unfetched.is_empty() {
            self.pages.drop_unfetched(&std::mem::take(&mut self.unfetched));
            self.note_resident(lends);
        }
    }
}
