//! Looking up pages that may be missing.

use crate::contract::analysis::AccessKind;
use crate::contract::control;
use crate::emit::fault::{FaultValue, note};
use crate::emit::segments::load_number;
use crate::emit::shared::Shared;
use crate::ir::address::Math;
use crate::ir::code::Code;
use crate::ir::instruction::Id;
use rspirv::spirv::Op;

/// The bits of an address within a page.
const PAGE_MASK: u64 = control::PAGE_BYTES - 1;

/// An access that was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagedAccess {
    pub(crate) site: u32,
    pub(crate) access: AccessKind,
    /// The host address.
    pub(crate) address: Id,
    /// Whether the access is aligned, and its index in bounds: a boolean.
    pub(crate) allowed: Id,
    /// Whether it is allowed and in a segment: a boolean.
    pub(crate) inside: Id,
    /// The segment's target: where the entry of page number 0 would be.
    pub(crate) target: Id,
}

/// The page table: a flat one per segment, and a tree for what is in no segment.
pub(crate) struct PageTable<'t> {
    pub(crate) shared: &'t Shared,
    pub(crate) math: Math,
    pub(crate) tree: bool,
}

impl PageTable<'_> {
    /// Translates a part of an access that does not straddle a page.
    ///
    /// Returns its host address and its device address, or that of the spare memory.
    pub(crate) fn piece(&self, code: &mut Code<'_>, paged: &PagedAccess, offset: u32) -> (Id, Id) {
        let math = self.math;
        let address = if offset == 0 {
            paged.address
        } else {
            let offset = math.constant(code.edit, u64::from(offset));
            math.add(code, paged.address, offset)
        };
        let at = self.entry_address(code, paged, address);
        let entry = load_number(math, code, at);
        let (bit, half) = if paged.access.writes() {
            (control::ENTRY_WRITE, 1)
        } else {
            (control::ENTRY_READ, 0)
        };
        // Refused accesses read an entry of zeroes, which means absent.
        let bit = u32::try_from(bit).unwrap_or_default();
        let present = math.has_bits(code, entry, bit);
        let spare = code.control_pair(self.shared.control, control::SPARE, half);
        let spare = math.address_of_pair(code, spare);
        let translated = math.splice(code, entry, address, PAGE_MASK);
        let translated = math.select(code, present, translated, spare);
        let faulty = math.to_pair(code, address);
        note(code, self.shared, paged.site, present, FaultValue::Address(faulty));
        (address, translated)
    }

    /// The device address of the table entry for an address; for a refused access, that of an entry
    /// of zeroes.
    fn entry_address(&self, code: &mut Code<'_>, paged: &PagedAccess, address: Id) -> Id {
        let math = self.math;
        let zeroes = code.control_pair(self.shared.control, control::SPARE, 0);
        let zeroes = math.address_of_pair(code, zeroes);
        let offset = math.entry_offset(code, address, 12, 52);
        let flat = math.add(code, paged.target, offset);
        let other = if self.tree {
            let leaf = self.leaf_entry(code, address, zeroes);
            math.select(code, paged.allowed, leaf, zeroes)
        } else {
            zeroes
        };
        math.select(code, paged.inside, flat, other)
    }

    /// The place of an address's entry in the tree.
    fn leaf_entry(&self, code: &mut Code<'_>, address: Id, zeroes: Id) -> Id {
        let math = self.math;
        let (word, truth) = (code.edit.uint(32), code.edit.bool());
        let root = code.control_pair(self.shared.control, control::LOOKUP, 0);
        let root = math.address_of_pair(code, root);
        let entries = code.control_word(self.shared.control, control::TREE, 0);
        let three = code.edit.word(3);
        let end = code.ids(Op::ShiftLeftLogical, word, &[entries, three]);
        let offset = math.entry_offset(code, address, 36, 28);
        let low = math.low(code, offset);
        let covered = code.ids(Op::ULessThan, truth, &[low, end]);
        let first = math.constant(code.edit, 0);
        let offset = math.select(code, covered, offset, first);
        let at = math.add(code, root, offset);
        let node = load_number(math, code, at);
        let offset = math.entry_offset(code, address, 24, 12);
        let at = math.add(code, node, offset);
        let leaf = load_number(math, code, at);
        let offset = math.entry_offset(code, address, 12, 12);
        let at = math.add(code, leaf, offset);
        math.select(code, covered, at, zeroes)
    }
}
