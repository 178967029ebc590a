//! The kernel's entry point: whether to run at all, and what to report afterwards.
//!
//! The new entry point takes over the number of the old one, which becomes a function of its own,
//! so that entry point and execution modes stay as they are.

use super::control;
use super::edit::{Edit, Id, id_operand};
use super::flow::Flow;
use super::physical::Physical;
use super::places::Places;
use super::report::Reporter;
use super::shared::Shared;
use super::sieve::damaged;
use super::{Analysis, RewriteError, Variant};
use rspirv::dr::{Function, Instruction, Operand};
use rspirv::spirv::{FunctionControl, Op};

/// Wraps the only entry point.
pub(super) fn wrap_entry(
    edit: &mut Edit,
    shared: &Shared,
    variant: &Variant,
    analysis: &Analysis,
    layout: &control::Layout,
    places: &Places,
) -> Result<(), RewriteError> {
    let entry = edit.module.entry_points.first();
    let name = entry.and_then(|entry| id_operand(entry, 1));
    let name = name.ok_or_else(|| damaged("its entry point names no function"))?;
    let kernel = edit.fresh();
    let void = edit.void();
    edit.note_type(kernel, void);
    rename(edit, name, kernel, places)?;
    let physical = Physical::declare(edit);
    let reporter = Reporter { shared, variant, analysis, layout, physical };
    let function = entry_function(edit, &reporter, name, kernel);
    edit.module.functions.push(function);
    Ok(())
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
    defined.then_some(()).ok_or_else(|| damaged("its entry point has no function"))
}

/// The new entry point: the kernel, unless an earlier launch failed, and the report.
fn entry_function(edit: &mut Edit, reporter: &Reporter<'_>, name: Id, kernel: Id) -> Function {
    let void = edit.void();
    let of = edit.function_type(void, &[]);
    let mut function = Function::new();
    let operands = vec![Operand::FunctionControl(FunctionControl::NONE), Operand::IdRef(of)];
    function.def = Some(Instruction::new(Op::Function, Some(void), Some(name), operands));
    function.end = Some(Instruction::new(Op::FunctionEnd, None, None, vec![]));
    let label = edit.fresh();
    let mut flow = Flow::new(edit, label);
    let (row, word) = control::STOPPED;
    let stopped = flow.code.control_word(reporter.shared.control, row, word);
    let (boolean, zero) = (flow.code.edit.bool(), flow.code.edit.word(0));
    let wanted = flow.code.ids(Op::IEqual, boolean, &[stopped, zero]);
    flow.when(wanted, |flow| {
        flow.code.ids(Op::FunctionCall, void, &[kernel]);
    });
    // Not inside: llvmpipe keeps a mask for each branch that a memory operation is in.
    reporter.report(&mut flow);
    flow.end(Op::Return, vec![]);
    function.blocks = flow.finish();
    function
}
