//! Kernels of which nothing is known, since they promise or do what is not followed.

use crate::footprint::mutant::{self, Mutant};
use crate::footprint::unknown::Unknown;
use crate::ir::edit::Edit;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{Decoration, LoopControl, Op, StorageClass};

/// Whether everything in a kernel is followed, or has no effect on what is.
pub(super) fn check(edit: &Edit) -> Result<(), Unknown> {
    let annotations = edit.module.annotations.iter();
    // What a group of decorations says is not looked up.
    let has_groups = annotations.clone().any(|annotation| {
        matches!(annotation.class.opcode, Op::GroupDecorate | Op::GroupMemberDecorate)
    });
    let row_major = Operand::Decoration(Decoration::RowMajor);
    let has_rows = annotations.clone().any(|annotation| annotation.operands.contains(&row_major));
    let functions = edit.module.functions.iter();
    let mut all = functions.flat_map(|function| &function.blocks).flat_map(|b| &b.instructions);
    let is_left_out = has_groups
        || all.any(|i| is_not_followed(i) || promises(i) || (has_rows && moves_column(edit, i)));
    if is_left_out && !mutant::has(Mutant::PromisesIgnored) {
        return Err(Unknown::Instruction);
    }
    Ok(())
}

/// Whether an instruction without a result may do anything, such as to promise that a condition
/// holds.
fn is_not_followed(i: &Instruction) -> bool {
    let known = matches!(
        i.class.opcode,
        Op::Nop
            | Op::Line
            | Op::NoLine
            | Op::SelectionMerge
            | Op::LoopMerge
            | Op::Branch
            | Op::BranchConditional
            | Op::Switch
            | Op::Return
            | Op::ReturnValue
            | Op::Unreachable
            | Op::ControlBarrier
            | Op::MemoryBarrier
            | Op::Store
            | Op::CopyMemory
            | Op::AtomicStore
            | Op::ImageWrite
    );
    i.result_type.is_none() && !known
}

/// Whether a loop is said to run so often, or to depend on nothing: where it does not, nothing is
/// defined.
fn promises(i: &Instruction) -> bool {
    let harmless = LoopControl::UNROLL
        | LoopControl::DONT_UNROLL
        | LoopControl::PEEL_COUNT
        | LoopControl::PARTIAL_COUNT;
    i.class.opcode == Op::LoopMerge
        && i.operands.iter().any(|operand| match operand {
            Operand::LoopControl(control) => !harmless.contains(*control),
            _ => false,
        })
}

/// Whether an instruction may make a pointer to a vector whose numbers are not next to each other,
/// in a way that does not keep how far they are apart.
fn moves_column(edit: &Edit, i: &Instruction) -> bool {
    let keeps =
        matches!(i.class.opcode, Op::AccessChain | Op::InBoundsAccessChain | Op::CopyObject);
    let parts = i.result_type.and_then(|of| edit.pointer_parts(of));
    let is_column = parts.is_some_and(|(class, of)| {
        let of = edit.global(of).map(|of| of.class.opcode);
        class == StorageClass::PhysicalStorageBuffer && of == Some(Op::TypeVector)
    });
    is_column && !keeps
}
