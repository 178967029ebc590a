//! The findings of an evaluation, in their order.

use crate::footprint::unknown::Doubt;

/// Something that an evaluation has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// An access: the argument and the distances of its first byte, if they are known.
    Access { site: usize, place: Result<(u32, i64, i64), Doubt>, bytes: u32, align: u32 },
    /// An index into a variable of the kernel's own.
    Index { site: usize, within: Result<(), Doubt> },
    /// The block may do what the specification does not define.
    Undefined { block: usize },
    /// The start of a loop runs at most so often each time that the loop is entered.
    Loop { which: usize, runs: Option<u64> },
}

/// The findings of an evaluation.
pub(super) type Log = Vec<Entry>;
