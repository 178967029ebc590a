//! Writing SPIR-V: types and constants that exist once, instructions at the end of a block.

use rspirv::binary::Assemble;
use rspirv::dr::{Builder, InsertPoint, Instruction, Operand};
use rspirv::spirv::{
    AddressingModel, BuiltIn, Capability, Decoration, ExecutionMode, ExecutionModel,
    FunctionControl, LoopControl, MemoryAccess, MemoryModel, Op, SelectionControl, StorageClass,
    Word,
};
use std::collections::HashMap;

/// The number that names a result.
pub(super) type Id = Word;

/// The types that every program declares.
pub(super) struct Types {
    pub(super) void: Id,
    pub(super) bool: Id,
    pub(super) bools: Id,
    pub(super) word: Id,
    pub(super) pair: Id,
    pub(super) triple: Id,
    pub(super) quad: Id,
    /// Two words: what an addition with carry gives.
    pub(super) carried: Id,
    /// 64 bits, where the device has them.
    pub(super) long: Option<Id>,
    /// Four words in memory, as a structure.
    pub(super) part: Id,
    pub(super) to_words: Id,
    pub(super) to_word: Id,
    pub(super) to_pair: Id,
    pub(super) to_quad: Id,
    pub(super) to_part: Id,
}

/// A module in the making.
pub(super) struct Code {
    builder: Builder,
    pub(super) types: Types,
    constants: HashMap<u32, Id>,
    interface: Vec<Id>,
    /// The block that instructions are added to.
    here: Id,
}

impl Code {
    pub(super) fn new(long: bool) -> Self {
        let mut b = Builder::new();
        b.set_version(1, 5);
        b.capability(Capability::Shader);
        b.capability(Capability::PhysicalStorageBufferAddresses);
        if long {
            b.capability(Capability::Int64);
        }
        b.memory_model(AddressingModel::PhysicalStorageBuffer64, MemoryModel::GLSL450);
        let types = declare(&mut b, long);
        Self { builder: b, types, constants: HashMap::new(), interface: Vec::new(), here: 0 }
    }

    /// The module's words, with the entry point `main`.
    pub(super) fn finish(mut self, main: Id, local_size: u32) -> Vec<u32> {
        self.builder.entry_point(ExecutionModel::GLCompute, main, "main", &self.interface);
        self.builder.execution_mode(main, ExecutionMode::LocalSize, [local_size, 1, 1]);
        self.builder.module().assemble()
    }

    pub(super) fn fresh(&mut self) -> Id {
        self.builder.id()
    }

    /// A constant word.
    pub(super) fn word(&mut self, value: u32) -> Id {
        let Self { builder, constants, types, .. } = self;
        *constants.entry(value).or_insert_with(|| builder.constant_bit32(types.word, value))
    }

    pub(super) fn pointer_type(&mut self, class: StorageClass, to: Id) -> Id {
        self.builder.type_pointer(None, class, to)
    }

    pub(super) fn array_type(&mut self, of: Id, len: u32) -> Id {
        let len = self.word(len);
        self.builder.type_array(of, len)
    }

    pub(super) fn function_type(&mut self, result: Id, parameters: &[Id]) -> Id {
        self.builder.type_function(result, parameters.iter().copied())
    }

    /// A variable of the module, which is part of the entry point's interface.
    pub(super) fn global(&mut self, class: StorageClass, of: Id) -> Id {
        let pointer = self.pointer_type(class, of);
        let variable = self.builder.variable(pointer, None, class, None);
        self.interface.push(variable);
        variable
    }

    /// The push constants: members of eight bytes each.
    pub(super) fn push_block(&mut self, members: &[Id]) -> Id {
        let block = self.builder.type_struct(members.iter().copied());
        self.decorate(block, Decoration::Block, None);
        for member in 0..members.len() as u32 {
            let offset = [Operand::LiteralBit32(member * 8)];
            self.builder.member_decorate(block, member, Decoration::Offset, offset);
        }
        self.global(StorageClass::PushConstant, block)
    }

    pub(super) fn built_in(&mut self, which: BuiltIn, of: Id) -> Id {
        let variable = self.global(StorageClass::Input, of);
        self.decorate(variable, Decoration::BuiltIn, Some(Operand::BuiltIn(which)));
        variable
    }

    pub(super) fn decorate(&mut self, id: Id, decoration: Decoration, operand: Option<Operand>) {
        self.builder.decorate(id, decoration, operand);
    }

    pub(super) fn begin_function(
        &mut self,
        result: Id,
        of: Id,
        parameters: &[Id],
    ) -> (Id, Vec<Id>) {
        let builder = &mut self.builder;
        let function = builder.begin_function(result, None, FunctionControl::NONE, of).unwrap();
        let ids = parameters.iter().map(|of| builder.function_parameter(*of).unwrap()).collect();
        let entry = self.fresh();
        self.begin(entry);
        (function, ids)
    }

    pub(super) fn end_function(&mut self) {
        self.builder.end_function().unwrap();
    }

    /// A variable of the function that has just begun.
    pub(super) fn local(&mut self, of: Id) -> Id {
        let pointer = self.pointer_type(StorageClass::Function, of);
        self.builder.variable(pointer, None, StorageClass::Function, None)
    }

    /// Starts a block.
    pub(super) fn begin(&mut self, label: Id) {
        self.builder.begin_block(Some(label)).unwrap();
        self.here = label;
    }

