//! The expressions and conditions of random programs.

use super::emit::WORDS;
use super::programs::Writer;
use crate::ir::instruction::Id;
use rspirv::dr::Operand;
use rspirv::spirv::{BuiltIn, Decoration};

impl Writer {
    /// A condition that bounds an index, or nearly.
    pub(super) fn guard(&mut self, index: Id) -> Id {
        let limit = self.leaf();
        match self.random.below(4) {
            0 => {
                let above = self.compare(index, limit);
                let other = self.leaf();
                let bool = self.e.bool;
                let below = self.e.b.u_less_than(bool, None, index, other).unwrap();
                self.e.b.logical_and(bool, None, above, below).unwrap()
            }
            1 => self.compare(index, limit),
            _ => self.e.b.u_less_than(self.e.bool, None, index, limit).unwrap(),
        }
    }

    pub(super) fn compare(&mut self, a: Id, b: Id) -> Id {
        let bool = self.e.bool;
        let e = &mut self.e.b;
        match self.random.below(12) {
            0 => e.s_less_than(bool, None, a, b),
            1 => e.s_less_than_equal(bool, None, a, b),
            2 => e.s_greater_than(bool, None, a, b),
            3 => e.s_greater_than_equal(bool, None, a, b),
            4 => e.u_less_than_equal(bool, None, a, b),
            5 => e.u_greater_than(bool, None, a, b),
            6 => e.u_greater_than_equal(bool, None, a, b),
            7 => e.i_equal(bool, None, a, b),
            8 => e.i_not_equal(bool, None, a, b),
            _ => e.u_less_than(bool, None, a, b),
        }
        .unwrap()
    }

    pub(super) fn condition(&mut self, depth: u32) -> Id {
        let bool = self.e.bool;
        match if depth == 0 { 9 } else { self.random.below(10) } {
            0 => {
                let (a, b) = (self.condition(depth - 1), self.condition(depth - 1));
                self.e.b.logical_and(bool, None, a, b).unwrap()
            }
            1 => {
                let (a, b) = (self.condition(depth - 1), self.condition(depth - 1));
                self.e.b.logical_or(bool, None, a, b).unwrap()
            }
            2 => {
                let a = self.condition(depth - 1);
                self.e.b.logical_not(bool, None, a).unwrap()
            }
            3 | 4 => self.short_circuit(depth),
            _ => {
                let (a, b) = (self.expression(1), self.leaf());
                self.compare(a, b)
            }
        }
    }

    /// A second condition that is looked at only if the first holds, or if it does not.
    fn short_circuit(&mut self, depth: u32) -> Id {
        let first = self.condition(depth - 1);
        let before = self.label;
        let (more, merge) = (self.e.b.id(), self.e.b.id());
        let is_and = self.random.one_in(2);
        let (yes, no) = if is_and { (more, merge) } else { (merge, more) };
        self.select(first, yes, no, merge);
        self.open(more);
        let second = self.condition(depth - 1);
        let after = self.label;
        self.go(merge);
        self.open(merge);
        let known = if self.random.one_in(2) { first } else { self.e.truth(!is_and) };
        self.e.b.phi(self.e.bool, None, [(second, after), (known, before)]).unwrap()
    }

    pub(super) fn leaf(&mut self) -> Id {
        match self.random.below(20) {
            0..=4 => {
                let which = self.random.word(WORDS);
                self.e.argument(which)
            }
            5..=7 => self.e.input(BuiltIn::GlobalInvocationId, 0),
            8 => {
                let axis = self.random.word(3);
                let of = self.random.pick(&[
                    BuiltIn::WorkgroupId,
                    BuiltIn::LocalInvocationId,
                    BuiltIn::NumWorkgroups,
                    BuiltIn::GlobalInvocationId,
                ]);
                self.e.input(of, axis)
            }
            9 => self.e.input(BuiltIn::LocalInvocationIndex, 0),
            10..=12 if !self.words.is_empty() => self.random.pick(&self.words),
            10..=15 => {
                let from = self.random.pick(&self.variables);
                self.e.b.load(self.e.word, None, from, None, []).unwrap()
            }
            16 if self.random.one_in(3) => {
                let hard = self.random.hard();
                self.e.constant(hard)
            }
            17 if self.random.one_in(8) => self.e.b.undef(self.e.word, None),
            _ => {
                let small = self.random.word(9);
                self.e.constant(small)
            }
        }
    }

