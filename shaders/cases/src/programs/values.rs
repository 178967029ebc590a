//! Expressions of a random program: words and addresses.

use super::code::Id;
use super::shape::{INPUT_WORDS, LINKS_COUNT, OWN_WORDS, SLOTS_COUNT};
use super::writer::{Address, INPUT, LINKS, OWN, SLOTS, Writer};
use rspirv::dr::Operand;
use rspirv::spirv::Op;

/// Atomic operations whose result is looked at, on words that one invocation owns.
const ATOMICS: [Op; 8] = [
    Op::AtomicIAdd,
    Op::AtomicISub,
    Op::AtomicAnd,
    Op::AtomicOr,
    Op::AtomicXor,
    Op::AtomicUMin,
    Op::AtomicUMax,
    Op::AtomicExchange,
];

impl Writer {
    /// A word: something known, a constant, or something new.
    pub(super) fn any_word(&mut self, depth: u32) -> Id {
        if depth == 0 || self.draw.one_in(4) {
            return self.known_word();
        }
        match self.draw.below(14) {
            0..4 => self.arithmetic(depth),
            4 => self.choice(depth),
            5 | 6 => self.load_input(depth),
            7 | 8 => self.load_own(depth),
            9 => self.load_component(depth),
            10 => self.load_through_address(depth),
            11 => self.atomic_result(depth),
            12 => {
                let (of, variable) = (self.code.types.word, self.variable());
                self.code.load(of, variable, None)
            }
            _ => self.call(depth),
        }
    }

    fn known_word(&mut self) -> Id {
        if self.draw.one_in(4) {
            let value = if self.draw.one_in(2) { self.draw.below(9) } else { self.draw.word() };
            return self.code.word(value);
        }
        let known = self.known.words.clone();
        self.draw.pick(&known).unwrap_or(self.lane)
    }

    fn arithmetic(&mut self, depth: u32) -> Id {
        let (a, b) = (self.any_word(depth - 1), self.any_word(depth - 1));
        let of = self.code.types.word;
        let op = [
            Op::IAdd,
            Op::ISub,
            Op::IMul,
            Op::BitwiseAnd,
            Op::BitwiseOr,
            Op::BitwiseXor,
            Op::ShiftLeftLogical,
            Op::ShiftRightLogical,
            Op::UDiv,
            Op::UMod,
        ][self.draw.below(10) as usize];
        let b = match op {
            Op::ShiftLeftLogical | Op::ShiftRightLogical => self.masked(b, 31),
            Op::UDiv | Op::UMod => {
                let one = self.code.word(1);
                self.code.op(Op::BitwiseOr, of, &[b, one])
            }
            _ => b,
        };
        let result = self.code.op(op, of, &[a, b]);
        self.known.words.push(result);
        result
    }

    pub(super) fn masked(&mut self, word: Id, mask: u32) -> Id {
        let (of, mask) = (self.code.types.word, self.code.word(mask));
        self.code.op(Op::BitwiseAnd, of, &[word, mask])
    }

    /// A condition over words.
    pub(super) fn condition(&mut self, depth: u32) -> Id {
        let (a, b) = (self.any_word(depth), self.any_word(depth));
        let bool = self.code.types.bool;
        match self.draw.below(4) {
            0 => self.code.op(Op::ULessThan, bool, &[a, b]),
            1 => self.code.op(Op::SGreaterThan, bool, &[a, b]),
            _ => {
                let mask = 1 << self.draw.below(5);
                let (bit, zero) = (self.masked(a, mask), self.code.word(0));
                self.code.op(Op::INotEqual, bool, &[bit, zero])
            }
        }
    }

    fn choice(&mut self, depth: u32) -> Id {
        let condition = self.condition(depth - 1);
        let (a, b) = (self.any_word(depth - 1), self.any_word(depth - 1));
        let of = self.code.types.word;
        self.code.op(Op::Select, of, &[condition, a, b])
    }

