//! Copies that stay on the device after the scope, and those that an earlier scope has left.

use super::view::View;
use crate::{
    VulkanError,
    paging::PAGE_BYTES,
    residency::{
        kept::{BREAK_EVEN, KeptLend, Outcome, Present},
        stores::{Stores, Tracked},
    },
    stats::Counters,
};
use farptr_hmm::{PageSize, VaRange};
/// Pages of the smallest lend that is kept.
const LEAST_PAGES: usize = 16;

/// What an earlier scope has left of a lend.
pub(super) struct Left {
    present: Present,
    tracked: Tracked,
}

impl View {
    /// Takes over what an earlier scope has left of a lend, with the address of its frames.
    pub(super) fn take_kept(&mut self, range: VaRange) -> Option<(u64, Left)> {
        if !self.config.keeps() {
            return None;
        }
        let KeptLend { run, present, tracked, .. } = self.launcher.kept().take(range)?;
        Some((self.frames.hold(run), Left { present, tracked }))
    }

    /// Notes that the device has pages of a lend since an earlier scope.
    pub(super) fn restore(&mut self, lend: usize, Left { present, tracked }: Left) {
        self.pages.restore(lend, &present);
        self.tracked.insert(lend, tracked);
        let counters = &self.launcher.device().counters;
        Counters::add(&counters.pages_kept, present.count() as u64);
    }

    /// Leaves copies on the device for later scopes, at the end of this one: nothing is running,
    /// the newest bytes are at home, and lent memory is still borrowed.
    ///
    /// # Errors
    ///
    /// Those of the device. Nothing is left then.
    pub(crate) fn keep(&mut self) -> Result<(), VulkanError> {
        if !self.config.keeps() || self.is_unsettled() || self.has_unfetched() {
            return Ok(());
        }
        self.frames.finish_writes()?;
        self.refresh_areas();
        for position in 0..self.pages.lends().len() {
            if let Some(kept) = self.keep_lend(position) {
                self.launcher.kept().put(kept);
            }
        }
        Ok(())
    }

    /// A lend as it is kept, if it is worth it.
    fn keep_lend(&mut self, position: usize) -> Option<KeptLend> {
        let lend = &self.pages.lends()[position];
        let (range, frames, pages) = (lend.range(), lend.run_start()?, lend.pages());
        if lend.written_home() * BREAK_EVEN > pages {
            if self.tracked.contains_key(&position) {
                // The copies home were stores to tracked pages.
                self.launcher.kept().note(range, Outcome::Stored);
            }
            return None;
        }
        // The bytes beside a lend are others', so the pages that it shares with them are not kept.
        let whole = range.whole_pages(PageSize::host());
        let place = |at: u64| (at / PAGE_BYTES - lend.first_page()) as usize;
        let present = lend.clean(place(whole.start().get())..place(whole.end().get()));
        // To track a lend costs as much as it is long.
        let is_there = pages >= LEAST_PAGES && present.count() * BREAK_EVEN >= pages;
        if !is_there || !self.launcher.kept().wants(range) || !self.is_private(range) {
            return None;
        }
        let tracked = match self.tracked.remove(&position) {
            Some(tracked) => tracked,
            None => Stores::of_process()?.track(whole)?,
        };
        let run = self.frames.hand_over(frames)?;
        Some(KeptLend { range, run, present, tracked })
    }

    /// Whether a range is private memory without a file behind it. Other memory can change without
    /// a store through these addresses.
    fn is_private(&mut self, range: VaRange) -> bool {
        let areas = self.areas_of(range);
        !areas.is_empty() && areas.iter().all(farptr_hmm::Vma::is_private_anonymous)
    }
}
