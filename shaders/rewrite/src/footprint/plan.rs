//! A kernel's computations as a list of steps, prepared once and evaluated for each launch.

use crate::footprint::acts::Acts;
use crate::footprint::choices::Choices;
use crate::footprint::flow::When;
use crate::footprint::graph::Graph;
use crate::footprint::nest::{Nest, Step};
use crate::footprint::op::{NodeId, Op};
use crate::footprint::stores;
use crate::footprint::unknown::Unknown;
use crate::footprint::zeros::zeros;
use std::collections::HashSet;

/// The most computations of all blocks together.
const MOST_CODE: usize = 1 << 18;
/// How often needless phis are removed. Those that are left do no harm.
const MOST_ROUNDS: usize = 16;
/// How deep truth values are followed to the ways that they came by.
const MOST_DEPTH: u32 = 4;

/// A kernel, ready to be evaluated.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) graph: Graph,
    pub(super) blocks: Vec<Block>,
    pub(super) edges: Vec<Edge>,
    pub(super) loops: Vec<Loop>,
    pub(super) steps: Vec<Step>,
    /// The selections of the kernel, those of a function once for each call.
    pub(super) selections: u64,
    /// The place of an invocation in the grid along each axis, if the kernel computes it.
    pub(super) places: [Option<NodeId>; 3],
}

/// A block of a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// The nodes that are computed in it, each after what it is computed from.
    pub(super) code: Vec<NodeId>,
    /// The phis at its start that something depends on.
    pub(super) phis: Vec<usize>,
    pub(super) acts: Acts,
    /// The loop whose start it is, if nothing goes back to it.
    pub(super) once: Option<usize>,
    pub(super) ins: Vec<usize>,
    pub(super) outs: Vec<usize>,
    /// The blocks whose branches choose the way to it, from before it and back to it.
    pub(super) choices: Vec<usize>,
    pub(super) choices_back: Vec<usize>,
}

/// A way between two blocks.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) when: When,
    pub(super) is_back: bool,
    /// The block that it leads to.
    pub(super) to: usize,
    /// The value for each phi at the start of the block that it leads to.
    pub(super) moves: Vec<NodeId>,
    /// The counters of the runs of the loop that it leads back to.
    pub(super) counters: Vec<Counter>,
}

/// A number that changes by the same step in each run of a loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    /// Which of the phis of the loop's start it is.
    pub(super) phi: usize,
    pub(super) node: NodeId,
    pub(super) change: Change,
    pub(super) step: NodeId,
}

/// How a number changes in each run of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// By a sum.
    Plus,
    /// By a difference.
    Minus,
    /// Its bits are moved down.
    Shrinks,
    /// It is divided.
    Divided,
    /// Its bits are moved up.
    Grows,
    /// It is multiplied.
    Multiplied,
}

/// A loop of a plan.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    pub(super) header: usize,
    pub(super) outer: Option<usize>,
    /// Its number in the module, if the module says that it is a loop.
    pub(super) number: Option<usize>,
    /// The ways out of it, and the blocks whose branches choose when it is left.
    pub(super) exits: Vec<usize>,
    pub(super) choices: Vec<usize>,
}