    fn load_input(&mut self, depth: u32) -> Id {
        let index = self.any_word(depth - 1);
        let index = self.masked(index, INPUT_WORDS - 1);
        let pointer = self.element(INPUT, index);
        let of = self.code.types.word;
        let loaded = self.code.load(of, pointer, Some(4));
        self.known.words.push(loaded);
        loaded
    }

    fn load_own(&mut self, depth: u32) -> Id {
        let pointer = self.own_element(depth - 1);
        let of = self.code.types.word;
        let loaded = self.code.load(of, pointer, Some(4));
        self.known.words.push(loaded);
        loaded
    }

    /// A pointer to a word of the invocation's own slice, by index from the argument.
    pub(super) fn own_element(&mut self, depth: u32) -> Id {
        let index = self.any_word(depth);
        let index = self.masked(index, OWN_WORDS - 1);
        let (of, first) = (self.code.types.word, self.first_own);
        let index = self.code.op(Op::IAdd, of, &[first, index]);
        self.element(OWN, index)
    }

    /// One of the words of a wider load, by address.
    fn load_component(&mut self, depth: u32) -> Id {
        let address = if self.draw.one_in(2) {
            self.own_address(depth - 1)
        } else {
            self.input_address(depth - 1)
        };
        let types = &self.code.types;
        let (word, pair, quad, part) = (types.word, types.pair, types.quad, types.part);
        let (to_pair, to_quad, to_part) = (types.to_pair, types.to_quad, types.to_part);
        match self.draw.below(4) {
            0 => {
                let pointer = self.pointer(address, to_pair);
                let loaded = self.code.load(pair, pointer, Some(8));
                let component = self.draw.below(2);
                self.code.extract(word, loaded, component)
            }
            1 => {
                let pointer = self.pointer(address, to_part);
                let loaded = self.code.load(part, pointer, Some(4));
                let member = 2 * self.draw.below(2);
                self.code.extract(word, loaded, member)
            }
            _ => {
                let pointer = self.pointer(address, to_quad);
                let align = [4, 8, 16][self.draw.below(3) as usize];
                let loaded = self.code.load(quad, pointer, Some(align));
                let which = self.any_word(0);
                let which = self.masked(which, 3);
                self.code.op(Op::VectorExtractDynamic, word, &[loaded, which])
            }
        }
    }

    fn load_through_address(&mut self, depth: u32) -> Id {
        let address = if self.draw.one_in(2) {
            self.own_address(depth - 1)
        } else {
            self.input_address(depth - 1)
        };
        let pointer = self.word_near(address);
        let of = self.code.types.word;
        let loaded = self.code.load(of, pointer, Some(4));
        self.known.words.push(loaded);
        loaded
    }

    /// A pointer to one of the four words at an address.
    pub(super) fn word_near(&mut self, address: Address) -> Id {
        let to_word = self.code.types.to_word;
        let pointer = self.pointer(address, to_word);
        let step = if self.draw.one_in(2) {
            let step = self.draw.below(4);
            self.code.word(step)
        } else {
            let step = self.any_word(0);
            self.masked(step, 3)
        };
        self.code.op(Op::PtrAccessChain, to_word, &[pointer, step])
    }

    fn atomic_result(&mut self, depth: u32) -> Id {
        let value = self.any_word(depth - 1);
        let pointer = if self.draw.one_in(2) {
            self.own_element(depth - 1)
        } else {
            let address = self.own_address(depth - 1);
            self.word_near(address)
        };
        let (of, device, relaxed) = (self.code.types.word, self.code.word(1), self.code.word(0));
        let result = if self.draw.one_in(5) {
            let comparator = self.any_word(0);
            let ids = [pointer, device, relaxed, relaxed, value, comparator];
            self.code.op(Op::AtomicCompareExchange, of, &ids)
        } else {
            let op = ATOMICS[self.draw.below(8) as usize];
            self.code.op(op, of, &[pointer, device, relaxed, value])
        };
        self.known.words.push(result);
        result
    }

