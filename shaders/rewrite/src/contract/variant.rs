//! The choices that decide on a form of a kernel.

use crate::contract::analysis::{Analysis, Check};
use crate::contract::proved::Proved;

/// A form of a kernel that the pass makes. Equal variants of equal words are equal words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The translation of an address that passed its check.
    pub translation: Translation,
    /// How the segment of an address is found.
    pub search: Search,
    /// Pointer arguments may lie inside their lend, so that an index may be negative: the check
    /// subtracts the first valid index.
    pub offset_roots: bool,
    /// Accesses of a [`Joint`](crate::Joint) are checked together. No two segments are closer to
    /// each other than [`joint_bytes`](crate::Analysis::joint_bytes). Without effect where pages
    /// may be missing: each access then has its own.
    pub joint: bool,
    /// The integers that addresses are computed with.
    pub integers: Integers,
    /// Detects loops that the driver cut short.
    pub loop_guard: bool,
    /// Invocations of a subgroup that miss the same page report it once.
    pub subgroup_faults: bool,
    /// How the grid that the kernel sees is dispatched.
    pub fold: Fold,
    /// The kernel computes the offsets of access chains itself, in 64 bits, because the driver has
    /// fewer for that.
    pub wide_offsets: bool,
    /// What is known of the launch before it runs, and is not checked.
    pub proved: Proved,
}

impl Variant {
    /// Whether the form of a kernel checks no access, no index and no loop.
    #[must_use]
    pub fn checks_nothing(&self, analysis: &Analysis) -> bool {
        let Proved { own, loops, .. } = self.proved;
        let own = own || !analysis.sites.iter().any(|site| site.check == Check::Own);
        let indexed = (0..analysis.index_checks.len()).all(|at| self.proved.has_check(at));
        own && indexed && (loops || analysis.loops == 0) && analysis.is_roots_only()
    }

    /// The variant without the choices that make no difference for a kernel. Both are the same
    /// words, so a host that keeps forms keeps fewer by the result.
    ///
    /// It concerns [`proved`](Self::proved), and what has no effect because of it.
    #[must_use]
    pub fn normalised(self, analysis: &Analysis) -> Self {
        let Proved { checks, own, loops } = self.proved;
        let some = analysis.index_checks.len().min(Proved::MOST_CHECKS);
        let possible = (0..some).fold(Proved::NOTHING, Proved::with_check).checks;
        let checks = if self.translation.faults() { 0 } else { checks & possible };
        let own = own && analysis.sites.iter().any(|site| site.check == Check::Own);
        let has_loops = analysis.loops > 0;
        let proved = Proved { checks, own, loops: loops && has_loops };
        let ends = proved.loops || !has_loops;
        // No index is compared then.
        let all = ends && (0..analysis.index_checks.len()).all(|at| proved.has_check(at));
        Self {
            loop_guard: self.loop_guard && !ends,
            offset_roots: self.offset_roots && !all,
            proved,
            ..self
        }
    }
}

/// How the grid that a kernel sees is dispatched: as it is, or as another one that keeps a device's
/// limits.
///
/// The kernel of a folded launch sees the *virtual* grid: its built-in values are those of a
/// dispatch without limits. Workgroups are numbered x first, then y, then z, and the workgroup that
/// is dispatched as number `n` is number `n` of the virtual grid. It does nothing where the virtual
/// grid has fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fold {
    /// As it is.
    #[default]
    None,
    /// The virtual grid is a line along x: it has one workgroup in y and z.
    Line,
    /// The virtual grid is any.
    Space,
}

/// The translation of an address that passed its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Translation {
    /// Nothing: device addresses equal host addresses. A failed check stops the launch.
    None,
    /// A segment's distance is added; what is lent is resident. A failed check stops the launch.
    Segments,
    /// The page table is read; a missing page is a fault, which is collected while the others run
    /// on.
    Table {
        /// Addresses in no segment are looked up in the radix tree.
        tree: bool,
    },
}

impl Translation {
    /// Whether pages may be missing, so that faults are collected and the launch repeated.
    #[must_use]
    pub fn faults(self) -> bool {
        matches!(self, Self::Table { .. })
    }
}

/// How the segment of an address is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Search {
    /// One after the other, from the control block: at most [`Search::UNROLLED`] of them.
    Unrolled(u8),
    /// By bisection in memory: `2^steps` segments sorted by start, filled up with segments that
    /// start at `u64::MAX` and hold nothing.
    Bisected {
        /// The number of halvings, 1 to 16.
        steps: u8,
    },
}

impl Search {
    /// The most segments that are compared one after the other.
    pub const UNROLLED: u8 = 8;

    /// The cheapest search among this many segments.
    ///
    /// Counts are rounded up to 0, 1, 2, 4, 8, and powers of two from there, so that few variants
    /// serve all launches. Returns `None` beyond `2^16`.
    #[must_use]
    pub fn among(segments: usize) -> Option<Self> {
        if segments == 0 {
            return Some(Self::Unrolled(0));
        }
        let rounded = segments.checked_next_power_of_two()?;
        if rounded <= usize::from(Self::UNROLLED) {
            return u8::try_from(rounded).ok().map(Self::Unrolled);
        }
        let steps = u8::try_from(rounded.trailing_zeros()).ok()?;
        (steps <= 16).then_some(Self::Bisected { steps })
    }

    /// The segments that the host has to provide, the empty ones included.
    #[must_use]
    pub fn segments(self) -> usize {
        match self {
            Self::Unrolled(count) => usize::from(count),
            Self::Bisected { steps } => 1 << steps,
        }
    }
}

/// The integers that addresses are computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integers {
    /// 64-bit integers: the device has `shaderInt64`.
    Native,
    /// Pairs of 32-bit integers, for devices without.
    Pairs,
}
