//! A kernel that was parsed and analysed once, to be rewritten for launches.

use super::accesses::rewrite_accesses;
use super::control::Layout;
use super::edit::{Edit, Id, id_operand};
use super::entry::wrap_entry;
use super::layouts::Layouts;
use super::loops::bound_loops;
use super::own_arrays::check_indices;
use super::places::Places;
use super::plan::{Plan, plan};
use super::sieve::{Source, damaged};
use super::translate::{Translator, number};
use super::{Analysis, RewriteError, Shared, Variant};
use rspirv::binary::Assemble;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{AddressingModel, Capability, Decoration, ExecutionModel, Op};
use std::collections::{HashMap, HashSet};

/// A kernel that was parsed and analysed: [`Program::rewrite`] makes the form that a launch needs.
#[derive(Clone, Debug)]
pub struct Program {
    edit: Edit,
    layouts: Layouts,
    plans: Vec<Plan>,
    analysis: Analysis,
    /// Where functions, loops and switches are in the source.
    places: Places,
}

impl Program {
    /// Parses a module, and finds out how each of its accesses is to be checked.
    ///
    /// The entry point is the one with the given name, or the module's only one for compute.
    /// Others are removed. The words may be anything; they need not be valid SPIR-V.
    ///
    /// # Errors
    ///
    /// * [`RewriteError::Damaged`] when the words are no module.
    /// * [`RewriteError::Entry`] when there is no such entry point, or there are several.
    /// * [`RewriteError::Refused`] when an instruction cannot be rewritten exactly.
    pub fn parse(words: &[u32], entry: Option<&str>) -> Result<Self, RewriteError> {
        let mut source = Source::read(words)?;
        let name = keep_entry(&mut source, entry)?;
        let origins = keep_reachable(&mut source);
        check_models(&source)?;
        let places = Places::of(&source, &origins);
        let module = std::mem::take(&mut source.module);
        let edit = Edit::new(module)?;
        let layouts = Layouts::new(&edit);
        let (mut analysis, plans) = plan(&edit, &layouts, &source, &origins)?;
        analysis.entry = name;
        analysis.control_set = free_set(&edit);
        analysis.int64 = edit.declares(Capability::Int64);
        Ok(Self { edit, layouts, plans, analysis, places })
    }

    /// What is known about the kernel, whatever the variant.
    #[must_use]
    pub fn analysis(&self) -> &Analysis {
        &self.analysis
    }

    /// Makes a variant of the kernel: the words of a module with one entry point of the same name.
    ///
    /// # Errors
    ///
    /// * [`RewriteError::TooManyChecks`] when the control block does not hold what it needs.
    /// * [`RewriteError::Refused`] when a loop cannot be bounded, or the entry point has
    ///   parameters.
    pub fn rewrite(&self, variant: &Variant) -> Result<Vec<u32>, RewriteError> {
        let layout = Layout::new(&self.analysis, variant).ok_or(RewriteError::TooManyChecks)?;
        let (mut edit, shared) = self.translated(variant, &layout);
        check_indices(&mut edit, &shared, number(self.plans.len()))?;
        bound_loops(&mut edit, &shared, variant, &self.analysis.effects, &self.places)?;
        wrap_entry(&mut edit, &shared, variant, &self.analysis, &layout, &self.places)?;
        Ok(edit.finish().assemble())
    }

    /// The kernel with its accesses rewritten, and the variables that they use.
    pub(super) fn translated(&self, variant: &Variant, layout: &Layout) -> (Edit, Shared) {
        let mut edit = self.edit.clone();
        edit.allow_physical_pointers();
        let shared = Shared::declare(&mut edit, self.analysis.control_set, 0);
        let (analysis, joints) = (&self.analysis, Default::default());
        let translator = Translator { shared: &shared, analysis, layout, variant, joints };
        rewrite_accesses(&mut edit, &translator, &self.layouts, &self.plans);
        (edit, shared)
    }
}

/// Removes all entry points but one, whose name is returned.
fn keep_entry(source: &mut Source, wanted: Option<&str>) -> Result<String, RewriteError> {
    let module = &mut source.module;
    let compute = |entry: &Instruction| match &entry.operands[..] {
        [
            Operand::ExecutionModel(ExecutionModel::GLCompute),
            Operand::IdRef(id),
            Operand::LiteralString(name),
            ..,
        ] => Some((*id, name.clone())),
        _ => None,
    };
    let all: Vec<(Id, String)> = module.entry_points.iter().filter_map(compute).collect();
    let mut matching = all.iter().filter(|(_, name)| wanted.is_none_or(|wanted| name == wanted));
    let (Some((id, name)), None) = (matching.next(), matching.next()) else {
        let names: Vec<_> = all.iter().map(|(_, name)| format!("`{name}`")).collect();
        return Err(RewriteError::Entry {
            wanted: wanted.map_or_else(String::new, |name| format!("`{name}`")),
            found: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
        });
    };
    module.entry_points.retain(|entry| {
        matches!(&entry.operands[..], [
            Operand::ExecutionModel(ExecutionModel::GLCompute),
            Operand::IdRef(of),
            ..
        ] if of == id)
    });
    module.entry_points.truncate(1);
    module.execution_modes.retain(|mode| id_operand(mode, 0) == Some(*id));
    if !module.functions.iter().any(|function| function.def_id() == Some(*id)) {
        return Err(damaged("its entry point has no function"));
    }
    Ok(name.clone())
}

/// Removes the functions that the entry point does not call, with what decorates them.
///
/// Returns, per function that is left, the position of its first instruction in the source.
fn keep_reachable(source: &mut Source) -> Vec<usize> {
    let module = &mut source.module;
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
    if !removed.is_empty() {
        module.annotations.retain(|annotation| {
            annotation.class.opcode == Op::GroupDecorate
                || id_operand(annotation, 0).is_none_or(|id| !removed.contains(&id))
        });
        for annotation in &mut module.annotations {
            if annotation.class.opcode == Op::GroupDecorate {
                annotation.operands.retain(
                    |operand| !matches!(operand, Operand::IdRef(id) if removed.contains(id)),
                );
            }
        }
    }
    origins
}

/// Refuses modules whose pointers are not followed: those of OpenCL.
fn check_models(source: &Source) -> Result<(), RewriteError> {
    let model = source.module.memory_model.as_ref();
    let model = model.ok_or_else(|| damaged("it has no memory model"))?;
    match model.operands.first() {
        Some(Operand::AddressingModel(
            AddressingModel::Logical | AddressingModel::PhysicalStorageBuffer64,
        )) => Ok(()),
        _ => Err(source.refuse_model(
            "all its pointers are addresses, as in OpenCL; compile the kernel for Vulkan",
        )),
    }
}

/// The first descriptor set that the kernel does not use.
fn free_set(edit: &Edit) -> u32 {
    let used: HashSet<u32> = edit
        .module
        .annotations
        .iter()
        .filter_map(|annotation| match &annotation.operands[..] {
            [_, Operand::Decoration(Decoration::DescriptorSet), Operand::LiteralBit32(set)] => {
                Some(*set)
            }
            _ => None,
        })
        .collect();
    (0..=u32::MAX).find(|set| !used.contains(set)).unwrap_or_default()
}
