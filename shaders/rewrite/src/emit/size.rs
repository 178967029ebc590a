//! How large a rewritten kernel may become.
//!
//! The code of each access contains its check and its lookup, once for each part that may lie on a
//! page of its own. So the number of words grows with the product of accesses, parts and segments.
//! They are counted while they are written, and a form that outgrows the bound is refused before it
//! fills memory.

use crate::contract::error::RewriteError;
use rspirv::dr::{Instruction, Operand};

/// Words of a form for each word of the kernel.
const FACTOR: usize = 64;
/// Words of any form: room for a small kernel that copies the largest structure that may be
/// accessed at once.
const ALLOWANCE: usize = 1 << 20;
/// The most words of any form, 16 MiB.
const MOST: usize = 1 << 22;

/// The most words that a form of a kernel of so many words may have.
#[must_use]
pub fn most_words(kernel: usize) -> usize {
    kernel.saturating_mul(FACTOR).saturating_add(ALLOWANCE).min(MOST)
}

/// The words that a form has so far.
#[derive(Debug)]
pub(crate) struct Size {
    words: usize,
    most: usize,
}

impl Size {
    /// Starts the count for a form of a kernel with this many words.
    pub(crate) fn of(kernel: usize) -> Self {
        Self { words: 0, most: most_words(kernel) }
    }

    /// Counts instructions.
    pub(crate) fn add(&mut self, instructions: &[Instruction]) -> Result<(), RewriteError> {
        let words = self.words + instructions.iter().map(words_of).sum::<usize>();
        self.set(words)
    }

    /// Sets the number of words.
    pub(crate) fn set(&mut self, words: usize) -> Result<(), RewriteError> {
        self.words = words;
        if words > self.most {
            return Err(RewriteError::TooLarge { most: self.most });
        }
        Ok(())
    }
}

/// The words of an instruction of a function, none of which holds text.
fn words_of(instruction: &Instruction) -> usize {
    let ids = usize::from(instruction.result_type.is_some())
        + usize::from(instruction.result_id.is_some());
    let wide = |operand: &&Operand| matches!(operand, Operand::LiteralBit64(_));
    1 + ids + instruction.operands.len() + instruction.operands.iter().filter(wide).count()
}
