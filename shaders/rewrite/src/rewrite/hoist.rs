//! What is read from the control block once per function, before its loops.
//!
//! Control rows do not change during a launch, but a driver does not know that of memory that it
//! reads between the kernel's own stores, and reads them again in each iteration.

use super::edit::{Code, Id};
use rspirv::dr::{Function, Instruction};
use rspirv::spirv::Op;
use std::collections::HashMap;

/// A part of a control row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Word { row: u32, word: u32 },
    Pair { row: u32, half: u32 },
}

/// Instructions for the start of a function, and what they read.
#[derive(Debug, Default)]
pub(super) struct Hoist {
    instructions: Vec<Instruction>,
    known: HashMap<Part, Id>,
}

impl Hoist {
    /// What the function of these instructions needs: nothing if it has no loop.
    pub(super) fn for_function(function: &Function) -> Option<Self> {
        let mut instructions = function.all_inst_iter();
        instructions.any(|i| i.class.opcode == Op::LoopMerge).then(Self::default)
    }

    /// Puts the instructions behind the variables of the function.
    pub(super) fn place(self, function: &mut Function) {
        let Some(first) = function.blocks.first_mut() else { return };
        let is_variable = |i: &&Instruction| i.class.opcode == Op::Variable;
        let at = first.instructions.iter().take_while(is_variable).count();
        first.instructions.splice(at..at, self.instructions);
    }
}

impl Code<'_> {
    /// Reads a part of a control row: at the start of the function if that is wanted.
    pub(super) fn read_once(&mut self, part: Part, read: impl FnOnce(&mut Self) -> Id) -> Id {
        let Some(mut hoist) = self.hoist.take() else { return read(self) };
        let known = hoist.known.get(&part).copied();
        let value = known.unwrap_or_else(|| {
            std::mem::swap(&mut self.instructions, &mut hoist.instructions);
            let value = read(self);
            std::mem::swap(&mut self.instructions, &mut hoist.instructions);
            hoist.known.insert(part, value);
            value
        });
        self.hoist = Some(hoist);
        value
    }
}
