//! The types and constants of a module, as far as sizes need them.

use crate::reflect::constants::Constants;
use crate::reflect::error::ReflectError;
use crate::reflect::module::Instruction;
use crate::reflect::number::Number;
use spirv::{Decoration, Op};
use std::collections::{HashMap, HashSet};

/// Nested types deeper than this have no size here; it ends type cycles in damaged modules.
pub(super) const DEPTH_LIMIT: u32 = 32;
/// Types that are looked at for the names of values in push constants: more than those have room
/// for. It ends type cycles in damaged modules.
const NAMES_LIMIT: u32 = 1024;

/// A type with a size, or an array without one.
#[derive(Clone, Debug)]
pub(super) enum Type {
    Scalar {
        number: Number,
    },
    Vector {
        element: u32,
        count: u32,
    },
    Matrix {
        column: u32,
        count: u32,
    },
    Array {
        element: u32,
        length: u32,
    },
    /// An array whose length the module does not say.
    RuntimeArray {
        element: u32,
    },
    Struct {
        members: Vec<u32>,
    },
    /// A pointer that is stored in memory: 8 bytes; its pointee matters for variables only.
    Pointer {
        pointee: u32,
    },
}

/// Types, constants, and the decorations that lay them out.
#[derive(Default)]
pub(crate) struct Types {
    pub(super) types: HashMap<u32, Type>,
    pub(crate) constants: Constants,
    pub(super) array_strides: HashMap<u32, u32>,
    pub(super) member_offsets: HashMap<(u32, u32), u32>,
    pub(super) matrix_strides: HashMap<(u32, u32), u32>,
    pub(super) row_major: HashSet<(u32, u32)>,
    pub(super) names: HashMap<u32, String>,
    pub(super) member_names: HashMap<(u32, u32), String>,
}

