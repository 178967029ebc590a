//! The state of an evaluation of a plan for one launch.

use crate::footprint::launch::{Counts, Launch, WordsRead};
use crate::footprint::log::Log;
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::op::NodeId;
use crate::footprint::plan::Plan;
use crate::footprint::unknown::Unknown;
use crate::footprint::value::{Trust, Value};

/// The most work of an evaluation: computations and conclusions.
pub(super) const MOST_WORK: u32 = 1 << 16;
/// The most facts that are kept along a way. To forget one is always allowed.
const MOST_FACTS: usize = 128;

/// Bounds of a node at a place, beyond those of its computation.
pub(super) type Fact = (NodeId, Value);

/// The values that came by a way the last time that it was taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrival {
    /// By the nodes' order.
    pub(super) facts: Vec<Fact>,
    /// A value for each phi of the block that the way leads to.
    pub(super) moves: Vec<Value>,
    /// A counter's value and step, for each of the way's counters.
    pub(super) counts: Vec<(Value, Value)>,
}

/// An evaluation.
pub(super) struct Run<'p> {
    pub(super) plan: &'p Plan,
    pub(super) launch: Launch<'p>,
    pub(super) read: WordsRead,
    /// The values of the current block's code.
    pub(super) values: Vec<Value>,
    /// The number of the block's evaluation in which a value was computed.
    pub(super) stamps: Vec<u32>,
    pub(super) stamp: u32,
    pub(super) phis: Vec<Value>,
    /// How far the branch of each block may be relied on to go the same way again.
    pub(super) branches: Vec<Trust>,
    pub(super) arrivals: Vec<Option<Arrival>>,
    /// The facts at the current block's start, by the nodes' order.
    pub(super) facts: Vec<Fact>,
    /// Values that conclusions have changed, as they were.
    pub(super) changes: Vec<Fact>,
    /// Facts about what the current block does not compute.
    pub(super) extra: Vec<Fact>,
    pub(super) log: Log,
    /// Which ways may be taken.
    pub(super) taken: Vec<bool>,
    /// Blocks that store, and how many invocations along each axis may come to them.
    pub(super) stores: Vec<(usize, Counts)>,
    /// Whether the entries of the log count: not while loops are being tried out.
    pub(super) records: bool,
    work: u32,
}

impl<'p> Run<'p> {
    pub(super) fn new(plan: &'p Plan, launch: Launch<'p>) -> Self {
        let nothing = Value::any(64, Trust::Void);
        Self {
            plan,
            launch,
            read: WordsRead::default(),
            values: vec![nothing; plan.graph.nodes.len()],
            stamps: vec![0; plan.graph.nodes.len()],
            stamp: 0,
            phis: vec![nothing; plan.graph.phis.len()],
            branches: vec![Trust::Fixed; plan.blocks.len()],
            arrivals: vec![None; plan.edges.len()],
            facts: Vec::new(),
            changes: Vec::new(),
            extra: Vec::new(),
            log: Log::default(),
            taken: vec![false; plan.edges.len()],
            stores: Vec::new(),
            records: true,
            work: 0,
        }
    }

    /// How much work was done.
    pub(super) fn work(&self) -> u32 {
        self.work
    }

    /// Does so much work, unless it is too much.
    pub(super) fn spend(&mut self, work: usize) -> Result<(), Unknown> {
        self.work = self.work.saturating_add(u32::try_from(work).unwrap_or(u32::MAX));
        if self.work > MOST_WORK { Err(Unknown::Budget) } else { Ok(()) }
    }

    /// How far the branches of blocks may be relied on to choose the same way again.
    pub(super) fn choice(&self, blocks: &[usize]) -> Trust {
        let trusts = blocks.iter().map(|&block| self.branches[block]);
        let worst = trusts.max().unwrap_or(Trust::Fixed);
        if mutant::has(Mutant::WaysAreFixed) { Trust::Fixed } else { worst }
    }

    /// Whether the current block computes a node.
    pub(super) fn is_current(&self, node: NodeId) -> bool {
        self.stamps[node as usize] == self.stamp
    }

    /// The fact at the block's start about a node.
    pub(super) fn fact(&self, node: NodeId) -> Option<Value> {
        let found = self.facts.binary_search_by_key(&node, |fact| fact.0);
        found.ok().map(|at| self.facts[at].1)
    }

    /// The facts at the block's start, with what was concluded since some point.
    pub(super) fn conclusions(&self, changes: usize, extra: usize) -> Vec<Fact> {
        let mut facts = self.facts.clone();
        let changed = self.changes[changes..].iter().map(|of| (of.0, self.values[of.0 as usize]));
        let extra = self.extra[extra..].iter().copied();
        for (node, value) in changed.chain(extra) {
            match facts.binary_search_by_key(&node, |fact| fact.0) {
                Ok(at) => facts[at].1 = value,
                Err(at) if facts.len() < MOST_FACTS => facts.insert(at, (node, value)),
                Err(_) => {}
            }
        }
        facts
    }

    /// Takes conclusions back to some point.
    pub(super) fn undo(&mut self, changes: usize, extra: usize) {
        while self.changes.len() > changes {
            if let Some((node, value)) = self.changes.pop() {
                self.values[node as usize] = value;
            }
        }
        self.extra.truncate(extra);
    }
}

/// The facts that hold on both of two ways.
pub(super) fn common(one: &[Fact], other: &[Fact], width: impl Fn(NodeId) -> u8) -> Vec<Fact> {
    let mut both = Vec::with_capacity(one.len().min(other.len()));
    let mut rest = other.iter().peekable();
    for (node, value) in one {
        while rest.next_if(|fact| fact.0 < *node).is_some() {}
        if let Some(fact) = rest.next_if(|fact| fact.0 == *node) {
            both.push((*node, value.hull(fact.1, width(*node))));
        }
    }
    both
}
