//! The computations of a kernel as a graph: what is computed alike exists once.

use crate::footprint::arithmetic::binary;
use crate::footprint::op::{Node, NodeId, Op, is_symmetric};
use crate::footprint::value::{Trust, Value, top};
use std::collections::HashMap;

/// More nodes than a kernel may have, with all calls taken apart.
pub(super) const MOST_NODES: usize = 1 << 16;

/// A value at the start of a block: one node for each way to it.
#[derive(Clone, Debug)]
pub(super) struct Phi {
    pub(super) node: NodeId,
    pub(super) block: usize,
    /// In the order of the block's ways.
    pub(super) operands: Vec<NodeId>,
}

/// The nodes of a kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) phis: Vec<Phi>,
    known: HashMap<Node, NodeId>,
    unknowns: u32,
}

impl Graph {
    pub(super) fn get(&self, id: NodeId) -> Node {
        self.nodes.get(id as usize).copied().unwrap_or(Node::new(Op::Undefined, 64, &[]))
    }

    pub(super) fn width(&self, id: NodeId) -> u8 {
        self.get(id).width
    }

    /// Whether it has outgrown its bound.
    pub(super) fn is_full(&self) -> bool {
        self.nodes.len() > MOST_NODES
    }

    pub(super) fn constant(&mut self, bits: u64, width: u8) -> NodeId {
        self.share(Node::new(Op::Const(bits & top(width)), width, &[]))
    }

    /// Something unknown of its own that counts as computed from others.
    pub(super) fn unknown(&mut self, width: u8, from: &[NodeId]) -> NodeId {
        let mut from = from.to_vec();
        while from.len() > 3 {
            let rest = from.split_off(from.len() - 3);
            let joined = self.unknown(width, &rest);
            from.push(joined);
        }
        self.unknowns += 1;
        self.share(Node::new(Op::Unknown(self.unknowns), width, &from))
    }

    pub(super) fn undefined(&mut self, width: u8) -> NodeId {
        self.share(Node::new(Op::Undefined, width, &[]))
    }

    /// A phi whose operands are still to come.
    pub(super) fn phi(&mut self, block: usize, width: u8) -> NodeId {
        let number = u32::try_from(self.phis.len()).unwrap_or(u32::MAX);
        let node = self.share(Node::new(Op::Phi(number), width, &[]));
        self.phis.push(Phi { node, block, operands: Vec::new() });
        node
    }

    /// The phi that a node is.
    pub(super) fn phi_of(&self, id: NodeId) -> Option<usize> {
        match self.get(id).op {
            Op::Phi(number) => Some(number as usize),
            _ => None,
        }
    }

    pub(super) fn op(&mut self, op: Op, width: u8, args: &[NodeId]) -> NodeId {
        self.node(Node::new(op, width, args))
    }

    /// A node, or a simpler one of the same value.
    pub(super) fn node(&mut self, mut node: Node) -> NodeId {
        let [a, b, _] = node.args;
        let is_constant = self.bits(a).is_some();
        if is_symmetric(node.op) && self.bits(b).is_none() && (is_constant || a > b) {
            node.args.swap(0, 1);
        }
        match self.simpler(node) {
            Some(same) => same,
            None => self.share(node),
        }
    }

    fn share(&mut self, node: Node) -> NodeId {
        if let Some(&id) = self.known.get(&node) {
            return id;
        }
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(NodeId::MAX);
        self.nodes.push(node);
        self.known.insert(node, id);
        id
    }

    /// The bits of a constant.
    pub(super) fn bits(&self, id: NodeId) -> Option<u64> {
        match self.get(id).op {
            Op::Const(bits) => Some(bits),
            _ => None,
        }
    }

    fn simpler(&mut self, node: Node) -> Option<NodeId> {
        if let Some(folded) = self.folded(&node) {
            return Some(self.constant(folded, node.width));
        }
        let [a, b, c] = [0, 1, 2].map(|at| node.arg(at));
        let right = if node.args().len() > 1 { self.bits(b) } else { None };
        match node.op {
            Op::Add | Op::Sub | Op::Or | Op::Xor | Op::Shl | Op::Shr | Op::Sar
                if right == Some(0) =>
            {
                Some(a)
            }
            Op::Mul | Op::UDiv if right == Some(1) => Some(a),
            Op::Mul if right == Some(0) && self.is_defined(a) => Some(b),
            Op::Sub => self.remainder(node),
            Op::Not if self.get(a).op == Op::Not => Some(self.get(a).arg(0)),
            Op::Truncate => self.truncated(a, node.width),
            Op::ZeroExtend | Op::SignExtend if self.width(a) == node.width => Some(a),
            Op::Or if node.width == 64 => self.pair(a, b).or_else(|| self.pair(b, a)),
            Op::Select => match self.bits(a) {
                Some(0) => Some(c),
                Some(_) => Some(b),
                // Even of two equal arms: the condition may not be defined.
                None => None,
            },
            _ => None,
        }
    }

    /// Whether a node is an input, which is always defined.
    fn is_defined(&self, id: NodeId) -> bool {
        matches!(
            self.get(id).op,
            Op::Const(_) | Op::Push(_) | Op::Groups(_) | Op::Group(_) | Op::Local(_)
        )
    }

    /// The value of an operation on constants, if it is defined.
    fn folded(&self, node: &Node) -> Option<u64> {
        if matches!(node.op, Op::Unknown(_) | Op::Select | Op::Rest) || node.args().is_empty() {
            return None;
        }
        let value =
            |at: usize| Some(Value::one(self.bits(node.arg(at))?, self.width(node.arg(at))));
        let (a, b) = (value(0)?, if node.args().len() > 1 { value(1)? } else { value(0)? });
        let result = binary(node, a, b, self.width(node.arg(0)));
        result.single(node.width).filter(|_| result.trust == Trust::Fixed)
    }

