//! Editing a module: fresh numbers, and types, constants and variables that exist once.

use crate::contract::{control, error::RewriteError};
use crate::ir::{
    instruction::{Id, id_operand},
    order::order_constants,
};
use crate::reflect::constants::is_specialised;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{AddressingModel, BuiltIn, Capability, Decoration, Op, StorageClass};
use std::collections::HashMap;

/// The key by which a declaration is found again.
type Declaration = (Op, Option<Id>, Vec<Operand>);

/// A module under edit.
///
/// Types, constants and variables are added at the end of their section and shared with those that
/// the kernel declared, except structures, which may be decorated.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) module: Module,
    next: Id,
    declared: HashMap<Declaration, Id>,
    /// The type of each result in the module, and the instruction of each global declaration.
    types: HashMap<Id, Id>,
    globals: HashMap<Id, Instruction>,
    builtins: HashMap<BuiltIn, Id>,
    /// Structures of the pass's own, by their member.
    blocks: HashMap<Id, Id>,
    /// Whether there are numbers that the kernel may store but not compute with.
    pub(crate) has_stored_only: bool,
}

impl Edit {
    pub(crate) fn new(module: Module) -> Result<Self, RewriteError> {
        let header =
            module.header.as_ref().ok_or_else(|| RewriteError::damaged("it has no header"))?;
        let next = header.bound;
        let mut edit = Self {
            next,
            declared: HashMap::new(),
            types: HashMap::new(),
            globals: HashMap::new(),
            builtins: HashMap::new(),
            blocks: HashMap::new(),
            has_stored_only: false,
            module,
        };
        edit.index();
        Ok(edit)
    }

    /// Notes the declarations of the kernel.
    fn index(&mut self) {
        for instruction in self.module.all_inst_iter() {
            if let (Some(id), Some(of)) = (instruction.result_id, instruction.result_type) {
                self.types.insert(id, of);
            }
        }
        let decorated: std::collections::HashSet<Id> =
            self.module.annotations.iter().filter_map(|i| id_operand(i, 0)).collect();
        for instruction in &self.module.types_global_values {
            let Some(id) = instruction.result_id else { continue };
            self.globals.insert(id, instruction.clone());
            let shared =
                !matches!(instruction.class.opcode, Op::TypeStruct | Op::Variable | Op::Undef);
            if shared && !is_specialised(instruction.class.opcode) && !decorated.contains(&id) {
                self.declared.entry(declaration(instruction)).or_insert(id);
            }
        }
        let mut declared = self.module.types_global_values.iter();
        self.has_stored_only = declared.any(|declared| self.is_stored_only(declared));
        for annotation in &self.module.annotations {
            if let (Op::Decorate, [Operand::IdRef(id), _, Operand::BuiltIn(builtin), ..]) =
                (annotation.class.opcode, &annotation.operands[..])
                && self.globals.get(id).is_some_and(|i| i.class.opcode == Op::Variable)
            {
                self.builtins.insert(*builtin, *id);
            }
        }
    }

    /// The finished module.
    pub(crate) fn finish(mut self) -> Module {
        order_constants(&mut self.module.types_global_values);
        if let Some(header) = &mut self.module.header {
            header.bound = self.next;
        }
        self.module
    }

    /// A number that nothing has yet.
    pub(crate) fn fresh(&mut self) -> Id {
        self.next += 1;
        self.next - 1
    }

    /// The SPIR-V version: major and minor.
    pub(crate) fn version(&self) -> (u8, u8) {
        self.module.header.as_ref().map_or((1, 0), |header| header.version())
    }

    /// The type of a result, if the module has it.
    pub(crate) fn type_of(&self, id: Id) -> Option<Id> {
        self.types.get(&id).copied()
    }

    /// Notes the type of a result that is added by hand.
    pub(crate) fn note_type(&mut self, id: Id, of: Id) {
        self.types.insert(id, of);
    }

    /// The type of the value of a built-in variable that the kernel declares.
    pub(crate) fn builtin_type(&self, builtin: BuiltIn) -> Option<Id> {
        let variable = self.builtins.get(&builtin)?;
        self.pointer_parts(self.type_of(*variable)?).map(|(_, pointee)| pointee)
    }

