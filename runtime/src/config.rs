//! How a runtime reaches host memory, as its builder decided. Pure.

use crate::{ChosenBacking, ProvedAccess, Reuse, test_hooks::Hooks};
use farptr_hmm::VaRange;
use farptr_rewrite::Translation;

/// How a runtime reaches host memory.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Direct or mirrored.
    pub(crate) access: ProvedAccess,
    /// Import or copy.
    pub(crate) backing: ChosenBacking,
    /// Whether launches that are proved run without checks.
    pub(crate) proofs: bool,
    /// The memory of which copies stay on the device from scope to scope.
    pub(crate) reuse: Reuse,
    /// Whether a scope ends with an error although a lost device may be using its memory.
    pub(crate) assumes_stopped: bool,
    /// Options for tests.
    pub(crate) hooks: Hooks,
}

impl Config {
    /// Device addresses equal host addresses.
    pub(crate) const DIRECT: Self = Self {
        access: ProvedAccess::Direct,
        backing: ChosenBacking::Import,
        proofs: true,
        reuse: Reuse::Never,
        assumes_stopped: false,
        hooks: Hooks { staged_copies: false, serve_faults: None, import_limit: None },
    };

    pub(crate) fn is_direct(&self) -> bool {
        self.access == ProvedAccess::Direct
    }

    /// Whether lent memory is imported.
    pub(crate) fn imports(&self) -> bool {
        self.backing == ChosenBacking::Import
    }

    /// Whether copies may stay on the device from scope to scope.
    pub(crate) fn keeps(&self) -> bool {
        self.reuse != Reuse::Never && !self.imports()
    }

    /// Whether a range is to be copied although lent memory is imported.
    pub(crate) fn refuses(&self, range: VaRange) -> bool {
        !self.is_direct() && self.hooks.import_limit.is_some_and(|limit| range.len_bytes() > limit)
    }

    /// The translation of addresses in kernels on memory that the device reaches as it is.
    pub(crate) fn translation(&self) -> Translation {
        if self.is_direct() { Translation::None } else { Translation::Segments }
    }
}
