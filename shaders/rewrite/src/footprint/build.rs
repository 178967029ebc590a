//! From the blocks of a kernel to a graph of what it computes, and where it accesses memory.

use crate::analyse::own_arrays::{self, Length};
use crate::footprint::acts::{Acts, OwnIndex, Touch};
use crate::footprint::builder::{At, Builder};
use crate::footprint::data::Datum;
use crate::footprint::graph::Graph;
use crate::footprint::op::NodeId;
use crate::footprint::unknown::Unknown;
use crate::ir::instruction::id_operand;
use rspirv::dr::Instruction;
use rspirv::spirv::Op;

impl Builder<'_> {
    /// Takes all blocks apart.
    pub(super) fn run(mut self) -> Result<(Graph, Vec<Acts>), Unknown> {
        let (flow, nest, edit) = (self.flow, self.nest, self.shapes.edit);
        for id in std::mem::take(&mut self.private) {
            let variable = self.declare(id)?;
            let first = edit.global(id).and_then(|declared| id_operand(declared, 1));
            if let Some(value) = first.and_then(|first| self.datum(first)) {
                self.store(Some(&variable), &value);
            }
            self.globals.insert(id, Some(variable));
        }
        for (block, &at) in nest.parts.iter().enumerate() {
            let part = &flow.parts[at];
            (self.block, self.call) = (block, part.call);
            let function = flow.calls[part.call].function;
            let of = &edit.module.functions[function].blocks[part.block];
            if part.range.start == 0 {
                self.acts[block].loop_number =
                    self.loop_numbers.get(&(function, part.block)).copied();
            } else if let Some(inner) = part.after {
                let result = of.instructions.get(part.range.start - 1).and_then(|i| i.result_id);
                self.take_result(inner, result);
            }
            for at in part.range.clone() {
                let instruction = &of.instructions[at];
                self.touch((function, part.block, at), instruction);
                self.act(instruction, part.calls)?;
                if self.graph.is_full() || self.slots.is_full() {
                    return Err(Unknown::TooLarge);
                }
            }
        }
        for phi in std::mem::take(&mut self.open) {
            self.close(&phi);
        }
        let Self { mut graph, mut slots, acts, .. } = self;
        slots.close(&mut graph, nest)?;
        Ok((graph, acts))
    }

    /// The numbers that an instruction stores, as one node that depends on them.
    fn stored(&mut self, store: &Instruction) -> Option<NodeId> {
        let value = id_operand(store, 1).filter(|_| store.class.opcode == Op::Store)?;
        let leaves = self.datum(value)?.leaves()?;
        Some(self.graph.unknown(32, &leaves))
    }

    /// Notes the accesses of an instruction.
    fn touch(&mut self, at: (usize, usize, usize), instruction: &Instruction) {
        for found in self.sites.get(&at).cloned().unwrap_or_default() {
            let pointer = self.operand(instruction, found.operand);
            let address = pointer.and_then(|pointer| match pointer {
                Datum::Address(node, _) => Some(node),
                Datum::Leaves(leaves) => leaves.first().copied(),
                Datum::Variable(_) | Datum::Large => None,
            });
            let At { site, bytes, align, is_whole, .. } = found;
            let stored = if is_whole { self.stored(instruction) } else { None };
            let (is_aligned, is_whole) = (false, false);
            let touch = Touch { site, address, bytes, align, is_aligned, stored, is_whole };
            self.acts[self.block].accesses.push(touch);
        }
        let first = self.own_sites.get(&at).copied().unwrap_or_default();
        let edit = self.shapes.edit;
        for (site, found) in (first..).zip(own_arrays::indices(edit, instruction)) {
            let index = id_operand(instruction, found.operand).and_then(|id| self.single(id));
            let length = match found.length {
                Length::Literal(length) => Some(u64::from(length)),
                Length::Constant(id) => edit.integer(id).and_then(|of| u64::try_from(of).ok()),
            };
            self.acts[self.block].indices.push(OwnIndex { site, index, length });
        }
    }
}
