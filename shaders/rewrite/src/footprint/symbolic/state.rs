//! The state of an evaluation for all launches at once.

use crate::footprint::plan::Plan;
use crate::footprint::symbolic::bound::Bound;
use crate::footprint::symbolic::compute::Ranges;
use crate::footprint::symbolic::range::Range;
use crate::footprint::unknown::Doubt;
use crate::footprint::value::Trust;

/// Something that the evaluation has found.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// An access: the range of its first byte behind its argument.
    Access { site: usize, place: Result<Range, (Option<u32>, Doubt)>, bytes: u32 },
    /// An index into a variable of the kernel's own, which has so many elements.
    Index { site: usize, index: Result<Range, Doubt>, length: u64 },
    /// It may do what the specification does not define.
    Undefined,
    /// A loop, and the step that has to be above 0 for it to end. `None`: it is not known to end.
    Loop { which: usize, ends: Option<Bound> },
}

/// The ranges that came by a way the last time that it was taken.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) facts: Ranges,
    /// A range for each phi of the block that the way leads to.
    pub(super) moves: Vec<Range>,
    /// A counter's range before its step and its step, for each of the way's counters.
    pub(super) counts: Vec<(Range, Range)>,
}

/// An evaluation.
pub(super) struct Walk<'p> {
    pub(super) plan: &'p Plan,
    pub(super) local_size: [u32; 3],
    pub(super) phis: Vec<Range>,
    /// How far the branch of each block may be relied on to go the same way again.
    pub(super) branches: Vec<Trust>,
    pub(super) arrivals: Vec<Option<Arrival>>,
    pub(super) log: Vec<Found>,
    /// Whether what is found counts: not while loops are being tried out.
    pub(super) records: bool,
    pub(super) work: usize,
}

impl<'p> Walk<'p> {
    pub(super) fn new(plan: &'p Plan, local_size: [u32; 3]) -> Self {
        Self {
            plan,
            local_size,
            phis: vec![Range::any(Trust::Void); plan.graph.phis.len()],
            branches: vec![Trust::Fixed; plan.blocks.len()],
            arrivals: vec![None; plan.edges.len()],
            log: Vec::new(),
            records: true,
            work: 0,
        }
    }

    /// How far the branches of blocks may be relied on to choose the same way again.
    pub(super) fn choice(&self, blocks: &[usize]) -> Trust {
        blocks.iter().map(|&block| self.branches[block]).max().unwrap_or(Trust::Fixed)
    }
}

/// What is known at a place of a block.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The ranges of what the block computes.
    pub(super) values: Ranges,
    /// Ranges beyond those of computations.
    pub(super) facts: Ranges,
}

/// The facts that hold on both of two ways.
pub(super) fn common(one: &Ranges, other: &Ranges) -> Ranges {
    let both = one.iter().filter_map(|(node, known)| Some((*node, known.hull(other.get(node)?))));
    both.collect()
}
