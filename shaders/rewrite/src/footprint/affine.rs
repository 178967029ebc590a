//! Numbers that are sums of the places of an invocation, each times a number.

use crate::footprint::graph::Graph;
use crate::footprint::launch::{Launch, WordsRead};
use crate::footprint::op::{NO_SIGNED_WRAP, NO_UNSIGNED_WRAP, Node, NodeId, Op};
use std::collections::HashMap;

/// How deep computations are followed.
const MOST_DEPTH: u32 = 64;
/// Sums stay below this, so that computing with them never wraps.
const MOST: i128 = 1 << 80;

/// The place of a workgroup along three axes, and that of an invocation in it.
const PLACES: usize = 6;

/// A sum: of a root, if it is an address, a number, and the places, each times a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    pub(super) root: Option<u32>,
    pub(super) number: i128,
    /// By workgroup along three axes, then by invocation.
    pub(super) times: [i128; PLACES],
}

impl Sum {
    fn number(number: i128) -> Self {
        Self { root: None, number, times: [0; PLACES] }
    }

    fn place(at: usize) -> Option<Self> {
        let mut sum = Self::number(0);
        *sum.times.get_mut(at)? = 1;
        Some(sum)
    }

    fn is_number(&self) -> bool {
        self.root.is_none() && self.times == [0; PLACES]
    }

    fn plus(self, other: Self, factor: i128) -> Option<Self> {
        let root = match (self.root, other.root) {
            (root, None) => root,
            (None, root) if factor == 1 => root,
            _ => return None,
        };
        let mut times = self.times;
        for (to, from) in times.iter_mut().zip(other.times) {
            *to += from * factor;
        }
        Self { root, number: self.number + other.number * factor, times }.small()
    }

    fn multiplied(self, factor: i128) -> Option<Self> {
        if self.root.is_some() {
            return None;
        }
        let times = self.times.map(|times| times.checked_mul(factor).unwrap_or(MOST));
        let number = self.number.checked_mul(factor).unwrap_or(MOST);
        Self { root: None, number, times }.small()
    }

    fn small(self) -> Option<Self> {
        let mut all = self.times.iter().chain([&self.number]);
        all.all(|of| of.abs() < MOST).then_some(self)
    }
}

/// The numbers of a launch as sums.
pub(super) struct Sums<'l> {
    graph: &'l Graph,
    launch: Launch<'l>,
    read: &'l mut WordsRead,
    known: HashMap<NodeId, Option<Sum>>,
}

impl<'l> Sums<'l> {
    pub(super) fn new(graph: &'l Graph, launch: Launch<'l>, read: &'l mut WordsRead) -> Self {
        Self { graph, launch, read, known: HashMap::new() }
    }

    /// A number of 64 bits as a sum that it is exactly, behind its root, in all invocations of the
    /// launch. `None` where it is none, or that is not known.
    pub(super) fn of(&mut self, node: NodeId) -> Option<Sum> {
        let sum = self.sum(node, 0)?;
        self.within(sum, i64::MIN.into(), i64::MAX.into())
    }

    fn sum(&mut self, id: NodeId, depth: u32) -> Option<Sum> {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let found = if depth > MOST_DEPTH { None } else { self.find(id, depth + 1) };
        self.known.insert(id, found);
        found
    }

    /// A sum that has the same remainder as the node by two to the power of its width.
    fn find(&mut self, id: NodeId, depth: u32) -> Option<Sum> {
        let node = self.graph.get(id);
        let axis = |axis: u8| usize::from(axis.min(2));
        match node.op {
            Op::Const(bits) => return Some(Sum::number(bits.into())),
            Op::Push(at) => {
                let bits = self.read.read(self.launch.push, at, node.width)?;
                return Some(Sum::number(bits.into()));
            }
            Op::Root(at) => return Some(Sum { root: Some(at), ..Sum::number(0) }),
            Op::Groups(of) => return Some(Sum::number(self.launch.groups[axis(of)].into())),
            Op::Group(of) => return Sum::place(axis(of)),
            Op::Local(of) => return Sum::place(3 + axis(of)),
            Op::Add | Op::Sub | Op::Mul | Op::Shl | Op::Truncate => {}
            Op::ZeroExtend | Op::SignExtend | Op::Index | Op::Whole => {}
            _ => return None,
        }
        let one = self.sum(node.arg(0), depth)?;
        let from = self.graph.width(node.arg(0));
        let half = 1i128 << (from.clamp(1, 64) - 1);
        match node.op {
            Op::Whole => return Some(one),
            Op::Truncate => return Some(one).filter(|one| one.root.is_none()),
            Op::ZeroExtend => return self.turned(one, from, 0, 2 * half - 1),
            Op::SignExtend => return self.turned(one, from, -half, half - 1),
            // An index without a sign means the same with one.
            Op::Index if from < 64 => return self.turned(one, from, 0, half - 1),
            Op::Index => return self.turned(one, from, -half, half - 1),
            _ => {}
        }
        self.binary(&node, one, depth)
    }

    fn binary(&mut self, node: &Node, one: Sum, depth: u32) -> Option<Sum> {
        let other = self.sum(node.arg(1), depth)?;
        let result = match node.op {
            Op::Add => one.plus(other, 1),
            Op::Sub => one.plus(other, -1),
            Op::Mul if other.is_number() => one.multiplied(other.number),
            Op::Mul if one.is_number() => other.multiplied(one.number),
            Op::Shl if other.is_number() && (0..i128::from(node.width)).contains(&other.number) => {
                one.multiplied(1 << other.number)
            }
            _ => None,
        }?;
        // What may not wrap is not defined where it does, and a distance is any number.
        let half = 1i128 << (node.width.clamp(1, 64) - 1);
        let (least, most) = match node.flags {
            0 => return Some(result),
            NO_UNSIGNED_WRAP => (0, 2 * half - 1),
            NO_SIGNED_WRAP => (-half, half - 1),
            flags if flags & NO_UNSIGNED_WRAP != 0 => (0, half - 1),
            _ => (-half, half - 1),
        };
        self.within(result, least, most)
    }

    /// The same number as one from `least` to `most`, if all of it wraps equally often.
    fn turned(&self, sum: Sum, width: u8, least: i128, most: i128) -> Option<Sum> {
        if sum.root.is_some() {
            return None;
        }
        let size = 1i128 << width.clamp(1, 64);
        let turns = (self.ends(&sum).0 - least).div_euclid(size);
        let moved = Sum { number: sum.number - turns * size, ..sum };
        self.within(moved, least, most)
    }

    fn within(&self, sum: Sum, least: i128, most: i128) -> Option<Sum> {
        let (low, high) = self.ends(&sum);
        (least <= low && high <= most).then_some(sum)
    }

    /// The least and the largest number that a sum is in the grid, without its root.
    fn ends(&self, sum: &Sum) -> (i128, i128) {
        let (mut low, mut high) = (sum.number, sum.number);
        let counts = self.launch.groups.iter().chain(&self.launch.local_size);
        for (times, &count) in sum.times.iter().zip(counts) {
            let last = times * i128::from(count.saturating_sub(1));
            low += last.min(0);
            high += last.max(0);
        }
        (low, high)
    }
}
