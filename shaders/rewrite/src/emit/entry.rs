//! The kernel's entry point: whether to run at all, and what to report afterwards.
//!
//! In a folded launch it also says which workgroup of the virtual grid this is.
//!
//! The new entry point takes over the number of the old one, which becomes a function of its own,
//! so that entry point and execution modes stay as they are.

use crate::contract::analysis::Analysis;
use crate::contract::control;
use crate::contract::error::RewriteError;
use crate::contract::variant::Variant;
use crate::emit::grid::Virtual;
use crate::emit::physical::Physical;
use crate::emit::report::Reporter;
use crate::emit::shared::Shared;
use crate::ir::edit::Edit;
use crate::ir::flow::Flow;
use crate::ir::instruction::{Id, id_operand};
use crate::load::places::Places;
use rspirv::dr::{Function, Instruction, Operand};
use rspirv::spirv::{FunctionControl, Op};

/// Wraps the only entry point of a checked kernel.
pub(crate) fn wrap_entry(
    edit: &mut Edit,
    shared: &Shared,
    variant: &Variant,
    analysis: &Analysis,
    layout: &control::Layout,
    places: &Places,
    grid: Option<&Virtual>,
) -> Result<(), RewriteError> {
    let (name, kernel) = take_entry(edit, places)?;
    let physical = Physical::declare(edit);
    let mut reporter = Reporter { shared, variant, analysis, layout, physical, workgroup: None };
    let function = entry_function(edit, name, |flow| {
        let code = &mut flow.code;
        let [stopped, ended] = [control::STOPPED, control::ENDED]
            .map(|(row, word)| code.control_word(shared.control, row, word));
        let (of, boolean, zero) = (code.edit.uint(32), code.edit.bool(), code.edit.word(0));
        let unwanted = code.ids(Op::BitwiseOr, of, &[stopped, ended]);
        let mut wanted = code.ids(Op::IEqual, boolean, &[unwanted, zero]);
        let place = grid.map(|grid| grid.place(code));
        if let Some(place) = &place {
            wanted = code.ids(Op::LogicalAnd, boolean, &[wanted, place.exists]);
            reporter.workgroup = Some(place.workgroup);
        }
        flow.when(wanted, |flow| {
            if let Some((grid, place)) = grid.zip(place) {
                grid.show(&mut flow.code, &place);
            }
            call(flow, kernel);
        });
        // The report stands outside the branch, because llvmpipe keeps a mask for each branch
        // around a memory operation.
        reporter.report(flow);
    });
    edit.module.functions.push(function);
    Ok(())
}

/// Wraps the only entry point of a kernel without checks.
pub(crate) fn wrap_folded(
    edit: &mut Edit,
    places: &Places,
    grid: &Virtual,
) -> Result<(), RewriteError> {
    let (name, kernel) = take_entry(edit, places)?;
    let function = entry_function(edit, name, |flow| {
        let place = grid.place(&mut flow.code);
        flow.when(place.exists, |flow| {
            grid.show(&mut flow.code, &place);
            call(flow, kernel);
        });
    });
    edit.module.functions.push(function);
    Ok(())
}

/// The number of the entry point, and the new number of the function that had it.
fn take_entry(edit: &mut Edit, places: &Places) -> Result<(Id, Id), RewriteError> {
    let entry = edit.module.entry_points.first();
    let name = entry.and_then(|entry| id_operand(entry, 1));
    let name = name.ok_or_else(|| RewriteError::damaged("its entry point names no function"))?;
    let kernel = edit.fresh();
    let void = edit.void();
    edit.note_type(kernel, void);
    rename(edit, name, kernel, places)?;
    Ok((name, kernel))
}

/// Gives the entry point's function another number.
fn rename(edit: &mut Edit, old: Id, new: Id, places: &Places) -> Result<(), RewriteError> {
    let mut defined = false;
    for function in &mut edit.module.functions {
        if let Some(def) = &mut function.def
            && def.result_id == Some(old)
        {
            if !function.parameters.is_empty() {
                let reason = "the entry point has parameters; compile the kernel for Vulkan";
                return Err(places.refuse(old, Op::Function, reason));
            }
            def.result_id = Some(new);
            defined = true;
        }
        let instructions = function.blocks.iter_mut().flat_map(|b| &mut b.instructions);
        for call in instructions.filter(|i| i.class.opcode == Op::FunctionCall) {
            if let Some(callee @ Operand::IdRef(_)) = call.operands.first_mut()
                && *callee == Operand::IdRef(old)
            {
                *callee = Operand::IdRef(new);
            }
        }
    }
    defined.then_some(()).ok_or_else(|| RewriteError::damaged("its entry point has no function"))
}

/// The new entry point.
fn entry_function(edit: &mut Edit, name: Id, body: impl FnOnce(&mut Flow<'_>)) -> Function {
    let void = edit.void();
    let of = edit.function_type(void, &[]);
    let mut function = Function::new();
    let operands = vec![Operand::FunctionControl(FunctionControl::NONE), Operand::IdRef(of)];
    function.def = Some(Instruction::new(Op::Function, Some(void), Some(name), operands));
    function.end = Some(Instruction::new(Op::FunctionEnd, None, None, vec![]));
    let label = edit.fresh();
    let mut flow = Flow::new(edit, label);
    body(&mut flow);
    flow.end(Op::Return, vec![]);
    function.blocks = flow.finish();
    function
}

fn call(flow: &mut Flow<'_>, kernel: Id) {
    let void = flow.code.edit.void();
    flow.code.ids(Op::FunctionCall, void, &[kernel]);
}
