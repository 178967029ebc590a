//! The layout of types in memory: sizes, offsets and strides.

use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Decoration, Op};
use std::collections::HashMap;

/// How deep arrays may be nested.
const MAX_DEPTH: u32 = 64;

/// A type at a place in memory, and how its matrices are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) of: Id,
    /// Set at and inside a member that is a matrix or an array of matrices: how the matrix is laid
    /// out.
    matrix: Option<Matrix>,
}

impl Place {
    pub(crate) fn new(of: Id) -> Self {
        Self { of, matrix: None }
    }

    /// Whether a decoration of the member, and not the type alone, says where the numbers are: the
    /// place is a matrix, an array of matrices, or a column of a matrix that is stored by rows.
    pub(crate) fn is_laid_out_by_member(&self) -> bool {
        self.matrix.is_some()
    }
}

/// The layout of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Matrix {
    stride: u32,
    row_major: bool,
}

/// A step from a place to a part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) place: Place,
    /// Bytes from one index to the next; for a member, bytes to the member.
    pub(crate) bytes: u32,
    /// Whether the member is decorated as coherent or volatile.
    pub(crate) coherent: bool,
}

/// The decorations of a member.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    offset: Option<u32>,
    matrix_stride: Option<u32>,
    row_major: bool,
    coherent: bool,
}

/// Offsets and strides of a module's types.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layouts {
    strides: HashMap<Id, u32>,
    members: HashMap<(Id, u32), Member>,
    /// Sizes and widest scalars of structures.
    structures: HashMap<Id, (u64, u32)>,
}

impl Layouts {
    pub(crate) fn new(edit: &Edit) -> Self {
        let mut layouts = Self::default();
        for annotation in &edit.module.annotations {
            layouts.note(annotation);
        }
        layouts.measure(edit, &edit.module);
        layouts
    }

