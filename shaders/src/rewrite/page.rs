//! The page of a fault, and its place in its segment's bitmap.
//!
//! Code that runs once per invocation at most, so it does with pairs of words on every device.

use super::control::{self, Layout};
use super::edit::{Code, Id};
use super::flow::Flow;
use super::physical::Physical;
use super::shared::Shared;
use super::{Search, Variant};
use rspirv::dr::Operand;
use rspirv::spirv::Op;

/// A number of 64 bits as two words.
#[derive(Clone, Copy)]
pub(super) struct Wide {
    pub(super) low: Id,
    pub(super) high: Id,
}

impl Wide {
    /// The words of a pair.
    pub(super) fn of_pair(code: &mut Code<'_>, pair: Id) -> Self {
        let word = code.edit.uint(32);
        let part = |part| vec![Operand::IdRef(pair), Operand::LiteralBit32(part)];
        let low = code.op(Op::CompositeExtract, word, part(0));
        let high = code.op(Op::CompositeExtract, word, part(1));
        Self { low, high }
    }

    /// A pair of the words.
    pub(super) fn pair(self, code: &mut Code<'_>) -> Id {
        let of = code.edit.uvec(2);
        code.ids(Op::CompositeConstruct, of, &[self.low, self.high])
    }

    fn constant(code: &mut Code<'_>, word: u32) -> Self {
        Self { low: code.edit.word(word), high: code.edit.word(0) }
    }

    /// The sum, wrapping.
    fn plus(self, code: &mut Code<'_>, other: Self) -> Self {
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        let [zero, one] = [0, 1].map(|value| code.edit.word(value));
        let low = code.ids(Op::IAdd, word, &[self.low, other.low]);
        let carries = code.ids(Op::ULessThan, boolean, &[low, other.low]);
        let carry = code.select(word, carries, one, zero);
        let high = code.ids(Op::IAdd, word, &[self.high, other.high]);
        let high = code.ids(Op::IAdd, word, &[high, carry]);
        Self { low, high }
    }

    /// The difference, wrapping.
    fn minus(self, code: &mut Code<'_>, other: Self) -> Self {
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        let [zero, one] = [0, 1].map(|value| code.edit.word(value));
        let low = code.ids(Op::ISub, word, &[self.low, other.low]);
        let borrows = code.ids(Op::ULessThan, boolean, &[self.low, other.low]);
        let borrow = code.select(word, borrows, one, zero);
        let high = code.ids(Op::ISub, word, &[self.high, other.high]);
        let high = code.ids(Op::ISub, word, &[high, borrow]);
        Self { low, high }
    }

    /// Whether it is less than another, both unsigned.
    fn below(self, code: &mut Code<'_>, other: Self) -> Id {
        let boolean = code.edit.bool();
        let low = code.ids(Op::ULessThan, boolean, &[self.low, other.low]);
        let high = code.ids(Op::ULessThan, boolean, &[self.high, other.high]);
        let same = code.ids(Op::IEqual, boolean, &[self.high, other.high]);
        let low = code.ids(Op::LogicalAnd, boolean, &[same, low]);
        code.ids(Op::LogicalOr, boolean, &[high, low])
    }

    /// Shifted down by 1 to 31 bits.
    pub(super) fn shifted(self, code: &mut Code<'_>, bits: u32) -> Self {
        let word = code.edit.uint(32);
        let [down, up] = [bits, 32 - bits].map(|value| code.edit.word(value));
        let low = code.ids(Op::ShiftRightLogical, word, &[self.low, down]);
        let moved = code.ids(Op::ShiftLeftLogical, word, &[self.high, up]);
        let low = code.ids(Op::BitwiseOr, word, &[low, moved]);
        let high = code.ids(Op::ShiftRightLogical, word, &[self.high, down]);
        Self { low, high }
    }

    fn select(code: &mut Code<'_>, condition: Id, yes: Self, no: Self) -> Self {
        let word = code.edit.uint(32);
        let low = code.select(word, condition, yes.low, no.low);
        let high = code.select(word, condition, yes.high, no.high);
        Self { low, high }
    }
}

/// The bitmap of the segment that an address is in.
pub(super) struct Bitmap {
    /// Whether there is one.
    pub(super) found: Id,
    /// The address of the word for page number 0.
    words: Wide,
}

