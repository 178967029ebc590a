//! Indices into a kernel's own variables: checked too, because they reach host memory on drivers
//! that keep variables on a stack.
//!
//! An index that is not known to fit is compared with the length of what it indexes, and replaced
//! by 0 if it does not fit; the launch ends with an error. `robustBufferAccess` covers bound
//! buffers alone, so that without this a safe launch could write beyond a local array. A constant
//! that does not fit is valid SPIR-V too, and built-in inputs are vectors in memory on some
//! drivers.

use super::{
    RewriteError,
    edit::{Code, Edit, Id, id_operand},
    fault::{Culprit, note},
    shared::Shared,
};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{Op, StorageClass};

/// An index to check: which operand of which instruction, and the number of elements.
struct Index {
    operand: usize,
    length: Length,
}

/// The number of elements of what is indexed.
#[derive(Clone, Copy)]
enum Length {
    /// A vector's or a matrix's.
    Literal(u32),
    /// An array's: a constant, perhaps one that can be specialised.
    Constant(Id),
}

impl Length {
    /// Whether a constant index is known to be that of an element.
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
/// Why an instruction cannot be checked: a chain that starts at an element of a variable that it
/// does not name.
pub(super) fn count(edit: &Edit, instruction: &Instruction) -> Result<usize, &'static str> {
    let steps = matches!(instruction.class.opcode, Op::PtrAccessChain | Op::InBoundsPtrAccessChain);
    if steps && base(edit, instruction).is_some_and(|(class, _)| is_own(class)) {
        return Err("it steps from one element to another of a variable of the kernel's own; \
                    index the variable");
    }
    Ok(indices(edit, instruction).len())
}

/// Checks all indices that [`count`] counts. Their sites follow each other from `first_site`.
pub(super) fn check_indices(
    edit: &mut Edit,
    shared: &Shared,
    first_site: u32,
) -> Result<(), RewriteError> {
    let mut site = first_site;
    let mut functions = std::mem::take(&mut edit.module.functions);
    for block in functions.iter_mut().flat_map(|function| &mut function.blocks) {
        if block.instructions.iter().all(|i| indices(edit, i).is_empty()) {
            continue;
        }
        let mut checked = Vec::with_capacity(block.instructions.len());
        for mut instruction in std::mem::take(&mut block.instructions) {
            for index in indices(edit, &instruction) {
                let mut code = Code::new(edit);
                check(&mut code, shared, &mut instruction, &index, site)?;
                checked.append(&mut code.instructions);
                site += 1;
            }
            checked.push(instruction);
        }
        block.instructions = checked;
    }
    edit.module.functions = functions;
    Ok(())
}

/// The indices of an instruction that have to be checked.
fn indices(edit: &Edit, instruction: &Instruction) -> Vec<Index> {
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

/// Emits the check of one index and puts the checked one into the instruction.
fn check(
    code: &mut Code<'_>,
    shared: &Shared,
    instruction: &mut Instruction,
    index: &Index,
    site: u32,
) -> Result<(), RewriteError> {
    let damaged = || RewriteError::Damaged { reason: "an index has no integer type".to_owned() };
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
    note(code, shared, site, fits, Culprit::Index(shown));
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
