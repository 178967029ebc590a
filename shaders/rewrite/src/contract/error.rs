//! Why a kernel cannot be rewritten.

use crate::contract::analysis::Line;
use rspirv::spirv::Op;
use std::fmt;

/// Why a kernel cannot be rewritten exactly. Nothing is passed through unchecked.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The words are not a module, or a damaged one.
    #[error("the SPIR-V module is damaged: {reason}; compile the kernel again")]
    Damaged {
        /// The damage.
        reason: String,
    },
    /// No compute entry point has the wanted name, or several could be meant.
    #[error("the SPIR-V module has no single compute entry point {wanted}; it has {found}")]
    Entry {
        /// The entry point that was looked for.
        wanted: String,
        /// The compute entry points that are there.
        found: String,
    },
    /// An instruction cannot be rewritten exactly.
    #[error("{instruction} (word {word}{}) cannot be rewritten: {reason}", At(line))]
    Refused {
        /// The instruction's name.
        instruction: String,
        /// Its position in the module, in words.
        word: usize,
        /// Its place in the source, if the module has debug information.
        line: Option<Line>,
        /// Why it cannot be rewritten, and what to write instead.
        reason: String,
    },
    /// The kernel needs more control rows than a uniform buffer holds.
    #[error("the kernel has too many kinds of access for one launch; split it")]
    TooManyChecks,
    /// The form that a launch needs would be larger than [`most_words`](crate::most_words) allows.
    #[error(
        "the kernel needs more than {most} words with its index_checks; split it, or access large \
         structures in parts"
    )]
    TooLarge {
        /// The most words that it may have.
        most: usize,
    },
}

/// Prints the message, because Rust prints this form of an error that `main` returns.
impl fmt::Debug for RewriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl RewriteError {
    /// The error for words that are no module, for this reason.
    pub(crate) fn damaged(reason: &str) -> Self {
        Self::Damaged { reason: reason.to_owned() }
    }

    /// The refusal of an instruction at a position in words.
    pub(crate) fn refused(op: Op, word: usize, line: Option<Line>, reason: &str) -> Self {
        let (instruction, reason) = (format!("Op{op:?}"), reason.to_owned());
        Self::Refused { instruction, word, line, reason }
    }
}

/// Prints a line after a comma, or nothing.
struct At<'l>(&'l Option<Line>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(line) => write!(f, ", {}:{}", line.file, line.line),
            None => Ok(()),
        }
    }
}
