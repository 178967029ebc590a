//! The types of a module, as the interpreter sees them.

use crate::ir::instruction::Id;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{BuiltIn, Decoration, Op, StorageClass};
use std::collections::{HashMap, HashSet};

pub(super) struct Types<'m> {
    declared: HashMap<Id, &'m Instruction>,
    types: HashMap<Id, Id>,
    strides: HashMap<Id, i64>,
    offsets: HashMap<(Id, u32), i64>,
    builtins: HashMap<Id, BuiltIn>,
    exact: HashSet<Id>,
}

impl<'m> Types<'m> {
    pub(super) fn new(module: &'m Module) -> Self {
        let mut types = Self {
            declared: HashMap::new(),
            types: HashMap::new(),
            strides: HashMap::new(),
            offsets: HashMap::new(),
            builtins: HashMap::new(),
            exact: HashSet::new(),
        };
        for i in module.all_inst_iter() {
            let Some(id) = i.result_id else { continue };
            types.declared.insert(id, i);
            types.types.extend(i.result_type.map(|of| (id, of)));
        }
        for i in &module.annotations {
            match &i.operands[..] {
                [
                    Operand::IdRef(id),
                    Operand::Decoration(Decoration::ArrayStride),
                    Operand::LiteralBit32(stride),
                ] => {
                    types.strides.insert(*id, i64::from(*stride));
                }
                [
                    Operand::IdRef(id),
                    Operand::LiteralBit32(member),
                    Operand::Decoration(Decoration::Offset),
                    Operand::LiteralBit32(offset),
                ] => {
                    types.offsets.insert((*id, *member), i64::from(*offset));
                }
                [Operand::IdRef(id), Operand::Decoration(Decoration::NoUnsignedWrap)] => {
                    types.exact.insert(*id);
                }
                [Operand::IdRef(id), _, Operand::BuiltIn(of)] => {
                    types.builtins.insert(*id, *of);
                }
                _ => {}
            }
        }
        types
    }

    pub(super) fn builtin(&self, id: Id) -> Option<BuiltIn> {
        self.builtins.get(&id).copied()
    }

    /// Whether a result is not defined where it would wrap without a sign.
    pub(super) fn may_not_wrap(&self, id: Id) -> bool {
        self.exact.contains(&id)
    }

    pub(super) fn type_of(&self, id: Id) -> Id {
        self.types[&id]
    }

    pub(super) fn is(&self, of: Id, op: Op) -> bool {
        self.declared[&of].class.opcode == op
    }

    /// Whether a value is a pointer to physical memory.
    pub(super) fn is_physical(&self, id: Id) -> bool {
        let of = self.declared[&self.types[&id]];
        of.operands.first() == Some(&Operand::StorageClass(StorageClass::PhysicalStorageBuffer))
    }

    /// Storage class and pointee of a pointer type.
    pub(super) fn pointee(&self, of: Id) -> (StorageClass, Id) {
        match self.declared[&of].operands[..] {
            [Operand::StorageClass(class), Operand::IdRef(pointee)] => (class, pointee),
            ref other => panic!("{other:?}"),
        }
    }

    /// The type of a part, and the cells and bytes before it.
    pub(super) fn part(&self, of: Id, index: i64) -> (Id, i64, i64) {
        let declared = self.declared[&of];
        if declared.class.opcode == Op::TypeStruct {
            let member = u32::try_from(index).expect("members are constant");
            let before = declared.operands[..member as usize].iter();
            let cells: usize = before.map(|of| self.widths(of.id_ref_any().unwrap()).len()).sum();
            let part = declared.operands[member as usize].id_ref_any().unwrap();
            let bytes = self.offsets.get(&(of, member)).copied().unwrap_or_default();
            return (part, i64::try_from(cells).unwrap(), bytes);
        }
        let part = declared.operands[0].id_ref_any().unwrap();
        let stride = self.strides.get(&of).copied();
        let is_open = declared.class.opcode == Op::TypeRuntimeArray;
        let (cells, bytes) = if is_open {
            (0, stride.unwrap())
        } else {
            let size = || i64::try_from(self.bytes(part)).unwrap();
            (i64::try_from(self.widths(part).len()).unwrap(), stride.unwrap_or_else(size))
        };
        (part, cells.saturating_mul(index), bytes.wrapping_mul(index))
    }

    /// The widths of a type's numbers.
    pub(super) fn widths(&self, of: Id) -> Vec<u8> {
        let declared = self.declared[&of];
        match (declared.class.opcode, &declared.operands[..]) {
            (Op::TypeBool, _) => vec![1],
            (Op::TypeInt | Op::TypeFloat, [Operand::LiteralBit32(bits), ..]) => {
                vec![u8::try_from(*bits).unwrap()]
            }
            (Op::TypePointer, _) => vec![64],
            (Op::TypeVector, [Operand::IdRef(part), Operand::LiteralBit32(count)]) => {
                self.widths(*part).repeat(*count as usize)
            }
            (Op::TypeArray, [Operand::IdRef(part), Operand::IdRef(length)]) => {
                let Operand::LiteralBit32(count) = self.declared[length].operands[0] else {
                    panic!("lengths are words")
                };
                self.widths(*part).repeat(count as usize)
            }
            (Op::TypeStruct, members) => {
                members.iter().flat_map(|of| self.widths(of.id_ref_any().unwrap())).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The byte at which each number of a type begins.
    pub(super) fn offsets(&self, of: Id) -> Vec<u32> {
        let declared = self.declared[&of];
        let count = match declared.class.opcode {
            Op::TypeStruct => declared.operands.len(),
            Op::TypeVector | Op::TypeArray => {
                let part = declared.operands[0].id_ref_any().unwrap();
                self.widths(of).len() / self.widths(part).len()
            }
            _ => return vec![0],
        };
        (0..count)
            .flat_map(|index| {
                let (part, _, bytes) = self.part(of, i64::try_from(index).unwrap());
                let bytes = u32::try_from(bytes).unwrap();
                self.offsets(part).into_iter().map(move |offset| offset + bytes)
            })
            .collect()
    }

    /// From the first to the last byte of a value in memory.
    pub(super) fn bytes(&self, of: Id) -> u64 {
        let widths = self.widths(of);
        let ends = self.offsets(of).into_iter().zip(widths);
        ends.map(|(offset, width)| u64::from(offset) + u64::from(width) / 8).max().unwrap_or(0)
    }
}
