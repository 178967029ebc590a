//! Noting the first fault of an invocation, without a branch.

use crate::emit::shared::Shared;
use crate::ir::code::Code;
use crate::ir::instruction::Id;
use rspirv::spirv::{Op, StorageClass};

/// The value that a failed check reports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FaultValue {
    /// An index: a word.
    Index(Id),
    /// An address: a pair of words.
    Address(Id),
}

/// Notes a fault at a site unless `ok`, or a fault was noted before.
pub(crate) fn note(code: &mut Code<'_>, shared: &Shared, site: u32, ok: Id, faulty: FaultValue) {
    shared.notes_faults.set(true);
    let (word, truth) = (code.edit.uint(32), code.edit.bool());
    let is_index = u32::from(matches!(faulty, FaultValue::Index(_)));
    let number = code.edit.word((site + 1) << 1 | is_index);
    let none = code.edit.word(0);
    let before = code.load(word, shared.fault);
    let faulted = code.ids(Op::INotEqual, truth, &[before, none]);
    let keep = code.ids(Op::LogicalOr, truth, &[ok, faulted]);
    let after = code.select(word, keep, before, number);
    code.store(shared.fault, after);
    // The high word of an index is 0, as the register is before the first fault.
    let (of, at, value) = match faulty {
        FaultValue::Index(index) => {
            let pointer = code.edit.pointer(StorageClass::Private, word);
            (word, code.ids(Op::AccessChain, pointer, &[shared.fault_address, none]), index)
        }
        FaultValue::Address(address) => (code.edit.uvec(2), shared.fault_address, address),
    };
    let before = code.load(of, at);
    let after = code.select(of, keep, before, value);
    code.store(at, after);
}