    /// Calls one of the functions that are finished, if there is any.
    pub(super) fn call(&mut self, depth: u32) -> Id {
        let callable = self.callable.clone();
        let Some(function) = self.draw.pick(&callable) else { return self.known_word() };
        let mut arguments =
            vec![function, self.any_word(depth.saturating_sub(1)), self.any_word(0)];
        if self.features.pointers {
            let address = self.own_address(0);
            let to_word = self.code.types.to_word;
            arguments.push(self.pointer(address, to_word));
        }
        let of = self.code.types.word;
        let operands = arguments.into_iter().map(Operand::IdRef).collect();
        let result = self.code.result(Op::FunctionCall, of, operands);
        self.known.words.push(result);
        result
    }

    /// The address of four words of the invocation's own, a multiple of 16.
    pub(super) fn own_address(&mut self, depth: u32) -> Address {
        let known = self.known.own.clone();
        let address = match (self.draw.below(6), self.draw.pick(&known)) {
            (0 | 1, Some(address)) => address,
            (2, Some(address)) => self.one_of_two(address, &known),
            (3, _) => self.load_slot(depth),
            _ => self.compute_own(depth),
        };
        let address = self.another_form(address);
        self.known.own.push(address);
        address
    }

    fn compute_own(&mut self, depth: u32) -> Address {
        let step = self.any_word(depth.min(1));
        let step = self.masked(step, (OWN_WORDS / 4 - 1) * 16);
        let (of, first) = (self.code.types.word, self.first_own);
        let two = self.code.word(2);
        let start = self.code.op(Op::ShiftLeftLogical, of, &[first, two]);
        let bytes = self.code.op(Op::IAdd, of, &[start, step]);
        let root = self.roots[OWN];
        self.offset(root, bytes)
    }

    /// An address that the program, or the host, stored.
    fn load_slot(&mut self, depth: u32) -> Address {
        let pointer = self.slot(depth);
        let pair = self.code.types.pair;
        Address::Pair(self.code.load(pair, pointer, Some(8)))
    }

    /// A pointer to one of the invocation's own addresses in memory.
    pub(super) fn slot(&mut self, depth: u32) -> Id {
        let which = self.any_word(depth.min(1));
        let which = self.masked(which, SLOTS_COUNT - 1);
        let (of, lane, slots, three) =
            (self.code.types.word, self.lane, self.code.word(SLOTS_COUNT), self.code.word(3));
        let first = self.code.op(Op::IMul, of, &[lane, slots]);
        let index = self.code.op(Op::IAdd, of, &[first, which]);
        let bytes = self.code.op(Op::ShiftLeftLogical, of, &[index, three]);
        let root = self.roots[SLOTS];
        let address = self.offset(root, bytes);
        let to_pair = self.code.types.to_pair;
        self.pointer(address, to_pair)
    }

    /// The address of four words of the input, from the table of links.
    fn input_address(&mut self, depth: u32) -> Address {
        let known = self.known.input.clone();
        let address = match (self.draw.below(3), self.draw.pick(&known)) {
            (0, Some(address)) => address,
            (1, Some(address)) => self.one_of_two(address, &known),
            _ => {
                let index = self.any_word(depth.min(1));
                let index = self.masked(index, LINKS_COUNT - 1);
                let (of, three) = (self.code.types.word, self.code.word(3));
                let bytes = self.code.op(Op::ShiftLeftLogical, of, &[index, three]);
                let root = self.roots[LINKS];
                let link = self.offset(root, bytes);
                let (pair, to_pair) = (self.code.types.pair, self.code.types.to_pair);
                let pointer = self.pointer(link, to_pair);
                Address::Pair(self.code.load(pair, pointer, Some(8)))
            }
        };
        let address = self.another_form(address);
        self.known.input.push(address);
        address
    }

    /// Selects between two addresses.
    fn one_of_two(&mut self, a: Address, known: &[Address]) -> Address {
        let b = self.draw.pick(known).unwrap_or(a);
        let condition = self.condition(0);
        self.select(condition, a, b)
    }
}
