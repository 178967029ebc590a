//! Statements of a random program: stores, atomics, branches, loops, functions.

use super::code::Id;
use super::shape::{COUNTERS_EACH, GROUP, OWN_WORDS};
use super::writer::{Address, COUNTERS, Loop, Writer};
use rspirv::dr::Operand;
use rspirv::spirv::{Decoration, Op, StorageClass};

/// Operations whose order does not matter, one for each stretch of the counters.
const COMMUTATIVE: [Op; 5] =
    [Op::AtomicIAdd, Op::AtomicOr, Op::AtomicXor, Op::AtomicUMin, Op::AtomicUMax];
/// The first and the last store of a program change these bits of a word that it may have read:
/// storing the same word would change nothing and so test nothing.
const FIRST: u32 = 0x9e37_79b9;
/// See [`FIRST`].
const LAST: u32 = 0x7f4a_7c15;
/// Nested statements, at most.
const DEPTH: u32 = 3;
/// Acquire and release, of memory and shared memory (SPIR-V specification, "Memory Semantics").
const ORDERED: u32 = 0x8 | 0x40 | 0x100;

/// Writes the whole program and gives its words.
pub(super) fn write(mut w: Writer) -> Vec<u32> {
    for _ in 0..w.draw.below(2) {
        w.function();
    }
    let shared = w.draw.one_in(3).then(|| {
        let (word, class) = (w.code.types.word, StorageClass::Workgroup);
        let array = w.code.array_type(word, GROUP);
        (w.code.global(class, array), w.code.pointer_type(class, word))
    });
    let void = w.code.types.void;
    let of = w.code.function_type(void, &[]);
    let (main, _) = w.code.begin_function(void, of, &[]);
    w.gives_word = false;
    w.may_return = shared.is_none();
    w.prologue(OWN_WORDS);
    // Some invocations may end early, so each stores a word first.
    w.store_new(FIRST);
    w.statements(0);
    if let Some((array, to_word)) = shared {
        for _ in 0..=w.draw.below(2) {
            w.exchange(array, to_word);
            w.budget += 1;
            w.statements(1);
        }
        w.may_return = true;
        w.budget += 1;
        w.statements(0);
    }
    // The last store makes the computed value visible.
    w.store_new(LAST);
    w.code.ret(None);
    w.code.end_function();
    w.code.finish(main, GROUP)
}

impl Writer {
    /// Stores a word that differs by some bits from what a program may have read from that place.
    fn store_new(&mut self, bits: u32) {
        let (value, pointer) = (self.any_word(2), self.own_element(0));
        let (of, bits) = (self.code.types.word, self.code.word(bits));
        let value = self.code.op(Op::BitwiseXor, of, &[value, bits]);
        self.code.store(pointer, value, Some(4));
    }

    /// A function that later ones and the kernel may call.
    fn function(&mut self) {
        let (word, to_word) = (self.code.types.word, self.code.types.to_word);
        let mut parameters = vec![word, word];
        if self.features.pointers {
            parameters.push(to_word);
        }
        let of = self.code.function_type(word, &parameters);
        let (function, ids) = self.code.begin_function(word, of, &parameters);
        let left = std::mem::replace(&mut self.budget, 2);
        (self.gives_word, self.may_return) = (true, true);
        self.prologue(OWN_WORDS);
        self.known.words.extend(&ids[..2]);
        if let Some(&pointer) = ids.get(2) {
            self.code.decorate(pointer, Decoration::Aliased, None);
            self.known.own.push(Address::Pointer(pointer));
        }
        self.statements(1);
        let value = self.any_word(2);
        self.code.ret(Some(value));
        self.code.end_function();
        self.callable.push(function);
        self.budget = left;
    }

