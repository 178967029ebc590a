//! The flow of control of a kernel, with a copy of each function for each call of it.

use crate::footprint::unknown::Unknown;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Block, Function, Instruction, Module, Operand};
use rspirv::spirv::Op;
use std::collections::HashMap;
use std::ops::Range;

/// More blocks than a kernel may have, with all calls taken apart.
const MOST_BLOCKS: usize = 1024;
/// How deep calls may be nested.
const MOST_CALLS: usize = 32;

/// A call of a function, or the entry point.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The position of the function in the module.
    pub(super) function: usize,
    /// The call that this one is in.
    parent: Option<usize>,
    /// Where it goes on after the function has returned.
    after: Option<usize>,
}

/// A part of a block that has no call within it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) call: usize,
    /// The position of the block in its function.
    pub(super) block: usize,
    /// The positions of its instructions in the block.
    pub(super) range: Range<usize>,
    /// The call whose result is known at its start.
    pub(super) after: Option<usize>,
    /// The call that it ends with.
    pub(super) calls: Option<usize>,
    pub(super) ways: Vec<Way>,
}

/// A way from one part to another.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) to: usize,
    pub(super) when: When,
}

/// The condition of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// The condition of the branch has this value.
    Holds(bool),
    /// The number of the switch is one of these.
    OneOf(Vec<u64>),
    /// The number of the switch is none of these.
    NoneOf(Vec<u64>),
}

/// The parts of a kernel; the first one starts the entry point.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) parts: Vec<Part>,
    pub(super) calls: Vec<Call>,
    /// The first and the last part of each block, by its call and label.
    pub(super) blocks: HashMap<(usize, Id), (usize, usize)>,
}

impl Flow {
    /// Takes the calls of an entry point apart.
    pub(super) fn of(module: &Module) -> Result<Self, Unknown> {
        let positions: HashMap<Id, usize> = module
            .functions
            .iter()
            .enumerate()
            .filter_map(|(at, function)| Some((function.def_id()?, at)))
            .collect();
        let entry = module.entry_points.first().and_then(|entry| id_operand(entry, 1));
        let entry = entry.and_then(|id| positions.get(&id)).ok_or(Unknown::Damaged)?;
        let mut flow = Self::default();
        flow.calls.push(Call { function: *entry, parent: None, after: None });
        let mut open = vec![0];
        while let Some(call) = open.pop() {
            flow.add(call, module, &positions, &mut open)?;
        }
        flow.link(module)?;
        Ok(flow)
    }

    /// How often an instruction is in the parts.
    pub(super) fn count(&self, module: &Module, wanted: Op) -> u64 {
        let in_part = |part: &Part| {
            let function = module.functions.get(self.calls[part.call].function)?;
            let all = function.blocks.get(part.block)?.instructions.get(part.range.clone())?;
            Some(all.iter().filter(|instruction| instruction.class.opcode == wanted).count() as u64)
        };
        self.parts.iter().filter_map(in_part).sum()
    }

    /// Adds the parts of a call, and the calls in it.
    fn add(
        &mut self,
        call: usize,
        module: &Module,
        positions: &HashMap<Id, usize>,
        open: &mut Vec<usize>,
    ) -> Result<(), Unknown> {
        let function = self.calls[call].function;
        let body: &Function = module.functions.get(function).ok_or(Unknown::Damaged)?;
        if body.blocks.is_empty() {
            return Err(Unknown::Damaged);
        }
        for (at, block) in body.blocks.iter().enumerate() {
            let first = self.parts.len();
            let label = label(block).ok_or(Unknown::Damaged)?;
            self.split(call, at, block, positions, open)?;
            self.blocks.insert((call, label), (first, self.parts.len() - 1));
        }
        Ok(())
    }

    /// Adds the parts of a block.
    fn split(
        &mut self,
        call: usize,
        block: usize,
        of: &Block,
        positions: &HashMap<Id, usize>,
        open: &mut Vec<usize>,
    ) -> Result<(), Unknown> {
        let (mut from, mut after) = (0, None);
        for (at, instruction) in of.instructions.iter().enumerate() {
            if instruction.class.opcode != Op::FunctionCall {
                continue;
            }
            let called = id_operand(instruction, 0).and_then(|id| positions.get(&id));
            let called = *called.ok_or(Unknown::Damaged)?;
            self.check_depth(call, called)?;
            let inner = self.calls.len();
            let next = self.parts.len() + 1;
            self.calls.push(Call { function: called, parent: Some(call), after: Some(next) });
            open.push(inner);
            let range = from..at + 1;
            let calls = Some(inner);
            self.parts.push(Part { call, block, range, after, calls, ways: Vec::new() });
            (from, after) = (at + 1, Some(inner));
        }
        let range = from..of.instructions.len();
        self.parts.push(Part { call, block, range, after, calls: None, ways: Vec::new() });
        if self.parts.len() > MOST_BLOCKS { Err(Unknown::TooLarge) } else { Ok(()) }
    }