impl Plan {
    pub(super) fn new(
        graph: Graph,
        acts: Vec<Acts>,
        nest: Nest,
        local_size: [u32; 3],
    ) -> Result<Self, Unknown> {
        let (graph, acts) = simplified(graph, acts);
        let live = Live::of(&graph, &acts, &nest);
        let mut blocks: Vec<Block> = Vec::with_capacity(acts.len());
        for (acts, (ins, outs)) in acts.into_iter().zip(nest.ins.iter().zip(&nest.outs)) {
            let (ins, outs) = (ins.clone(), outs.clone());
            blocks.push(Block { acts, ins, outs, ..Block::default() });
        }
        for (number, phi) in graph.phis.iter().enumerate() {
            if live.phis[number] {
                blocks[phi.block].phis.push(number);
            }
        }
        let edges: Vec<Edge> = nest
            .edges
            .iter()
            .enumerate()
            .map(|(number, edge)| {
                let target = &blocks[edge.to];
                let way = target.ins.iter().position(|&edge| edge == number).unwrap_or_default();
                let operand = |&phi: &usize| graph.phis[phi].operands.get(way).copied();
                let moves: Vec<NodeId> = target.phis.iter().filter_map(operand).collect();
                let counters = counters(&graph, target, &moves, edge.is_back);
                let (when, is_back, to) = (edge.when.clone(), edge.is_back, edge.to);
                Edge { when, is_back, to, moves, counters }
            })
            .collect();
        let choices = Choices::of(&nest);
        for (at, block) in blocks.iter_mut().enumerate().filter(|(_, of)| !of.phis.is_empty()) {
            block.choices = choices.to_block(at, false);
            block.choices_back = choices.to_block(at, true);
        }
        let loops = nest.loops.iter().map(|found| {
            let (exits, choices) = choices.out_of_loop(found.header);
            let number = blocks[found.header].acts.loop_number;
            Loop { header: found.header, outer: found.outer, number, exits, choices }
        });
        let mut loops: Vec<Loop> = loops.collect();
        add_single_runs(&nest.steps, &mut blocks, &mut loops);
        let places = [0, 1, 2].map(|axis| place(&graph, axis, local_size));
        let mut plan =
            Self { graph, blocks, edges, loops, steps: nest.steps, places, selections: 0 };
        plan.write_code()?;
        Ok(plan)
    }

    /// Lists what each block computes.
    fn write_code(&mut self) -> Result<(), Unknown> {
        let mut seen = vec![usize::MAX; self.graph.nodes.len()];
        let mut size = 0;
        for block in 0..self.blocks.len() {
            let mut roots = roots(&self.blocks[block].acts);
            for &edge in &self.blocks[block].outs {
                let edge = &self.edges[edge];
                roots.extend(&edge.moves);
                roots.extend(edge.counters.iter().flat_map(|counter| [counter.node, counter.step]));
            }
            if let Some(condition) = self.blocks[block].acts.condition {
                let mut seen = HashSet::new();
                add_origins(&self.graph, condition, 0, &mut seen, &mut roots);
            }
            let mut code = Vec::new();
            while let Some(node) = roots.pop() {
                if std::mem::replace(&mut seen[node as usize], block) != block {
                    code.push(node);
                    roots.extend(self.graph.get(node).args());
                }
            }
            code.sort_unstable();
            size += code.len();
            if size > MOST_CODE {
                return Err(Unknown::TooLarge);
            }
            self.blocks[block].code = code;
        }
        Ok(())
    }
}

/// Adds the loops to whose starts nothing goes back. Drivers may count their only run too.
fn add_single_runs(steps: &[Step], blocks: &mut [Block], loops: &mut Vec<Loop>) {
    let mut around: Vec<(usize, usize)> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        around.retain(|(_, end)| at < *end);
        match *step {
            Step::Loop { which, steps } => around.push((which, at + 1 + steps)),
            Step::Block(header) => {
                let number = blocks[header].acts.loop_number;
                let is_start =
                    around.last().is_some_and(|(which, _)| loops[*which].header == header);
                if number.is_some() && !is_start {
                    blocks[header].once = Some(loops.len());
                    let outer = around.last().map(|(which, _)| *which);
                    let (exits, choices) = (Vec::new(), Vec::new());
                    loops.push(Loop { header, outer, number, exits, choices });
                }
            }
        }
    }
}

/// The node that is the place of an invocation in the grid along an axis.
fn place(graph: &Graph, axis: u8, local_size: [u32; 3]) -> Option<NodeId> {
    let size = local_size[usize::from(axis)];
    let is_first = |id: NodeId| {
        let node = graph.get(id);
        let of = if size == 1 { node } else { graph.get(node.arg(0)) };
        let times = if size == 1 { 1 } else { graph.bits(node.arg(1)).unwrap_or_default() };
        of.op == Op::Group(axis) && times == u64::from(size) && (size == 1 || node.op == Op::Mul)
    };
    let is_local = |id: NodeId| graph.get(id).op == Op::Local(axis);
    let at = graph.nodes.iter().position(|node| {
        let [a, b] = [node.arg(0), node.arg(1)];
        let is_sum = node.op == Op::Add && node.width == 32;
        is_sum && ((is_first(a) && is_local(b)) || (is_first(b) && is_local(a)))
    });
    at.and_then(|at| NodeId::try_from(at).ok())
}

/// The nodes that the acts of a block depend on.
fn roots(acts: &Acts) -> Vec<NodeId> {
    acts.decisive().chain(acts.stored.iter().copied()).collect()
}