    /// Some statements, as far as the budget goes.
    fn statements(&mut self, depth: u32) {
        let count = if depth == 0 { self.budget } else { 1 + self.draw.below(3) };
        for _ in 0..count {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: u32) {
        match self.draw.below(if depth < DEPTH { 18 } else { 12 }) {
            0..3 => {
                let (value, pointer) = (self.any_word(2), self.own_element(1));
                self.code.store(pointer, value, Some(4));
            }
            3 | 4 => self.store_through_address(),
            5 => self.store_wide(),
            6 => self.store_address(),
            7 => self.copy(),
            8 | 9 => self.count(),
            10 => {
                let (value, variable) = (self.any_word(2), self.variable());
                self.code.store(variable, value, None);
            }
            11 => self.move_pointer_variable(),
            12 | 13 => self.branch(depth),
            14 | 15 => self.repeat(depth),
            16 => self.switch(depth),
            _ => drop(self.call(2)),
        }
    }

    fn store_through_address(&mut self) {
        let (value, address) = (self.any_word(2), self.own_address(1));
        let pointer = self.word_near(address);
        self.code.store(pointer, value, Some(4));
    }

    fn store_wide(&mut self) {
        let address = self.own_address(1);
        let types = &self.code.types;
        let (pair, quad, to_pair, to_quad) = (types.pair, types.quad, types.to_pair, types.to_quad);
        let words: Vec<Id> = (0..4).map(|_| self.any_word(1)).collect();
        if self.draw.one_in(3) {
            let value = self.code.op(Op::CompositeConstruct, pair, &words[..2]);
            let pointer = self.pointer(address, to_pair);
            self.code.store(pointer, value, Some(8));
        } else {
            let value = self.code.op(Op::CompositeConstruct, quad, &words);
            let pointer = self.pointer(address, to_quad);
            let align = [4, 8, 16][self.draw.below(3) as usize];
            self.code.store(pointer, value, Some(align));
        }
    }

    /// Keeps an address in memory.
    fn store_address(&mut self) {
        let address = self.own_address(1);
        let pair = self.pair(address);
        let slot = self.slot(1);
        self.code.store(slot, pair, Some(8));
    }

    /// Copies four words from one place of the invocation's own to another.
    fn copy(&mut self) {
        let (from, to) = (self.own_address(1), self.own_address(1));
        let (to_part, to_word) = (self.code.types.to_part, self.code.types.to_word);
        let of = if self.draw.one_in(2) { to_part } else { to_word };
        let (from, to) = (self.pointer(from, of), self.pointer(to, of));
        self.code.copy(to, from, 4);
    }

    /// Changes a counter that all invocations change, in no particular order.
    fn count(&mut self) {
        let (value, which) = (self.any_word(2), self.any_word(1));
        let class = self.draw.below(5);
        let (of, first) = (self.code.types.word, self.code.word(class * COUNTERS_EACH));
        let which = self.masked(which, COUNTERS_EACH - 1);
        let index = self.code.op(Op::IAdd, of, &[first, which]);
        let pointer = self.element(COUNTERS, index);
        let (device, relaxed) = (self.code.word(1), self.code.word(0));
        let ids = [pointer, device, relaxed, value];
        self.code.op(COMMUTATIVE[class as usize], of, &ids);
    }

    fn move_pointer_variable(&mut self) {
        let Some(variable) = self.pointer_variable else { return };
        let to_word = self.code.types.to_word;
        if self.draw.one_in(2) {
            let address = self.own_address(1);
            let pointer = self.pointer(address, to_word);
            self.code.store(variable, pointer, None);
        } else {
            let pointer = self.code.load(to_word, variable, None);
            self.known.own.push(Address::Pointer(pointer));
        }
    }

    /// Statements of a block of its own: what becomes known there is not known after it. Gives a
    /// word and an address of the block, and the block that it ends with.
    fn block(&mut self, label: Id, depth: u32) -> (Id, Address, Id) {
        let outside = self.known.clone();
        self.code.begin(label);
        self.statements(depth);
        let (word, address) = (self.any_word(1), self.own_address(0));
        let pointer = if self.features.pointers {
            let to_word = self.code.types.to_word;
            Address::Pointer(self.pointer(address, to_word))
        } else {
            Address::Pair(self.pair(address))
        };
        self.known = outside;
        (word, pointer, self.code.here())
    }

    fn branch(&mut self, depth: u32) {
        let condition = self.condition(1);
        let (yes, no, after) = (self.code.fresh(), self.code.fresh(), self.code.fresh());
        if self.draw.one_in(4) {
            return self.leave(condition, yes, after);
        }
        self.code.merge(after);
        self.code.branch_if(condition, yes, no);
        let left = self.block(yes, depth + 1);
        self.code.branch(after);
        let right = self.block(no, depth + 1);
        self.code.branch(after);
        self.code.begin(after);
        self.join(&[left, right]);
    }

    /// Phis of what blocks ended with.
    fn join(&mut self, from: &[(Id, Address, Id)]) {
        let (word, joined) = (self.code.types.word, self.code.fresh());
        let words: Vec<(Id, Id)> = from.iter().map(|&(word, _, block)| (word, block)).collect();
        self.code.phi(joined, word, &words);
        let raw = |address| match address {
            Address::Pointer(id) | Address::Pair(id) | Address::Long(id) => id,
        };
        let addresses: Vec<(Id, Id)> =
            from.iter().map(|&(_, address, block)| (raw(address), block)).collect();
        let id = self.code.fresh();
        let (to_word, pair) = (self.code.types.to_word, self.code.types.pair);
        let of = if self.features.pointers { to_word } else { pair };
        self.code.phi(id, of, &addresses);
        let address = if self.features.pointers { Address::Pointer(id) } else { Address::Pair(id) };
        self.known.words.push(joined);
        self.known.own.push(address);
    }

    /// Leaves a loop, goes on to its next pass, or returns, if the condition holds.
    fn leave(&mut self, condition: Id, yes: Id, after: Id) {
        self.code.merge(after);
        self.code.branch_if(condition, yes, after);
        let outside = self.known.clone();
        self.code.begin(yes);
        let (value, pointer) = (self.any_word(1), self.own_element(0));
        self.code.store(pointer, value, Some(4));
        match (self.inside, self.draw.below(3)) {
            (Some(inside), 0) => self.code.branch(inside.after),
            (Some(inside), 1) => self.code.branch(inside.next),
            _ if self.may_return => {
                let value = self.gives_word.then(|| self.any_word(1));
                self.code.ret(value);
            }
            _ => self.code.branch(after),
        }
        self.known = outside;
        self.code.begin(after);
    }

    /// A loop of a few passes, tested before or after its body.
    fn repeat(&mut self, depth: u32) {
        let trips = match self.draw.below(3) {
            0 => {
                let trips = self.any_word(1);
                self.masked(trips, 3)
            }
            _ => {
                let trips = 1 + self.draw.below(5);
                self.code.word(trips)
            }
        };
        let start = self.any_word(1);
        let [head, test, body, next, after] = std::array::from_fn(|_| self.code.fresh());
        let [k, carried, more, changed] = std::array::from_fn(|_| self.code.fresh());
        let (word, before) = (self.code.types.word, self.code.here());
        let (zero, one) = (self.code.word(0), self.code.word(1));
        let tests_first = self.draw.one_in(2);
        self.code.branch(head);
        self.code.begin(head);
        self.code.phi(k, word, &[(zero, before), (more, next)]);
        self.code.phi(carried, word, &[(start, before), (changed, next)]);
        self.code.loop_merge(after, next);
        let outside = self.known.clone();
        self.known.words.extend([k, carried]);
        if tests_first {
            self.code.branch(test);
            self.code.begin(test);
            let go = self.is_below(k, trips);
            self.code.branch_if(go, body, after);
        } else {
            self.code.branch(body);
        }
        let outer = self.inside.replace(Loop { after, next });
        self.block(body, depth + 1);
        self.inside = outer;
        self.code.branch(next);
        self.code.begin(next);
        let variable = self.variable();
        let kept = self.code.load(word, variable, None);
        self.code.add_as(changed, Op::BitwiseXor, word, &[carried, kept]);
        self.code.add_as(more, Op::IAdd, word, &[k, one]);
        if tests_first {
            self.code.branch(head);
        } else {
            let go = self.is_below(more, trips);
            self.code.branch_if(go, head, after);
        }
        self.known = outside;
        self.known.words.push(carried);
        self.code.begin(after);
    }

    fn is_below(&mut self, a: Id, b: Id) -> Id {
        let bool = self.code.types.bool;
        self.code.op(Op::ULessThan, bool, &[a, b])
    }

    fn switch(&mut self, depth: u32) {
        let selector = self.any_word(1);
        let selector = self.masked(selector, 3);
        let [zero, two, default, after] = std::array::from_fn(|_| self.code.fresh());
        self.code.merge(after);
        self.code.switch(selector, default, &[(0, zero), (2, two)]);
        let mut from = Vec::new();
        for label in [zero, two, default] {
            // A break or a return would leave the switch in the midst of a block; loops inside
            // have their own.
            let outer = self.inside.take();
            from.push(self.block(label, depth + 1));
            self.inside = outer;
            self.code.branch(after);
        }
        self.code.begin(after);
        self.join(&from);
    }

    /// Every invocation leaves a word in shared memory and takes another's.
    fn exchange(&mut self, array: Id, to_word: Id) {
        let (word, local) = (self.code.types.word, self.masked(self.lane, GROUP - 1));
        let value = self.any_word(2);
        let mine = self.code.op(Op::AccessChain, to_word, &[array, local]);
        self.code.store(mine, value, None);
        self.barrier();
        let by = self.draw.below(GROUP);
        let by = self.code.word(by);
        let other = self.code.op(Op::BitwiseXor, word, &[local, by]);
        let theirs = self.code.op(Op::AccessChain, to_word, &[array, other]);
        let value = self.code.load(word, theirs, None);
        self.barrier();
        self.known.words.push(value);
    }

    fn barrier(&mut self) {
        let (group, ordered) = (self.code.word(2), self.code.word(ORDERED));
        let scope = Operand::IdScope(group);
        let operands = vec![scope.clone(), scope, Operand::IdMemorySemantics(ordered)];
        self.code.effect(Op::ControlBarrier, operands);
    }
}