    /// The declaration of a type, constant or global variable.
    pub(crate) fn global(&self, id: Id) -> Option<&Instruction> {
        self.globals.get(&id)
    }

    /// Storage class and pointee of a pointer type.
    pub(crate) fn pointer_parts(&self, pointer_type: Id) -> Option<(StorageClass, Id)> {
        let declared = self.global(pointer_type)?;
        match (declared.class.opcode, &declared.operands[..]) {
            (Op::TypePointer, [Operand::StorageClass(class), Operand::IdRef(pointee)]) => {
                Some((*class, *pointee))
            }
            _ => None,
        }
    }

    /// The value of an integer constant of at most 64 bits that no specialisation can change,
    /// sign-extended if its type is signed.
    pub(crate) fn integer(&self, id: Id) -> Option<i64> {
        let declared = self.global(id)?;
        let of = self.global(declared.result_type?)?;
        let [Operand::LiteralBit32(bits), Operand::LiteralBit32(signed)] = of.operands[..] else {
            return None;
        };
        if of.class.opcode != Op::TypeInt {
            return None;
        }
        match (declared.class.opcode, &declared.operands[..]) {
            (Op::ConstantNull, _) => Some(0),
            (Op::Constant, [Operand::LiteralBit32(value)]) if signed == 1 => {
                let unused = 32u32.checked_sub(bits)?;
                Some(i64::from((value.cast_signed() << unused) >> unused))
            }
            (Op::Constant, [Operand::LiteralBit32(value)]) => Some(i64::from(*value)),
            (Op::Constant, [Operand::LiteralBit64(value)]) => Some(value.cast_signed()),
            _ => None,
        }
    }

    /// The value of a constant that is an index of an access chain: signed, whatever its type says.
    pub(crate) fn constant_index(&self, id: Id) -> Option<i64> {
        let value = self.integer(id)?;
        let unused = 64u32.checked_sub(self.integer_width(self.type_of(id)?)?)?;
        Some((value << unused) >> unused)
    }

    /// The bits of an integer type.
    pub(crate) fn integer_width(&self, of: Id) -> Option<u32> {
        let declared = self.global(of)?;
        match (declared.class.opcode, &declared.operands[..]) {
            (Op::TypeInt, [Operand::LiteralBit32(bits), _]) => Some(*bits),
            _ => None,
        }
    }

    /// A type, constant or other declaration without a decoration: the one that exists, or new.
    pub(crate) fn declare(&mut self, op: Op, of: Option<Id>, operands: Vec<Operand>) -> Id {
        let key = (op, of, operands);
        if let Some(&id) = self.declared.get(&key) {
            return id;
        }
        let id = self.declare_new(op, of, key.2.clone());
        self.declared.insert(key, id);
        id
    }

    /// A declaration of its own, for structures, variables and decorated types.
    pub(crate) fn declare_new(&mut self, op: Op, of: Option<Id>, operands: Vec<Operand>) -> Id {
        // OpTypeX has no result type; constants and variables have one.
        let id = self.fresh();
        let instruction = Instruction::new(op, of, Some(id), operands);
        if let Some(of) = of {
            self.types.insert(id, of);
        }
        self.globals.insert(id, instruction.clone());
        self.module.types_global_values.push(instruction);
        id
    }

    pub(crate) fn void(&mut self) -> Id {
        self.declare(Op::TypeVoid, None, vec![])
    }

    pub(crate) fn bool(&mut self) -> Id {
        self.declare(Op::TypeBool, None, vec![])
    }

    /// An unsigned integer type. 64 bits need the capability, which is added.
    pub(crate) fn uint(&mut self, bits: u32) -> Id {
        if bits == 64 {
            self.capability(Capability::Int64);
        }
        let operands = vec![Operand::LiteralBit32(bits), Operand::LiteralBit32(0)];
        self.declare(Op::TypeInt, None, operands)
    }

    pub(crate) fn vector(&mut self, of: Id, count: u32) -> Id {
        self.declare(Op::TypeVector, None, vec![Operand::IdRef(of), Operand::LiteralBit32(count)])
    }

