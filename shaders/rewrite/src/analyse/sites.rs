//! The accesses of an instruction through physical pointers, and the instructions that are refused.

use crate::analyse::pointers::Definitions;
use crate::contract::analysis::AccessKind;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{MemoryAccess, Op, StorageClass};

/// An access of an instruction through a physical pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dereference {
    /// The position of the pointer among the operands.
    pub(crate) operand: usize,
    pub(crate) pointer: Id,
    pub(crate) kind: AccessKind,
    /// The alignment of the address that the module promises, if any.
    pub(crate) aligned: Option<u32>,
}

/// The accesses of an instruction through physical pointers.
pub(crate) fn dereferences(
    kernel: &Definitions<'_>,
    instruction: &Instruction,
) -> Vec<Dereference> {
    let op = instruction.class.opcode;
    let operands = &instruction.operands;
    let at = |operand: usize, kind, masks: (usize, usize)| {
        let pointer = id_operand(instruction, operand).filter(|&id| kernel.is_physical(id))?;
        let aligned = alignments(operands.get(masks.0..).unwrap_or_default());
        let aligned = aligned.get(masks.1).or(aligned.first()).copied().flatten();
        Some(Dereference { operand, pointer, kind, aligned })
    };
    match op {
        Op::Load => at(0, AccessKind::Read, (1, 0)).into_iter().collect(),
        Op::Store => at(0, AccessKind::Write, (2, 0)).into_iter().collect(),
        // A first mask is for the target, a second for the source.
        Op::CopyMemory => [at(1, AccessKind::Read, (2, 1)), at(0, AccessKind::Write, (2, 0))]
            .into_iter()
            .flatten()
            .collect(),
        _ if is_atomic(op) => {
            let kind = if op == Op::AtomicLoad { AccessKind::Read } else { AccessKind::Atomic };
            at(0, kind, (usize::MAX, 0)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The name of an instruction that accesses memory or indexes a variable, as the specification
/// prints it.
pub(crate) fn name(op: Op) -> &'static str {
    match op {
        Op::Load => "OpLoad",
        Op::Store => "OpStore",
        Op::CopyMemory => "OpCopyMemory",
        Op::AtomicLoad => "OpAtomicLoad",
        Op::AtomicStore => "OpAtomicStore",
        Op::AtomicExchange => "OpAtomicExchange",
        Op::AtomicCompareExchange => "OpAtomicCompareExchange",
        Op::AtomicIIncrement => "OpAtomicIIncrement",
        Op::AtomicIDecrement => "OpAtomicIDecrement",
        Op::AtomicIAdd => "OpAtomicIAdd",
        Op::AtomicISub => "OpAtomicISub",
        Op::AtomicSMin => "OpAtomicSMin",
        Op::AtomicUMin => "OpAtomicUMin",
        Op::AtomicSMax => "OpAtomicSMax",
        Op::AtomicUMax => "OpAtomicUMax",
        Op::AtomicAnd => "OpAtomicAnd",
        Op::AtomicOr => "OpAtomicOr",
        Op::AtomicXor => "OpAtomicXor",
        Op::AtomicFAddEXT => "OpAtomicFAddEXT",
        Op::AtomicFMinEXT => "OpAtomicFMinEXT",
        Op::AtomicFMaxEXT => "OpAtomicFMaxEXT",
        Op::AccessChain => "OpAccessChain",
        Op::InBoundsAccessChain => "OpInBoundsAccessChain",
        Op::VectorExtractDynamic => "OpVectorExtractDynamic",
        Op::VectorInsertDynamic => "OpVectorInsertDynamic",
        _ => "an access",
    }
}

/// Whether an operation is atomic on the memory that its first operand points to.
pub(crate) fn is_atomic(op: Op) -> bool {
    name(op).starts_with("OpAtomic")
}

/// The alignments of the memory operands in these operands, one per mask.
fn alignments(operands: &[Operand]) -> Vec<Option<u32>> {
    let mut found = Vec::new();
    for (position, operand) in operands.iter().enumerate() {
        if let Operand::MemoryAccess(mask) = operand {
            let aligned = match operands.get(position + 1) {
                Some(&Operand::LiteralBit32(align)) if mask.contains(MemoryAccess::ALIGNED) => {
                    Some(align)
                }
                _ => None,
            };
            found.push(aligned);
        }
    }
    found
}

/// Why an instruction cannot be rewritten, if it cannot, apart from what it accesses.
pub(crate) fn refusal(kernel: &Definitions<'_>, instruction: &Instruction) -> Option<&'static str> {
    let op = instruction.class.opcode;
    match op {
        Op::CopyMemorySized => {
            return Some("the size of the copy is not fixed; copy values of a fixed type");
        }
        Op::ConvertUToAccelerationStructureKHR => {
            return Some("an acceleration structure cannot be made from an address; bind it");
        }
        Op::GenericCastToPtr | Op::GenericCastToPtrExplicit | Op::PtrCastToGeneric => {
            return Some("pointers of unknown storage class cannot be followed");
        }
        _ => {}
    }
    let result_type = instruction.result_type.and_then(|of| kernel.edit.global(of));
    if result_type.is_some_and(|of| of.class.opcode == Op::TypeUntypedPointerKHR) {
        let physical = instruction.result_type.is_some_and(|of| kernel.is_physical_type(of));
        return physical.then_some("pointers without a type cannot be followed; give it a type");
    }
    if matches!(op, Op::ConvertUToPtr | Op::Bitcast) && mixes(kernel, instruction) {
        return Some("a pointer is made from a number or pointer of another storage class");
    }
    let ids = 0..instruction.operands.len();
    let physical = ids.filter(|&operand| {
        id_operand(instruction, operand).is_some_and(|id| kernel.is_physical(id))
    });
    let allowed = |operand: usize| match op {
        Op::Store => operand < 2,
        Op::CopyMemory => operand < 2,
        Op::Load => operand == 0,
        _ if is_atomic(op) => operand == 0,
        _ => carries(op),
    };
    for operand in physical {
        if !allowed(operand) {
            return Some("it takes a physical pointer in a way that is not known to be safe");
        }
    }
    None
}

/// Whether an instruction makes a pointer that is not physical from something else.
fn mixes(kernel: &Definitions<'_>, instruction: &Instruction) -> bool {
    let is_pointer = |of: Option<Id>| {
        let declared = of.and_then(|of| kernel.edit.global(of));
        declared.is_some_and(|declared| declared.class.opcode == Op::TypePointer)
    };
    let from = id_operand(instruction, 0).and_then(|id| kernel.edit.type_of(id));
    let classes = [instruction.result_type, from].map(|of| {
        let parts = of.and_then(|of| kernel.edit.pointer_parts(of));
        parts.map(|(class, _)| class)
    });
    is_pointer(instruction.result_type)
        && (classes[0] != Some(StorageClass::PhysicalStorageBuffer)
            || (is_pointer(from) && classes[1] != classes[0]))
}

/// Whether an operation only passes a pointer on, or computes with its address.
fn carries(op: Op) -> bool {
    use Op::{
        AccessChain, Bitcast, CompositeConstruct, CompositeInsert, ConvertPtrToU, CopyObject,
        FunctionCall, InBoundsAccessChain, InBoundsPtrAccessChain, Phi, PtrAccessChain, PtrDiff,
        PtrEqual, PtrNotEqual, ReturnValue, Select,
    };
    matches!(
        op,
        AccessChain
            | InBoundsAccessChain
            | PtrAccessChain
            | InBoundsPtrAccessChain
            | CopyObject
            | Bitcast
            | ConvertPtrToU
            | Select
            | Phi
            | FunctionCall
            | ReturnValue
            | PtrEqual
            | PtrNotEqual
            | PtrDiff
            | CompositeConstruct
            | CompositeInsert
    )
}
