//! The counts of a runtime: launches, rounds, faults, bytes.

use crate::times::{KernelTime, KernelTimes};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counts of a runtime since it was built. Launches of the proofs at start-up are not counted.
///
/// Take two and subtract with [`Stats::since`] to learn what happened between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Launches that were handed to the device.
    pub launches: u64,
    /// Those of them that ran without checks, because it was proved that none would fail.
    pub proved_launches: u64,
    /// Barriers between two launches of one submission. There is none between launches that are
    /// known to touch no byte that the other one writes.
    pub barriers: u64,
    /// Rounds: how often a launch was run. Every launch takes one if the device works on host
    /// memory itself.
    pub rounds: u64,
    /// Submissions to the device's queue; a submission carries one launch or more.
    pub submissions: u64,
    /// Submissions that carry copies between host memory and memory that the host cannot map, or
    /// reads slowly: those of rounds whose pages come with them, and others that only copy.
    pub transfers: u64,
    /// Stretches of memory that these copied.
    pub transfer_regions: u64,
    /// Slices lent.
    pub lends: u64,
    /// Host pages imported into the device. Pages that a scope has imported are not imported again
    /// for other lends while it lasts, but where an import has to be divided.
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
    /// Pages of lends that the device had already when a scope first reached them, since an earlier
    /// scope: see [`Reuse`](crate::Reuse).
    pub pages_kept: u64,
    /// Page faults that the whole process took on the CPU since, minor and major. In direct access
    /// on a software device these are the demand paging of kernels, among the process's other
    /// faults. Zero where a sandbox forbids to read them.
    pub host_faults: u64,
    /// The time that each kernel ran on the device, in the order of their names. Absent unless
    /// [`RuntimeBuilder::time_kernels`](crate::RuntimeBuilder::time_kernels) asked for it, and
    /// where the device has no timestamps. A launch is added when its end was waited for.
    pub kernel_times: Option<Vec<KernelTime>>,
}

impl Stats {
    /// The counts that came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            launches: self.launches.saturating_sub(earlier.launches),
            proved_launches: self.proved_launches.saturating_sub(earlier.proved_launches),
            barriers: self.barriers.saturating_sub(earlier.barriers),
            rounds: self.rounds.saturating_sub(earlier.rounds),
            submissions: self.submissions.saturating_sub(earlier.submissions),
            transfers: self.transfers.saturating_sub(earlier.transfers),
            transfer_regions: self.transfer_regions.saturating_sub(earlier.transfer_regions),
            lends: self.lends.saturating_sub(earlier.lends),
            pages_imported: self.pages_imported.saturating_sub(earlier.pages_imported),
            faults: self.faults.saturating_sub(earlier.faults),
            undone_rounds: self.undone_rounds.saturating_sub(earlier.undone_rounds),
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            bytes_home: self.bytes_home.saturating_sub(earlier.bytes_home),
            pages_kept: self.pages_kept.saturating_sub(earlier.pages_kept),
            host_faults: self.host_faults.saturating_sub(earlier.host_faults),
            kernel_times: self.kernel_times.as_ref().map(|times| {
                KernelTime::all_since(times, earlier.kernel_times.as_deref().unwrap_or_default())
            }),
        }
    }
}

/// The counters behind [`Stats`]. Each stands alone, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) launches: AtomicU64,
    pub(crate) proved_launches: AtomicU64,
    pub(crate) barriers: AtomicU64,
    pub(crate) rounds: AtomicU64,
    pub(crate) submissions: AtomicU64,
    pub(crate) transfers: AtomicU64,
    pub(crate) transfer_regions: AtomicU64,
    pub(crate) lends: AtomicU64,
    pub(crate) pages_imported: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) undone_rounds: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_home: AtomicU64,
    pub(crate) pages_kept: AtomicU64,
    /// The times of kernels, if they are taken.
    pub(crate) kernel_times: Option<KernelTimes>,
    /// The faults that the process had taken before.
    host_faults_before: AtomicU64,
}

impl Counters {
    /// Counters, and the times of kernels if they are taken.
    pub(crate) fn new(kernel_times: Option<KernelTimes>) -> Self {
        Self { kernel_times, ..Self::default() }
    }

    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    /// Starts again at zero.
    pub(crate) fn begin(&self) {
        let Self {
            launches,
            proved_launches,
            barriers,
            rounds,
            submissions,
            transfers,
            transfer_regions,
            lends,
            pages_imported,
            faults,
            undone_rounds,
            bytes_in,
            bytes_home,
            pages_kept,
            kernel_times,
            host_faults_before,
        } = self;
        kernel_times.iter().for_each(KernelTimes::begin);
        let counted =
            [launches, proved_launches, barriers, rounds, submissions, lends, pages_imported];
        let missed = [faults, undone_rounds];
        let copied = [transfers, transfer_regions, bytes_in, bytes_home, pages_kept];
        for counter in counted.into_iter().chain(missed).chain(copied) {
            counter.store(0, Relaxed);
        }
        host_faults_before.store(host_faults(), Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            launches: self.launches.load(Relaxed),
            proved_launches: self.proved_launches.load(Relaxed),
            barriers: self.barriers.load(Relaxed),
            rounds: self.rounds.load(Relaxed),
            undone_rounds: self.undone_rounds.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_home: self.bytes_home.load(Relaxed),
            pages_kept: self.pages_kept.load(Relaxed),
            submissions: self.submissions.load(Relaxed),
            transfers: self.transfers.load(Relaxed),
            transfer_regions: self.transfer_regions.load(Relaxed),
            lends: self.lends.load(Relaxed),
            pages_imported: self.pages_imported.load(Relaxed),
            faults: self.faults.load(Relaxed),
            kernel_times: self.kernel_times.as_ref().map(KernelTimes::times),
            host_faults: host_faults().saturating_sub(self.host_faults_before.load(Relaxed)),
        }
    }
}

/// Counts steps of the host whose number must not grow with what a launch does not touch: pages,
/// lends and rows that it looks at. Only tests read the number.
pub(crate) fn step(count: usize) {
    #[cfg(test)]
    steps::add(count);
    #[cfg(not(test))]
    let _ = count;
}

/// The steps that each thread has counted.
#[cfg(test)]
pub(crate) mod steps {
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn add(count: usize) {
        STEPS.set(STEPS.get() + count);
    }

    /// The steps of this thread since the last call.
    pub(crate) fn take() -> usize {
        STEPS.take()
    }
}

/// The faults that the process has taken; zero where that cannot be read.
fn host_faults() -> u64 {
    farptr_hmm::fault_counts().map_or(0, |counts| counts.total())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_starts_at_zero() {
        let counters = Counters::default();
        Counters::add(&counters.launches, 3);
        Counters::add(&counters.bytes_home, 5);
        let before = counters.stats();
        assert_eq!((before.launches, before.bytes_home), (3, 5));
        counters.begin();
        let after = counters.stats();
        // Other threads of the process fault meanwhile, so one reading is compared.
        let host_faults = after.host_faults;
        assert_eq!(after, Stats { host_faults, ..Stats::default() });
        assert!(host_faults < before.host_faults, "those of the process's start do not count");
    }
}
