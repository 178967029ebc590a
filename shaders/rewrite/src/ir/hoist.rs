//! Control rows that are read once per function, before its loops.
//!
//! Control rows do not change during a launch, but a driver does not know that of memory that it
//! reads between the kernel's own stores, and reads them again in each iteration.

use crate::ir::instruction::Id;
use rspirv::dr::{Function, Instruction};
use rspirv::spirv::Op;
use std::collections::HashMap;

/// A part of a control row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RowPart {
    Word { row: u32, word: u32 },
    Pair { row: u32, half: u32 },
}

/// Instructions for the start of a function, and the control rows that they read.
#[derive(Debug, Default)]
pub(crate) struct Hoist {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) known: HashMap<RowPart, Id>,
}

impl Hoist {
    /// A place for a function's control rows, if it has a loop.
    pub(crate) fn for_function(function: &Function) -> Option<Self> {
        let mut instructions = function.all_inst_iter();
        instructions.any(|i| i.class.opcode == Op::LoopMerge).then(Self::default)
    }

    /// Puts the instructions behind the variables of the function.
    pub(crate) fn place(self, function: &mut Function) {
        let Some(first) = function.blocks.first_mut() else { return };
        let is_variable = |i: &&Instruction| i.class.opcode == Op::Variable;
        let at = first.instructions.iter().take_while(is_variable).count();
        first.instructions.splice(at..at, self.instructions);
    }
}
