//! The order in which blocks are evaluated, and the loops among them.

use crate::footprint::flow::{Flow, When};
use crate::footprint::unknown::Unknown;

/// How deep loops may be nested: each is evaluated within that around it.
const MOST_DEPTH: usize = 64;

/// A way between two blocks.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) when: When,
    /// Whether it leads to the start of a loop that it is in.
    pub(super) is_back: bool,
}

/// A step of the evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Block(usize),
    /// A loop: its position in [`Nest::loops`], and how many of the next steps are in it. The
    /// first of them is its first block.
    Loop {
        which: usize,
        steps: usize,
    },
}

/// A loop of the flow of control.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    pub(super) header: usize,
    /// The loop around it.
    pub(super) outer: Option<usize>,
}

/// Blocks in an order in which each comes after those that lead to it, but for the ways back in
/// loops; loops are contiguous.
#[derive(Debug)]
pub(super) struct Nest {
    /// The part of the flow that each block is.
    pub(super) parts: Vec<usize>,
    pub(super) edges: Vec<Edge>,
    pub(super) ins: Vec<Vec<usize>>,
    pub(super) outs: Vec<Vec<usize>>,
    pub(super) loops: Vec<Loop>,
    pub(super) steps: Vec<Step>,
}

impl Nest {
    pub(super) fn of(flow: &Flow) -> Result<Self, Unknown> {
        let parts = reverse_postorder(flow);
        let mut places = vec![usize::MAX; flow.parts.len()];
        for (place, &part) in parts.iter().enumerate() {
            places[part] = place;
        }
        let mut nest = Self {
            edges: Vec::new(),
            ins: vec![Vec::new(); parts.len()],
            outs: vec![Vec::new(); parts.len()],
            loops: Vec::new(),
            steps: Vec::new(),
            parts,
        };
        for from in 0..nest.parts.len() {
            for way in &flow.parts[nest.parts[from]].ways {
                let to = places[way.to];
                nest.ins[to].push(nest.edges.len());
                nest.outs[from].push(nest.edges.len());
                nest.edges.push(Edge { from, to, when: way.when.clone(), is_back: to <= from });
            }
        }
        // The entry is no loop's start: its values come from nowhere else.
        if nest.ins.first().is_some_and(|ins| !ins.is_empty()) {
            return Err(Unknown::Damaged);
        }
        nest.find_loops()?;
        Ok(nest)
    }

    /// The block that dominates each block and is next to it.
    pub(super) fn dominators(&self) -> Vec<usize> {
        let mut found = vec![usize::MAX; self.parts.len()];
        found[0] = 0;
        let mut changed = true;
        while changed {
            changed = false;
            for block in 1..self.parts.len() {
                let mut before = usize::MAX;
                for &edge in &self.ins[block] {
                    let from = self.edges[edge].from;
                    if found[from] != usize::MAX {
                        before =
                            if before == usize::MAX { from } else { meet(&found, before, from) };
                    }
                }
                changed |= found[block] != before;
                found[block] = before;
            }
        }
        found
    }

    fn find_loops(&mut self) -> Result<(), Unknown> {
        let dominators = self.dominators();
        let mut members: Vec<(usize, Vec<bool>)> = Vec::new();
        for block in 0..self.parts.len() {
            let back: Vec<usize> = self.ins[block]
                .iter()
                .map(|&edge| &self.edges[edge])
                .filter(|edge| edge.is_back)
                .map(|edge| edge.from)
                .collect();
            if back.is_empty() {
                continue;
            }
            if !back.iter().all(|&from| meet(&dominators, block, from) == block) {
                return Err(Unknown::Instruction);
            }
            members.push((block, self.natural_loop(block, back)));
        }
        let mut depths: Vec<usize> = Vec::new();
        let within = |inner: usize, outer: usize| members[outer].1[members[inner].0];
        for (inner, &(header, _)) in members.iter().enumerate() {
            // Of the loops around one, that with the last header is next to it.
            let outer = (0..inner).rev().find(|&outer| within(inner, outer));
            depths.push(outer.map_or(1, |outer| depths[outer] + 1));
            self.loops.push(Loop { header, outer });
        }
        if depths.iter().any(|&depth| depth > MOST_DEPTH) {
            return Err(Unknown::TooLarge);
        }
        let all: Vec<usize> = (0..self.parts.len()).collect();
        let mut steps = Vec::with_capacity(all.len());
        self.arrange(&all, None, &members, &mut steps);
        self.steps = steps;
        Ok(())
    }

    /// The blocks from which a way back is reached without the loop's start.
    pub(super) fn natural_loop(&self, header: usize, back: Vec<usize>) -> Vec<bool> {
        let mut inside = vec![false; self.parts.len()];
        inside[header] = true;
        let mut open = back;
        while let Some(block) = open.pop() {
            if !std::mem::replace(&mut inside[block], true) {
                open.extend(self.ins[block].iter().map(|&edge| self.edges[edge].from));
            }
        }
        inside
    }

    /// Puts blocks of a loop, or all, in their order.
    fn arrange(
        &self,
        blocks: &[usize],
        within: Option<usize>,
        members: &[(usize, Vec<bool>)],
        steps: &mut Vec<Step>,
    ) {
        let mut placed = vec![false; self.parts.len()];
        for &block in blocks {
            if placed[block] {
                continue;
            }
            let inner = (0..self.loops.len()).find(|&inner| {
                self.loops[inner].header == block && self.loops[inner].outer == within
            });
            let Some(inner) = inner.filter(|&inner| Some(inner) != within) else {
                steps.push(Step::Block(block));
                continue;
            };
            let of_loop: Vec<usize> =
                blocks.iter().copied().filter(|&block| members[inner].1[block]).collect();
            of_loop.iter().for_each(|&block| placed[block] = true);
            let at = steps.len();
            steps.push(Step::Loop { which: inner, steps: 0 });
            self.arrange(&of_loop, Some(inner), members, steps);
            steps[at] = Step::Loop { which: inner, steps: steps.len() - at - 1 };
        }
    }
}

/// The last block that dominates two blocks, by the dominators found so far.
fn meet(dominators: &[usize], mut one: usize, mut other: usize) -> usize {
    while one != other {
        if one > other {
            one = dominators[one];
        } else {
            other = dominators[other];
        }
    }
    one
}

/// The parts that may be reached, each before those that come after it.
fn reverse_postorder(flow: &Flow) -> Vec<usize> {
    let mut seen = vec![false; flow.parts.len()];
    let mut open = vec![(0, 0)];
    let mut order = Vec::new();
    seen[0] = true;
    while let Some((part, next)) = open.pop() {
        match flow.parts[part].ways.get(next) {
            Some(way) => {
                open.push((part, next + 1));
                if !std::mem::replace(&mut seen[way.to], true) {
                    open.push((way.to, 0));
                }
            }
            None => order.push(part),
        }
    }
    order.reverse();
    order
}
