//! Statements of random programs that use the addresses of arguments in many ways.

use super::programs::Writer;
use crate::ir::instruction::Id;
use rspirv::dr::Operand;
use rspirv::spirv::MemoryAccess;

impl Writer {
    /// Uses an address: as one, in a way that leaves it one, or otherwise.
    pub(super) fn use_address(&mut self) {
        let which = usize::from(self.random.one_in(2));
        let (one, other) = (self.e.root(which), self.e.root(1 - which));
        match self.random.below(9) {
            0 => {
                let half = self.random.word(2);
                let word = self.half(one, half);
                self.keep(word);
            }
            1 => {
                let half = self.random.word(2);
                let word = self.half(one, half);
                let zero = self.e.constant(0);
                let to = self.e.element(other, zero, false);
                self.store_to(to, word);
            }
            2 | 3 => {
                let high = if self.random.one_in(3) { other } else { one };
                let (low, high) = (self.half(one, 0), self.half(high, 1));
                let pair = self.e.b.composite_construct(self.e.pair, None, [low, high]).unwrap();
                self.store_behind(pair);
            }
            4 => {
                let (one, other) = (self.whole(one), self.whole(other));
                let sum = self.e.b.i_add(self.e.ints[3], None, one, other).unwrap();
                let to = self.e.at_address(sum);
                let word = self.e.constant(7);
                self.store_to(to, word);
            }
            5 => {
                let (one, other) = (self.whole(one), self.whole(other));
                let apart = self.e.b.i_sub(self.e.ints[3], None, one, other).unwrap();
                let word = self.e.b.u_convert(self.e.word, None, apart).unwrap();
                self.keep(word);
            }
            6 => {
                let (one, other) = (self.whole(one), self.whole(other));
                let less = self.e.b.u_less_than(self.e.bool, None, one, other).unwrap();
                let (inside, merge) = (self.e.b.id(), self.e.b.id());
                self.select(less, inside, merge, merge);
                self.open(inside);
                let word = self.e.constant(3);
                self.keep(word);
                self.go(merge);
                self.open(merge);
            }
            7 => {
                let condition = self.condition(1);
                let pair = self.e.b.select(self.e.pair, None, condition, one, other).unwrap();
                self.store_behind(pair);
            }
            _ => {
                let whole = self.whole(one);
                let long = self.e.ints[3];
                let by = self.e.long();
                let eight = self.e.b.constant_bit64(long, 8);
                let bytes = self.e.b.i_mul(long, None, by, eight).unwrap();
                let behind = self.e.b.i_sub(long, None, whole, bytes).unwrap();
                let pair = self.e.b.bitcast(self.e.pair, None, behind).unwrap();
                self.store_behind(pair);
            }
        }
    }

    fn half(&mut self, pair: Id, half: u32) -> Id {
        self.e.b.composite_extract(self.e.word, None, pair, [half]).unwrap()
    }

    fn whole(&mut self, pair: Id) -> Id {
        self.e.b.bitcast(self.e.ints[3], None, pair).unwrap()
    }

    /// Keeps a word where the rest of the program finds it.
    fn keep(&mut self, word: Id) {
        let to = self.random.pick(&self.variables);
        self.e.b.store(to, word, None, []).unwrap();
    }

    fn store_behind(&mut self, pair: Id) {
        let index = self.leaf();
        let to = self.e.element(pair, index, false);
        let word = self.leaf();
        self.store_to(to, word);
    }

    /// A load from memory.
    pub(super) fn load_from(&mut self, pointer: Id) -> Id {
        let aligned = [Operand::LiteralBit32(4)];
        let access = Some(MemoryAccess::ALIGNED);
        self.e.b.load(self.e.word, None, pointer, access, aligned).unwrap()
    }

    /// A store to memory.
    pub(super) fn store_to(&mut self, pointer: Id, value: Id) {
        let aligned = [Operand::LiteralBit32(4)];
        self.e.b.store(pointer, value, Some(MemoryAccess::ALIGNED), aligned).unwrap();
    }

    /// One of two addresses, or one by way of its number.
    pub(super) fn other_address(&mut self, address: Id, which: usize) -> Id {
        let (pair, long) = (self.e.pair, self.e.ints[3]);
        if self.random.one_in(2) {
            let number = self.e.b.bitcast(long, None, address).unwrap();
            let four = self.e.b.constant_bit64(long, 4);
            let next = self.e.b.i_add(long, None, number, four).unwrap();
            return self.e.b.bitcast(pair, None, next).unwrap();
        }
        let other = self.e.root(which);
        let condition = self.condition(1);
        let [yes, no, merge] = [(); 3].map(|()| self.e.b.id());
        self.select(condition, yes, no, merge);
        self.open(yes);
        self.go(merge);
        self.open(no);
        self.go(merge);
        self.open(merge);
        self.e.b.phi(pair, None, [(address, yes), (other, no)]).unwrap()
    }
}