    fn note(&mut self, annotation: &Instruction) {
        match (annotation.class.opcode, &annotation.operands[..]) {
            (
                Op::Decorate,
                [
                    Operand::IdRef(id),
                    Operand::Decoration(Decoration::ArrayStride),
                    Operand::LiteralBit32(stride),
                ],
            ) => {
                self.strides.insert(*id, *stride);
            }
            (
                Op::MemberDecorate,
                [Operand::IdRef(id), Operand::LiteralBit32(member), Operand::Decoration(what), ..],
            ) => {
                let value = match annotation.operands.get(3) {
                    Some(Operand::LiteralBit32(value)) => Some(*value),
                    _ => None,
                };
                let member = self.members.entry((*id, *member)).or_default();
                match what {
                    Decoration::Offset => member.offset = value,
                    Decoration::MatrixStride => member.matrix_stride = value,
                    Decoration::RowMajor => member.row_major = true,
                    Decoration::Coherent | Decoration::Volatile => member.coherent = true,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Measures the structures, in the order of their declaration: parts come first.
    fn measure(&mut self, edit: &Edit, module: &Module) {
        for declared in &module.types_global_values {
            let (Op::TypeStruct, Some(id)) = (declared.class.opcode, declared.result_id) else {
                continue;
            };
            let (mut end, mut widest) = (0, 1);
            let mut measured = true;
            for member in 0..declared.operands.len() {
                let Some((size, scalar, offset)) = self.member_extent(edit, id, member) else {
                    measured = false;
                    break;
                };
                end = end.max(offset + size);
                widest = widest.max(scalar);
            }
            if measured {
                self.structures.insert(id, (end, widest));
            }
        }
    }

    fn member_extent(&self, edit: &Edit, id: Id, member: usize) -> Option<(u64, u32, u64)> {
        let step = self.member(edit, id, i64::try_from(member).ok()?)?;
        let (size, scalar) = self.extent(edit, step.place)?;
        Some((size, scalar, u64::from(step.bytes)))
    }

    /// The step to a member of a structure.
    fn member(&self, edit: &Edit, id: Id, index: i64) -> Option<Step> {
        let index = u32::try_from(index).ok()?;
        let declared = edit.global(id)?;
        let &Operand::IdRef(of) = declared.operands.get(index as usize)? else { return None };
        let member = self.members.get(&(id, index)).copied().unwrap_or_default();
        let layout = |stride| Matrix { stride, row_major: member.row_major };
        let place = Place { of, matrix: member.matrix_stride.map(layout) };
        Some(Step { place, bytes: member.offset?, coherent: member.coherent })
    }

    /// The bytes between elements that a pointer type was declared with.
    pub(crate) fn pointer_stride(&self, pointer_type: Id) -> Option<u32> {
        self.strides.get(&pointer_type).copied()
    }

    /// The step from a place to one of its parts; the index is known for members of structures.
    pub(crate) fn step(&self, edit: &Edit, place: Place, index: Option<i64>) -> Option<Step> {
        let declared = edit.global(place.of)?;
        let &Operand::IdRef(part) = declared.operands.first()? else { return None };
        let at = |of, bytes, matrix| Step { place: Place { of, matrix }, bytes, coherent: false };
        match declared.class.opcode {
            Op::TypeStruct => self.member(edit, place.of, index?),
            Op::TypeArray | Op::TypeRuntimeArray => {
                Some(at(part, *self.strides.get(&place.of)?, place.matrix))
            }
            Op::TypeMatrix => {
                let matrix = place.matrix?;
                let (scalar, _) = vector_parts(edit, part)?;
                let bytes =
                    if matrix.row_major { scalar_bytes(edit, scalar)? } else { matrix.stride };
                Some(at(part, bytes, matrix.row_major.then_some(matrix)))
            }
            Op::TypeVector => {
                let bytes = match place.matrix {
                    Some(Matrix { stride, row_major: true }) => stride,
                    _ => scalar_bytes(edit, part)?,
                };
                Some(at(part, bytes, None))
            }
            _ => None,
        }
    }

    /// The number of parts of a composite whose size is fixed.
    pub(crate) fn parts(edit: &Edit, of: Id) -> Option<u32> {
        let declared = edit.global(of)?;
        match (declared.class.opcode, &declared.operands[..]) {
            (Op::TypeStruct, members) => u32::try_from(members.len()).ok(),
            (Op::TypeArray, [_, Operand::IdRef(length)]) => {
                u32::try_from(edit.integer(*length)?).ok()
            }
            (Op::TypeMatrix | Op::TypeVector, [_, Operand::LiteralBit32(count)]) => Some(*count),
            _ => None,
        }
    }

    /// Whether a place is a column of a matrix that is stored by rows, so that it has gaps.
    pub(crate) fn has_gaps(edit: &Edit, place: Place) -> bool {
        let by_rows = place.matrix.is_some_and(|matrix| matrix.row_major);
        by_rows && vector_parts(edit, place.of).is_some()
    }

    /// Bytes from the first to the last byte of what is at a place, and its widest scalar.
    pub(crate) fn extent(&self, edit: &Edit, place: Place) -> Option<(u64, u32)> {
        self.extent_within(edit, place, 0)
    }

    fn extent_within(&self, edit: &Edit, place: Place, depth: u32) -> Option<(u64, u32)> {
        let declared = edit.global(place.of)?;
        match declared.class.opcode {
            Op::TypeInt | Op::TypeFloat | Op::TypePointer => {
                let bytes = scalar_bytes(edit, place.of)?;
                Some((u64::from(bytes), bytes))
            }
            Op::TypeStruct => self.structures.get(&place.of).copied(),
            Op::TypeArray | Op::TypeMatrix | Op::TypeVector if depth < MAX_DEPTH => {
                let last = u64::from(Self::parts(edit, place.of)?.checked_sub(1)?);
                let step = self.step(edit, place, Some(0))?;
                let (part, widest) = self.extent_within(edit, step.place, depth + 1)?;
                // At most 2^32 parts of 2^32 bytes, and structures are limited in the same way.
                let end = last.checked_mul(u64::from(step.bytes))?.checked_add(part)?;
                (end <= u64::from(u32::MAX)).then_some((end, widest))
            }
            _ => None,
        }
    }
}

/// Bytes of a number or a pointer.
pub(crate) fn scalar_bytes(edit: &Edit, of: Id) -> Option<u32> {
    let declared = edit.global(of)?;
    match (declared.class.opcode, declared.operands.first()) {
        (Op::TypeInt | Op::TypeFloat, Some(Operand::LiteralBit32(bits))) => {
            matches!(bits, 8 | 16 | 32 | 64).then_some(bits / 8)
        }
        (Op::TypePointer, _) => Some(8),
        _ => None,
    }
}

/// Component type and count of a vector type.
pub(crate) fn vector_parts(edit: &Edit, of: Id) -> Option<(Id, u32)> {
    let declared = edit.global(of)?;
    match (declared.class.opcode, &declared.operands[..]) {
        (Op::TypeVector, [Operand::IdRef(part), Operand::LiteralBit32(count)]) => {
            Some((*part, *count))
        }
        _ => None,
    }
}
