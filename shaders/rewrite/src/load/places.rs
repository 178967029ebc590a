//! The places in the source of functions, loops and switches, for the error when one of them is
//! refused.
//!
//! Loops are bounded after accesses were rewritten, when positions no longer say where an
//! instruction came from. The numbers of functions and labels still do, since the pass keeps them.

use crate::contract::analysis::Line;
use crate::contract::error::RewriteError;
use crate::ir::instruction::Id;
use crate::load::sieve::Source;
use rspirv::spirv::Op;
use std::collections::HashMap;

/// The position of an instruction in the module's words, and its line in the source.
#[derive(Clone, Debug, Default)]
struct Place {
    word: usize,
    line: Option<Line>,
}

/// The places of functions, by their numbers, and of loops and switches, by the labels of the
/// blocks that they end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(HashMap<(Id, Op), Place>);

impl Places {
    /// Finds the places in a module from which functions were removed and in which nothing else was
    /// changed. `origins` gives, per function, the position of its first instruction among those of
    /// the source.
    pub(crate) fn of(source: &Source, origins: &[usize]) -> Self {
        let mut places = HashMap::new();
        for (function, &origin) in source.module.functions.iter().zip(origins) {
            let mut within = None;
            for (position, instruction) in (origin..).zip(function.all_inst_iter()) {
                let op = instruction.class.opcode;
                if matches!(op, Op::Function | Op::Label) {
                    within = instruction.result_id;
                }
                if let (Op::Function | Op::LoopMerge | Op::Switch, Some(within)) = (op, within) {
                    let place =
                        || Place { word: source.word(position), line: source.line(position) };
                    places.entry((within, op)).or_insert_with(place);
                }
            }
        }
        Self(places)
    }

    /// The error that refuses the function with this number, or the loop or switch that ends the
    /// block with this label.
    pub(crate) fn refuse(&self, of: Id, op: Op, reason: &str) -> RewriteError {
        let Place { word, line } = self.0.get(&(of, op)).cloned().unwrap_or_default();
        RewriteError::refused(op, word, line, reason)
    }
}
