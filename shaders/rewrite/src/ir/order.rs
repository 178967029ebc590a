//! The order of declarations in modules whose constants are computed from specialisation constants.
//!
//! SPIRV-Tools folds such constants when they are given values, as the validation layer does, and
//! takes any constant of the result's value for the result, also one that is declared further down.
//! So constants that depend on nothing come before the first operation, with their types.

use crate::ir::instruction::Id;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::Op;
use std::collections::HashSet;

/// Moves constants that depend on nothing to the start, if the module has operations of
/// specialisation constants.
pub(crate) fn order_constants(declared: &mut Vec<Instruction>) {
    if !declared.iter().any(|declared| declared.class.opcode == Op::SpecConstantOp) {
        return;
    }
    let mut first: HashSet<Id> = HashSet::new();
    let (mut ordered, mut rest) = (Vec::with_capacity(declared.len()), Vec::new());
    for declaration in declared.drain(..) {
        if depends_on_nothing(&declaration, &first) {
            first.extend(declaration.result_id);
            ordered.push(declaration);
        } else {
            rest.push(declaration);
        }
    }
    ordered.append(&mut rest);
    *declared = ordered;
}

/// Whether a declaration is the type of a number or a vector, or a constant of one, that needs only
/// declarations in `first`.
fn depends_on_nothing(declared: &Instruction, first: &HashSet<Id>) -> bool {
    let of = || declared.result_type.is_some_and(|of| first.contains(&of));
    let parts = || {
        let mut parts = declared.operands.iter().filter_map(Operand::id_ref_any);
        parts.all(|part| first.contains(&part))
    };
    match declared.class.opcode {
        Op::TypeBool | Op::TypeInt | Op::TypeFloat => true,
        Op::TypeVector => parts(),
        Op::Constant | Op::ConstantTrue | Op::ConstantFalse | Op::ConstantNull => of(),
        Op::ConstantComposite => of() && parts(),
        _ => false,
    }
}