impl Bitmap {
    /// Finds the bitmap of an address by the extent of its segment.
    pub(super) fn find(
        flow: &mut Flow<'_>,
        shared: &Shared,
        variant: &Variant,
        layout: &Layout,
        physical: Physical,
        address: Wide,
    ) -> Self {
        match variant.search {
            Search::Unrolled(count) => {
                let code = &mut flow.code;
                let boolean = code.edit.bool();
                let mut bitmap =
                    Self { found: code.edit.null(boolean), words: Wide::constant(code, 0) };
                for segment in 0..u32::from(count) {
                    let row = layout.segment_row(segment);
                    let [start, length] = wide_row(code, shared.control, row);
                    let [_, words] = wide_row(code, shared.control, row + 1);
                    let distance = address.minus(code, start);
                    let inside = distance.below(code, length);
                    bitmap.found = code.ids(Op::LogicalOr, boolean, &[bitmap.found, inside]);
                    bitmap.words = Wide::select(code, inside, words, bitmap.words);
                }
                bitmap
            }
            Search::Bisected { steps } => {
                let rows = layout.record_rows();
                Self::bisect(&mut flow.code, shared, physical, (u32::from(steps), rows), address)
            }
        }
    }

    /// Finds the last segment that starts at an address or before it.
    fn bisect(
        code: &mut Code<'_>,
        shared: &Shared,
        physical: Physical,
        (steps, rows): (u32, u32),
        address: Wide,
    ) -> Self {
        let word = code.edit.uint(32);
        let segments = code.control_pair(shared.control, control::LOOKUP, 1);
        let field = |code: &mut Code<'_>, record: Id, field: u32| {
            let field = code.edit.word(field * 2);
            let low = code.ids(Op::IAdd, word, &[record, field]);
            let one = code.edit.word(1);
            let high = code.ids(Op::IAdd, word, &[low, one]);
            let [low, high] = [low, high].map(|index| {
                let pointer = physical.at_index(code, segments, index);
                Physical::load(code, pointer)
            });
            Wide { low, high }
        };
        // Words from the first record to the one in question.
        let mut record = code.edit.word(0);
        for step in (0..steps).rev() {
            let further = code.edit.word((rows * 4) << step);
            let next = code.ids(Op::IAdd, word, &[record, further]);
            let start = field(code, next, 0);
            let beyond = address.below(code, start);
            record = code.select(word, beyond, record, next);
        }
        let start = field(code, record, 0);
        let length = field(code, record, 1);
        let words = field(code, record, 3);
        let distance = address.minus(code, start);
        Self { found: distance.below(code, length), words }
    }

    /// Sets the bit of an address's page and gives whether it was clear.
    pub(super) fn mark(
        &self,
        code: &mut Code<'_>,
        physical: Physical,
        address: Wide,
        writes: Id,
    ) -> Id {
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        let [zero, one, fifteen] = [0, 1, 15].map(|value| code.edit.word(value));
        // 16 pages of 4096 bytes to a word of four: the word is a 2^14th of the address.
        let mut offset = address.shifted(code, 14);
        let whole = code.edit.word(!3);
        offset.low = code.ids(Op::BitwiseAnd, word, &[offset.low, whole]);
        let target = self.words.plus(code, offset).pair(code);
        let pointer = physical.at(code, target);
        let page = address.shifted(code, 12).low;
        let page = code.ids(Op::BitwiseAnd, word, &[page, fifteen]);
        let place = code.ids(Op::ShiftLeftLogical, word, &[page, one]);
        let place = code.ids(Op::BitwiseOr, word, &[place, writes]);
        let bit = code.ids(Op::ShiftLeftLogical, word, &[one, place]);
        let before = physical.atomic(code, Op::AtomicOr, pointer, Some(bit));
        let set = code.ids(Op::BitwiseAnd, word, &[before, bit]);
        code.ids(Op::IEqual, boolean, &[set, zero])
    }
}

/// Both numbers of a control row.
fn wide_row(code: &mut Code<'_>, control: Id, row: u32) -> [Wide; 2] {
    let [a, b, c, d] = code.control_row(control, row);
    [Wide { low: a, high: b }, Wide { low: c, high: d }]
}