    /// Refuses functions that call themselves, and deep calls.
    fn check_depth(&self, call: usize, called: usize) -> Result<(), Unknown> {
        let (mut depth, mut at) = (0, Some(call));
        while let Some(call) = at {
            depth += 1;
            if depth > MOST_CALLS || self.calls[call].function == called {
                return Err(Unknown::TooLarge);
            }
            at = self.calls[call].parent;
        }
        Ok(())
    }

    /// Adds the ways between parts.
    fn link(&mut self, module: &Module) -> Result<(), Unknown> {
        let mut starts: HashMap<usize, usize> = HashMap::new();
        for (at, part) in self.parts.iter().enumerate() {
            starts.entry(part.call).or_insert(at);
        }
        for at in 0..self.parts.len() {
            let part = &self.parts[at];
            let function = &module.functions[self.calls[part.call].function];
            let instructions = &function.blocks[part.block].instructions;
            let ways = match part.calls {
                Some(inner) => {
                    let to = *starts.get(&inner).ok_or(Unknown::Damaged)?;
                    vec![Way { to, when: When::Always }]
                }
                None => self.ends(part, instructions.last().ok_or(Unknown::Damaged)?)?,
            };
            self.parts[at].ways = ways;
        }
        Ok(())
    }

    /// The ways of a block's last instruction.
    fn ends(&self, part: &Part, end: &Instruction) -> Result<Vec<Way>, Unknown> {
        let target = |operand: usize| {
            let label = id_operand(end, operand).ok_or(Unknown::Damaged)?;
            let found = self.blocks.get(&(part.call, label)).ok_or(Unknown::Damaged)?;
            Ok(found.0)
        };
        Ok(match end.class.opcode {
            Op::Branch => vec![Way { to: target(0)?, when: When::Always }],
            Op::BranchConditional => {
                let (yes, no) = (target(1)?, target(2)?);
                if yes == no {
                    return Ok(vec![Way { to: yes, when: When::Always }]);
                }
                [(yes, true), (no, false)]
                    .map(|(to, holds)| Way { to, when: When::Holds(holds) })
                    .to_vec()
            }
            Op::Switch => self.cases(part, end, target(1)?)?,
            Op::Return | Op::ReturnValue => {
                let after = self.calls[part.call].after;
                after.map(|to| Way { to, when: When::Always }).into_iter().collect()
            }
            Op::Unreachable | Op::Kill | Op::TerminateInvocation => Vec::new(),
            _ => return Err(Unknown::Instruction),
        })
    }

    /// The ways of a switch, one for each block that it leads to.
    fn cases(&self, part: &Part, end: &Instruction, default: usize) -> Result<Vec<Way>, Unknown> {
        let mut found: Vec<(usize, Vec<u64>)> = Vec::new();
        let mut all = Vec::new();
        for pair in end.operands.get(2..).unwrap_or_default().chunks(2) {
            let (number, label) = match pair {
                [Operand::LiteralBit32(number), Operand::IdRef(label)] => {
                    (u64::from(*number), label)
                }
                [Operand::LiteralBit64(number), Operand::IdRef(label)] => (*number, label),
                _ => return Err(Unknown::Instruction),
            };
            let (to, _) = *self.blocks.get(&(part.call, *label)).ok_or(Unknown::Damaged)?;
            all.push(number);
            match found.iter_mut().find(|(known, _)| *known == to) {
                Some((_, numbers)) => numbers.push(number),
                None => found.push((to, vec![number])),
            }
        }
        let shared = found.iter().any(|(to, _)| *to == default);
        let mut ways: Vec<Way> = found
            .into_iter()
            .map(|(to, numbers)| {
                let when = if to == default { When::Always } else { When::OneOf(numbers) };
                Way { to, when }
            })
            .collect();
        if !shared {
            ways.push(Way { to: default, when: When::NoneOf(all) });
        }
        Ok(ways)
    }
}

fn label(block: &Block) -> Option<Id> {
    block.label.as_ref()?.result_id
}
