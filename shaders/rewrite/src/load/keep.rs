//! Removing all that does not belong to one entry point: other entry points, the functions that
//! this one does not call, and the variables that nothing uses then.

use crate::contract::error::RewriteError;
use crate::ir::instruction::{Id, id_operand};
use crate::load::sieve::Source;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{ExecutionModel, Op};
use std::collections::{HashMap, HashSet};

/// Removes all entry points but one, whose name is returned.
pub(crate) fn keep_entry(
    source: &mut Source,
    wanted: Option<&str>,
) -> Result<String, RewriteError> {
    let module = &mut source.module;
    let all: Vec<(Id, String)> = module
        .entry_points
        .iter()
        .filter_map(compute)
        .map(|(id, name)| (id, name.to_owned()))
        .collect();
    let mut matching = all.iter().filter(|(_, name)| wanted.is_none_or(|wanted| name == wanted));
    let (Some((id, name)), None) = (matching.next(), matching.next()) else {
        let names: Vec<_> = all.iter().map(|(_, name)| format!("`{name}`")).collect();
        return Err(RewriteError::Entry {
            wanted: wanted.map_or_else(String::new, |name| format!("`{name}`")),
            found: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
        });
    };
    // By name too: one function may be several entry points.
    module.entry_points.retain(|entry| compute(entry) == Some((*id, name)));
    module.entry_points.truncate(1);
    module.execution_modes.retain(|mode| id_operand(mode, 0) == Some(*id));
    if !module.functions.iter().any(|function| function.def_id() == Some(*id)) {
        return Err(RewriteError::damaged("its entry point has no function"));
    }
    Ok(name.clone())
}

/// The function and the name of an entry point for compute.
fn compute(entry: &Instruction) -> Option<(Id, &str)> {
    match &entry.operands[..] {
        [
            Operand::ExecutionModel(ExecutionModel::GLCompute),
            Operand::IdRef(id),
            Operand::LiteralString(name),
            ..,
        ] => Some((*id, name)),
        _ => None,
    }
}

/// Removes the functions that the entry point does not call, with what decorates them.
///
/// Returns, per function that is left, the position of its first instruction in the source.
pub(crate) fn keep_reachable(source: &mut Source) -> Vec<usize> {
    let module = &mut source.module;
    let reached = reached(module);
    let (mut origins, mut origin, mut index) = (Vec::new(), 0, 0);
    let mut removed = HashSet::new();
    module.functions.retain(|function| {
        let kept = reached.contains(&index);
        if kept {
            origins.push(origin);
        } else {
            removed.extend(function.all_inst_iter().filter_map(|i| i.result_id));
        }
        origin += function.all_inst_iter().count();
        index += 1;
        kept
    });
    forget(module, &removed);
    origins
}

/// The positions of the functions that the entry point calls, and its own.
fn reached(module: &Module) -> HashSet<usize> {
    let positions: HashMap<Id, usize> =
        module.functions.iter().enumerate().filter_map(|(i, f)| Some((f.def_id()?, i))).collect();
    let entry = module.entry_points.first().and_then(|entry| id_operand(entry, 1));
    let mut open: Vec<usize> =
        entry.and_then(|id| positions.get(&id).copied()).into_iter().collect();
    let mut reached: HashSet<usize> = open.iter().copied().collect();
    while let Some(position) = open.pop() {
        for instruction in module.functions[position].all_inst_iter() {
            let called = (instruction.class.opcode == Op::FunctionCall)
                .then(|| id_operand(instruction, 0))
                .flatten()
                .and_then(|id| positions.get(&id).copied());
            open.extend(called.filter(|&called| reached.insert(called)));
        }
    }
    reached
}

/// Removes the variables of the module that neither the code nor the entry point names.
///
/// Such variables belong to other entry points. If they stayed, their shared memory would be
/// reserved, their descriptor sets would count as taken, and there could be two variables for one
/// built-in value.
pub(crate) fn keep_used(module: &mut Module) {
    let code = module.functions.iter().flat_map(|function| function.all_inst_iter());
    let users = code.chain(&module.entry_points).chain(&module.types_global_values);
    let used: HashSet<Id> =
        users.flat_map(|i| &i.operands).filter_map(Operand::id_ref_any).collect();
    let mut removed = HashSet::new();
    module.types_global_values.retain(|declared| {
        let unused = declared.class.opcode == Op::Variable
            && declared.result_id.is_some_and(|id| !used.contains(&id));
        removed.extend(declared.result_id.filter(|_| unused));
        !unused
    });
    forget(module, &removed);
}

/// Removes the decorations of results that are removed.
pub(crate) fn forget(module: &mut Module, removed: &HashSet<Id>) {
    if removed.is_empty() {
        return;
    }
    let is_removed =
        |operand: &Operand| operand.id_ref_any().is_some_and(|id| removed.contains(&id));
    for annotation in &mut module.annotations {
        if annotation.class.opcode == Op::GroupDecorate {
            annotation.operands.retain(|operand| !is_removed(operand));
        }
    }
    module.annotations.retain(|annotation| !annotation.operands.iter().any(is_removed));
}
