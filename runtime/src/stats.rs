//! What a runtime has done so far, in counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a runtime has done since it was built, in counts.
///
/// Take two and subtract with [`Stats::since`] to learn what happened between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Launches that were handed to the device.
    pub launches: u64,
    /// Rounds: how often a launch was run. Where the device works on host memory itself every
    /// launch takes one.
    pub rounds: u64,
    /// Submissions to the device's queue; a submission carries one launch or more.
    pub submissions: u64,
    /// Slices lent.
    pub lends: u64,
    /// Host pages imported into the device, counted again for every scope that lends them.
    pub pages_imported: u64,
    /// Faults that checked launches reported, one per invocation with a fault.
    pub faults: u64,
    /// Rounds that did not count, because pages were missing: every other round was the last one of
    /// its launch.
    pub undone_rounds: u64,
    /// Bytes of lent memory copied to the device, again after undone rounds included.
    pub bytes_in: u64,
    /// Bytes copied from the device to lent memory.
    pub bytes_home: u64,
    /// Page faults that the whole process took on the CPU, minor and major. In direct access on a
    /// software device these are the demand paging of kernels, among the process's other faults.
    /// Zero where a sandbox forbids to read them.
    pub host_faults: u64,
}

impl Stats {
    /// The counts that came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            launches: self.launches.saturating_sub(earlier.launches),
            rounds: self.rounds.saturating_sub(earlier.rounds),
            submissions: self.submissions.saturating_sub(earlier.submissions),
            lends: self.lends.saturating_sub(earlier.lends),
            pages_imported: self.pages_imported.saturating_sub(earlier.pages_imported),
            faults: self.faults.saturating_sub(earlier.faults),
            undone_rounds: self.undone_rounds.saturating_sub(earlier.undone_rounds),
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            bytes_home: self.bytes_home.saturating_sub(earlier.bytes_home),
            host_faults: self.host_faults.saturating_sub(earlier.host_faults),
        }
    }
}

/// The counters behind [`Stats`]. Each stands alone, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) launches: AtomicU64,
    pub(crate) rounds: AtomicU64,
    pub(crate) submissions: AtomicU64,
    pub(crate) lends: AtomicU64,
    pub(crate) pages_imported: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) undone_rounds: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_home: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            launches: self.launches.load(Relaxed),
            rounds: self.rounds.load(Relaxed),
            undone_rounds: self.undone_rounds.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_home: self.bytes_home.load(Relaxed),
            submissions: self.submissions.load(Relaxed),
            lends: self.lends.load(Relaxed),
            pages_imported: self.pages_imported.load(Relaxed),
            faults: self.faults.load(Relaxed),
            host_faults: farptr_hmm::fault_counts().map_or(0, |counts| counts.total()),
        }
    }
}
