//! What is known of a launch before it runs.

/// What is known of a launch before it runs, and is therefore not checked while it runs.
///
/// The pass believes it. If something of it is not so, the form accesses memory that is not lent.
/// A host finds it in the [`Footprint`](crate::Footprint) of the launch. That has to be of the same
/// kernel, of the push constants that the form gets, and of the grid that the kernel sees: in a
/// folded launch, of the virtual grid.
///
/// Everything else of a form stays as it is: other checks, and what the pass does for the device.
/// Footprints hold whatever memory contains, and whatever own variables contain after an index of
/// them was replaced. So they hold also for an invocation that failed another check.
///
/// What was found out behind a loop holds only if the loop ended by itself. So in a form whose
/// loops are limited or guarded, accesses keep their checks where they may run after such a loop
/// was left early: behind a call of a function with a loop, and with
/// [`loop_guard`](crate::Variant::loop_guard) behind every loop. The pass sees to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Proved {
    /// Bit `k` stands for the check at position `k` of
    /// [`Analysis::index_checks`](crate::Analysis::index_checks). Checks from position
    /// [`MOST_CHECKS`](Self::MOST_CHECKS) on are always made.
    ///
    /// It says of every site that has the check: either the site never runs, or
    ///
    /// 1. its bytes are behind the root of the check and of no other, from the first to the last
    ///    within one lend, which is writable if the access writes;
    /// 2. the root is a multiple of the alignment that the footprint asks for;
    /// 3. the bytes are there as long as the launch runs: no page of them is missing or moved;
    /// 4. row `k` of the control block has the device address of the root. Its first index and its
    ///    count are not read. With [`Translation::None`](crate::Translation::None) no word of the
    ///    row is read: the kernel uses its own pointer;
    /// 5. without [`wide_offsets`](crate::Variant::wide_offsets), the driver computes offsets that
    ///    large.
    ///
    /// Without effect where pages may be missing.
    pub checks: u64,
    /// Every index into a variable of the kernel's own is within it.
    pub own: bool,
    /// Every loop ends by itself. The runs of all loops in one invocation, together with
    /// [`REPORT_RUNS`](crate::control::REPORT_RUNS), are no more than the driver allows, and end
    /// before the host would end the launch: they read none of its words.
    pub loops: bool,
}

impl Proved {
    /// Nothing is known: everything is checked.
    pub const NOTHING: Self = Self { checks: 0, own: false, loops: false };
    /// How many index checks can be left out.
    pub const MOST_CHECKS: usize = 64;

    /// Whether an index check is left out, by its position.
    #[must_use]
    pub fn has_check(self, position: usize) -> bool {
        position < Self::MOST_CHECKS && self.checks >> position & 1 == 1
    }

    /// The same, without an index check by its position.
    #[must_use]
    pub fn without_check(self, position: usize) -> Self {
        let bit = Self::NOTHING.with_check(position).checks;
        Self { checks: self.checks & !bit, ..self }
    }

    /// The same, and an index check by its position.
    #[must_use]
    pub fn with_check(self, position: usize) -> Self {
        let bit = u32::try_from(position).ok().and_then(|position| 1u64.checked_shl(position));
        Self { checks: self.checks | bit.unwrap_or_default(), ..self }
    }
}
