//! Writing the checks of indices into a kernel's own variables.

use crate::analyse::own_arrays::{Index, Length, indices};
use crate::contract::error::RewriteError;
use crate::emit::fault::{FaultValue, note};
use crate::emit::proofs::Proofs;
use crate::emit::shared::Shared;
use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::Op;

/// Checks the indices that `analyse::own_arrays` counts, unless they are known to be within. Their
/// sites follow each other from `first_site`.
pub(crate) fn check_indices(
    edit: &mut Edit,
    shared: &Shared,
    proofs: &Proofs,
    first_site: u32,
) -> Result<(), RewriteError> {
    let mut site = first_site;
    let mut functions = std::mem::take(&mut edit.module.functions);
    for block in functions.iter_mut().flat_map(|function| &mut function.blocks) {
        if block.instructions.iter().all(|i| indices(edit, i).is_empty()) {
            continue;
        }
        let mut known = proofs.cover_own() && proofs.hold_in(block);
        let mut checked = Vec::with_capacity(block.instructions.len());
        for mut instruction in std::mem::take(&mut block.instructions) {
            for index in indices(edit, &instruction) {
                if !known {
                    let mut code = Code::new(edit);
                    check(&mut code, shared, &mut instruction, &index, site)?;
                    checked.append(&mut code.instructions);
                }
                site += 1;
            }
            known = known && !proofs.end_with(&instruction);
            checked.push(instruction);
        }
        block.instructions = checked;
    }
    edit.module.functions = functions;
    Ok(())
}

/// Emits the check of one index, and replaces the index in the instruction by the checked one.
fn check(
    code: &mut Code<'_>,
    shared: &Shared,
    instruction: &mut Instruction,
    index: &Index,
    site: u32,
) -> Result<(), RewriteError> {
    let damaged = || RewriteError::damaged("an index has no integer type");
    let value = id_operand(instruction, index.operand).ok_or_else(damaged)?;
    let of = code.edit.type_of(value).ok_or_else(damaged)?;
    let width = code.edit.integer_width(of).ok_or_else(damaged)?;
    let word = code.edit.uint(32);
    // Indices are signed, whatever their type says: a short one is widened as such.
    let wide = match width {
        32 if of == word => value,
        32 => code.ids(Op::Bitcast, word, &[value]),
        64 => value,
        _ => code.ids(Op::SConvert, word, &[value]),
    };
    let (wide_of, width) = if width == 64 { (of, 64) } else { (word, 32) };
    let length = length_as(code, index.length, wide_of, width).ok_or_else(damaged)?;
    let bool = code.edit.bool();
    let fits = code.ids(Op::ULessThan, bool, &[wide, length]);
    let zero = code.edit.null(of);
    let checked = code.select(of, fits, value, zero);
    instruction.operands[index.operand] = Operand::IdRef(checked);
    let shown = if width == 64 { code.ids(Op::UConvert, word, &[wide]) } else { wide };
    note(code, shared, site, fits, FaultValue::Index(shown));
    Ok(())
}

/// A length as a value of an index's type, of 32 or 64 bits.
fn length_as(code: &mut Code<'_>, length: Length, of: Id, width: u32) -> Option<Id> {
    let constant = match length {
        Length::Literal(count) => i64::from(count),
        Length::Constant(id) => match code.edit.integer(id) {
            Some(count) => count,
            None => return specialised(code, id, of, width),
        },
    };
    // Longer than any index: a negative index would fit, but no variable is that long.
    let constant = constant.min(if width == 64 { i64::MAX } else { i64::from(i32::MAX) });
    let literal = match width {
        64 => Operand::LiteralBit64(constant.cast_unsigned()),
        _ => Operand::LiteralBit32(u32::try_from(constant).ok()?),
    };
    Some(code.edit.declare(Op::Constant, Some(of), vec![literal]))
}

/// A length that can be specialised, as a value of an index's width.
fn specialised(code: &mut Code<'_>, length: Id, of: Id, width: u32) -> Option<Id> {
    let has = code.edit.global(length)?.result_type?;
    if code.edit.integer_width(has)? == width {
        return Some(length);
    }
    let unsigned = code.edit.uint(width);
    let wide = code.ids(Op::UConvert, unsigned, &[length]);
    Some(if of == unsigned { wide } else { code.ids(Op::Bitcast, of, &[wide]) })
}