    /// A vector of `count` unsigned 32-bit integers.
    pub(crate) fn uvec(&mut self, count: u32) -> Id {
        let word = self.uint(32);
        self.vector(word, count)
    }

    pub(crate) fn pointer(&mut self, class: StorageClass, pointee: Id) -> Id {
        self.declare(
            Op::TypePointer,
            None,
            vec![Operand::StorageClass(class), Operand::IdRef(pointee)],
        )
    }

    pub(crate) fn function_type(&mut self, result: Id, parameters: &[Id]) -> Id {
        let ids = std::iter::once(result).chain(parameters.iter().copied());
        self.declare(Op::TypeFunction, None, ids.map(Operand::IdRef).collect())
    }

    /// An unsigned 32-bit constant.
    pub(crate) fn word(&mut self, value: u32) -> Id {
        let of = self.uint(32);
        self.declare(Op::Constant, Some(of), vec![Operand::LiteralBit32(value)])
    }

    /// An unsigned 64-bit constant.
    pub(crate) fn long(&mut self, value: u64) -> Id {
        let of = self.uint(64);
        self.declare(Op::Constant, Some(of), vec![Operand::LiteralBit64(value)])
    }

    /// A constant of 64 bits as a pair of words, low word first.
    pub(crate) fn pair(&mut self, value: u64) -> Id {
        let (low, high) = split(value);
        let parts = vec![Operand::IdRef(self.word(low)), Operand::IdRef(self.word(high))];
        let of = self.uvec(2);
        self.declare(Op::ConstantComposite, Some(of), parts)
    }

    /// The zero of a type.
    pub(crate) fn null(&mut self, of: Id) -> Id {
        self.declare(Op::ConstantNull, Some(of), vec![])
    }

    /// The constant `true`.
    pub(crate) fn constant_true(&mut self) -> Id {
        let of = self.bool();
        self.declare(Op::ConstantTrue, Some(of), vec![])
    }

    /// The constant `false`.
    pub(crate) fn constant_false(&mut self) -> Id {
        let of = self.bool();
        self.declare(Op::ConstantFalse, Some(of), vec![])
    }

    /// A variable per invocation that is zero at first, shared by all functions.
    pub(crate) fn private(&mut self, of: Id) -> Id {
        let zero = self.null(of);
        let pointer = self.pointer(StorageClass::Private, of);
        let operands = vec![Operand::StorageClass(StorageClass::Private), Operand::IdRef(zero)];
        let id = self.declare_new(Op::Variable, Some(pointer), operands);
        self.interface(id);
        id
    }

    /// The input variable of a built-in value: the kernel's own, or a new one of this type.
    pub(crate) fn builtin(&mut self, builtin: BuiltIn, of: Id) -> Id {
        if let Some(&id) = self.builtins.get(&builtin) {
            self.list(id);
            return id;
        }
        let pointer = self.pointer(StorageClass::Input, of);
        let operands = vec![Operand::StorageClass(StorageClass::Input)];
        let id = self.declare_new(Op::Variable, Some(pointer), operands);
        self.decorate(id, Decoration::BuiltIn, vec![Operand::BuiltIn(builtin)]);
        self.builtins.insert(builtin, id);
        self.list(id);
        id
    }

    /// The uniform buffer of control rows: `uvec4 rows[MAX_ROWS]`, at the given binding.
    pub(crate) fn control(&mut self, set: u32, binding: u32) -> Id {
        let row = self.uvec(4);
        let length = self.word(control::MAX_ROWS);
        let rows = self.declare_new(
            Op::TypeArray,
            None,
            vec![Operand::IdRef(row), Operand::IdRef(length)],
        );
        self.decorate(rows, Decoration::ArrayStride, vec![Operand::LiteralBit32(16)]);
        let block = self.block(rows);
        let pointer = self.pointer(StorageClass::Uniform, block);
        let operands = vec![Operand::StorageClass(StorageClass::Uniform)];
        let id = self.declare_new(Op::Variable, Some(pointer), operands);
        self.decorate(id, Decoration::DescriptorSet, vec![Operand::LiteralBit32(set)]);
        self.decorate(id, Decoration::Binding, vec![Operand::LiteralBit32(binding)]);
        self.interface(id);
        id
    }

