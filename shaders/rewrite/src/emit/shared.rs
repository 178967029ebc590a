//! The control block and the registers of an invocation, which all parts of a form use.

use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use std::cell::Cell;

/// The variables, one set in each invocation, through which accesses, loops and the entry point
/// pass on what they found.
///
/// All but the control block are zero when the invocation starts.
pub(crate) struct Shared {
    /// The uniform buffer of control rows.
    pub(crate) control: Id,
    /// The first fault: 0 for none, else the site's position plus one, times two, plus one if it
    /// is an index and not an address that failed.
    pub(crate) fault: Id,
    /// The address, or the index in the low word, of the first fault: a pair of words.
    pub(crate) fault_address: Id,
    /// Passes through loop headers so far.
    pub(crate) iterations: Id,
    /// Not 0 if the driver cut a loop short.
    pub(crate) cut: Id,
    /// Not 0 if the loop limit was reached, or the launch stopped in a loop.
    pub(crate) exhausted: Id,
    /// Whether there is code that notes faults.
    pub(crate) notes_faults: Cell<bool>,
}

impl Shared {
    /// Declares the variables; the control block is at set 0, binding 0 unless the kernel has
    /// descriptors there.
    pub(crate) fn declare(edit: &mut Edit, set: u32, binding: u32) -> Self {
        let (word, pair) = (edit.uint(32), edit.uvec(2));
        Self {
            control: edit.control(set, binding),
            fault: edit.private(word),
            fault_address: edit.private(pair),
            iterations: edit.private(word),
            cut: edit.private(word),
            exhausted: edit.private(word),
            notes_faults: Cell::new(false),
        }
    }
}
