//! How a runtime reaches host memory: what its builder decided. Pure.

use crate::{AccessMode, Backing};
use farptr_hmm::VaRange;
use farptr_rewrite::Translation;

/// How a runtime reaches host memory.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Direct or mirrored.
    pub(crate) access: AccessMode,
    /// Import or copy.
    pub(crate) backing: Backing,
    /// Bytes of device frames, if limited.
    pub(crate) device_budget: Option<u64>,
    /// Copies by the device even where the host could; for tests.
    pub(crate) staged_copies: bool,
    /// In which order, and how many at a time, faults are served; for tests.
    pub(crate) serve_faults: Option<ServeFaults>,
    /// Bytes above which no range is imported, although the driver would; for tests.
    pub(crate) import_limit: Option<u64>,
}

/// Serves the faults of a round in a random order and not all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServeFaults {
    /// Decides on the order.
    pub(crate) seed: u64,
    /// Pages that are served after a round at most.
    pub(crate) most_per_round: usize,
}

impl Config {
    /// Device addresses equal host addresses.
    pub(crate) const DIRECT: Self = Self {
        access: AccessMode::Direct,
        backing: Backing::Import,
        device_budget: None,
        staged_copies: false,
        serve_faults: None,
        import_limit: None,
    };

    pub(crate) fn is_direct(&self) -> bool {
        self.access == AccessMode::Direct
    }

    /// Whether lent memory is imported.
    pub(crate) fn imports(&self) -> bool {
        self.backing == Backing::Import
    }

    /// Whether a range is to be copied although lent memory is imported.
    pub(crate) fn refuses(&self, range: VaRange) -> bool {
        !self.is_direct() && self.import_limit.is_some_and(|limit| range.len_bytes() > limit)
    }

    /// What becomes of addresses in kernels on memory that is reachable as it is.
    pub(crate) fn translation(&self) -> Translation {
        if self.is_direct() { Translation::None } else { Translation::Segments }
    }
}