    pub(super) fn expression(&mut self, depth: u32) -> Id {
        if depth == 0 || self.random.one_in(3) {
            return self.leaf();
        }
        let word = self.e.word;
        let a = self.expression(depth - 1);
        let b = self.leaf();
        let small = self.random.word(7) + 1;
        let small = self.e.constant(small);
        let e = &mut self.e.b;
        match self.random.below(32) {
            26 => self.halves(a, b),
            27 => self.in_vector(a, b),
            28..=29 => self.in_long(a, b),
            30..=31 => self.exact(a, b),
            0..=4 => e.i_add(word, None, a, b).unwrap(),
            5..=7 => e.i_sub(word, None, a, b).unwrap(),
            8..=9 => e.i_mul(word, None, a, b).unwrap(),
            10 => e.u_div(word, None, a, small).unwrap(),
            11 => e.u_mod(word, None, a, small).unwrap(),
            12 if self.random.one_in(4) => e.u_div(word, None, a, b).unwrap(),
            12 => e.bitwise_and(word, None, a, b).unwrap(),
            13 => e.bitwise_or(word, None, a, b).unwrap(),
            14 => e.bitwise_xor(word, None, a, b).unwrap(),
            15 => {
                let by = if self.random.one_in(3) { b } else { small };
                e.shift_left_logical(word, None, a, by).unwrap()
            }
            16 => {
                let by = if self.random.one_in(3) { b } else { small };
                e.shift_right_logical(word, None, a, by).unwrap()
            }
            17 => e.shift_right_arithmetic(word, None, a, small).unwrap(),
            18 => e.s_div(word, None, a, small).unwrap(),
            19 => e.s_rem(word, None, a, small).unwrap(),
            20..=21 => self.limited(a, b, small),
            22 => self.remainder(a, b),
            23 => self.selected(a, b, depth),
            24 => self.short(a),
            _ if self.random.one_in(2) => e.not(word, None, a).unwrap(),
            _ => e.s_negate(word, None, a).unwrap(),
        }
    }

    /// Part of a result that does not fit into a word.
    fn halves(&mut self, a: Id, b: Id) -> Id {
        let both = self.e.both;
        let e = &mut self.e.b;
        let result = match self.random.below(3) {
            0 => e.i_add_carry(both, None, a, b),
            1 => e.i_sub_borrow(both, None, a, b),
            _ => e.u_mul_extended(both, None, a, b),
        };
        let part = self.random.word(2);
        self.e.b.composite_extract(self.e.word, None, result.unwrap(), [part]).unwrap()
    }

    /// A word by way of a vector.
    fn in_vector(&mut self, a: Id, b: Id) -> Id {
        let (word, pair) = (self.e.word, self.e.pair);
        let mut vector = self.e.b.composite_construct(pair, None, [a, b]).unwrap();
        if self.random.one_in(2) {
            let order = self.random.pick(&[[1, 0], [0, 0], [2, 1]]);
            vector = self.e.b.vector_shuffle(pair, None, vector, vector, order).unwrap();
        }
        if self.random.one_in(2) {
            let part = self.random.word(2);
            vector = self.e.b.composite_insert(pair, None, b, vector, [part]).unwrap();
        }
        let sum = self.e.b.i_add(pair, None, vector, vector).unwrap();
        let from = self.random.pick(&[vector, vector, sum]);
        let part = self.random.word(2);
        self.e.b.composite_extract(word, None, from, [part]).unwrap()
    }