/// Adds the truth values that a condition may have come from, by phis.
fn add_origins(
    graph: &Graph,
    condition: NodeId,
    depth: u32,
    seen: &mut HashSet<NodeId>,
    roots: &mut Vec<NodeId>,
) {
    if depth > MOST_DEPTH || graph.width(condition) != 1 || !seen.insert(condition) {
        return;
    }
    let node = graph.get(condition);
    match (graph.phi_of(condition), node.op) {
        (Some(phi), _) => {
            for &operand in &graph.phis[phi].operands {
                roots.push(operand);
                add_origins(graph, operand, depth + 1, seen, roots);
            }
        }
        (None, Op::Not | Op::And | Op::Or | Op::Equal) => {
            for &arg in node.args() {
                add_origins(graph, arg, depth + 1, seen, roots);
            }
        }
        _ => {}
    }
}

/// The numbers that count the runs of a loop, by the values that go around it.
fn counters(graph: &Graph, header: &Block, moves: &[NodeId], is_back: bool) -> Vec<Counter> {
    let mut found = Vec::new();
    if !is_back {
        return found;
    }
    for (at, (&phi, &next)) in header.phis.iter().zip(moves).enumerate() {
        let (node, next) = (graph.phis[phi].node, graph.get(next));
        let change = match next.op {
            Op::Add => Change::Plus,
            Op::Sub => Change::Minus,
            Op::Shr => Change::Shrinks,
            Op::UDiv => Change::Divided,
            Op::Shl => Change::Grows,
            Op::Mul => Change::Multiplied,
            _ => continue,
        };
        let [a, b] = [next.arg(0), next.arg(1)];
        let swaps = matches!(change, Change::Plus | Change::Multiplied);
        let step = match (a == node, b == node) {
            (true, false) => b,
            (false, true) if swaps => a,
            _ => continue,
        };
        found.push(Counter { phi: at, node, change, step });
    }
    found
}

/// Removes needless phis, and notes which accesses are aligned if their roots are.
fn simplified(mut graph: Graph, mut acts: Vec<Acts>) -> (Graph, Vec<Acts>) {
    for _ in 0..MOST_ROUNDS {
        let Some((next, places)) = graph.without_needless_phis() else { break };
        graph = next;
        let place = |node: &mut NodeId| {
            *node = places.get(*node as usize).copied().unwrap_or(*node);
        };
        for acts in &mut acts {
            for touch in &mut acts.accesses {
                touch.address.iter_mut().chain(&mut touch.stored).for_each(place);
            }
            acts.indices.iter_mut().filter_map(|index| index.index.as_mut()).for_each(place);
            for division in &mut acts.divisions {
                place(&mut division.dividend);
                place(&mut division.divisor);
            }
            acts.stored.iter_mut().for_each(place);
            acts.condition.iter_mut().for_each(place);
        }
    }
    stores::keep(&graph, &mut acts);
    let (zeros, void) = (zeros(&graph), stores::may_be_void(&graph));
    for acts in &mut acts {
        for touch in &mut acts.accesses {
            let zeros = touch.address.and_then(|address| zeros.get(address as usize));
            touch.is_aligned = zeros.is_some_and(|zeros| zeros.keeps(touch.align));
            touch.is_whole = touch.stored.is_some_and(|node| !void[node as usize]);
        }
        acts.divisions
            .retain(|of| graph.bits(of.divisor).is_none_or(|bits| bits == 0 || of.has_sign));
    }
    (graph, acts)
}

/// The phis that something depends on.
struct Live {
    phis: Vec<bool>,
}

impl Live {
    fn of(graph: &Graph, acts: &[Acts], nest: &Nest) -> Self {
        let mut live = Self { phis: vec![false; graph.phis.len()] };
        let mut seen = vec![false; graph.nodes.len()];
        let mut open: Vec<NodeId> = acts.iter().take(nest.parts.len()).flat_map(roots).collect();
        while let Some(node) = open.pop() {
            if std::mem::replace(&mut seen[node as usize], true) {
                continue;
            }
            open.extend(graph.get(node).args());
            if let Some(phi) = graph.phi_of(node) {
                live.phis[phi] = true;
                open.extend(&graph.phis[phi].operands);
            }
        }
        live
    }
}
