//! By which powers of two numbers, and the distances of addresses from their roots, can be divided.

use crate::footprint::graph::Graph;
use crate::footprint::op::{Node, NodeId, Op};

/// How often nodes are looked at until nothing changes.
const MOST_ROUNDS: usize = 32;
/// As many zeros as a number of any width has.
const ALL: u32 = 64;

/// How many of the lowest bits are zeros: at least so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zeros {
    /// Of the number itself.
    number: u32,
    /// Of its distance, if it is an address.
    distance: u32,
}

impl Zeros {
    fn both(of: u32) -> Self {
        let of = of.min(ALL);
        Self { number: of, distance: of }
    }

    /// Whether the distance of an address is a multiple of so many bytes.
    pub(super) fn keeps(self, align: u32) -> bool {
        align <= 1 || (align.is_power_of_two() && align.trailing_zeros() <= self.distance)
    }

    fn least(self, other: Self) -> Self {
        Self { number: self.number.min(other.number), distance: self.distance.min(other.distance) }
    }
}

/// The zeros of all nodes. It starts from too many, and takes away until they agree.
pub(super) fn zeros(graph: &Graph) -> Vec<Zeros> {
    let mut all = vec![Zeros::both(ALL); graph.nodes.len()];
    for _ in 0..MOST_ROUNDS {
        let mut changed = false;
        for (at, node) in graph.nodes.iter().enumerate() {
            let found = of_node(graph, &all, node).least(all[at]);
            changed |= found != all[at];
            all[at] = found;
        }
        if !changed {
            return all;
        }
    }
    vec![Zeros::both(0); graph.nodes.len()]
}

fn of_node(graph: &Graph, all: &[Zeros], node: &Node) -> Zeros {
    let of = |id: NodeId| all.get(id as usize).copied().unwrap_or(Zeros::both(0));
    let [a, b, c] = [0, 1, 2].map(|at| of(node.arg(at)));
    match node.op {
        Op::Const(0) => Zeros::both(ALL),
        Op::Const(bits) => Zeros::both(bits.trailing_zeros()),
        // The caller looks at the root itself.
        Op::Root(_) => Zeros { number: 0, distance: ALL },
        Op::Phi(phi) => {
            let operands = graph.phis[phi as usize].operands.iter().map(|&operand| of(operand));
            operands.reduce(Zeros::least).unwrap_or(Zeros::both(0))
        }
        // Either may be the address, but the sum of two is none.
        Op::Add => Zeros {
            number: a.number.min(b.number),
            distance: a.distance.min(b.number).max(a.number.min(b.distance)),
        },
        Op::Sub => {
            let least = a.number.min(b.number);
            Zeros { number: least, distance: a.distance.min(b.number) }
        }
        Op::Mul => Zeros::both(a.number + b.number),
        Op::Shl => {
            let by = graph.bits(node.arg(1)).unwrap_or(0).min(ALL.into());
            Zeros::both(a.number + u32::try_from(by).unwrap_or(0))
        }
        Op::And => Zeros::both(a.number.max(b.number)),
        Op::Or | Op::Xor | Op::UMin | Op::UMax | Op::SMin | Op::SMax => {
            Zeros::both(a.number.min(b.number))
        }
        Op::ZeroExtend | Op::SignExtend | Op::Truncate | Op::Index => Zeros::both(a.number),
        Op::Select => b.least(c),
        Op::Whole => a,
        _ => Zeros::both(0),
    }
}