    /// The label of the block that instructions are added to.
    pub(super) fn here(&self) -> Id {
        self.here
    }

    /// An instruction with a result whose operands are results.
    pub(super) fn op(&mut self, op: Op, of: Id, ids: &[Id]) -> Id {
        let operands = ids.iter().copied().map(Operand::IdRef).collect();
        self.result(op, of, operands)
    }

    pub(super) fn result(&mut self, op: Op, of: Id, operands: Vec<Operand>) -> Id {
        let id = self.fresh();
        self.add(Instruction::new(op, Some(of), Some(id), operands));
        id
    }

    /// As [`op`](Self::op), for a result that has its number already.
    pub(super) fn add_as(&mut self, id: Id, op: Op, of: Id, ids: &[Id]) {
        let operands = ids.iter().copied().map(Operand::IdRef).collect();
        self.add(Instruction::new(op, Some(of), Some(id), operands));
    }

    /// An instruction without a result.
    pub(super) fn effect(&mut self, op: Op, operands: Vec<Operand>) {
        self.add(Instruction::new(op, None, None, operands));
    }

    fn add(&mut self, instruction: Instruction) {
        self.builder.insert_into_block(InsertPoint::End, instruction).unwrap();
    }

    /// A load, of memory that kernels share if an alignment is given.
    pub(super) fn load(&mut self, of: Id, pointer: Id, align: Option<u32>) -> Id {
        let mut operands = vec![Operand::IdRef(pointer)];
        operands.extend(aligned(align));
        self.result(Op::Load, of, operands)
    }

    pub(super) fn store(&mut self, pointer: Id, value: Id, align: Option<u32>) {
        let mut operands = vec![Operand::IdRef(pointer), Operand::IdRef(value)];
        operands.extend(aligned(align));
        self.effect(Op::Store, operands);
    }

    pub(super) fn copy(&mut self, to: Id, from: Id, align: u32) {
        let mut operands = vec![Operand::IdRef(to), Operand::IdRef(from)];
        operands.extend(aligned(Some(align)));
        self.effect(Op::CopyMemory, operands);
    }

    pub(super) fn extract(&mut self, of: Id, composite: Id, index: u32) -> Id {
        let operands = vec![Operand::IdRef(composite), Operand::LiteralBit32(index)];
        self.result(Op::CompositeExtract, of, operands)
    }

    pub(super) fn branch(&mut self, to: Id) {
        self.builder.branch(to).unwrap();
    }

    pub(super) fn branch_if(&mut self, condition: Id, yes: Id, no: Id) {
        self.builder.branch_conditional(condition, yes, no, []).unwrap();
    }

    pub(super) fn switch(&mut self, selector: Id, default: Id, cases: &[(u32, Id)]) {
        let cases = cases.iter().map(|&(value, to)| (Operand::LiteralBit32(value), to));
        self.builder.switch(selector, default, cases).unwrap();
    }

    pub(super) fn merge(&mut self, at: Id) {
        self.builder.selection_merge(at, SelectionControl::NONE).unwrap();
    }

    pub(super) fn loop_merge(&mut self, at: Id, next: Id) {
        self.builder.loop_merge(at, next, LoopControl::NONE, []).unwrap();
    }

    pub(super) fn phi(&mut self, id: Id, of: Id, from: &[(Id, Id)]) {
        self.builder.phi(of, Some(id), from.iter().copied()).unwrap();
    }

    pub(super) fn ret(&mut self, value: Option<Id>) {
        match value {
            Some(value) => self.builder.ret_value(value).unwrap(),
            None => self.builder.ret().unwrap(),
        }
    }
}

fn aligned(align: Option<u32>) -> Vec<Operand> {
    let operands =
        |align| vec![Operand::MemoryAccess(MemoryAccess::ALIGNED), Operand::LiteralBit32(align)];
    align.map_or_else(Vec::new, operands)
}

fn declare(b: &mut Builder, long: bool) -> Types {
    let word = b.type_int(32, 0);
    let (pair, triple, quad) =
        (b.type_vector(word, 2), b.type_vector(word, 3), b.type_vector(word, 4));
    let array = b.type_runtime_array(word);
    b.decorate(array, Decoration::ArrayStride, [Operand::LiteralBit32(4)]);
    let words = b.type_struct([array]);
    b.decorate(words, Decoration::Block, []);
    b.member_decorate(words, 0, Decoration::Offset, [Operand::LiteralBit32(0)]);
    let part = b.type_struct([word, pair, word]);
    for (member, offset) in [(0, 0), (1, 4), (2, 12)] {
        b.member_decorate(part, member, Decoration::Offset, [Operand::LiteralBit32(offset)]);
    }
    let mut to = |of| b.type_pointer(None, StorageClass::PhysicalStorageBuffer, of);
    let (to_words, to_word, to_pair, to_quad, to_part) =
        (to(words), to(word), to(pair), to(quad), to(part));
    b.decorate(to_word, Decoration::ArrayStride, [Operand::LiteralBit32(4)]);
    let bool = b.type_bool();
    Types {
        void: b.type_void(),
        bools: b.type_vector(bool, 2),
        bool,
        carried: b.type_struct([word, word]),
        long: long.then(|| b.type_int(64, 0)),
        word,
        pair,
        triple,
        quad,
        part,
        to_words,
        to_word,
        to_pair,
        to_quad,
        to_part,
    }
}
