//! The numbers that name results, and finding them among the operands of an instruction.

use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::Word;

/// The number that names a result (SPIR-V specification, section 2.2.1, "<id>").
pub(crate) type Id = Word;

/// An operand that is the number of a result.
pub(crate) fn id_operand(instruction: &Instruction, index: usize) -> Option<Id> {
    match instruction.operands.get(index)? {
        Operand::IdRef(id) | Operand::IdScope(id) | Operand::IdMemorySemantics(id) => Some(*id),
        _ => None,
    }
}