    /// A structure of one member, as the type of a buffer.
    pub(crate) fn block(&mut self, member: Id) -> Id {
        let block = self.declare_new(Op::TypeStruct, None, vec![Operand::IdRef(member)]);
        self.decorate(block, Decoration::Block, vec![]);
        self.decorate_member(block, 0, Decoration::Offset, vec![Operand::LiteralBit32(0)]);
        block
    }

    /// The structure of one member, as the type of a buffer: always the same for a member.
    pub(crate) fn block_of(&mut self, member: Id) -> Id {
        if let Some(&block) = self.blocks.get(&member) {
            return block;
        }
        let block = self.block(member);
        self.blocks.insert(member, block);
        block
    }

    /// Lists a variable in the entry points, as SPIR-V 1.4 and later demand of all but input and
    /// output variables, which every version lists.
    fn interface(&mut self, id: Id) {
        if self.version() >= (1, 4) {
            self.list(id);
        }
    }

    /// Lists a variable in every entry point that does not list it yet.
    fn list(&mut self, id: Id) {
        for entry in &mut self.module.entry_points {
            // Execution model, function and name come first.
            if !entry.operands.iter().skip(3).any(|operand| *operand == Operand::IdRef(id)) {
                entry.operands.push(Operand::IdRef(id));
            }
        }
    }

    pub(crate) fn decorate(&mut self, id: Id, decoration: Decoration, rest: Vec<Operand>) {
        let mut operands = vec![Operand::IdRef(id), Operand::Decoration(decoration)];
        operands.extend(rest);
        self.module.annotations.push(Instruction::new(Op::Decorate, None, None, operands));
    }

    fn decorate_member(&mut self, id: Id, member: u32, what: Decoration, rest: Vec<Operand>) {
        let mut operands =
            vec![Operand::IdRef(id), Operand::LiteralBit32(member), Operand::Decoration(what)];
        operands.extend(rest);
        self.module.annotations.push(Instruction::new(Op::MemberDecorate, None, None, operands));
    }

    /// Whether the module declares a capability.
    pub(crate) fn declares(&self, capability: Capability) -> bool {
        let wanted = [Operand::Capability(capability)];
        self.module.capabilities.iter().any(|declared| declared.operands == wanted)
    }

    pub(crate) fn capability(&mut self, capability: Capability) {
        let operands = vec![Operand::Capability(capability)];
        if !self.module.capabilities.iter().any(|i| i.operands == operands) {
            self.module.capabilities.push(Instruction::new(Op::Capability, None, None, operands));
        }
    }

    /// Whether a type is that of numbers that cannot be computed with.
    pub(crate) fn is_stored_only(&self, declared: &Instruction) -> bool {
        let needed = match (declared.class.opcode, declared.operands.first()) {
            (Op::TypeInt, Some(Operand::LiteralBit32(8))) => Capability::Int8,
            (Op::TypeInt, Some(Operand::LiteralBit32(16))) => Capability::Int16,
            (Op::TypeFloat, Some(Operand::LiteralBit32(16))) => Capability::Float16,
            _ => return false,
        };
        !self.declares(needed)
    }

    /// Lets the module use physical pointers, if it does not yet.
    pub(crate) fn allow_physical_pointers(&mut self) {
        self.capability(Capability::PhysicalStorageBufferAddresses);
        let model = AddressingModel::PhysicalStorageBuffer64;
        if let Some(first) = self.module.memory_model.as_mut().and_then(|m| m.operands.first_mut())
        {
            *first = Operand::AddressingModel(model);
        }
        // The extension that lets pairs of words be turned into pointers before version 1.5.
        if self.version() < (1, 5) {
            let name = "SPV_KHR_physical_storage_buffer".to_owned();
            let operands = vec![Operand::LiteralString(name)];
            if !self.module.extensions.iter().any(|i| i.operands == operands) {
                let extension = Instruction::new(Op::Extension, None, None, operands);
                self.module.extensions.push(extension);
            }
        }
    }
}

fn declaration(instruction: &Instruction) -> Declaration {
    (instruction.class.opcode, instruction.result_type, instruction.operands.clone())
}

#[allow(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
fn split(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}
