//! Accesses behind several arguments that go by one index.
//!
//! Where an index comes from memory, nobody knows the accesses before the launch. But an element
//! that one of them misses then says which elements the others touch.

use crate::contract::analysis::Root;
use crate::footprint::graph::Graph;
use crate::footprint::op::{NodeId, Op};
use crate::footprint::plan::Plan;
use crate::footprint::result::Kind;
use std::collections::{BTreeMap, HashSet};

/// How deep computations are followed.
const MOST_DEPTH: u32 = 32;

/// An access behind a root whose place is an index times a stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct IndexedAccess {
    /// The root.
    pub root: Root,
    /// The distance of the bytes of index 0 from the root.
    pub first_bytes: i64,
    /// The distance from the bytes of an index to those of the next; never 0.
    pub stride_bytes: i64,
    /// The bytes of an access.
    pub bytes: u32,
    /// Whether it writes.
    pub writes: bool,
}

/// A number as a sum of others, each times a number, behind a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Linear {
    root: Option<u32>,
    number: i64,
    /// None is 0.
    terms: BTreeMap<NodeId, i64>,
}

impl Linear {
    fn of(graph: &Graph, id: NodeId, depth: u32) -> Option<Self> {
        let node = graph.get(id);
        let arg = |at| Self::of(graph, node.arg(at), depth + 1);
        let opaque = || Self { terms: BTreeMap::from([(id, 1)]), ..Self::default() };
        if depth > MOST_DEPTH {
            return Some(opaque());
        }
        Some(match node.op {
            Op::Const(bits) => Self { number: signed(bits, node.width), ..Self::default() },
            Op::Root(at) => Self { root: Some(at), ..Self::default() },
            Op::Index | Op::ZeroExtend | Op::SignExtend | Op::Whole => arg(0)?,
            Op::Add => arg(0)?.plus(arg(1)?, 1)?,
            Op::Sub => arg(0)?.plus(arg(1)?, -1)?,
            Op::Mul => match graph.bits(node.arg(1)) {
                Some(factor) => arg(0)?.times(signed(factor, node.width))?,
                None => opaque(),
            },
            Op::Shl => match graph.bits(node.arg(1)) {
                Some(bits @ 0..32) => arg(0)?.times(1 << bits)?,
                _ => opaque(),
            },
            _ => opaque(),
        })
    }

    fn plus(mut self, other: Self, factor: i64) -> Option<Self> {
        let other = other.times(factor)?;
        self.root = match (self.root, other.root) {
            (Some(_), Some(_)) => return None,
            (root, None) | (None, root) => root,
        };
        self.number = self.number.checked_add(other.number)?;
        for (node, times) in other.terms {
            let sum = self.terms.entry(node).or_default();
            *sum = sum.checked_add(times)?;
        }
        self.terms.retain(|_, times| *times != 0);
        Some(self)
    }

    fn times(mut self, factor: i64) -> Option<Self> {
        if self.root.is_some() && factor != 1 {
            return None;
        }
        self.number = self.number.checked_mul(factor)?;
        for times in self.terms.values_mut() {
            *times = times.checked_mul(factor)?;
        }
        self.terms.retain(|_, times| *times != 0);
        Some(self)
    }

    /// The index, as a sum that no number divides, and the stride.
    fn index(&self) -> Option<(Vec<(NodeId, i64)>, i64)> {
        let divisor = self
            .terms
            .values()
            .fold(0, |all, &times| divisor(all, times.checked_abs().unwrap_or(1)));
        let (_, first) = self.terms.first_key_value()?;
        let stride = divisor * first.signum();
        Some((self.terms.iter().map(|(&node, times)| (node, times / stride)).collect(), stride))
    }
}

/// The greatest common divisor.
fn divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The bits of a number as one with a sign.
fn signed(bits: u64, width: u8) -> i64 {
    let unused = 64 - u32::from(width.clamp(1, 64));
    (bits << unused).cast_signed() >> unused
}

/// The accesses of a kernel whose indices come from memory, by their index. Where two arguments are
/// accessed by one, these are in one list; there is no list of accesses behind one argument alone.
///
/// The numbers that indices are computed with may wrap, which nobody looks at here: the lists say
/// what is worth to be brought in, and nothing may rest on them.
pub(super) fn accesses(plan: &Plan, kinds: &[Kind]) -> Vec<Vec<IndexedAccess>> {
    let mut by_index: BTreeMap<Vec<(NodeId, i64)>, Vec<IndexedAccess>> = BTreeMap::new();
    for touch in plan.blocks.iter().flat_map(|block| &block.acts.accesses) {
        let linear = touch.address.and_then(|address| Linear::of(&plan.graph, address, 0));
        let Some(Linear { root: Some(offset_bytes), number, .. }) = linear else { continue };
        let Some((index, stride_bytes)) = linear.as_ref().and_then(Linear::index) else { continue };
        if !index.iter().any(|&(node, _)| is_from_memory(&plan.graph, node)) {
            continue;
        }
        let access = IndexedAccess {
            root: Root::Push { offset_bytes },
            first_bytes: number,
            stride_bytes,
            bytes: touch.bytes,
            writes: kinds.get(touch.site).is_some_and(Kind::writes),
        };
        let all = by_index.entry(index).or_default();
        if !all.contains(&access) {
            all.push(access);
        }
    }
    let is_common = |all: &Vec<IndexedAccess>| all.iter().any(|access| access.root != all[0].root);
    by_index.into_values().filter(is_common).collect()
}

/// Whether a number is computed from one that memory holds.
fn is_from_memory(graph: &Graph, node: NodeId) -> bool {
    let (mut seen, mut open) = (HashSet::new(), vec![node]);
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = graph.get(id);
        if matches!(node.op, Op::Unknown(_)) {
            return true;
        }
        open.extend(node.args());
        open.extend(graph.phi_of(id).into_iter().flat_map(|phi| &graph.phis[phi].operands));
    }
    false
}
