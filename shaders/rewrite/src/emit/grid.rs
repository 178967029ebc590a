//! The grid that the kernel of a folded launch sees.
//!
//! A device limits the workgroups of each dimension. For a launch with more, the host dispatches
//! another grid of as many workgroups. The kernel's built-in variables become private variables,
//! and the new entry point fills them with the values of the grid that the launch has. So the
//! kernel may compute its index in any way.

use crate::contract::control::GRID_ROWS;
use crate::contract::error::RewriteError;
use crate::contract::variant::Fold;
use crate::emit::report::inputs;
use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{BuiltIn, Op, StorageClass};
use std::collections::HashMap;

/// The built-in values that say where in its grid an invocation is, and how large that is.
const PLACES: [BuiltIn; 3] =
    [BuiltIn::NumWorkgroups, BuiltIn::WorkgroupId, BuiltIn::GlobalInvocationId];

/// The virtual grid of a kernel, and the variables through which the kernel sees it.
pub(crate) struct Virtual {
    control: Id,
    row: u32,
    fold: Fold,
    /// The kernel's variables: what each holds, its number, and the type of its value.
    variables: Vec<(BuiltIn, Id, Id)>,
}

/// The place of a workgroup in the virtual grid.
pub(crate) struct Place {
    /// Whether the virtual grid has it.
    pub(crate) exists: Id,
    pub(crate) workgroup: [Id; 3],
}

impl Virtual {
    /// Makes the kernel read private variables in place of its built-in ones. `row` is the first of
    /// the control rows that describe the grid.
    pub(crate) fn declare(
        edit: &mut Edit,
        control: Id,
        row: u32,
        fold: Fold,
    ) -> Result<Self, RewriteError> {
        let mut variables = Vec::new();
        let mut replaced = HashMap::new();
        for (builtin, input, of) in built_in_variables(edit)? {
            let private = edit.private(of);
            replaced.insert(input, private);
            variables.push((builtin, private, of));
        }
        replace(edit, replaced)?;
        Ok(Self { control, row, fold, variables })
    }

    /// The place of this workgroup in the virtual grid.
    pub(crate) fn place(&self, code: &mut Code<'_>) -> Place {
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        let [columns, rows, _] = inputs(code, BuiltIn::NumWorkgroups);
        let [x, y, z] = inputs(code, BuiltIn::WorkgroupId);
        let row = code.ids(Op::IMul, word, &[z, rows]);
        let row = code.ids(Op::IAdd, word, &[row, y]);
        let before = code.ids(Op::IMul, word, &[row, columns]);
        let number = code.ids(Op::IAdd, word, &[before, x]);
        let [width, height, _, total] = code.control_row(self.control, self.row);
        let exists = code.ids(Op::ULessThan, boolean, &[number, total]);
        let workgroup = match self.fold {
            Fold::None | Fold::Line => {
                let zero = code.edit.word(0);
                [number, zero, zero]
            }
            Fold::Space => {
                let line = code.ids(Op::UDiv, word, &[number, width]);
                let x = code.ids(Op::UMod, word, &[number, width]);
                let y = code.ids(Op::UMod, word, &[line, height]);
                let z = code.ids(Op::UDiv, word, &[line, height]);
                [x, y, z]
            }
        };
        Place { exists, workgroup }
    }

    /// Fills the kernel's variables.
    pub(crate) fn show(&self, code: &mut Code<'_>, place: &Place) {
        for &(builtin, variable, of) in &self.variables {
            let parts = match builtin {
                BuiltIn::WorkgroupId => place.workgroup,
                BuiltIn::GlobalInvocationId => self.invocation(code, place),
                _ => {
                    let [x, y, z, _] = code.control_row(self.control, self.row);
                    [x, y, z]
                }
            };
            let uvec3 = code.edit.uvec(3);
            let mut value = code.ids(Op::CompositeConstruct, uvec3, &parts);
            if of != uvec3 {
                value = code.ids(Op::Bitcast, of, &[value]);
            }
            code.store(variable, value);
        }
    }

    /// The invocation's place in the virtual grid.
    fn invocation(&self, code: &mut Code<'_>, place: &Place) -> [Id; 3] {
        let word = code.edit.uint(32);
        let [x, y, z, _] = code.control_row(self.control, self.row + GRID_ROWS - 1);
        let local = inputs(code, BuiltIn::LocalInvocationId);
        let mut parts = [x, y, z];
        for ((part, workgroup), local) in parts.iter_mut().zip(place.workgroup).zip(local) {
            let before = code.ids(Op::IMul, word, &[workgroup, *part]);
            *part = code.ids(Op::IAdd, word, &[before, local]);
        }
        parts
    }
}

