//! Arithmetic with addresses, in 64-bit integers or in pairs of words.

use crate::contract::variant::Integers;
use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use rspirv::dr::Operand;
use rspirv::spirv::Op;

/// Instructions that compute with addresses: unsigned and wrapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Math {
    pub(crate) integers: Integers,
}

impl Math {
    fn is_native(self) -> bool {
        self.integers == Integers::Native
    }

    /// The type of an address.
    pub(crate) fn address(self, edit: &mut Edit) -> Id {
        if self.is_native() { edit.uint(64) } else { edit.uvec(2) }
    }

    /// A constant.
    pub(crate) fn constant(self, edit: &mut Edit, value: u64) -> Id {
        if self.is_native() { edit.long(value) } else { edit.pair(value) }
    }

    /// The address in a pair of words.
    pub(crate) fn address_of_pair(self, code: &mut Code<'_>, pair: Id) -> Id {
        if !self.is_native() {
            return pair;
        }
        let of = self.address(code.edit);
        code.ids(Op::Bitcast, of, &[pair])
    }

    /// An address as a pair of words.
    pub(crate) fn to_pair(self, code: &mut Code<'_>, address: Id) -> Id {
        if !self.is_native() {
            return address;
        }
        let of = code.edit.uvec(2);
        code.ids(Op::Bitcast, of, &[address])
    }

    /// The address that a physical pointer holds.
    pub(crate) fn address_of_pointer(self, code: &mut Code<'_>, pointer: Id) -> Id {
        if !self.is_native() {
            return code.pair_of_pointer(pointer);
        }
        let of = self.address(code.edit);
        code.ids(Op::ConvertPtrToU, of, &[pointer])
    }

    /// The physical pointer to an address.
    pub(crate) fn to_pointer(self, code: &mut Code<'_>, pointer: Id, address: Id) -> Id {
        if !self.is_native() {
            return code.pointer_of_pair(pointer, address);
        }
        code.ids(Op::ConvertUToPtr, pointer, &[address])
    }

    /// The low and the high word of a pair.
    pub(crate) fn words(code: &mut Code<'_>, pair: Id) -> [Id; 2] {
        let word = code.edit.uint(32);
        [0, 1].map(|part| {
            let operands = vec![Operand::IdRef(pair), Operand::LiteralBit32(part)];
            code.op(Op::CompositeExtract, word, operands)
        })
    }

    fn join(code: &mut Code<'_>, words: [Id; 2]) -> Id {
        let pair = code.edit.uvec(2);
        code.ids(Op::CompositeConstruct, pair, &words)
    }

    /// One if a condition holds, else zero.
    fn bit(code: &mut Code<'_>, condition: Id) -> Id {
        let word = code.edit.uint(32);
        let [one, zero] = [1, 0].map(|value| code.edit.word(value));
        code.select(word, condition, one, zero)
    }

    pub(crate) fn add(self, code: &mut Code<'_>, a: Id, b: Id) -> Id {
        if self.is_native() {
            let of = self.address(code.edit);
            return code.ids(Op::IAdd, of, &[a, b]);
        }
        let (word, truth) = (code.edit.uint(32), code.edit.bool());
        let ([a_low, a_high], [b_low, b_high]) = (Self::words(code, a), Self::words(code, b));
        let low = code.ids(Op::IAdd, word, &[a_low, b_low]);
        let carries = code.ids(Op::ULessThan, truth, &[low, a_low]);
        let carry = Self::bit(code, carries);
        let high = code.ids(Op::IAdd, word, &[a_high, b_high]);
        let high = code.ids(Op::IAdd, word, &[high, carry]);
        Self::join(code, [low, high])
    }

    /// An index of an access chain, which is signed, times the bytes from one to the next; or
    /// nothing where the index has more bits than the integers.
    pub(crate) fn product(self, code: &mut Code<'_>, index: Id, stride: u32) -> Option<Id> {
        let of = code.edit.type_of(index)?;
        let width = code.edit.integer_width(of)?;
        if self.is_native() {
            let long = self.address(code.edit);
            let op = if width == 64 { Op::Bitcast } else { Op::SConvert };
            let index = if of == long { index } else { code.ids(op, long, &[index]) };
            let stride = code.edit.long(stride.into());
            return Some(code.ids(Op::IMul, long, &[index, stride]));
        }
        if width > 32 {
            return None;
        }
        let word = code.edit.uint(32);
        let op = if width == 32 { Op::Bitcast } else { Op::SConvert };
        let index = if of == word { index } else { code.ids(op, word, &[index]) };
        let stride = code.edit.word(stride);
        let [low, high] = Self::wide_product(code, index, stride);
        // To an unsigned product a negative index is 2^32 too large.
        let (truth, middle) = (code.edit.bool(), code.edit.word(1 << 31));
        let zero = code.edit.word(0);
        let negative = code.ids(Op::UGreaterThanEqual, truth, &[index, middle]);
        let excess = code.select(word, negative, stride, zero);
        let high = code.ids(Op::ISub, word, &[high, excess]);
        Some(Self::join(code, [low, high]))
    }

