//! The fault bitmap of a segment: finding it, and setting the bit of a page.

use crate::emit::physical::Physical;
use crate::emit::segments::{Compared, Field, Segments};
use crate::ir::address::Math;
use crate::ir::code::Code;
use crate::ir::instruction::Id;
use rspirv::spirv::Op;

/// The bitmap of the segment that an address is in.
pub(crate) struct Bitmap {
    math: Math,
    /// Whether there is one.
    pub(crate) found: Id,
    /// The address of the word for page number 0.
    words: Id,
    /// The address that it was found for, as a pair of words and as a number.
    pair: Id,
    address: Id,
}

impl Bitmap {
    /// Finds the bitmap of an address, a pair of words, by the extent of its segment.
    pub(crate) fn find(code: &mut Code<'_>, segments: &Segments<'_>, pair: Id) -> Self {
        let math = segments.math;
        let address = math.address_of_pair(code, pair);
        let found = segments.find(code, address, Compared::Extent, Some(Field::Bitmap));
        let words = found.field.unwrap_or(address);
        Self { math, found: found.inside, words, pair, address }
    }

    /// Sets the bit of the address's page, and returns whether the bit was clear before.
    pub(crate) fn mark(&self, code: &mut Code<'_>, physical: Physical, writes: Id) -> Id {
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        let [zero, one, twelve, fifteen] = [0, 1, 12, 15].map(|value| code.edit.word(value));
        // A word of four bytes has the bits of 16 pages of 4096 bytes, so the offset of the word is
        // the address divided by 2^14, down to a multiple of four.
        let offset = self.math.field(code, self.address, 14, !3);
        let target = self.math.add(code, self.words, offset);
        let target = self.math.to_pair(code, target);
        let pointer = physical.at(code, target);
        let [low, _] = Math::words(code, self.pair);
        let page = code.ids(Op::ShiftRightLogical, word, &[low, twelve]);
        let page = code.ids(Op::BitwiseAnd, word, &[page, fifteen]);
        let place = code.ids(Op::ShiftLeftLogical, word, &[page, one]);
        let place = code.ids(Op::BitwiseOr, word, &[place, writes]);
        let bit = code.ids(Op::ShiftLeftLogical, word, &[one, place]);
        let before = physical.atomic(code, Op::AtomicOr, pointer, Some(bit));
        let set = code.ids(Op::BitwiseAnd, word, &[before, bit]);
        code.ids(Op::IEqual, boolean, &[set, zero])
    }
}
