//! Blocks that no branch leads to, brought into the one form that every validator knows.
//!
//! Compilers leave such blocks behind a jump, and a loop that is only left by a return has a merge
//! block that nothing branches to. Such a block never runs, but validators still look at its
//! branches: a branch to a loop's continue target, for one, has to be within that loop. So only
//! those blocks are kept that a merge instruction names:
//!
//! | what it is | what becomes of it |
//! |---|---|
//! | a continue target of a loop that is kept | a branch to the loop's header |
//! | a merge block of a construct that is kept | `OpUnreachable` |
//! | anything else | removed |
//!
//! A phi loses the values for blocks that no longer branch to its block. If the continue target of
//! a loop lost its code, the value that a phi of the loop's header takes from it is undefined,
//! because that branch never runs.

use crate::ir::edit::Edit;
use crate::ir::flow::block;
use crate::ir::instruction::{Id, id_operand};
use crate::load::keep::forget;
use crate::loops::shape::{label, targets};
use rspirv::dr::{Block, Function, Instruction, Operand};
use rspirv::spirv::Op;
use std::collections::{HashMap, HashSet};

/// The reason to keep a block that no branch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// The continue target of the loop with this header.
    Continue(Id),
    Merge,
}

/// Removes the blocks that no branch leads to from all functions with loops.
pub(crate) fn remove_beside_loops(edit: &mut Edit) {
    let mut functions = std::mem::take(&mut edit.module.functions);
    for function in &mut functions {
        if function.all_inst_iter().any(|i| i.class.opcode == Op::LoopMerge) {
            remove_dead_blocks(edit, function);
        }
    }
    edit.module.functions = functions;
}

/// Removes the blocks that no branch leads to from a function, as far as nothing names them.
pub(crate) fn remove_dead_blocks(edit: &mut Edit, function: &mut Function) {
    let live = live(&function.blocks);
    let is_live = |block: &Block| label(block).is_some_and(|label| live.contains(&label));
    if function.blocks.iter().all(is_live) {
        return;
    }
    let kept = kept(&function.blocks, &live);
    let mut removed = HashSet::new();
    let blocks = std::mem::take(&mut function.blocks);
    for old in blocks {
        let Some(of) = label(&old) else { continue };
        if live.contains(&of) {
            function.blocks.push(old);
            continue;
        }
        removed.extend(old.instructions.iter().filter_map(|i| i.result_id));
        let end = match kept.get(&of) {
            Some(Kept::Continue(header)) => (Op::Branch, vec![Operand::IdRef(*header)]),
            Some(Kept::Merge) => (Op::Unreachable, vec![]),
            None => {
                removed.insert(of);
                continue;
            }
        };
        function.blocks.push(block(of, vec![Instruction::new(end.0, None, None, end.1)]));
    }
    repair_phis(edit, &mut function.blocks, &live);
    forget(&mut edit.module, &removed);
}

/// The labels of the blocks that branches lead to from the function's start.
fn live(blocks: &[Block]) -> HashSet<Id> {
    let by_label: HashMap<Id, &Block> =
        blocks.iter().filter_map(|block| Some((label(block)?, block))).collect();
    let mut next: Vec<Id> = blocks.first().and_then(label).into_iter().collect();
    let mut live: HashSet<Id> = next.iter().copied().collect();
    while let Some(label) = next.pop() {
        // A merge block may still have to be made.
        let Some(block) = by_label.get(&label) else { continue };
        next.extend(targets(block).into_iter().filter(|&target| live.insert(target)));
    }
    live
}

/// The other blocks that merge instructions of live blocks name.
fn kept(blocks: &[Block], live: &HashSet<Id>) -> HashMap<Id, Kept> {
    let mut kept = HashMap::new();
    for block in blocks {
        let Some(header) = label(block).filter(|label| live.contains(label)) else { continue };
        for merge in &block.instructions {
            let is_loop = match merge.class.opcode {
                Op::LoopMerge => true,
                Op::SelectionMerge => false,
                _ => continue,
            };
            if let Some(after) = id_operand(merge, 0) {
                kept.entry(after).or_insert(Kept::Merge);
            }
            // A block may be both: the loop has to go on from there.
            if let Some(next) = id_operand(merge, 1).filter(|_| is_loop) {
                kept.insert(next, Kept::Continue(header));
            }
        }
    }
    kept
}

/// Gives each phi one value for each block that branches to its own.
fn repair_phis(edit: &mut Edit, blocks: &mut [Block], live: &HashSet<Id>) {
    let mut parents: HashMap<Id, Vec<Id>> = HashMap::new();
    for block in &*blocks {
        let Some(from) = label(block) else { continue };
        for target in targets(block) {
            parents.entry(target).or_default().push(from);
        }
    }
    for block in blocks {
        let parents = label(block).and_then(|label| parents.get(&label));
        let parents = parents.map_or(&[][..], Vec::as_slice);
        let dead = parents.iter().find(|parent| !live.contains(parent)).copied();
        for phi in block.instructions.iter_mut().filter(|i| i.class.opcode == Op::Phi) {
            let mut operands = Vec::with_capacity(phi.operands.len());
            for pair in phi.operands.chunks_exact(2) {
                let is_parent = |parent| parents.contains(&parent) && live.contains(&parent);
                if matches!(pair[1], Operand::IdRef(parent) if is_parent(parent)) {
                    operands.extend_from_slice(pair);
                }
            }
            if let (Some(parent), Some(of)) = (dead, phi.result_type) {
                let nothing = edit.declare_new(Op::Undef, Some(of), vec![]);
                operands.extend([nothing, parent].map(Operand::IdRef));
            }
            phi.operands = operands;
        }
    }
}
