//! Loops that end: a limit, an exit after a fault, and notice of loops that the driver cut short.
//!
//! Every loop header is split in two. Its phis and its OpLoopMerge stay; a *check* counts the
//! iteration and either goes on to the rest of the header or returns from the function. A return
//! needs no value at the loop's merge block, so that no dominance has to be repaired:
//!
//! ```text
//!    header: phis, OpLoopMerge          header: phis, OpLoopMerge merge continue
//!            code                               check: alive? ──no──► dead: OpReturn
//!            branch                               │yes
//!                                               body: code, branch
//! ```

use crate::contract::analysis::Effects;
use crate::contract::control;
use crate::contract::error::RewriteError;
use crate::contract::variant::Variant;
use crate::emit::physical::Physical;
use crate::emit::shared::Shared;
use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::flow::{Flow, block, selection_merge};
use crate::ir::instruction::{Id, id_operand};
use crate::load::places::Places;
use crate::loops::dead::remove_dead_blocks;
use crate::loops::guard::{BASE, Counters};
use crate::loops::leave::Leave;
use crate::loops::shape::Shape;
use rspirv::dr::{Block, Function, Instruction, Operand};
use rspirv::spirv::Op;
use std::collections::HashMap;

/// Iterations between two reads of the stop word: a power of two.
const POLL_ITERATIONS: u32 = 4096;

/// Bounds every loop of the module.
pub(crate) fn bound_loops(
    edit: &mut Edit,
    shared: &Shared,
    variant: &Variant,
    effects: &Effects,
    places: &Places,
) -> Result<(), RewriteError> {
    let mut functions = std::mem::take(&mut edit.module.functions);
    let mut physical = None;
    let mut bound = Ok(());
    for function in &mut functions {
        match shape(edit, function, variant.loop_guard, places) {
            Ok(None) => {}
            Ok(Some(shape)) => {
                let physical = *physical.get_or_insert_with(|| Physical::declare(edit));
                let rules = Rules {
                    shared,
                    physical,
                    guard: variant.loop_guard,
                    convergent: effects.barriers || effects.subgroups,
                };
                bound = Leave::of(edit, function, places)
                    .map(|leave| bound_function(edit, function, &shape, &rules, leave));
            }
            Err(error) => bound = Err(error),
        }
        if bound.is_err() {
            break;
        }
    }
    edit.module.functions = functions;
    bound
}

/// The loops of a function. First, blocks that no branch leads to are removed. They are removed
/// again after branches were redirected from merge blocks that never run to new ones: then no
/// branch may lead to the blocks behind the old merge blocks.
fn shape(
    edit: &mut Edit,
    function: &mut Function,
    guard: bool,
    places: &Places,
) -> Result<Option<Shape>, RewriteError> {
    if !function.all_inst_iter().any(|i| i.class.opcode == Op::LoopMerge) {
        return Ok(None);
    }
    remove_dead_blocks(edit, function);
    let Some(shape) = Shape::of(edit, function, guard, places)? else { return Ok(None) };
    let new_merges = shape.new_merges();
    if new_merges.is_empty() {
        return Ok(Some(shape));
    }
    replace_merges(function, &new_merges);
    remove_dead_blocks(edit, function);
    Shape::of(edit, function, guard, places)
}

/// The parameters that all loops of a kernel share.
struct Rules<'s> {
    shared: &'s Shared,
    physical: Physical,
    /// Loops that the driver cuts short are noticed.
    guard: bool,
    /// Invocations wait for each other, so an invocation must not end early alone.
    convergent: bool,
}

impl Rules<'_> {
    /// Whether loops read the stop word. A driver that cuts loops short ends them soon enough
    /// without it, and runs both sides of every branch, so each read would cost time.
    fn polls(&self) -> bool {
        !self.guard
    }
}

/// Numbers from the control block, read once per function.
struct Limits {
    one: Id,
    limit: Id,
    limit_after_fault: Id,
    /// [`BASE`], as a product with `one`: if a counter starts from a constant, Mesa computes its
    /// values one iteration ahead, and would count the header once too often.
    upper: Id,
}

/// A function whose loops are being bounded.
struct Rewriter<'r> {
    edit: &'r mut Edit,
    rules: &'r Rules<'r>,
    shape: &'r Shape,
    limits: Limits,
    /// The instruction that ends the function early.
    leave: Leave,
    /// The counters of each loop, by position; empty without guard.
    counters: Vec<Counters>,
    /// The block that now holds the end of each block that was split.
    tails: HashMap<Id, Id>,
    blocks: Vec<Block>,
}

