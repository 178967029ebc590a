//! Tables, fault bitmaps and frames for the lends that launches reach.

use super::view::View;
use crate::{
    VulkanError,
    lend::{
        homes::Homes,
        lends::{Lends, Segment},
    },
    paging::{PAGE_BYTES, bitmap::FaultBitmap, lend_pages::pages_of},
    stats::step,
};
use farptr_hmm::{VaRange, VirtAddr};
use std::collections::BTreeSet;

impl View {
    /// The segments among those that a launch reaches, or all, that have no table and bitmap.
    fn unplaced(&self, reached: Option<&[Segment]>, lends: &Lends) -> Vec<Segment> {
        let all = reached.is_none().then(|| lends.since(self.all_placed)).into_iter().flatten();
        let segments = reached.unwrap_or_default().iter().chain(all);
        let looked = segments.inspect(|_| step(1));
        looked.filter(|segment| self.placed(segment).is_none()).copied().collect()
    }

    /// Gives the segments that a launch reaches, or all, their tables and bitmaps.
    ///
    /// Memory at several addresses is found here: by the areas of segments that get their first
    /// table and, where kernels work on imported memory without one, of all that are new.
    pub(super) fn place(
        &mut self,
        reached: Option<&[Segment]>,
        lends: &Lends,
        homes: &mut Homes,
    ) -> Result<(), VulkanError> {
        let unplaced = self.unplaced(reached, lends);
        let imported = self.config.imports().then(|| lends.since(self.known).copied().collect());
        let unknown: Vec<Segment> = imported.unwrap_or_else(|| unplaced.clone());
        if !(unplaced.is_empty() && unknown.is_empty()) {
            self.refresh_areas();
            if self.pages.has_aliases() {
                self.bring_home(homes)?;
            }
            let mut aliased = BTreeSet::new();
            for segment in &unknown {
                step(1);
                self.retire_within(segment.range)?;
                let areas = self.areas_of(segment.range);
                aliased.extend(self.pages.shared.add(segment.range, segment.writable, &areas));
            }
            let moved = self.retire_aliased(lends, &aliased, homes)?;
            for segment in unplaced.iter().chain(&moved) {
                if self.placed(segment).is_none() {
                    self.add(segment)?;
                }
            }
            // After an error they are looked up again.
            self.known = lends.version();
        }
        if reached.is_none() {
            self.all_placed = lends.version();
        }
        Ok(())
    }

    /// Removes segments that are part of a larger one now.
    fn retire_within(&mut self, range: VaRange) -> Result<(), VulkanError> {
        let within = self.bitmaps.range(range.start()..range.end());
        let swallowed: Vec<VirtAddr> = within.map(|(&start, _)| start).collect();
        for start in swallowed {
            self.retire(start)?;
        }
        self.pages.shared.remove(range);
        Ok(())
    }

    /// Removes segments that must share frames with new ones, and returns those that had tables:
    /// they are to be added again.
    fn retire_aliased(
        &mut self,
        lends: &Lends,
        addresses: &BTreeSet<u64>,
        homes: &mut Homes,
    ) -> Result<Vec<Segment>, VulkanError> {
        if !addresses.is_empty() {
            self.bring_home(homes)?;
        }
        let mut moved = Vec::new();
        for &address in addresses {
            let Some(&segment) = lends.containing(VirtAddr::new(address)) else { continue };
            if self.placed(&segment).is_some() {
                self.retire(segment.range.start())?;
                moved.push(segment);
            }
        }
        Ok(moved)
    }

    fn retire(&mut self, start: VirtAddr) -> Result<(), VulkanError> {
        let Some(bitmap) = self.bitmaps.remove(&start) else { return Ok(()) };
        self.all_placed = 0;
        self.tracked.remove(&bitmap.lend);
        self.lists.doubt();
        match self.pages.retire(bitmap.lend) {
            Some(frames) => self.frames.release(frames),
            None => Ok(()),
        }
    }

    fn add(&mut self, segment: &Segment) -> Result<(), VulkanError> {
        step(1);
        self.lists.doubt();
        let range = segment.range;
        let areas = if self.pages.has_aliases() { self.areas_of(range) } else { Vec::new() };
        let aliases = self.pages.shared.aliases(range, &areas);
        let pages = pages_of(range) as u64;
        let bitmap = FaultBitmap::new(self.launcher.device(), range, self.pages.lends().len())?;
        let apart = aliases.is_empty();
        let kept = if apart { self.take_kept(range) } else { None };
        let frames = match &kept {
            Some((frames, _)) => Some(*frames),
            None if apart => self.frames.reserve(pages * PAGE_BYTES),
            None => None,
        };
        // Behind the run: a table must not lie in the block that would have to give way to it.
        let table = self.frames.allocate(pages * 8)?;
        let lend = self.pages.add(range, segment.writable, frames, table);
        debug_assert_eq!(lend, bitmap.lend, "lends are added behind the others");
        self.pages.set_aliases(lend, aliases);
        if let Some((_, kept)) = kept {
            self.restore(lend, kept);
        }
        self.bitmaps.insert(range.start(), bitmap);
        Ok(())
    }
}
