//! Calls, returns and phis: what comes from another place.

use crate::footprint::builder::{Builder, OpenPhi};
use crate::footprint::data::{Datum, Memory, Variable};
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::slots::set_operands;
use crate::footprint::unknown::Unknown;
use crate::ir::instruction::Id;
use rspirv::dr::{Instruction, Operand};

impl Builder<'_> {
    /// Hands the arguments of a call over.
    pub(super) fn enter(&mut self, call: &Instruction, inner: usize) -> Result<(), Unknown> {
        let edit = self.shapes.edit;
        let function = &edit.module.functions[self.flow.calls[inner].function];
        for (at, parameter) in (1..).zip(&function.parameters) {
            let mut datum = self.operand(call, at);
            if mutant::has(Mutant::LostStore)
                && let Some(Datum::Variable(Variable { memory, of })) = &datum
                && let Memory::Own { leaf: Some(leaf), .. } = memory
                && let Some(widths) = self.shapes.widths(*of)
                && let Some(leaves) = self.load(*of, datum.as_ref()).leaves()
            {
                let (leaf, of, first) = (*leaf, *of, self.slots.add(&widths)?);
                let memory = Memory::Own { first, count: widths.len(), leaf: Some(0) };
                (first..).zip(leaves.iter()).for_each(|(slot, &node)| self.write(slot, node));
                datum =
                    Some(Datum::Variable(Variable { memory, of })).filter(|_| leaf < usize::MAX);
            }
            if let (Some(id), Some(datum)) = (parameter.result_id, datum) {
                self.values.insert((inner, id), datum);
            }
        }
        if let Some(widths) = call.result_type.and_then(|of| self.shapes.widths(of)) {
            let first = self.slots.add(&widths)?;
            self.results.insert(inner, (first, widths));
        }
        Ok(())
    }

    /// Keeps what a function returns for where it goes on.
    pub(super) fn leave(&mut self, value: Option<Datum>) {
        let Some((first, widths)) = self.results.get(&self.call).cloned() else { return };
        let leaves = value.and_then(|value| value.leaves());
        let leaves = leaves.filter(|leaves| leaves.len() == widths.len());
        for (at, slot) in (first..).take(widths.len()).enumerate() {
            let node = leaves.as_ref().and_then(|leaves| leaves.get(at)).copied();
            let node = node.unwrap_or_else(|| self.graph.undefined(widths[at]));
            self.write(slot, node);
        }
    }

    pub(super) fn take_result(&mut self, inner: usize, result: Option<Id>) {
        let Some((first, widths)) = self.results.get(&inner).cloned() else { return };
        let leaves = (first..).take(widths.len()).map(|slot| self.slot(slot)).collect();
        self.define(result, Some(Datum::Leaves(leaves)));
    }

    /// An OpPhi: a number for each way.
    pub(super) fn phi(&mut self, instruction: &Instruction) -> Result<Option<Datum>, Unknown> {
        let of = instruction.result_type.ok_or(Unknown::Damaged)?;
        let Some(widths) = self.shapes.widths(of) else { return Err(Unknown::Instruction) };
        let nest = self.nest;
        let ways: Vec<Option<Id>> = nest.ins[self.block]
            .iter()
            .map(|&edge| {
                let from = nest.parts[nest.edges[edge].from];
                let ends = |pair: &&[Operand]| {
                    let label = pair[1].id_ref_any();
                    let found = label.and_then(|label| self.flow.blocks.get(&(self.call, label)));
                    found.is_some_and(|(_, last)| *last == from)
                };
                instruction.operands.chunks_exact(2).find(ends)?[0].id_ref_any()
            })
            .collect();
        let mut leaves = Vec::new();
        for (leaf, &width) in widths.iter().enumerate() {
            let node = self.graph.phi(self.block, width);
            let operands = ways.clone();
            self.open.push(OpenPhi { call: self.call, block: self.block, leaf, node, operands });
            leaves.push(node);
        }
        Ok(Some(Datum::Leaves(leaves.into())))
    }

    pub(super) fn close(&mut self, phi: &OpenPhi) {
        self.call = phi.call;
        self.block = phi.block;
        let width = self.graph.width(phi.node);
        let operands = phi.operands.iter().map(|operand| {
            let leaves = operand.and_then(|id| self.datum(id)?.leaves());
            let node = leaves.and_then(|leaves| leaves.get(phi.leaf).copied());
            node.filter(|&node| self.graph.width(node) == width)
                .unwrap_or_else(|| self.graph.undefined(width))
        });
        let operands = operands.collect();
        set_operands(&mut self.graph, phi.node, operands);
    }
}
