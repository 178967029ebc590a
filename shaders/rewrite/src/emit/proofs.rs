//! Where a form relies on what is known of its launch.
//!
//! What is known behind a loop holds if the loop ended by itself. A loop that is not known to end
//! may be left in two other ways: its limit returns from its function, and a driver that cuts loops
//! goes on at its merge block. So what may run after that keeps its checks. Within a function whose
//! loops are limited alone nothing runs after it; its callers go on.

use crate::analyse::access::PointerCheck;
use crate::contract::proved::Proved;
use crate::contract::variant::Variant;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Block, Function, Instruction, Operand};
use rspirv::spirv::Op;
use std::collections::{HashMap, HashSet};

/// What is known of a launch, and where in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    proved: Proved,
    /// The blocks that may run after a loop was left early, by label.
    behind: HashSet<Id>,
    /// The functions that may return early.
    unfinished: HashSet<Id>,
}

impl Proofs {
    /// Finds out where a normalised variant's proofs hold in a kernel.
    pub(crate) fn of(edit: &Edit, variant: &Variant) -> Self {
        let proved = variant.proved;
        let mut proofs = Self { proved, ..Self::default() };
        if !proved.loops && (proved.checks != 0 || proved.own) {
            let functions = &edit.module.functions;
            proofs.unfinished = unfinished(functions);
            proofs.behind = behind(functions, &proofs.unfinished, variant.loop_guard);
        }
        proofs
    }

    /// Whether they hold at the start of a block.
    pub(crate) fn hold_in(&self, block: &Block) -> bool {
        label(block).is_some_and(|label| !self.behind.contains(&label))
    }

    /// Whether they may no longer hold in a block behind an instruction.
    pub(crate) fn end_with(&self, instruction: &Instruction) -> bool {
        callee(instruction).is_some_and(|callee| self.unfinished.contains(&callee))
    }

    /// Whether a check of an access may be left out where they hold.
    pub(crate) fn cover(&self, check: PointerCheck) -> bool {
        matches!(check, PointerCheck::Index(position) if self.proved.has_check(position))
    }

    /// Whether checks of indices into own variables may be left out where they hold.
    pub(crate) fn cover_own(&self) -> bool {
        self.proved.own
    }
}

/// The functions with loops, and those that call them.
fn unfinished(functions: &[Function]) -> HashSet<Id> {
    let mut found = HashSet::new();
    loop {
        let before = found.len();
        for function in functions {
            let mut instructions = function.all_inst_iter();
            let ends_early = |i: &Instruction| {
                i.class.opcode == Op::LoopMerge || callee(i).is_some_and(|id| found.contains(&id))
            };
            if instructions.any(ends_early) {
                found.extend(function.def_id());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// The blocks that may run after a loop was left early.
fn behind(functions: &[Function], unfinished: &HashSet<Id>, guard: bool) -> HashSet<Id> {
    let starts: HashMap<Id, Id> = functions
        .iter()
        .filter_map(|function| Some((function.def_id()?, label(function.blocks.first()?)?)))
        .collect();
    let blocks: HashMap<Id, &Block> = functions
        .iter()
        .flat_map(|function| &function.blocks)
        .filter_map(|block| Some((label(block)?, block)))
        .collect();
    let called = |i: &Instruction| callee(i).and_then(|callee| starts.get(&callee)).copied();
    let mut next = Vec::new();
    for block in blocks.values() {
        let is_early = |i: &Instruction| callee(i).is_some_and(|id| unfinished.contains(&id));
        if let Some(call) = block.instructions.iter().position(is_early) {
            next.extend(block.instructions[call + 1..].iter().filter_map(called));
            next.extend(targets(block, &blocks));
        }
        let merges = block.instructions.iter().filter(|i| i.class.opcode == Op::LoopMerge);
        if guard {
            next.extend(merges.filter_map(|merge| id_operand(merge, 0)));
        }
    }
    let mut behind = HashSet::new();
    while let Some(at) = next.pop() {
        let Some(block) = blocks.get(&at).filter(|_| behind.insert(at)) else { continue };
        next.extend(block.instructions.iter().filter_map(called));
        next.extend(targets(block, &blocks));
    }
    behind
}

/// The blocks that a block branches to.
fn targets(block: &Block, blocks: &HashMap<Id, &Block>) -> Vec<Id> {
    let end = block.instructions.last().map_or(&[][..], |end| &end.operands);
    let target = |operand: &Operand| match operand {
        Operand::IdRef(id) if blocks.contains_key(id) => Some(*id),
        _ => None,
    };
    end.iter().filter_map(target).collect()
}

/// The function that an instruction calls.
fn callee(instruction: &Instruction) -> Option<Id> {
    let is_call = instruction.class.opcode == Op::FunctionCall;
    is_call.then(|| id_operand(instruction, 0)).flatten()
}

fn label(block: &Block) -> Option<Id> {
    block.label.as_ref().and_then(|label| label.result_id)
}
