//! Specialisation constants become constants of the values that the module has for them.
//!
//! Drivers are given no values beside the words, so these values are the ones that count. The pass
//! then sees lengths, indices and conditions as constants.

use crate::ir::instruction::{Id, id_operand};
use crate::reflect::constants::{Constants, is_specialised};
use crate::reflect::spec::SpecValue;
use crate::reflect::value::Scalar;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Decoration, Op};
use std::collections::HashSet;

/// Turns specialisation constants into constants. Left as they are: operations with several results
/// or on floating-point numbers, and composites of them.
pub(crate) fn freeze(module: &mut Module, values: &Constants) {
    let (mut frozen, mut kept) = (HashSet::new(), HashSet::new());
    for declared in &mut module.types_global_values {
        let Some(id) = declared.result_id.filter(|_| is_specialised(declared.class.opcode)) else {
            continue;
        };
        match constant(declared, id, values, &kept) {
            Some(constant) => {
                *declared = constant;
                frozen.insert(id);
            }
            None => {
                kept.insert(id);
            }
        }
    }
    // The number of what is no specialisation constant any more.
    module.annotations.retain(|annotation| {
        let is_number =
            annotation.operands.get(1) == Some(&Operand::Decoration(Decoration::SpecId));
        !(is_number && id_operand(annotation, 0).is_some_and(|id| frozen.contains(&id)))
    });
}

/// The constant in place of a specialisation constant, if its value is known. Composites may have
/// none of the parts `kept`.
fn constant(
    declared: &Instruction,
    id: Id,
    values: &Constants,
    kept: &HashSet<Id>,
) -> Option<Instruction> {
    let (op, operands) = match declared.class.opcode {
        Op::SpecConstantTrue => (Op::ConstantTrue, vec![]),
        Op::SpecConstantFalse => (Op::ConstantFalse, vec![]),
        // The literal of a type that is not known stays what it is.
        Op::SpecConstant => (Op::Constant, declared.operands.clone()),
        Op::SpecConstantComposite => {
            let mut parts = declared.operands.iter().filter_map(Operand::id_ref_any);
            if parts.any(|part| kept.contains(&part)) {
                return None;
            }
            (Op::ConstantComposite, declared.operands.clone())
        }
        _ => literal(values.scalar(id)?)?,
    };
    Some(Instruction::new(op, declared.result_type, Some(id), operands))
}

/// The declaration of a computed scalar.
fn literal((of, bits): (Scalar, u64)) -> Option<(Op, Vec<Operand>)> {
    let number = match of {
        Scalar::Bool if bits != 0 => return Some((Op::ConstantTrue, vec![])),
        Scalar::Bool => return Some((Op::ConstantFalse, vec![])),
        Scalar::Number(number) => number,
    };
    let bits = SpecValue::of_number(number, bits)?.bits();
    let literal = match number.size_bytes() {
        8 => Operand::LiteralBit64(bits),
        _ => Operand::LiteralBit32(u32::try_from(bits).ok()?),
    };
    Some((Op::Constant, vec![literal]))
}
