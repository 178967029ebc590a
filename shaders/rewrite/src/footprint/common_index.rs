//! Accesses behind several arguments that go by one index.
//!
//! Where an index comes from memory, nobody knows the accesses before the launch. But an element
//! that one of them misses then says which elements the others touch.

use crate::contract::analysis::Root;
use crate::footprint::graph::Graph;
use crate::footprint::op::{NodeId, Op};
use crate::footprint::plan::Plan;
use crate::footprint::result::Kind;
use std::collections::{BTreeMap, HashMap};

/// How deep computations are followed.
const MOST_DEPTH: u32 = 32;
/// How many numbers an index is the sum of, at most.
const MOST_TERMS: usize = 8;
/// Numbers are smaller, so that computing with them never wraps.
const MOST: u64 = 1 << 62;
/// Lists of a kernel, and accesses of a list. Others are left out.
const MOST_LISTS: usize = 16;
/// Accesses whose bytes lie within so many count as one: a page.
const NEAR_BYTES: u32 = 4096;

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

/// The numbers of a graph as sums, each found once.
struct Linears<'g> {
    graph: &'g Graph,
    known: HashMap<NodeId, Option<Linear>>,
}

impl Linears<'_> {
    /// A number as a sum; `None` if there are two roots in it, or numbers that are too large.
    fn of(&mut self, id: NodeId, depth: u32) -> Option<Linear> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let whole = Linear { terms: BTreeMap::from([(id, 1)]), ..Linear::default() };
        let found = if depth > MOST_DEPTH { Some(whole) } else { self.find(id, depth + 1, whole) };
        self.known.insert(id, found.clone());
        found
    }

    fn find(&mut self, id: NodeId, depth: u32, whole: Linear) -> Option<Linear> {
        let node = self.graph.get(id);
        let [a, b] = [node.arg(0), node.arg(1)];
        let factor = self.graph.bits(b);
        let sum = match (node.op, factor) {
            (Op::Const(bits), _) => {
                Linear { number: signed(bits, node.width), ..Linear::default() }
            }
            (Op::Root(at), _) => Linear { root: Some(at), ..Linear::default() },
            (Op::Index | Op::ZeroExtend | Op::SignExtend | Op::Whole, _) => self.of(a, depth)?,
            (Op::Add, _) => self.of(a, depth)?.plus(self.of(b, depth)?, 1)?,
            (Op::Sub, _) => self.of(a, depth)?.plus(self.of(b, depth)?, -1)?,
            (Op::Mul, Some(factor)) => self.of(a, depth)?.times(signed(factor, node.width))?,
            (Op::Shl, Some(bits @ 0..32)) => self.of(a, depth)?.times(1 << bits)?,
            _ => return Some(whole),
        };
        // A sum of many numbers is looked at as one.
        match (sum.terms.len() <= MOST_TERMS, sum.root) {
            (true, _) => Some(sum),
            (false, None) => Some(whole),
            (false, Some(_)) => None,
        }
    }
}

impl Linear {
    fn plus(mut self, other: Self, factor: i64) -> Option<Self> {
        let other = other.times(factor)?;
        self.root = match (self.root, other.root) {
            (Some(_), Some(_)) => return None,
            (root, None) | (None, root) => root,
        };
        self.number = small(self.number.checked_add(other.number)?)?;
        for (node, times) in other.terms {
            let sum = self.terms.entry(node).or_default();
            *sum = small(sum.checked_add(times)?)?;
        }
        self.terms.retain(|_, times| *times != 0);
        Some(self)
    }

    fn times(mut self, factor: i64) -> Option<Self> {
        if self.root.is_some() && factor != 1 {
            return None;
        }
        self.number = small(self.number.checked_mul(factor)?)?;
        for times in self.terms.values_mut() {
            *times = small(times.checked_mul(factor)?)?;
        }
        self.terms.retain(|_, times| *times != 0);
        Some(self)
    }

    /// The index, as a sum that no number divides, and the stride.
    fn index(&self) -> Option<(Vec<(NodeId, i64)>, i64)> {
        let divisor = self.terms.values().fold(0, |all, times| divisor(all, times.abs()));
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

fn small(number: i64) -> Option<i64> {
    (number.unsigned_abs() < MOST).then_some(number)
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
    let mut linears = Linears { graph: &plan.graph, known: HashMap::new() };
    let from_memory = from_memory(&plan.graph);
    for touch in plan.blocks.iter().flat_map(|block| &block.acts.accesses) {
        let linear = touch.address.and_then(|address| linears.of(address, 0));
        let Some(Linear { root: Some(offset_bytes), number, .. }) = linear else { continue };
        let Some((index, stride_bytes)) = linear.as_ref().and_then(Linear::index) else { continue };
        if !index.iter().any(|&(node, _)| from_memory[node as usize]) {
            continue;
        }
        let access = IndexedAccess {
            root: Root::Push { offset_bytes },
            first_bytes: number,
            stride_bytes,
            bytes: touch.bytes,
            writes: kinds.get(touch.site).is_some_and(Kind::writes),
        };
        add(by_index.entry(index).or_default(), access);
    }
    let is_common = |all: &Vec<IndexedAccess>| all.iter().any(|access| access.root != all[0].root);
    by_index.into_values().filter(is_common).take(MOST_LISTS).collect()
}

/// Adds an access to those of an index. Those behind one root that are near each other count as
/// one, from the first byte to the last: an unrolled loop has many.
fn add(all: &mut Vec<IndexedAccess>, new: IndexedAccess) {
    let end = |of: &IndexedAccess| of.first_bytes + i64::from(of.bytes);
    let joined = all.iter_mut().find_map(|old| {
        let alike =
            (old.root, old.stride_bytes, old.writes) == (new.root, new.stride_bytes, new.writes);
        let first = old.first_bytes.min(new.first_bytes);
        let bytes = u32::try_from(end(old).max(end(&new)) - first).ok();
        let bytes = bytes.filter(|&bytes| alike && bytes <= NEAR_BYTES)?;
        (old.first_bytes, old.bytes) = (first, bytes);
        Some(())
    });
    if joined.is_none() && all.len() < MOST_LISTS {
        all.push(new);
    }
}

/// For each node, whether it is computed from a number that memory holds.
fn from_memory(graph: &Graph) -> Vec<bool> {
    let mut users = vec![Vec::new(); graph.nodes.len()];
    for (user, node) in graph.nodes.iter().enumerate() {
        node.args().iter().for_each(|&of| users[of as usize].push(user));
    }
    for phi in &graph.phis {
        phi.operands.iter().for_each(|&of| users[of as usize].push(phi.node as usize));
    }
    let mut found = vec![false; graph.nodes.len()];
    let is_unknown = |&at: &usize| matches!(graph.nodes[at].op, Op::Unknown(_));
    let mut open: Vec<usize> = (0..graph.nodes.len()).filter(is_unknown).collect();
    while let Some(at) = open.pop() {
        if !std::mem::replace(&mut found[at], true) {
            open.extend(&users[at]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_would_wrap_are_no_sums() {
        let sum = |of: &[(NodeId, i64)]| Linear {
            terms: of.iter().copied().collect(),
            ..Linear::default()
        };
        let large = 1i64 << 61;
        assert_eq!(sum(&[(1, large)]).times(4), None);
        assert_eq!(sum(&[(1, -large)]).times(4), None);
        assert_eq!(sum(&[(1, large)]).plus(sum(&[(1, large)]), 1), None);
        let index = sum(&[(1, -1), (2, -large)]).index();
        assert_eq!(index, Some((vec![(1, 1), (2, large)], -1)));
    }
}
