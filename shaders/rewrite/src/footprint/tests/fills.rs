//! Statements of random programs by which many invocations write a word each.

use super::programs::Writer;
use crate::ir::instruction::Id;
use rspirv::spirv::BuiltIn;

impl Writer {
    /// Writes a word, or two, at a place that depends on the invocation alone, behind a guard.
    pub(super) fn fill(&mut self) {
        let index = self.place();
        if self.random.one_in(4) {
            return self.write(index);
        }
        let guard = match self.random.below(6) {
            0 => self.condition(1),
            1 => {
                let memory = self.e.root(0);
                let zero = self.e.constant(0);
                let at = self.e.element(memory, zero, false);
                let value = self.load_from(at);
                self.e.b.i_not_equal(self.e.bool, None, value, zero).unwrap()
            }
            _ => {
                let place = self.e.input(BuiltIn::GlobalInvocationId, 0);
                let limit = self.leaf();
                if self.random.one_in(3) {
                    self.compare(place, limit)
                } else {
                    self.e.b.u_less_than(self.e.bool, None, place, limit).unwrap()
                }
            }
        };
        let (inside, merge) = (self.e.b.id(), self.e.b.id());
        if self.random.one_in(2) {
            self.select(guard, merge, inside, merge);
            self.open(inside);
            self.give_back();
            self.open(merge);
            return self.write(index);
        }
        self.select(guard, inside, merge, merge);
        self.open(inside);
        self.write(index);
        self.go(merge);
        self.open(merge);
    }

    fn write(&mut self, index: Id) {
        let to = self.e.root(1);
        let in_record = self.random.one_in(6);
        let count = if self.random.one_in(3) { 2 } else { 1 };
        for nth in 0..count {
            let nth = self.e.constant(nth);
            let index = self.e.b.i_add(self.e.word, None, index, nth).unwrap();
            let pointer = self.e.element(to, index, in_record);
            let value = self.leaf();
            self.store_to(pointer, value);
        }
    }

    /// A number that differs between invocations.
    fn place(&mut self) -> Id {
        let word = self.e.word;
        let along = |writer: &mut Self, axis| writer.e.input(BuiltIn::GlobalInvocationId, axis);
        let x = along(self, 0);
        let index = match self.random.below(8) {
            0 => self.e.input(BuiltIn::LocalInvocationIndex, 0),
            1 => self.e.input(BuiltIn::WorkgroupId, 0),
            2 | 3 => {
                let y = along(self, 1);
                let line = self.leaf();
                let before = self.e.b.i_mul(word, None, y, line).unwrap();
                self.e.b.i_add(word, None, before, x).unwrap()
            }
            4 => {
                let by = self.random.word(4);
                let by = self.e.constant(by);
                self.e.b.i_mul(word, None, x, by).unwrap()
            }
            5 => {
                let last = self.leaf();
                self.e.b.i_sub(word, None, last, x).unwrap()
            }
            _ => x,
        };
        if self.random.one_in(2) {
            return index;
        }
        let by = self.leaf();
        self.e.b.i_add(word, None, index, by).unwrap()
    }
}