impl Types {
    /// Notes an instruction if it declares a type, a constant or a layout.
    pub(crate) fn note(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        self.constants.note(i)?;
        match i.op {
            Some(Op::TypeInt | Op::TypeFloat) => self.note_number(i),
            Some(Op::TypeVector) => {
                self.declare(i, Type::Vector { element: i.operand(1)?, count: i.operand(2)? })
            }
            Some(Op::TypeMatrix) => {
                self.declare(i, Type::Matrix { column: i.operand(1)?, count: i.operand(2)? })
            }
            Some(Op::TypeArray) => {
                self.declare(i, Type::Array { element: i.operand(1)?, length: i.operand(2)? })
            }
            Some(Op::TypeRuntimeArray) => {
                self.declare(i, Type::RuntimeArray { element: i.operand(1)? })
            }
            Some(Op::TypeStruct) => self.declare(
                i,
                Type::Struct { members: i.operands[1.min(i.operands.len())..].to_vec() },
            ),
            Some(Op::TypePointer) => self.declare(i, Type::Pointer { pointee: i.operand(2)? }),
            Some(Op::Decorate) => self.note_stride(i),
            Some(Op::MemberDecorate) => self.note_member(i),
            // Names mean nothing to a driver, so a name that is not valid text counts as absent.
            Some(Op::Name) => {
                if let Ok((name, _)) = i.string(1) {
                    self.names.insert(i.operand(0)?, name);
                }
                Ok(())
            }
            Some(Op::MemberName) => {
                if let Ok((name, _)) = i.string(2) {
                    self.member_names.insert((i.operand(0)?, i.operand(1)?), name);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn note_number(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        let bits = i.operand(1)?;
        let number = match i.op {
            Some(Op::TypeInt) => Number::Int { bits, signed: i.operand(2)? != 0 },
            _ => Number::Float { bits },
        };
        self.declare(i, Type::Scalar { number })
    }

    fn declare(&mut self, i: Instruction<'_>, declared: Type) -> Result<(), ReflectError> {
        self.types.insert(i.operand(0)?, declared);
        Ok(())
    }

    fn note_stride(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        if i.operand(1)? == Decoration::ArrayStride as u32 {
            self.array_strides.insert(i.operand(0)?, i.operand(2)?);
        }
        Ok(())
    }

    fn note_member(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        let member = (i.operand(0)?, i.operand(1)?);
        let decoration = i.operand(2)?;
        if decoration == Decoration::Offset as u32 {
            self.member_offsets.insert(member, i.operand(3)?);
        } else if decoration == Decoration::MatrixStride as u32 {
            self.matrix_strides.insert(member, i.operand(3)?);
        } else if decoration == Decoration::RowMajor as u32 {
            self.row_major.insert(member);
        }
        Ok(())
    }

    /// The value of a constant that counts something, if it has 32 bits.
    pub(crate) fn constant(&self, id: u32) -> Option<u32> {
        u32::try_from(self.constants.count(id)?).ok()
    }

    /// The size in bytes of what a pointer type points to.
    pub(crate) fn pointee_size_bytes(&self, pointer: u32) -> Option<u32> {
        match self.types.get(&pointer)? {
            Type::Pointer { pointee } => self.size_bytes(*pointee, 0),
            _ => None,
        }
    }

    /// The alignment in bytes of what a pointer type points to, as a compiler for the CPU may see
    /// it: the greatest of its parts, with vectors aligned as the standard layouts align them.
    pub(crate) fn pointee_align_bytes(&self, pointer: u32) -> Option<u32> {
        match self.types.get(&pointer)? {
            Type::Pointer { pointee } => self.align_bytes(*pointee, 0),
            _ => None,
        }
    }

    fn align_bytes(&self, id: u32, depth: u32) -> Option<u32> {
        if depth > DEPTH_LIMIT {
            return None;
        }
        match self.types.get(&id)? {
            Type::Scalar { number } => Some(number.size_bytes()),
            Type::Pointer { .. } => Some(8),
            Type::Vector { element, count } => self
                .align_bytes(*element, depth + 1)?
                .checked_mul(count.checked_next_power_of_two()?),
            Type::Matrix { column, .. } => self.align_bytes(*column, depth + 1),
            Type::Array { element, .. } | Type::RuntimeArray { element } => {
                self.align_bytes(*element, depth + 1)
            }
            Type::Struct { members } => {
                let mut aligns = members.iter().map(|&member| self.align_bytes(member, depth + 1));
                aligns.try_fold(1, |most, align| Some(most.max(align?)))
            }
        }
    }

    /// The names of the values in what a pointer type points to, with their offsets in bytes: as
    /// `y`, `table[2]` or `lists.head`. Values without a name are left out.
    pub(crate) fn pointee_names(&self, pointer: u32) -> Vec<(u32, String)> {
        let mut names = Vec::new();
        if let Some(&Type::Pointer { pointee }) = self.types.get(&pointer) {
            self.add_names(pointee, (0, ""), &mut names, &mut { NAMES_LIMIT });
        }
        names.sort();
        names
    }

    /// Adds the names of the values in a type that is so far into the block and has this name; the
    /// block itself has none. So many types are looked at.
    fn add_names(
        &self,
        id: u32,
        (at, name): (u32, &str),
        names: &mut Vec<(u32, String)>,
        left: &mut u32,
    ) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        match self.types.get(&id) {
            Some(Type::Struct { members }) => {
                for (index, &member) in (0u32..).zip(members) {
                    let place = (id, index);
                    let named = self.member_names.get(&place).filter(|name| !name.is_empty());
                    if let Some((own, offset)) = named.zip(self.member_offsets.get(&place)) {
                        let dot = if name.is_empty() { "" } else { "." };
                        let name = format!("{name}{dot}{own}");
                        self.add_names(member, (at.saturating_add(*offset), &name), names, left);
                    }
                }
            }
            Some(Type::Array { element, length }) => {
                let stride = self.array_strides.get(&id).copied().unwrap_or_default();
                let length = self.constant(*length).unwrap_or_default();
                for index in 0..length {
                    let at = at.saturating_add(stride.saturating_mul(index));
                    self.add_names(*element, (at, &format!("{name}[{index}]")), names, left);
                    if *left == 0 {
                        return;
                    }
                }
            }
            Some(_) if !name.is_empty() => names.push((at, name.to_owned())),
            _ => {}
        }
    }

    pub(super) fn size_bytes(&self, id: u32, depth: u32) -> Option<u32> {
        if depth > DEPTH_LIMIT {
            return None;
        }
        match self.types.get(&id)? {
            Type::Scalar { number } => Some(number.size_bytes()),
            Type::Pointer { .. } => Some(8),
            Type::Vector { element, count } => {
                self.size_bytes(*element, depth + 1)?.checked_mul(*count)
            }
            Type::Matrix { column, count } => {
                self.size_bytes(*column, depth + 1)?.checked_mul(*count)
            }
            Type::Array { length, .. } => {
                self.array_strides.get(&id)?.checked_mul(self.constant(*length)?)
            }
            Type::RuntimeArray { .. } => None,
            Type::Struct { members } => self.struct_size_bytes(id, members, depth),
        }
    }

    /// The end of the member that ends last.
    fn struct_size_bytes(&self, id: u32, members: &[u32], depth: u32) -> Option<u32> {
        let mut end = 0;
        for (index, &member) in (0u32..).zip(members) {
            let offset = *self.member_offsets.get(&(id, index))?;
            let size = self.member_size_bytes((id, index), member, depth)?;
            end = end.max(offset.checked_add(size)?);
        }
        Some(end)
    }

    pub(super) fn member_size_bytes(
        &self,
        place: (u32, u32),
        member: u32,
        depth: u32,
    ) -> Option<u32> {
        match (self.types.get(&member)?, self.matrix_strides.get(&place)) {
            (Type::Matrix { count, .. }, Some(stride)) => stride.checked_mul(*count),
            _ => self.size_bytes(member, depth + 1),
        }
    }
}