    /// `x - x / d * d` is the remainder if `x` is the same both times. (Where `d` is 0 neither is
    /// defined.)
    fn remainder(&mut self, node: Node) -> Option<NodeId> {
        let (x, product) = (node.arg(0), self.get(node.arg(1)));
        if product.op != Op::Mul || node.flags != 0 {
            return None;
        }
        let [one, other] = [product.arg(0), product.arg(1)];
        for (quotient, divisor) in [(one, other), (other, one)] {
            let quotient = self.get(quotient);
            if quotient.op == Op::UDiv && quotient.arg(0) == x && quotient.arg(1) == divisor {
                return Some(self.op(Op::Rest, node.width, &[x, node.arg(1), divisor]));
            }
        }
        None
    }

    /// The lower bits of what is known to be put together.
    fn truncated(&mut self, of: NodeId, width: u8) -> Option<NodeId> {
        let node = self.get(of);
        match node.op {
            _ if node.width == width => Some(of),
            Op::Root(at) if width == 32 => Some(self.op(Op::Push(at), 32, &[])),
            Op::Shr if width == 32 && self.bits(node.arg(1)) == Some(32) => {
                match self.get(node.arg(0)).op {
                    Op::Root(at) => Some(self.op(Op::Push(at.checked_add(4)?), 32, &[])),
                    _ => None,
                }
            }
            Op::ZeroExtend | Op::SignExtend if self.width(node.arg(0)) == width => {
                Some(node.arg(0))
            }
            _ => None,
        }
    }

    /// Two words, as one number: again what they were taken from.
    fn pair(&mut self, low: NodeId, high: NodeId) -> Option<NodeId> {
        let (low, high) = (self.get(low), self.get(high));
        if (low.op, high.op) != (Op::ZeroExtend, Op::Shl) || self.bits(high.arg(1)) != Some(32) {
            return None;
        }
        let wide = self.get(high.arg(0));
        if wide.op != Op::ZeroExtend {
            return None;
        }
        let (low, high) = (self.get(low.arg(0)), self.get(wide.arg(0)));
        match (low.op, high.op) {
            (Op::Push(at), Op::Push(next)) if (low.width, high.width) == (32, 32) => {
                (at.checked_add(4)? == next).then(|| self.op(Op::Root(at), 64, &[]))
            }
            (Op::Truncate, Op::Truncate) if (low.width, high.width) == (32, 32) => {
                let upper = self.get(high.arg(0));
                let same = upper.op == Op::Shr && upper.arg(0) == low.arg(0);
                let same = same && self.bits(upper.arg(1)) == Some(32);
                let same = same && self.width(low.arg(0)) == 64;
                same.then(|| self.op(Op::Whole, 64, &[low.arg(0)]))
            }
            _ => None,
        }
    }

    /// One number of two words.
    pub(super) fn join_words(&mut self, low: NodeId, high: NodeId) -> NodeId {
        let (low, high) = (self.widen(low), self.widen(high));
        let half = self.constant(32, 64);
        let high = self.op(Op::Shl, 64, &[high, half]);
        self.op(Op::Or, 64, &[low, high])
    }

    fn widen(&mut self, word: NodeId) -> NodeId {
        self.op(Op::ZeroExtend, 64, &[word])
    }

    /// The two words of one number.
    pub(super) fn split_words(&mut self, whole: NodeId) -> [NodeId; 2] {
        let half = self.constant(32, 64);
        let upper = self.op(Op::Shr, 64, &[whole, half]);
        [whole, upper].map(|part| self.op(Op::Truncate, 32, &[part]))
    }

    /// The same graph without phis that have only one value besides themselves, and the place of
    /// each node in it. `None` if there were none.
    pub(super) fn without_needless_phis(&self) -> Option<(Self, Vec<NodeId>)> {
        let instead: Vec<Option<NodeId>> = self.phis.iter().map(only_operand).collect();
        if instead.iter().all(Option::is_none) {
            return None;
        }
        let mut graph = Self { unknowns: self.unknowns, ..Self::default() };
        let mut places: Vec<NodeId> = Vec::with_capacity(self.nodes.len());
        let mut kept = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let place = match node.op {
                Op::Phi(number) => {
                    // One that stands for a later node stays for another round.
                    let only = instead.get(number as usize).copied().flatten();
                    match only.filter(|&only| (only as usize) < at) {
                        Some(only) => places[only as usize],
                        None => {
                            kept.push(number as usize);
                            graph.phi(self.phis.get(number as usize)?.block, node.width)
                        }
                    }
                }
                _ => {
                    let mut moved = *node;
                    for arg in moved.args.iter_mut().take(usize::from(node.count)) {
                        *arg = *places.get(*arg as usize)?;
                    }
                    graph.node(moved)
                }
            };
            places.push(place);
        }
        if kept.len() == self.phis.len() {
            return None;
        }
        for (new, old) in kept.into_iter().enumerate() {
            let operands = self.phis[old].operands.iter();
            graph.phis[new].operands = operands.map(|&of| places[of as usize]).collect();
        }
        Some((graph, places))
    }
}

/// The only operand of a phi besides itself.
fn only_operand(phi: &Phi) -> Option<NodeId> {
    let mut others = phi.operands.iter().filter(|&&operand| operand != phi.node);
    let first = *others.next()?;
    others.all(|&other| other == first).then_some(first)
}
