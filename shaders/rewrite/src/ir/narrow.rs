//! Pointers to types that contain numbers of 8 or 16 bits that the kernel may store but not compute
//! with.
//!
//! Without `Int8`, `Int16` or `Float16` validators allow no `OpBitcast` between a pair of words and
//! a pointer to such numbers, as it is made for devices without 64-bit integers. It is allowed
//! where the pointer's type was declared ahead of what it points to, which only pointers to
//! structures may be. So the pass makes such a pointer from a pointer to a structure of the same
//! layout, and computes the address of such a pointer from the start of its access chains.

use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{Capability, Op, StorageClass};
use std::collections::HashSet;

impl Edit {
    /// Whether a pointer may not be cast: it leads to numbers that cannot be computed with.
    pub(crate) fn is_narrow(&self, pointer_type: Id) -> bool {
        if !self.has_stored_only {
            return false;
        }
        let mut seen = HashSet::new();
        let mut next = vec![pointer_type];
        while let Some(of) = next.pop() {
            let Some(declared) = self.global(of).filter(|_| seen.insert(of)) else { continue };
            if self.is_stored_only(declared) {
                return true;
            }
            let is_pointer = declared.class.opcode == Op::TypePointer;
            if !(is_pointer && self.is_forward(of)) {
                next.extend(declared.operands.iter().filter_map(Operand::id_ref_any));
            }
        }
        false
    }

    /// Whether a pointer type was declared ahead of what it points to.
    fn is_forward(&self, pointer_type: Id) -> bool {
        self.module.types_global_values.iter().any(|declared| {
            declared.class.opcode == Op::TypeForwardPointer
                && id_operand(declared, 0) == Some(pointer_type)
        })
    }

    /// Declares a pointer to a structure ahead of what it points to.
    fn declare_ahead(&mut self, pointer_type: Id) {
        if !self.is_forward(pointer_type) {
            let class = Operand::StorageClass(StorageClass::PhysicalStorageBuffer);
            let operands = vec![Operand::IdRef(pointer_type), class];
            let ahead = Instruction::new(Op::TypeForwardPointer, None, None, operands);
            self.module.types_global_values.insert(0, ahead);
        }
    }

    /// Whether a pointer leads to a structure.
    fn leads_to_structure(&self, pointer_type: Id) -> bool {
        let pointee = self.pointer_parts(pointer_type).and_then(|(_, of)| self.global(of));
        pointee.is_some_and(|of| of.class.opcode == Op::TypeStruct)
    }

    /// Whether a kernel without 64-bit integers can compute the address of a pointer.
    pub(crate) fn gives_address(&self, pointer_type: Id) -> bool {
        !self.is_narrow(pointer_type)
            || self.declares(Capability::Int64)
            || self.leads_to_structure(pointer_type)
    }
}

impl Code<'_> {
    /// The physical pointer to the address in a pair of words.
    pub(crate) fn pointer_of_pair(&mut self, pointer_type: Id, pair: Id) -> Id {
        if !self.edit.is_narrow(pointer_type) {
            return self.ids(Op::Bitcast, pointer_type, &[pair]);
        }
        if self.edit.declares(Capability::Int64) {
            let long = self.edit.uint(64);
            let long = self.ids(Op::Bitcast, long, &[pair]);
            return self.ids(Op::ConvertUToPtr, pointer_type, &[long]);
        }
        if self.edit.leads_to_structure(pointer_type) {
            self.edit.declare_ahead(pointer_type);
            return self.ids(Op::Bitcast, pointer_type, &[pair]);
        }
        let Some((class, pointee)) = self.edit.pointer_parts(pointer_type) else { return pair };
        let block = self.edit.block_of(pointee);
        let block_pointer = self.edit.pointer(class, block);
        self.edit.declare_ahead(block_pointer);
        let block = self.ids(Op::Bitcast, block_pointer, &[pair]);
        let zero = self.edit.word(0);
        self.ids(Op::AccessChain, pointer_type, &[block, zero])
    }

    /// The address of a physical pointer as a pair of words.
    pub(crate) fn pair_of_pointer(&mut self, pointer: Id) -> Id {
        let pair = self.edit.uvec(2);
        let of = self.edit.type_of(pointer).filter(|&of| self.edit.is_narrow(of));
        if let Some(of) = of {
            if self.edit.declares(Capability::Int64) {
                let long = self.edit.uint(64);
                let long = self.ids(Op::ConvertPtrToU, long, &[pointer]);
                return self.ids(Op::Bitcast, pair, &[long]);
            }
            if self.edit.leads_to_structure(of) {
                self.edit.declare_ahead(of);
            }
        }
        self.ids(Op::Bitcast, pair, &[pointer])
    }

    /// The bytes that each index adds to an address, as pairs of words: an index and its stride.
    pub(crate) fn distances(&mut self, indices: &[(Id, u32)]) -> Vec<Id> {
        let (word, pair) = (self.edit.uint(32), self.edit.uvec(2));
        let members = vec![Operand::IdRef(word), Operand::IdRef(word)];
        let product = self.edit.declare(Op::TypeStruct, None, members);
        let mut distances = Vec::new();
        for &(index, stride) in indices {
            let of = self.edit.type_of(index).unwrap_or(word);
            let index = match self.edit.integer_width(of) {
                _ if of == word => index,
                Some(32) => self.ids(Op::Bitcast, word, &[index]),
                // Indices are signed, whatever their type says.
                _ => self.ids(Op::SConvert, word, &[index]),
            };
            let stride = self.edit.word(stride);
            let bytes = self.ids(Op::SMulExtended, product, &[index, stride]);
            let halves = [0, 1].map(|half| {
                let operands = vec![Operand::IdRef(bytes), Operand::LiteralBit32(half)];
                self.op(Op::CompositeExtract, word, operands)
            });
            distances.push(self.ids(Op::CompositeConstruct, pair, &halves));
        }
        distances
    }
}