/// The kernel's variables for what [`PLACES`] names: what each holds, its number, and the type of
/// its value.
fn built_in_variables(edit: &Edit) -> Result<Vec<(BuiltIn, Id, Id)>, RewriteError> {
    let mut variables = Vec::new();
    for annotation in &edit.module.annotations {
        let builtin = annotation.operands.iter().find_map(|operand| match operand {
            Operand::BuiltIn(builtin) => Some(*builtin),
            _ => None,
        });
        // The other values that reports and this module read.
        let read = [BuiltIn::LocalInvocationId, BuiltIn::LocalInvocationIndex];
        let Some(builtin) = builtin.filter(|b| PLACES.contains(b) || read.contains(b)) else {
            continue;
        };
        let variable =
            id_operand(annotation, 0).filter(|_| annotation.class.opcode == Op::Decorate);
        let declared = variable.and_then(|id| edit.global(id));
        let declared = declared.filter(|declared| declared.class.opcode == Op::Variable);
        let pointer = declared.and_then(|declared| declared.result_type);
        let of = match pointer.and_then(|pointer| edit.pointer_parts(pointer)) {
            Some((StorageClass::Input, of)) => of,
            _ => {
                return Err(RewriteError::damaged(
                    "a built-in value is not an input variable of its own",
                ));
            }
        };
        if !PLACES.contains(&builtin) {
            continue;
        }
        if !is_three_words(edit, of) {
            return Err(RewriteError::damaged(
                "a built-in variable has another type than its value",
            ));
        }
        variables.extend(variable.map(|id| (builtin, id, of)));
    }
    Ok(variables)
}

fn is_three_words(edit: &Edit, of: Id) -> bool {
    let Some(declared) = edit.global(of) else { return false };
    declared.class.opcode == Op::TypeVector
        && declared.operands.get(1) == Some(&Operand::LiteralBit32(3))
        && id_operand(declared, 0).is_some_and(|part| edit.integer_width(part) == Some(32))
}

/// Replaces input variables by private ones in all functions, and the pointers into them.
fn replace(edit: &mut Edit, mut replaced: HashMap<Id, Id>) -> Result<(), RewriteError> {
    let mut functions = std::mem::take(&mut edit.module.functions);
    // The parts of a pointer stand before it, whatever the order of functions.
    let mut result = Ok(());
    let blocks = functions.iter_mut().flat_map(|function| &mut function.blocks);
    for instruction in blocks.flat_map(|block| &mut block.instructions) {
        result = result.and_then(|()| replace_in(edit, instruction, &mut replaced));
    }
    edit.module.functions = functions;
    result
}

fn replace_in(
    edit: &mut Edit,
    instruction: &mut Instruction,
    replaced: &mut HashMap<Id, Id>,
) -> Result<(), RewriteError> {
    let is_replaced = |operand: &Operand| match operand {
        Operand::IdRef(id) => replaced.get(id).copied(),
        _ => None,
    };
    let found: Vec<(usize, Id)> = (0..)
        .zip(&instruction.operands)
        .filter_map(|(at, operand)| Some((at, is_replaced(operand)?)))
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let source = if instruction.class.opcode == Op::CopyMemory { 1 } else { 0 };
    let points = match instruction.class.opcode {
        Op::Load | Op::CopyMemory => false,
        Op::AccessChain | Op::InBoundsAccessChain | Op::CopyObject => true,
        _ => return Err(unreadable(instruction)),
    };
    let &[(at, pointer)] = &found[..] else { return Err(unreadable(instruction)) };
    if at != source {
        return Err(unreadable(instruction));
    }
    instruction.operands[at] = Operand::IdRef(pointer);
    if points {
        let parts = instruction.result_type.and_then(|of| edit.pointer_parts(of));
        let Some((_, pointee)) = parts else { return Err(unreadable(instruction)) };
        let of = edit.pointer(StorageClass::Private, pointee);
        instruction.result_type = Some(of);
        if let Some(id) = instruction.result_id {
            edit.note_type(id, of);
            replaced.insert(id, id);
        }
    }
    Ok(())
}

fn unreadable(instruction: &Instruction) -> RewriteError {
    let what = instruction.class.opname;
    RewriteError::damaged(&format!(
        "Op{what} takes a pointer to a built-in variable, which may only be loaded"
    ))
}