/// Adds to the entry block what all loops of the function need, and bounds them.
fn bound_function(
    edit: &mut Edit,
    function: &mut Function,
    shape: &Shape,
    rules: &Rules<'_>,
    leave: Leave,
) {
    let guarded = if rules.guard { shape.loops.len() } else { 0 };
    let counters: Vec<_> = (0..guarded).map(|_| Counters::declare(edit)).collect();
    let limits = start(edit, function, rules, &counters);
    let old = std::mem::take(&mut function.blocks);
    let mut rewriter = Rewriter {
        edit,
        rules,
        shape,
        limits,
        leave,
        counters,
        tails: HashMap::new(),
        blocks: Vec::with_capacity(old.len()),
    };
    for (position, block) in old.into_iter().enumerate() {
        rewriter.block(position, block);
    }
    let Rewriter { mut blocks, tails, .. } = rewriter;
    rename_parents(&mut blocks, &tails);
    function.blocks = blocks;
}

/// Reads the limits at the start of a function, and starts its guards.
fn start(
    edit: &mut Edit,
    function: &mut Function,
    rules: &Rules<'_>,
    counters: &[Counters],
) -> Limits {
    let mut code = Code::new(edit);
    let [one, limit, limit_after_fault, _] =
        code.control_row(rules.shared.control, control::LIMITS);
    let (word, base) = (code.edit.uint(32), code.edit.word(BASE));
    let upper = code.ids(Op::IMul, word, &[base, one]);
    for counters in counters {
        counters.start(&mut code, upper);
    }
    let instructions = code.instructions;
    if let Some(entry) = function.blocks.first_mut() {
        let variable = |i: &Instruction| i.class.opcode == Op::Variable;
        let at = entry.instructions.iter().rposition(variable).map_or(0, |last| last + 1);
        entry.instructions.splice(at..at, instructions);
    }
    Limits { one, limit, limit_after_fault, upper }
}

/// Redirects branches to merge blocks that never run to the new merge blocks of their loops. No
/// branch leads to the old blocks then.
fn replace_merges(function: &mut Function, new: &HashMap<Id, Id>) {
    for instruction in function.blocks.iter_mut().flat_map(|block| &mut block.instructions) {
        let named = match instruction.class.opcode {
            Op::Branch | Op::BranchConditional | Op::Switch => usize::MAX,
            // The merge block, and not the continue target, which may be the same block.
            Op::LoopMerge => 1,
            _ => continue,
        };
        for operand in instruction.operands.iter_mut().take(named) {
            if let Operand::IdRef(label) = operand
                && let Some(&merge) = new.get(label)
            {
                *label = merge;
            }
        }
    }
}

/// Gives phis the blocks that their values now come from.
fn rename_parents(blocks: &mut [Block], tails: &HashMap<Id, Id>) {
    let instructions = blocks.iter_mut().flat_map(|block| &mut block.instructions);
    for phi in instructions.filter(|i| i.class.opcode == Op::Phi) {
        for parent in phi.operands.iter_mut().skip(1).step_by(2) {
            if let Operand::IdRef(parent) = parent
                && let Some(&tail) = tails.get(parent)
            {
                *parent = tail;
            }
        }
    }
}

