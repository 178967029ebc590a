//! Leaving a function early, with a null value for its result.

use crate::contract::error::RewriteError;
use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use crate::load::places::Places;
use rspirv::dr::{Function, Operand};
use rspirv::spirv::{Op, StorageClass};

/// How a function is left early.
#[derive(Clone, Copy)]
pub(crate) enum Leave {
    Return,
    With(Id),
    /// With a pointer to address zero: this type, made of this pair of zeroes, because pointers to
    /// physical storage have no null value.
    WithPointer {
        of: Id,
        zeroes: Id,
    },
}

impl Leave {
    pub(crate) fn of(
        edit: &mut Edit,
        function: &Function,
        places: &Places,
    ) -> Result<Self, RewriteError> {
        let result = function.def.as_ref().and_then(|def| def.result_type);
        let Some(result) = result else { return Ok(Self::Return) };
        if edit.global(result).is_none_or(|declared| declared.class.opcode == Op::TypeVoid) {
            return Ok(Self::Return);
        }
        if let Some((StorageClass::PhysicalStorageBuffer, _)) = edit.pointer_parts(result) {
            let pair = edit.uvec(2);
            return Ok(Self::WithPointer { of: result, zeroes: edit.null(pair) });
        }
        if !has_null(edit, result, 64) {
            let reason = "it has a loop and returns what has no null value; return its parts";
            return Err(places.refuse(function.def_id().unwrap_or_default(), Op::Function, reason));
        }
        Ok(Self::With(edit.null(result)))
    }

    /// The instruction that leaves, after what it needs.
    pub(crate) fn instruction(self, code: &mut Code<'_>) -> (Op, Vec<Operand>) {
        let value = match self {
            Self::Return => return (Op::Return, vec![]),
            Self::With(value) => value,
            Self::WithPointer { of, zeroes } => code.pointer_of_pair(of, zeroes),
        };
        (Op::ReturnValue, vec![Operand::IdRef(value)])
    }
}

/// Whether a type has a null value (SPIR-V specification, OpConstantNull).
fn has_null(edit: &Edit, of: Id, depth: u32) -> bool {
    let Some(declared) = edit.global(of) else { return false };
    let part = |index| {
        depth > 0 && id_operand(declared, index).is_some_and(|id| has_null(edit, id, depth - 1))
    };
    match declared.class.opcode {
        Op::TypeBool | Op::TypeInt | Op::TypeFloat => true,
        Op::TypeVector | Op::TypeMatrix | Op::TypeArray => part(0),
        Op::TypeStruct => (0..declared.operands.len()).all(part),
        _ => false,
    }
}
