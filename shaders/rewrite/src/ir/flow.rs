//! Functions of the pass's own under construction: blocks, and code that runs under a condition.

use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use rspirv::dr::{Block, Instruction, Operand};
use rspirv::spirv::{Op, SelectionControl};

/// Blocks under construction, with an open one at the end.
pub(crate) struct Flow<'e> {
    pub(crate) code: Code<'e>,
    done: Vec<Block>,
    label: Id,
}

impl<'e> Flow<'e> {
    /// Starts at a block of this label.
    pub(crate) fn new(edit: &'e mut Edit, label: Id) -> Self {
        Self { code: Code::new(edit), done: Vec::new(), label }
    }

    /// Runs code where a condition holds.
    pub(crate) fn when(&mut self, condition: Id, code: impl FnOnce(&mut Self)) {
        let (yes, end) = (self.code.edit.fresh(), self.code.edit.fresh());
        self.fork(condition, yes, end, end);
        self.open(yes);
        code(self);
        self.branch(end);
        self.open(end);
    }

    /// The value that code gives where a condition holds, and another one where it does not.
    pub(crate) fn when_value(
        &mut self,
        condition: Id,
        of: Id,
        otherwise: Id,
        code: impl FnOnce(&mut Self) -> Id,
    ) -> Id {
        let before = self.label;
        let mut inner = None;
        self.when(condition, |flow| inner = Some((code(flow), flow.label)));
        let (value, after) = inner.unwrap_or((otherwise, before));
        self.code.ids(Op::Phi, of, &[value, after, otherwise, before])
    }

    /// Ends the open block with a branch.
    pub(crate) fn branch(&mut self, to: Id) {
        self.code.act(Op::Branch, vec![Operand::IdRef(to)]);
        self.close();
    }

    /// Ends the open block with a branch to one of two, which meet at `merge`.
    pub(crate) fn fork(&mut self, condition: Id, yes: Id, no: Id, merge: Id) {
        self.code.act(Op::SelectionMerge, selection_merge(merge));
        self.code.act(Op::BranchConditional, [condition, yes, no].map(Operand::IdRef).to_vec());
        self.close();
    }

    /// Ends the open block with any other instruction.
    pub(crate) fn end(&mut self, op: Op, operands: Vec<Operand>) {
        self.code.act(op, operands);
        self.close();
    }

    /// Opens a block; the one before has ended.
    pub(crate) fn open(&mut self, label: Id) {
        self.label = label;
    }

    /// The label of the open block.
    pub(crate) fn label(&self) -> Id {
        self.label
    }

    /// The blocks, all of which have ended.
    pub(crate) fn finish(self) -> Vec<Block> {
        self.done
    }

    fn close(&mut self) {
        let instructions = std::mem::take(&mut self.code.instructions);
        self.done.push(block(self.label, instructions));
    }
}

/// A block.
pub(crate) fn block(label: Id, instructions: Vec<Instruction>) -> Block {
    Block { label: Some(Instruction::new(Op::Label, None, Some(label), vec![])), instructions }
}

/// The operands of an OpSelectionMerge without a hint.
pub(crate) fn selection_merge(merge: Id) -> Vec<Operand> {
    vec![Operand::IdRef(merge), Operand::SelectionControl(SelectionControl::NONE)]
}