impl Rewriter<'_> {
    /// Adds a block, split and extended as the loops that it takes part in demand.
    fn block(&mut self, position: usize, old: Block) {
        let Some(label) = old.label.as_ref().and_then(|label| label.result_id) else { return };
        let shape = self.shape;
        let Some(role) = shape.role(position) else {
            self.blocks.push(old);
            return;
        };
        let mut rest = old.instructions;
        let phis: Vec<_> = rest.drain(..leading_phis(&rest)).collect();
        let mut open = (label, phis);
        let guards = self.guard_tests(&role.ends, role.header);
        if let Some(header) = role.header {
            open = self.header(header, open, guards, &mut rest);
        } else {
            open.1.extend(guards);
        }
        let (label_now, mut instructions) = open;
        let end = rest.split_off(terminator(&rest));
        instructions.append(&mut rest);
        instructions.extend(self.count_continues(&role.continues, &end));
        let leaving = self.discount_exit(&role.back_edges, &end);
        let split = role.back_edges.iter().find(|&&l| shape.loops[l].continues_at_header);
        let mut tail = label_now;
        if let Some(&found) = split {
            tail = shape.loops[found].continue_target;
            instructions.extend(self.count_always(found));
            let to = vec![Operand::IdRef(tail)];
            instructions.push(Instruction::new(Op::Branch, None, None, to));
            self.blocks.push(block(label_now, std::mem::take(&mut instructions)));
        }
        instructions.extend(leaving);
        instructions.extend(end);
        self.blocks.push(block(tail, instructions));
        if tail != label {
            self.tails.insert(label, tail);
        }
        if let Some(merge) = role.header.and_then(|header| shape.loops[header].selection) {
            let end = vec![Instruction::new(Op::Unreachable, None, None, vec![])];
            self.blocks.push(block(merge, end));
        }
    }

    /// The check of a loop. Gives the block that goes on with the header's own code.
    fn header(
        &mut self,
        header: usize,
        (label, mut phis): (Id, Vec<Instruction>),
        guards: Vec<Instruction>,
        rest: &mut Vec<Instruction>,
    ) -> (Id, Vec<Instruction>) {
        let shape = self.shape;
        let found = &shape.loops[header];
        let [check, body, dead] = [(); 3].map(|()| self.edit.fresh());
        let after = found.new_merge;
        if let Some(at) = rest.iter().position(|i| i.class.opcode == Op::LoopMerge) {
            let mut merge = rest.remove(at);
            if let Some(operand) = merge.operands.get_mut(1) {
                *operand = Operand::IdRef(found.continue_target);
            }
            phis.push(merge);
            phis.push(Instruction::new(Op::Branch, None, None, vec![Operand::IdRef(check)]));
            if let Some(merge) = found.selection {
                let merge = selection_merge(merge);
                rest.insert(at, Instruction::new(Op::SelectionMerge, None, None, merge));
            }
        }
        self.blocks.push(block(label, phis));
        let counters = self.counters.get(header).copied();
        let mut flow = Flow::new(self.edit, check);
        flow.code.instructions = guards;
        if let Some(counters) = counters {
            add_to(&mut flow.code, counters.headers, self.limits.one);
        }
        let alive = is_alive(&mut flow, self.rules, &self.limits);
        flow.fork(alive, body, dead, body);
        flow.open(dead);
        note_exhausted(&mut flow.code, self.rules.shared);
        if let Some(after) = after {
            flow.branch(after);
            flow.open(after);
            if let Some(counters) = counters {
                let upper = self.limits.upper;
                counters.test(&mut flow.code, self.rules.shared, upper, None);
            }
        }
        let (op, operands) = self.leave.instruction(&mut flow.code);
        flow.end(op, operands);
        self.blocks.extend(flow.finish());
        (body, Vec::new())
    }

    /// Tests the guards of loops that end at a block, which may be the header of another.
    fn guard_tests(&mut self, ends: &[usize], next: Option<usize>) -> Vec<Instruction> {
        let next = next.and_then(|next| self.counters.get(next)).copied();
        let mut code = Code::new(self.edit);
        for &counters in ends.iter().filter_map(|&l| self.counters.get(l)) {
            counters.test(&mut code, self.rules.shared, self.limits.upper, next);
        }
        code.instructions
    }

    /// Counts a block's branches to loops' continue targets, when the block takes them.
    fn count_continues(&mut self, loops: &[usize], end: &[Instruction]) -> Vec<Instruction> {
        let shape = self.shape;
        let mut code = Code::new(self.edit);
        for &position in loops {
            let Some(counters) = self.counters.get(position) else { continue };
            let [zero, one] = [0, 1].map(|value| code.edit.word(value));
            let of = code.edit.uint(32);
            let Some(branch) = end.last() else { continue };
            let taken = is_taken(&mut code, branch, shape.loops[position].continue_target);
            let taken = taken.map_or(one, |taken| code.select(of, taken, one, zero));
            add_to(&mut code, counters.ends, taken);
        }
        code.instructions
    }

    /// Counts a branch to a loop's continue target.
    fn count_always(&mut self, position: usize) -> Vec<Instruction> {
        let mut code = Code::new(self.edit);
        if let Some(counters) = self.counters.get(position) {
            let one = code.edit.word(1);
            add_to(&mut code, counters.ends, one);
        }
        code.instructions
    }

    /// Subtracts the iteration that was counted, if a block leaves a loop instead of taking its
    /// back edge.
    fn discount_exit(&mut self, loops: &[usize], end: &[Instruction]) -> Vec<Instruction> {
        let shape = self.shape;
        let mut code = Code::new(self.edit);
        for &position in loops {
            let Some(counters) = self.counters.get(position) else { continue };
            let Some(branch) = end.last() else { continue };
            let header = shape.loops[position].header;
            let Some(taken) = is_taken(&mut code, branch, header) else { continue };
            let [zero, minus_one] = [0, u32::MAX].map(|value| code.edit.word(value));
            let of = code.edit.uint(32);
            let change = code.select(of, taken, zero, minus_one);
            add_to(&mut code, counters.ends, change);
        }
        code.instructions
    }
}

