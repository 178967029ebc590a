//! Instructions under construction.

use crate::ir::edit::Edit;
use crate::ir::hoist::{Hoist, RowPart};
use crate::ir::instruction::Id;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{MemoryAccess, Op, StorageClass};

/// Instructions under construction: a stretch of code without a branch.
pub(crate) struct Code<'e> {
    pub(crate) edit: &'e mut Edit,
    pub(crate) instructions: Vec<Instruction>,
    /// The start of the function, if control rows are read there.
    pub(crate) hoist: Option<Hoist>,
}

impl<'e> Code<'e> {
    pub(crate) fn new(edit: &'e mut Edit) -> Self {
        Self { edit, instructions: Vec::new(), hoist: None }
    }

    /// An instruction with a result.
    pub(crate) fn op(&mut self, op: Op, of: Id, operands: Vec<Operand>) -> Id {
        let id = self.edit.fresh();
        self.edit.note_type(id, of);
        self.instructions.push(Instruction::new(op, Some(of), Some(id), operands));
        id
    }

    /// An instruction with a result whose operands are all results.
    pub(crate) fn ids(&mut self, op: Op, of: Id, operands: &[Id]) -> Id {
        self.op(op, of, operands.iter().copied().map(Operand::IdRef).collect())
    }

    /// As [`ids`](Self::ids), for a result that is named already.
    pub(crate) fn define(&mut self, result: Id, op: Op, of: Id, operands: &[Id]) {
        self.edit.note_type(result, of);
        let operands = operands.iter().copied().map(Operand::IdRef).collect();
        self.instructions.push(Instruction::new(op, Some(of), Some(result), operands));
    }

    /// An instruction without a result.
    pub(crate) fn act(&mut self, op: Op, operands: Vec<Operand>) {
        self.instructions.push(Instruction::new(op, None, None, operands));
    }

    pub(crate) fn load(&mut self, of: Id, pointer: Id) -> Id {
        self.ids(Op::Load, of, &[pointer])
    }

    pub(crate) fn store(&mut self, pointer: Id, value: Id) {
        self.act(Op::Store, vec![Operand::IdRef(pointer), Operand::IdRef(value)]);
    }

    /// Loads through a physical pointer of the pass's own, with its alignment.
    pub(crate) fn load_physical(&mut self, of: Id, pointer: Id, align: u32) -> Id {
        let aligned = Operand::MemoryAccess(MemoryAccess::ALIGNED);
        let operands = vec![Operand::IdRef(pointer), aligned, Operand::LiteralBit32(align)];
        self.op(Op::Load, of, operands)
    }

    /// Loads a word through a physical pointer, which the host may be writing.
    pub(crate) fn load_volatile(&mut self, pointer: Id) -> Id {
        let word = self.edit.uint(32);
        let access = MemoryAccess::ALIGNED | MemoryAccess::VOLATILE;
        let operands =
            vec![Operand::IdRef(pointer), Operand::MemoryAccess(access), Operand::LiteralBit32(4)];
        self.op(Op::Load, word, operands)
    }

    /// One of two values. Before SPIR-V 1.4, vectors are selected by a vector of booleans.
    pub(crate) fn select(&mut self, of: Id, condition: Id, yes: Id, no: Id) -> Id {
        let mut condition = condition;
        let count = match self.edit.global(of).map(|of| (of.class.opcode, of.operands.get(1))) {
            Some((Op::TypeVector, Some(&Operand::LiteralBit32(count)))) => count,
            _ => 1,
        };
        if count > 1 && self.edit.version() < (1, 4) {
            let truth = self.edit.bool();
            let truths = self.edit.vector(truth, count);
            let repeated = vec![condition; count as usize];
            condition = self.ids(Op::CompositeConstruct, truths, &repeated);
        }
        self.ids(Op::Select, of, &[condition, yes, no])
    }

    /// Word `word` of control row `row`; both are constants.
    pub(crate) fn control_word(&mut self, control: Id, row: u32, word: u32) -> Id {
        self.read_once(RowPart::Word { row, word }, |code| {
            let of = code.edit.uint(32);
            let pointer = code.edit.pointer(StorageClass::Uniform, of);
            let [zero, row, word] = [0, row, word].map(|value| code.edit.word(value));
            let at = code.ids(Op::AccessChain, pointer, &[control, zero, row, word]);
            code.load(of, at)
        })
    }

    /// The four words of a control row.
    pub(crate) fn control_row(&mut self, control: Id, row: u32) -> [Id; 4] {
        let (word, of) = (self.edit.uint(32), self.edit.uvec(4));
        let pointer = self.edit.pointer(StorageClass::Uniform, of);
        let [zero, row] = [0, row].map(|value| self.edit.word(value));
        let at = self.ids(Op::AccessChain, pointer, &[control, zero, row]);
        let row = self.load(of, at);
        let part = |part| vec![Operand::IdRef(row), Operand::LiteralBit32(part)];
        [0, 1, 2, 3].map(|at| self.op(Op::CompositeExtract, word, part(at)))
    }

    /// Half of a control row as a pair of words: half 0 is x and y, half 1 is z and w.
    pub(crate) fn control_pair(&mut self, control: Id, row: u32, half: u32) -> Id {
        self.read_once(RowPart::Pair { row, half }, |code| {
            let of = code.edit.uvec(4);
            let pointer = code.edit.pointer(StorageClass::Uniform, of);
            let [zero, row] = [0, row].map(|value| code.edit.word(value));
            let at = code.ids(Op::AccessChain, pointer, &[control, zero, row]);
            let row = code.load(of, at);
            let pair = code.edit.uvec(2);
            let parts = [half * 2, half * 2 + 1].map(Operand::LiteralBit32);
            let mut operands = vec![Operand::IdRef(row), Operand::IdRef(row)];
            operands.extend(parts);
            code.op(Op::VectorShuffle, pair, operands)
        })
    }

    /// Reads a part of a control row: at the start of the function if that is wanted.
    fn read_once(&mut self, part: RowPart, read: impl FnOnce(&mut Self) -> Id) -> Id {
        let Some(mut hoist) = self.hoist.take() else { return read(self) };
        let known = hoist.known.get(&part).copied();
        let value = known.unwrap_or_else(|| {
            std::mem::swap(&mut self.instructions, &mut hoist.instructions);
            let value = read(self);
            std::mem::swap(&mut self.instructions, &mut hoist.instructions);
            hoist.known.insert(part, value);
            value
        });
        self.hoist = Some(hoist);
        value
    }
}
