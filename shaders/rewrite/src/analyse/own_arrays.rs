//! Indices into a kernel's own variables: checked too, because they reach host memory on drivers
//! that keep variables on a stack.
//!
//! An index that is not known to fit is compared with the length of what it indexes, and replaced
//! by 0 if it does not fit; the launch ends with an error. `robustBufferAccess` covers bound
//! buffers alone, so that without this a safe launch could write beyond a local array. A constant
//! that does not fit is valid SPIR-V too, and built-in inputs are vectors in memory on some
//! drivers.

use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{Op, StorageClass};

/// An index to check: which operand of which instruction, and the number of elements.
pub(crate) struct Index {
    pub(crate) operand: usize,
    pub(crate) length: Length,
}

/// The number of elements of what is indexed.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    /// The number of components of a vector, or of columns of a matrix.
    Literal(u32),
    /// The length of an array: a constant, perhaps a specialisation constant.
    Constant(Id),
}

impl Length {
    /// Whether a constant index is known to be in bounds.
    fn holds(self, edit: &Edit, index: i64) -> bool {
        let count = match self {
            Self::Literal(count) => Some(i64::from(count)),
            Self::Constant(id) => edit.integer(id),
        };
        count.is_some_and(|count| (0..count).contains(&index))
    }
}

/// The number of indices of an instruction that are checked.
///
/// # Errors
///
/// The reason why an instruction cannot be checked: it is an `OpPtrAccessChain`, which steps from
/// one element of a variable to another without naming the variable.
pub(crate) fn count(edit: &Edit, instruction: &Instruction) -> Result<usize, &'static str> {
    let steps = matches!(instruction.class.opcode, Op::PtrAccessChain | Op::InBoundsPtrAccessChain);
    if steps && base(edit, instruction).is_some_and(|(class, _)| is_own(class)) {
        return Err("it steps from one element to another of a variable of the kernel's own; \
                    index the variable");
    }
    Ok(indices(edit, instruction).len())
}

/// The indices of an instruction that have to be checked.
pub(crate) fn indices(edit: &Edit, instruction: &Instruction) -> Vec<Index> {
    match instruction.class.opcode {
        Op::AccessChain | Op::InBoundsAccessChain => chain_indices(edit, instruction),
        Op::VectorExtractDynamic => vector_index(edit, instruction, 1),
        Op::VectorInsertDynamic => vector_index(edit, instruction, 2),
        _ => Vec::new(),
    }
}

/// The index of a dynamic access to a vector's component.
fn vector_index(edit: &Edit, instruction: &Instruction, operand: usize) -> Vec<Index> {
    let vector = id_operand(instruction, 0).and_then(|vector| edit.type_of(vector));
    match vector.and_then(|of| edit.global(of)).map(|of| &of.operands[..]) {
        Some([_, Operand::LiteralBit32(count)]) => {
            vec![Index { operand, length: Length::Literal(*count) }]
        }
        _ => Vec::new(),
    }
}

/// Storage class and pointee of what a chain starts from.
fn base(edit: &Edit, chain: &Instruction) -> Option<(StorageClass, Id)> {
    edit.pointer_parts(edit.type_of(id_operand(chain, 0)?)?)
}

/// Whether variables of a storage class are the kernel's own.
fn is_own(class: StorageClass) -> bool {
    matches!(
        class,
        StorageClass::Function
            | StorageClass::Private
            | StorageClass::Workgroup
            | StorageClass::PushConstant
            | StorageClass::Input
    )
}

/// The indices of a chain into a variable.
fn chain_indices(edit: &Edit, chain: &Instruction) -> Vec<Index> {
    let Some((_, mut of)) = base(edit, chain).filter(|(class, _)| is_own(*class)) else {
        return Vec::new();
    };
    let mut indices = Vec::new();
    for operand in 1..chain.operands.len() {
        let Some(index) = id_operand(chain, operand) else { break };
        let Some(declared) = edit.global(of) else { break };
        let constant = edit.integer(index);
        let (element, length) = match (declared.class.opcode, &declared.operands[..]) {
            (Op::TypeArray, [Operand::IdRef(element), Operand::IdRef(length)]) => {
                (*element, Length::Constant(*length))
            }
            (
                Op::TypeVector | Op::TypeMatrix,
                [Operand::IdRef(element), Operand::LiteralBit32(count)],
            ) => (*element, Length::Literal(*count)),
            (Op::TypeStruct, members) => {
                let member = constant.and_then(|index| usize::try_from(index).ok());
                let Some(Operand::IdRef(member)) = member.and_then(|index| members.get(index))
                else {
                    break;
                };
                of = *member;
                continue;
            }
            _ => break,
        };
        if !constant.is_some_and(|index| length.holds(edit, index)) {
            indices.push(Index { operand, length });
        }
        of = element;
    }
    indices
}
