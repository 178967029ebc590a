//! Values that a kernel stores though they are not defined, and may read again.
//!
//! A compiler may hand a stored value on to a load. So if anything depends on memory, a store of
//! what is not defined is as bad as a branch on it.

use crate::footprint::acts::Acts;
use crate::footprint::graph::Graph;
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::op::{NO_SIGNED_WRAP, NO_UNSIGNED_WRAP, Node, Op};

/// How often nodes are looked at until nothing changes.
const MOST_ROUNDS: usize = 32;

/// Keeps those of the stored values that have to be looked at in a launch: those that may not be
/// defined, if anything depends on memory.
pub(super) fn keep(graph: &Graph, acts: &mut [Acts]) {
    let memory = reached(graph, |_, node| matches!(node.op, Op::Unknown(_)));
    let depends = acts.iter().flat_map(Acts::decisive).any(|node| memory[node as usize]);
    let void = may_be_void(graph);
    let counts = depends && !mutant::has(Mutant::StoredIsDefined);
    for acts in acts {
        acts.stored.retain(|&node| counts && void[node as usize]);
    }
}

/// Which nodes may not be defined.
pub(super) fn may_be_void(graph: &Graph) -> Vec<bool> {
    reached(graph, may_be_undefined)
}

/// Which nodes are of a kind, or depend on one that is.
fn reached(graph: &Graph, is_kind: impl Fn(&Graph, &Node) -> bool) -> Vec<bool> {
    let mut all: Vec<bool> = graph.nodes.iter().map(|node| is_kind(graph, node)).collect();
    for _ in 0..MOST_ROUNDS {
        let mut changed = false;
        for (at, node) in graph.nodes.iter().enumerate() {
            let operands = match node.op {
                Op::Phi(phi) => &graph.phis[phi as usize].operands[..],
                _ => node.args(),
            };
            if !all[at] && operands.iter().any(|&of| all[of as usize]) {
                (all[at], changed) = (true, true);
            }
        }
        if !changed {
            return all;
        }
    }
    vec![true; graph.nodes.len()]
}

/// Whether the result of a node may not be defined, if its operands are.
fn may_be_undefined(graph: &Graph, node: &Node) -> bool {
    match node.op {
        Op::Undefined | Op::SRem | Op::SAbs => true,
        Op::Shl | Op::Shr | Op::Sar => {
            graph.bits(node.arg(1)).is_none_or(|by| by >= u64::from(node.width))
        }
        _ => node.flags & (NO_SIGNED_WRAP | NO_UNSIGNED_WRAP) != 0,
    }
}
