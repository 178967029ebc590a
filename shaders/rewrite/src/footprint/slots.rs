//! The contents of a kernel's variables: each number in them is followed through stores and loads,
//! and becomes a [`Phi`](crate::footprint::graph::Phi) where ways meet.

use crate::footprint::graph::Graph;
use crate::footprint::nest::Nest;
use crate::footprint::op::NodeId;
use crate::footprint::unknown::Unknown;
use std::collections::HashMap;

/// A number in a variable.
pub(super) type Slot = u32;

/// The most numbers in variables.
const MOST_SLOTS: usize = 1 << 14;

/// The most that is remembered of them, over all blocks.
const MOST_HELD: usize = 1 << 20;

/// The numbers in variables, block by block.
#[derive(Default)]
pub(super) struct Slots {
    widths: Vec<u8>,
    held: HashMap<(Slot, usize), NodeId>,
    /// Phis at the starts of loops, whose ways back are not known yet.
    open: Vec<(Slot, usize, NodeId)>,
}

impl Slots {
    /// New numbers of these widths, one behind the other.
    pub(super) fn add(&mut self, widths: &[u8]) -> Result<Slot, Unknown> {
        let first = Slot::try_from(self.widths.len()).map_err(|_| Unknown::TooLarge)?;
        self.widths.extend_from_slice(widths);
        if self.widths.len() > MOST_SLOTS { Err(Unknown::TooLarge) } else { Ok(first) }
    }

    /// Whether more is held than may be.
    pub(super) fn is_full(&self) -> bool {
        self.held.len() > MOST_HELD
    }

    pub(super) fn width(&self, slot: Slot) -> u8 {
        self.widths.get(slot as usize).copied().unwrap_or(32)
    }

    pub(super) fn write(&mut self, slot: Slot, block: usize, value: NodeId) {
        self.held.insert((slot, block), value);
    }

    /// The number at the end of what is known of a block. All blocks before it are complete, but
    /// for the ways back to the starts of loops.
    pub(super) fn read(
        &mut self,
        graph: &mut Graph,
        nest: &Nest,
        slot: Slot,
        block: usize,
    ) -> NodeId {
        let (mut at, mut passed) = (block, Vec::new());
        let found = loop {
            if let Some(&held) = self.held.get(&(slot, at)) {
                break held;
            }
            let ins = &nest.ins[at];
            passed.push(at);
            match ins[..] {
                [] => break graph.undefined(self.width(slot)),
                [only] => at = nest.edges[only].from,
                _ => break self.join(graph, nest, slot, at),
            }
        };
        for block in passed {
            self.held.insert((slot, block), found);
        }
        found
    }

    fn join(&mut self, graph: &mut Graph, nest: &Nest, slot: Slot, block: usize) -> NodeId {
        let ins = &nest.ins[block];
        if ins.iter().any(|&edge| nest.edges[edge].is_back) {
            let node = graph.phi(block, self.width(slot));
            self.held.insert((slot, block), node);
            self.open.push((slot, block, node));
            return node;
        }
        let operands: Vec<NodeId> =
            ins.iter().map(|&edge| self.read(graph, nest, slot, nest.edges[edge].from)).collect();
        if operands.iter().all(|&operand| operand == operands[0]) {
            return operands[0];
        }
        let node = graph.phi(block, self.width(slot));
        set_operands(graph, node, operands);
        node
    }

    /// Completes the starts of loops, after all blocks are complete.
    pub(super) fn close(&mut self, graph: &mut Graph, nest: &Nest) -> Result<(), Unknown> {
        while let Some((slot, block, node)) = self.open.pop() {
            let ins = nest.ins[block].iter();
            let operands =
                ins.map(|&edge| self.read(graph, nest, slot, nest.edges[edge].from)).collect();
            set_operands(graph, node, operands);
            if graph.is_full() || self.is_full() {
                return Err(Unknown::TooLarge);
            }
        }
        Ok(())
    }
}

/// Gives a phi its operands.
pub(super) fn set_operands(graph: &mut Graph, node: NodeId, operands: Vec<NodeId>) {
    if let Some(phi) = graph.phi_of(node).and_then(|phi| graph.phis.get_mut(phi)) {
        phi.operands = operands;
    }
}