    /// The low and the high word of an unsigned product.
    fn wide_product(code: &mut Code<'_>, a: Id, b: Id) -> [Id; 2] {
        let word = code.edit.uint(32);
        let (sixteen, mask) = (code.edit.word(16), code.edit.word(0xffff));
        let mut act = |op, x, y| code.ids(op, word, &[x, y]);
        let [a_low, b_low] = [a, b].map(|word| act(Op::BitwiseAnd, word, mask));
        let [a_high, b_high] = [a, b].map(|word| act(Op::ShiftRightLogical, word, sixteen));
        let lows = act(Op::IMul, a_low, b_low);
        let carried = act(Op::ShiftRightLogical, lows, sixteen);
        // A product of halves, and one half more, do not overflow.
        let cross = act(Op::IMul, a_high, b_low);
        let cross = act(Op::IAdd, cross, carried);
        let rest = act(Op::BitwiseAnd, cross, mask);
        let upper = act(Op::ShiftRightLogical, cross, sixteen);
        let other = act(Op::IMul, a_low, b_high);
        let other = act(Op::IAdd, other, rest);
        let other = act(Op::ShiftRightLogical, other, sixteen);
        let highs = act(Op::IMul, a_high, b_high);
        let high = act(Op::IAdd, highs, upper);
        let high = act(Op::IAdd, high, other);
        [act(Op::IMul, a, b), high]
    }

    pub(crate) fn sub(self, code: &mut Code<'_>, a: Id, b: Id) -> Id {
        if self.is_native() {
            let of = self.address(code.edit);
            return code.ids(Op::ISub, of, &[a, b]);
        }
        let (word, truth) = (code.edit.uint(32), code.edit.bool());
        let ([a_low, a_high], [b_low, b_high]) = (Self::words(code, a), Self::words(code, b));
        let low = code.ids(Op::ISub, word, &[a_low, b_low]);
        let borrows = code.ids(Op::ULessThan, truth, &[a_low, b_low]);
        let borrow = Self::bit(code, borrows);
        let high = code.ids(Op::ISub, word, &[a_high, b_high]);
        let high = code.ids(Op::ISub, word, &[high, borrow]);
        Self::join(code, [low, high])
    }

    /// Whether `a` is less than `b`.
    pub(crate) fn less(self, code: &mut Code<'_>, a: Id, b: Id) -> Id {
        let truth = code.edit.bool();
        if self.is_native() {
            return code.ids(Op::ULessThan, truth, &[a, b]);
        }
        let ([a_low, a_high], [b_low, b_high]) = (Self::words(code, a), Self::words(code, b));
        let low = code.ids(Op::ULessThan, truth, &[a_low, b_low]);
        let high = code.ids(Op::ULessThan, truth, &[a_high, b_high]);
        let equal = code.ids(Op::IEqual, truth, &[a_high, b_high]);
        let low = code.ids(Op::LogicalAnd, truth, &[equal, low]);
        code.ids(Op::LogicalOr, truth, &[high, low])
    }

    /// The low word.
    pub(crate) fn low(self, code: &mut Code<'_>, address: Id) -> Id {
        if self.is_native() {
            let word = code.edit.uint(32);
            return code.ids(Op::UConvert, word, &[address]);
        }
        Self::words(code, address)[0]
    }

    /// Whether any of some low bits is set.
    pub(crate) fn has_bits(self, code: &mut Code<'_>, address: Id, bits: u32) -> Id {
        let (word, truth) = (code.edit.uint(32), code.edit.bool());
        let (mask, zero) = (code.edit.word(bits), code.edit.word(0));
        let low = self.low(code, address);
        let masked = code.ids(Op::BitwiseAnd, word, &[low, mask]);
        code.ids(Op::INotEqual, truth, &[masked, zero])
    }

    /// Eight times the part of an address that begins at bit `shift`, 4 to 36, limited to `bits`
    /// bits: the offset of an entry of a table.
    pub(crate) fn entry_offset(self, code: &mut Code<'_>, a: Id, shift: u32, bits: u32) -> Id {
        self.field(code, a, shift - 3, ((1u64 << bits) - 1) << 3)
    }

    /// An address shifted down by 1 to 63 bits, and what a mask leaves of that.
    pub(crate) fn field(self, code: &mut Code<'_>, a: Id, right: u32, mask: u64) -> Id {
        if self.is_native() {
            let of = self.address(code.edit);
            let (by, mask) = (code.edit.word(right), code.edit.long(mask));
            let shifted = code.ids(Op::ShiftRightLogical, of, &[a, by]);
            return code.ids(Op::BitwiseAnd, of, &[shifted, mask]);
        }
        let word = code.edit.uint(32);
        let [low, high] = Self::words(code, a);
        let parts = if right < 32 {
            let (by, rest) = (code.edit.word(right), code.edit.word(32 - right));
            let low = code.ids(Op::ShiftRightLogical, word, &[low, by]);
            let carried = code.ids(Op::ShiftLeftLogical, word, &[high, rest]);
            let low = code.ids(Op::BitwiseOr, word, &[low, carried]);
            [low, code.ids(Op::ShiftRightLogical, word, &[high, by])]
        } else {
            let by = code.edit.word(right - 32);
            [code.ids(Op::ShiftRightLogical, word, &[high, by]), code.edit.word(0)]
        };
        let shifted = Self::join(code, parts);
        let pair = code.edit.uvec(2);
        let mask = code.edit.pair(mask);
        code.ids(Op::BitwiseAnd, pair, &[shifted, mask])
    }

    /// The bits of `high` above those of `mask`, and the bits of `low` in it.
    pub(crate) fn splice(self, code: &mut Code<'_>, high: Id, low: Id, mask: u64) -> Id {
        let of = self.address(code.edit);
        let (above, below) = (self.constant(code.edit, !mask), self.constant(code.edit, mask));
        let high = code.ids(Op::BitwiseAnd, of, &[high, above]);
        let low = code.ids(Op::BitwiseAnd, of, &[low, below]);
        code.ids(Op::BitwiseOr, of, &[high, low])
    }

    pub(crate) fn select(self, code: &mut Code<'_>, condition: Id, yes: Id, no: Id) -> Id {
        let of = self.address(code.edit);
        code.select(of, condition, yes, no)
    }
}