/// Whether a branch goes to a label that it may go to: `None` if always.
fn is_taken(code: &mut Code<'_>, branch: &Instruction, label: Id) -> Option<Id> {
    let selector = id_operand(branch, 0)?;
    let boolean = code.edit.bool();
    match branch.class.opcode {
        Op::BranchConditional => {
            let [yes, no] = [1, 2].map(|at| id_operand(branch, at) == Some(label));
            match (yes, no) {
                (true, false) => Some(selector),
                (false, true) => Some(code.ids(Op::LogicalNot, boolean, &[selector])),
                _ => None,
            }
        }
        Op::Switch => {
            let of = code.edit.type_of(selector)?;
            let default = id_operand(branch, 1) == Some(label);
            // If the label is the default, the branch goes there unless a case with another label
            // matches; if not, the branch goes there if a case with this label matches.
            let mut taken = code.edit.null(boolean);
            for case in branch.operands.get(2..)?.chunks_exact(2) {
                if (case[1] == Operand::IdRef(label)) != default {
                    let value = code.edit.declare(Op::Constant, Some(of), vec![case[0].clone()]);
                    let met = code.ids(Op::IEqual, boolean, &[selector, value]);
                    taken = code.ids(Op::LogicalOr, boolean, &[taken, met]);
                }
            }
            Some(if default { code.ids(Op::LogicalNot, boolean, &[taken]) } else { taken })
        }
        _ => None,
    }
}

/// Counts an iteration and gives whether the loop may go on.
fn is_alive(flow: &mut Flow<'_>, rules: &Rules<'_>, limits: &Limits) -> Id {
    let shared = rules.shared;
    let code = &mut flow.code;
    let (word, boolean, zero) = (code.edit.uint(32), code.edit.bool(), code.edit.word(0));
    let iterations = add_to(code, shared.iterations, limits.one);
    let fault = code.load(word, shared.fault);
    let sound = code.ids(Op::IEqual, boolean, &[fault, zero]);
    // After a fault, an invocation that others wait for goes on up to a limit of its own.
    let limit = if rules.convergent {
        code.select(word, sound, limits.limit, limits.limit_after_fault)
    } else {
        limits.limit
    };
    let within = code.ids(Op::ULessThanEqual, boolean, &[iterations, limit]);
    let alive =
        if rules.convergent { within } else { code.ids(Op::LogicalAnd, boolean, &[within, sound]) };
    if !rules.polls() {
        return alive;
    }
    // A loop around this one has to end too when this one is stopped.
    let exhausted = code.load(word, shared.exhausted);
    let wanted = code.ids(Op::IEqual, boolean, &[exhausted, zero]);
    let alive = code.ids(Op::LogicalAnd, boolean, &[alive, wanted]);
    let mask = code.edit.word(POLL_ITERATIONS - 1);
    let phase = code.ids(Op::BitwiseAnd, word, &[iterations, mask]);
    let due = code.ids(Op::IEqual, boolean, &[phase, zero]);
    flow.when_value(due, boolean, alive, |flow| {
        let code = &mut flow.code;
        let stop = rules.physical.stop(code, shared);
        let wanted = code.ids(Op::IEqual, boolean, &[stop, zero]);
        code.ids(Op::LogicalAnd, boolean, &[alive, wanted])
    })
}

/// Notes that a loop was left early, so that those around it are left too. A fault that came before
/// outweighs it in the report.
fn note_exhausted(code: &mut Code<'_>, shared: &Shared) {
    let one = code.edit.word(1);
    code.store(shared.exhausted, one);
}

/// Adds to a variable and gives the sum.
fn add_to(code: &mut Code<'_>, variable: Id, value: Id) -> Id {
    let word = code.edit.uint(32);
    let before = code.load(word, variable);
    let after = code.ids(Op::IAdd, word, &[before, value]);
    code.store(variable, after);
    after
}

/// How many instructions at the start of a block are phis, or lines between them.
fn leading_phis(instructions: &[Instruction]) -> usize {
    let kept = |i: &&Instruction| matches!(i.class.opcode, Op::Phi | Op::Line | Op::NoLine);
    let leading = instructions.iter().take_while(kept).count();
    let phi = |i: &Instruction| i.class.opcode == Op::Phi;
    instructions[..leading].iter().rposition(phi).map_or(0, |last| last + 1)
}

/// The position of a block's terminator, or of the merge instruction before it.
fn terminator(instructions: &[Instruction]) -> usize {
    let last = instructions.len().saturating_sub(1);
    let merge =
        |at: usize| instructions.get(at).is_some_and(|i| i.class.opcode == Op::SelectionMerge);
    if last > 0 && merge(last - 1) { last - 1 } else { last }
}