    /// A word by way of 64 bits.
    fn in_long(&mut self, a: Id, b: Id) -> Id {
        let (word, long, pair) = (self.e.word, self.e.ints[3], self.e.pair);
        let (a, b) = (self.wide(a), self.wide(b));
        let sixteen = self.e.b.constant_bit64(long, 16);
        let e = &mut self.e.b;
        let result = match self.random.below(5) {
            0 => e.i_add(long, None, a, b),
            1 => e.i_sub(long, None, a, b),
            2 => e.i_mul(long, None, a, b),
            3 => e.shift_right_logical(long, None, a, sixteen),
            _ => e.shift_left_logical(long, None, a, sixteen),
        };
        let result = result.unwrap();
        if self.random.one_in(2) {
            return self.e.b.u_convert(word, None, result).unwrap();
        }
        let halves = self.e.b.bitcast(pair, None, result).unwrap();
        let part = u32::from(self.random.one_in(3));
        self.e.b.composite_extract(word, None, halves, [part]).unwrap()
    }

    /// A result that is not defined where it would wrap.
    fn exact(&mut self, a: Id, b: Id) -> Id {
        let word = self.e.word;
        let e = &mut self.e.b;
        let result = match self.random.below(3) {
            0 => e.i_add(word, None, a, b),
            1 => e.i_sub(word, None, a, b),
            _ => e.i_mul(word, None, a, b),
        };
        let result = result.unwrap();
        self.e.b.decorate(result, Decoration::NoUnsignedWrap, []);
        result
    }

    /// The smaller, the larger, or what is between two.
    fn limited(&mut self, a: Id, b: Id, small: Id) -> Id {
        let number = self.random.pick(&[5, 38, 38, 39, 41, 42, 44, 45]);
        let zero = self.e.constant(0);
        let args = match number {
            5 => vec![a],
            44 | 45 if self.random.one_in(2) => vec![a, zero, b],
            44 | 45 => vec![a, zero, small],
            _ => vec![a, b],
        };
        let args: Vec<Operand> = args.into_iter().map(Operand::IdRef).collect();
        self.e.b.ext_inst(self.e.word, None, self.e.glsl, number, args).unwrap()
    }

    /// `a - a / b * b`, as some compilers write a remainder.
    fn remainder(&mut self, a: Id, b: Id) -> Id {
        let (word, one) = (self.e.word, self.e.constant(1));
        let b = self.e.b.bitwise_or(word, None, b, one).unwrap();
        let quotient = self.e.b.u_div(word, None, a, b).unwrap();
        let product = self.e.b.i_mul(word, None, quotient, b).unwrap();
        self.e.b.i_sub(word, None, a, product).unwrap()
    }

    /// One of two, by a selection or a branch.
    fn selected(&mut self, a: Id, b: Id, depth: u32) -> Id {
        let limit = self.leaf();
        let condition = self.compare(a, limit);
        let word = self.e.word;
        if self.random.one_in(2) {
            return self.e.b.select(word, None, condition, a, b).unwrap();
        }
        let [yes, no, merge] = [(); 3].map(|()| self.e.b.id());
        self.select(condition, yes, no, merge);
        self.open(yes);
        let one = self.expression(depth - 1);
        let from_one = self.label;
        self.go(merge);
        self.open(no);
        let other = if self.random.one_in(2) { a } else { self.leaf() };
        let from_other = self.label;
        self.go(merge);
        self.open(merge);
        self.e.b.phi(word, None, [(one, from_one), (other, from_other)]).unwrap()
    }

    /// A word by way of fewer or more bits.
    fn short(&mut self, a: Id) -> Id {
        let which = usize::try_from(self.random.below(4)).unwrap();
        let of = self.e.ints[which];
        if which == 2 {
            return a;
        }
        let (up, down) = (self.random.one_in(2), self.random.one_in(2));
        let e = &mut self.e.b;
        let changed = if up { e.s_convert(of, None, a) } else { e.u_convert(of, None, a) }.unwrap();
        let sum = if down { e.i_add(of, None, changed, changed).unwrap() } else { changed };
        let word = self.e.word;
        let back = if up { e.s_convert(word, None, sum) } else { e.u_convert(word, None, sum) };
        back.unwrap()
    }
}
