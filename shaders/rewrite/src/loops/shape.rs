//! The loops of a function, and the role of each block in them.

use crate::contract::error::RewriteError;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use crate::load::places::Places;
use rspirv::dr::{Block, Function, Instruction, Operand};
use rspirv::spirv::Op;
use std::collections::{HashMap, HashSet};

/// The limit on the search for loops in continue constructs: visits of blocks, for each block of
/// the function.
const VISITS_PER_BLOCK: usize = 16;

/// A loop.
pub(crate) struct Loop {
    /// The label of its header.
    pub(crate) header: Id,
    /// The block in which its iterations end: as it was, or a new block for the back edge.
    pub(crate) continue_target: Id,
    /// Whether the header was its own continue target, so that the back edge needs a block.
    pub(crate) continues_at_header: bool,
    /// A merge block for the header's conditional branch, which is to become a selection.
    pub(crate) selection: Option<Id>,
    /// The label of a new merge block, if the old one never runs.
    pub(crate) new_merge: Option<Id>,
    merge: Id,
}

/// The role of a block in loops, which are given by their positions.
#[derive(Clone, Default)]
pub(crate) struct Role {
    /// The loop that it is the header of.
    pub(crate) header: Option<usize>,
    /// The loops whose continue targets it may branch to, unless they are the headers.
    pub(crate) continues: Vec<usize>,
    /// The loops whose back edge it may take.
    pub(crate) back_edges: Vec<usize>,
    /// The loops that end at it.
    pub(crate) ends: Vec<usize>,
}

/// The loops of a function.
pub(crate) struct Shape {
    pub(crate) loops: Vec<Loop>,
    roles: HashMap<usize, Role>,
}

impl Shape {
    /// Finds the loops of a function: `None` if it has none. Only guarded loops need the blocks in
    /// which they end.
    pub(crate) fn of(
        edit: &mut Edit,
        function: &Function,
        guard: bool,
        places: &Places,
    ) -> Result<Option<Self>, RewriteError> {
        let blocks = &function.blocks;
        let mut shape = Self { loops: Vec::new(), roles: HashMap::new() };
        for (position, block) in blocks.iter().enumerate() {
            if let Some(found) = find_loop(edit, block, places)? {
                shape.role_mut(position).header = Some(shape.loops.len());
                shape.loops.push(found);
            }
        }
        if shape.loops.is_empty() {
            return Ok(None);
        }
        let positions: HashMap<Id, usize> =
            blocks.iter().enumerate().filter_map(|(at, b)| Some((label(b)?, at))).collect();
        shape.add_back_edges(edit, blocks, places)?;
        if guard {
            shape.add_ends(edit, blocks, &positions);
            shape.add_continues(blocks);
        }
        shape.refuse_loops_in_continue_constructs(blocks, &positions, places)?;
        Ok(Some(shape))
    }

    /// The role of a block in loops, if it has one.
    pub(crate) fn role(&self, position: usize) -> Option<&Role> {
        self.roles.get(&position)
    }

    /// The new merge block of each merge block that never runs.
    pub(crate) fn new_merges(&self) -> HashMap<Id, Id> {
        self.loops.iter().filter_map(|l| Some((l.merge, l.new_merge?))).collect()
    }

    fn role_mut(&mut self, position: usize) -> &mut Role {
        self.roles.entry(position).or_default()
    }

    /// Notes the branches back to headers: from the header itself, or from a block after it.
    fn add_back_edges(
        &mut self,
        edit: &mut Edit,
        blocks: &[Block],
        places: &Places,
    ) -> Result<(), RewriteError> {
        let mut headers = HashMap::new();
        let mut edges = vec![0u32; self.loops.len()];
        for (position, block) in blocks.iter().enumerate() {
            if let (Some(found), Some(label)) =
                (self.role(position).and_then(|role| role.header), label(block))
            {
                headers.insert(label, found);
            }
            for target in targets(block) {
                let Some(&found) = headers.get(&target) else { continue };
                let role = self.role_mut(position);
                if role.back_edges.contains(&found) {
                    continue;
                }
                role.back_edges.push(found);
                edges[found] += 1;
                if terminator(block).is_some_and(|i| i.class.opcode == Op::Switch) {
                    let reason = "it is the back edge of a loop; branch to a block that is";
                    let end = label(block).unwrap_or_default();
                    return Err(places.refuse(end, Op::Switch, reason));
                }
            }
        }
        for (found, &edges) in self.loops.iter_mut().zip(&edges) {
            if edges > 1 {
                let reason = "the loop has several back edges; let one block have the only one";
                return Err(places.refuse(found.header, Op::LoopMerge, reason));
            }
            if found.continues_at_header && edges == 1 {
                found.continue_target = edit.fresh();
            }
        }
        Ok(())
    }

    /// Notes where loops end. The merge block of a loop tests whether the driver cut the loop. A
    /// merge block that never runs cannot do that, so the loop gets a new one.
    fn add_ends(&mut self, edit: &mut Edit, blocks: &[Block], positions: &HashMap<Id, usize>) {
        let entered = entered(edit, blocks, positions);
        for index in 0..self.loops.len() {
            let merge = self.loops[index].merge;
            match positions.get(&merge) {
                Some(&position) if entered.contains(&position) => {
                    self.role_mut(position).ends.push(index);
                }
                Some(_) => self.loops[index].new_merge = Some(edit.fresh()),
                // It has one, which is still to be made.
                None => self.loops[index].new_merge = Some(merge),
            }
        }
    }

    /// Notes the branches to continue targets.
    fn add_continues(&mut self, blocks: &[Block]) {
        let mut continue_targets: HashMap<Id, Vec<usize>> = HashMap::new();
        let loops = self.loops.iter().enumerate().filter(|(_, l)| !l.continues_at_header);
        for (index, found) in loops {
            continue_targets.entry(found.continue_target).or_default().push(index);
        }
        for (position, block) in blocks.iter().enumerate() {
            let targets: HashSet<Id> = targets(block).into_iter().collect();
            let mut found: Vec<usize> = targets
                .iter()
                .filter_map(|to| continue_targets.get(to))
                .flatten()
                .copied()
                .collect();
            if !found.is_empty() {
                found.sort_unstable();
                self.role_mut(position).continues = found;
            }
        }
    }

    /// Refuses loops in another loop's continue construct, where no return is allowed.
    fn refuse_loops_in_continue_constructs(
        &self,
        blocks: &[Block],
        positions: &HashMap<Id, usize>,
        places: &Places,
    ) -> Result<(), RewriteError> {
        let mut visits = blocks.len() * VISITS_PER_BLOCK;
        for found in self.loops.iter().filter(|l| !l.continues_at_header) {
            let mut seen = HashSet::from([found.header, found.merge]);
            let mut next = vec![found.continue_target];
            while let Some(label) = next.pop() {
                if !seen.insert(label) {
                    continue;
                }
                let Some(&position) = positions.get(&label) else { continue };
                let is_header = self.role(position).is_some_and(|role| role.header.is_some());
                visits = visits.saturating_sub(1);
                if is_header {
                    let reason = "the loop runs between the iterations of another; move it into \
                                  the other loop's body";
                    return Err(places.refuse(label, Op::LoopMerge, reason));
                }
                if visits == 0 {
                    let reason = "the code between the loop's iterations is too long to be \
                                  searched for loops; move it into the loop's body";
                    return Err(places.refuse(found.header, Op::LoopMerge, reason));
                }
                next.extend(targets(&blocks[position]));
            }
        }
        Ok(())
    }
}

/// The loop whose header a block is.
fn find_loop(
    edit: &mut Edit,
    block: &Block,
    places: &Places,
) -> Result<Option<Loop>, RewriteError> {
    let is_merge = |i: &Instruction| i.class.opcode == Op::LoopMerge;
    let Some(at) = block.instructions.iter().position(is_merge) else { return Ok(None) };
    let merge = &block.instructions[at];
    let damaged = || {
        let reason = "it is not before the branch at a block's end; compile the kernel again";
        places.refuse(label(block).unwrap_or_default(), Op::LoopMerge, reason)
    };
    let [branch] = &block.instructions[at + 1..] else { return Err(damaged()) };
    let parts = (label(block), id_operand(merge, 0), id_operand(merge, 1));
    let (Some(header), Some(merge), Some(continue_target)) = parts else { return Err(damaged()) };
    let selection = match branch.class.opcode {
        Op::Branch => None,
        Op::BranchConditional => {
            let [yes, no] = [1, 2].map(|index| id_operand(branch, index));
            let leaves = |to| [header, merge, continue_target].map(Some).contains(&to);
            (yes != no && !leaves(yes) && !leaves(no)).then(|| edit.fresh())
        }
        _ => return Err(damaged()),
    };
    let continues_at_header = continue_target == header;
    Ok(Some(Loop {
        header,
        continue_target,
        continues_at_header,
        selection,
        new_merge: None,
        merge,
    }))
}

/// The positions of blocks that some block branches to which is itself entered, as far as can be
/// seen without running it.
fn entered(edit: &Edit, blocks: &[Block], positions: &HashMap<Id, usize>) -> HashSet<usize> {
    let mut entered = HashSet::from([0]);
    let mut next = vec![0];
    while let Some(position) = next.pop() {
        let Some(block) = blocks.get(position) else { continue };
        for target in live_targets(edit, block) {
            if let Some(&target) = positions.get(&target)
                && entered.insert(target)
            {
                next.push(target);
            }
        }
    }
    entered
}

/// The targets of a block's branch, without the one that a constant condition rules out.
fn live_targets(edit: &Edit, block: &Block) -> Vec<Id> {
    let all = targets(block);
    let condition = terminator(block)
        .filter(|i| i.class.opcode == Op::BranchConditional)
        .and_then(|i| edit.global(id_operand(i, 0)?))
        .map(|constant| constant.class.opcode);
    match (condition, &all[..]) {
        (Some(Op::ConstantTrue), &[yes, _]) => vec![yes],
        (Some(Op::ConstantFalse), &[_, no]) => vec![no],
        _ => all,
    }
}

/// The targets of a block's branch.
pub(crate) fn targets(block: &Block) -> Vec<Id> {
    let Some(end) = terminator(block) else { return Vec::new() };
    let skipped = match end.class.opcode {
        Op::Branch => 0,
        Op::BranchConditional | Op::Switch => 1,
        _ => return Vec::new(),
    };
    let labels = end.operands.iter().skip(skipped);
    labels
        .filter_map(|operand| match operand {
            Operand::IdRef(label) => Some(*label),
            _ => None,
        })
        .collect()
}

fn terminator(block: &Block) -> Option<&Instruction> {
    block.instructions.last()
}

pub(crate) fn label(block: &Block) -> Option<Id> {
    block.label.as_ref()?.result_id
}
