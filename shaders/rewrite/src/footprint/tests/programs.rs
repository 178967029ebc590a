//! Random programs whose indices, guards and loops are hard to bound.

use super::emit::{Emit, LONG, PUSH_BYTES, ROOTS, WORDS};
use super::random::Random;
use crate::ir::instruction::Id;
use rspirv::dr::{Module, Operand};
use rspirv::spirv::{FunctionControl, LoopControl, SelectionControl, StorageClass};

/// A program and a launch of it.
pub(super) struct Program {
    pub(super) module: Module,
    pub(super) push: Vec<u8>,
    pub(super) groups: [u32; 3],
    pub(super) size: [u32; 3],
}

/// The addresses of the pointer arguments.
const ADDRESSES: [u64; 2] = [0x1000_0000_0000, 0x2000_0000_0000];

/// Makes the program of a seed.
pub(super) fn program(seed: u64) -> Program {
    made(seed, Kind::Any)
}

/// Makes the program of a seed, which may use addresses as more than the base of accesses.
pub(super) fn program_with_addresses(seed: u64) -> Program {
    made(seed, Kind::UsesAddresses)
}

/// Makes the program of a seed, most of whose invocations write a word of an argument each.
pub(super) fn program_that_fills(seed: u64) -> Program {
    made(seed, Kind::Fills)
}

/// What a program is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    UsesAddresses,
    Fills,
}

fn made(seed: u64, kind: Kind) -> Program {
    let mut random = Random::new(seed);
    let axis = |random: &mut Random, sizes: &[u32]| random.pick(sizes);
    let size = [axis(&mut random, &[1, 4, 4, 8]), axis(&mut random, &[1, 1, 2]), 1];
    let groups = [1 + random.word(4), axis(&mut random, &[1, 1, 2]), axis(&mut random, &[1, 1, 2])];
    let line = groups[0] * size[0];
    let mut push = vec![0; PUSH_BYTES];
    for (at, address) in ROOTS.iter().zip(ADDRESSES) {
        push[*at as usize..][..8].copy_from_slice(&address.to_le_bytes());
    }
    for word in 0..WORDS {
        let value = match random.below(4) {
            0 => random.hard(),
            1 => (line + random.word(3)).wrapping_sub(1),
            _ => random.word(2 * line),
        };
        push[(16 + 4 * word) as usize..][..4].copy_from_slice(&value.to_le_bytes());
    }
    let long = if random.one_in(3) { random.bits() } else { random.below(64) };
    push[LONG as usize..][..8].copy_from_slice(&long.to_le_bytes());
    let mut writer = Writer {
        e: Emit::new(),
        random,
        variables: Vec::new(),
        words: Vec::new(),
        own: None,
        helpers: Vec::new(),
        label: 0,
        exits: Vec::new(),
        left: 0,
        returns: None,
        kind,
    };
    writer.helpers();
    writer.main();
    Program { module: writer.e.finish(size), push, groups, size }
}

/// A function that was written: its id, and whether it stores through its first parameter.
#[derive(Clone, Copy)]
struct Helper {
    id: Id,
    stores: bool,
}

pub(super) struct Writer {
    pub(super) e: Emit,
    pub(super) random: Random,
    /// Variables of words.
    pub(super) variables: Vec<Id>,
    /// Words that are known here: parameters, counters.
    pub(super) words: Vec<Id>,
    own: Option<Id>,
    helpers: Vec<Helper>,
    /// The open block.
    pub(super) label: Id,
    /// The merge and continue blocks of the loops around.
    exits: Vec<(Id, Id)>,
    /// How many more statements there may be.
    left: u32,
    /// The type that the function returns, unless none.
    returns: Option<Id>,
    kind: Kind,
}

impl Writer {
    fn helpers(&mut self) {
        for _ in 0..self.random.below(3) {
            let stores = self.random.one_in(2);
            let first = if stores { self.e.local } else { self.e.word };
            let result = if stores { self.e.void } else { self.e.word };
            let of = self.e.b.type_function(result, [first, self.e.word]);
            let control = FunctionControl::NONE;
            let id = self.e.b.begin_function(result, None, control, of).unwrap();
            let a = self.e.b.function_parameter(first).unwrap();
            let b = self.e.b.function_parameter(self.e.word).unwrap();
            self.returns = (!stores).then_some(self.e.word);
            let first = [a];
            let (variables, words) =
                if stores { (&first[..], &[][..]) } else { (&[][..], &first[..]) };
            self.start(variables, words);
            self.words.push(b);
            if stores {
                let value = self.expression(2);
                self.e.b.store(a, value, None, []).unwrap();
            }
            self.left = 4;
            self.statements(0);
            self.give_back();
            self.e.b.end_function().unwrap();
            self.helpers.push(Helper { id, stores });
        }
    }

    fn main(&mut self) {
        self.e.begin_main();
        self.returns = None;
        self.start(&[], &[]);
        self.left = if self.kind == Kind::Fills { 3 } else { 12 };
        if self.kind == Kind::Fills {
            if self.random.one_in(2) {
                self.statement(0);
            }
            self.fill();
            self.left = 2;
        }
        self.statements(0);
        if self.kind != Kind::Fills {
            self.touch();
        }
        self.give_back();
        self.e.b.end_function().unwrap();
    }

    /// Starts a function: some variables, most of which get a value.
    fn start(&mut self, variables: &[Id], words: &[Id]) {
        self.label = self.e.b.begin_block(None).unwrap();
        self.variables = variables.to_vec();
        self.words = words.to_vec();
        let local = self.e.local;
        let class = StorageClass::Function;
        for _ in 0..3 {
            self.variables.push(self.e.b.variable(local, None, class, None));
        }
        self.own = Some(self.e.b.variable(self.e.own, None, class, None));
        for at in variables.len()..self.variables.len() {
            if !self.random.one_in(12) {
                let value = self.leaf();
                self.e.b.store(self.variables[at], value, None, []).unwrap();
            }
        }
    }

    pub(super) fn give_back(&mut self) {
        match self.returns {
            Some(_) => {
                let value = self.expression(2);
                self.e.b.ret_value(value).unwrap();
            }
            None => self.e.b.ret().unwrap(),
        }
    }

    /// Some statements. Words that are known in them are not known behind them.
    fn statements(&mut self, depth: u32) {
        let known = self.words.len();
        for _ in 0..1 + self.random.below(4) {
            if self.left > 0 {
                self.left -= 1;
                self.statement(depth);
            }
        }
        if depth > 0 {
            self.words.truncate(known);
        }
    }

    fn statement(&mut self, depth: u32) {
        match self.random.below(if depth < 3 { 16 } else { 6 }) {
            0..=1 => self.assign(),
            2..=4 => self.touch(),
            5 => self.own_array(),
            6..=8 => self.branch(depth),
            9 => self.leave_early(),
            10 if self.random.one_in(2) => self.switch(depth),
            11 if self.random.one_in(3) => self.leave_early(),
            10..=11 => self.call(),
            12 if !self.exits.is_empty() => self.jump(),
            _ => self.repeat(depth),
        }
    }

    fn assign(&mut self) {
        let value = self.expression(3);
        let to = self.random.pick(&self.variables);
        self.e.b.store(to, value, None, []).unwrap();
    }

    /// An access to memory, often behind a guard of its index.
    fn touch(&mut self) {
        if self.kind == Kind::UsesAddresses && self.random.one_in(6) {
            self.use_address();
        }
        let index = self.expression(2);
        if self.random.one_in(3) {
            return self.access(index);
        }
        self.guarded(index);
    }

    fn guarded(&mut self, index: Id) {
        let guard = self.guard(index);
        let (inside, merge) = self.fork(guard);
        self.open(inside);
        self.access(index);
        self.go(merge);
        self.open(merge);
    }

    fn access(&mut self, index: Id) {
        let which = usize::try_from(self.random.below(2)).unwrap();
        let mut address = self.e.root(which);
        if self.random.one_in(8) {
            address = self.other_address(address, 1 - which);
        }
        let pointer = match self.random.below(6) {
            0 => {
                let long = self.e.ints[3];
                let base = self.e.b.bitcast(long, None, address).unwrap();
                let wide = self.wide(index);
                let by = self.e.b.constant_bit64(long, self.random.pick(&[4, 8, 1]));
                let bytes = self.e.b.i_mul(long, None, wide, by).unwrap();
                let address = self.e.b.i_add(long, None, base, bytes).unwrap();
                self.e.at_address(address)
            }
            1 => self.e.element(address, index, true),
            _ => self.e.element(address, index, false),
        };
        if self.random.one_in(2) {
            let value = self.leaf();
            self.store_to(pointer, value);
        } else {
            let value = self.load_from(pointer);
            if self.random.one_in(2) {
                let to = self.random.pick(&self.variables);
                self.e.b.store(to, value, None, []).unwrap();
            } else if self.random.one_in(4) {
                self.guarded(value);
            }
        }
    }

    pub(super) fn wide(&mut self, word: Id) -> Id {
        let long = self.e.ints[3];
        match self.random.below(4) {
            0 => self.e.b.s_convert(long, None, word).unwrap(),
            1 => self.e.long(),
            _ => self.e.b.u_convert(long, None, word).unwrap(),
        }
    }

    fn own_array(&mut self) {
        let Some(own) = self.own else { return };
        let index = if self.random.one_in(2) {
            let five = self.e.constant(5);
            let value = self.expression(1);
            self.e.b.u_mod(self.e.word, None, value, five).unwrap()
        } else {
            let constant = self.random.word(5);
            self.e.constant(constant)
        };
        let at = self.e.b.access_chain(self.e.local, None, own, [index]).unwrap();
        if self.random.one_in(2) {
            let value = self.expression(1);
            self.e.b.store(at, value, None, []).unwrap();
        } else {
            let value = self.e.b.load(self.e.word, None, at, None, []).unwrap();
            let to = self.random.pick(&self.variables);
            self.e.b.store(to, value, None, []).unwrap();
        }
    }

    fn branch(&mut self, depth: u32) {
        let condition = self.condition(2);
        let (yes, no, merge) = (self.e.b.id(), self.e.b.id(), self.e.b.id());
        let has_else = self.random.one_in(2);
        let other = if has_else { no } else { merge };
        self.select(condition, yes, other, merge);
        self.open(yes);
        self.statements(depth + 1);
        self.go(merge);
        if has_else {
            self.open(no);
            self.statements(depth + 1);
            self.go(merge);
        }
        self.open(merge);
    }

    fn leave_early(&mut self) {
        let condition = self.condition(2);
        let (inside, merge) = self.fork(condition);
        self.open(inside);
        self.give_back();
        self.open(merge);
    }

    /// A break or continue under a condition.
    fn jump(&mut self) {
        let condition = self.condition(1);
        let (inside, merge) = self.fork(condition);
        let (end, next) = self.exits[self.exits.len() - 1];
        self.open(inside);
        let to = if self.random.one_in(2) { end } else { next };
        self.go(to);
        self.open(merge);
    }

    fn switch(&mut self, depth: u32) {
        let on = self.expression(2);
        let merge = self.e.b.id();
        let cases: Vec<Id> = (0..2).map(|_| self.e.b.id()).collect();
        let default = if self.random.one_in(2) { merge } else { self.e.b.id() };
        self.e.b.selection_merge(merge, SelectionControl::NONE).unwrap();
        let first = self.random.word(4);
        let mut targets = vec![(Operand::LiteralBit32(first), cases[0])];
        targets.push((Operand::LiteralBit32(first + 1 + self.random.word(3)), cases[1]));
        self.e.b.switch(on, default, targets).unwrap();
        let mut all = cases;
        all.extend((default != merge).then_some(default));
        let kept = std::mem::take(&mut self.exits);
        for label in all {
            self.open(label);
            self.words.push(on);
            self.statements(depth + 2);
            self.words.pop();
            self.go(merge);
        }
        self.exits = kept;
        self.open(merge);
    }

    fn call(&mut self) {
        if self.helpers.is_empty() {
            return self.assign();
        }
        let helper = self.random.pick(&self.helpers);
        let argument = self.expression(1);
        if helper.stores {
            let variable = self.random.pick(&self.variables);
            self.e.b.function_call(self.e.void, None, helper.id, [variable, argument]).unwrap();
            let value = self.e.b.load(self.e.word, None, variable, None, []).unwrap();
            self.guarded(value);
        } else {
            let other = self.expression(1);
            let args = [argument, other];
            let value = self.e.b.function_call(self.e.word, None, helper.id, args).unwrap();
            let to = self.random.pick(&self.variables);
            self.e.b.store(to, value, None, []).unwrap();
        }
    }

    /// A loop: its counter is a phi or a variable, and it is tested at its start or at its end.
    fn repeat(&mut self, depth: u32) {
        let word = self.e.word;
        let first = self.expression(1);
        let limit = self.leaf();
        let step = self.step();
        let variable = self.random.one_in(3).then(|| self.random.pick(&self.variables));
        let at_end = self.random.one_in(4);
        let [header, test, body, next, end] = [(); 5].map(|()| self.e.b.id());
        if let Some(variable) = variable {
            self.e.b.store(variable, first, None, []).unwrap();
        }
        let before = self.label;
        self.go(header);
        self.open(header);
        let changed = self.e.b.id();
        let counter = match variable {
            Some(_) => None,
            None => Some(self.e.b.phi(word, None, [(first, before), (changed, next)]).unwrap()),
        };
        self.e.b.loop_merge(end, next, LoopControl::NONE, []).unwrap();
        self.go(test);
        self.open(test);
        let value = self.counter(counter, variable);
        let goes_on = self.compare(value, limit);
        if at_end {
            self.go(body);
        } else {
            self.e.b.branch_conditional(goes_on, body, end, []).unwrap();
        }
        self.open(body);
        self.words.extend(counter);
        self.exits.push((end, next));
        self.statements(depth + 1);
        self.touch();
        self.exits.pop();
        self.go(next);
        self.open(next);
        let value = self.counter(counter, variable);
        self.change(value, step, changed);
        if let Some(variable) = variable {
            self.e.b.store(variable, changed, None, []).unwrap();
        }
        if at_end {
            let value = if self.random.one_in(2) { changed } else { value };
            let goes_on = self.compare(value, limit);
            self.e.b.branch_conditional(goes_on, header, end, []).unwrap();
        } else {
            self.e.b.branch(header).unwrap();
        }
        if counter.is_some() {
            self.words.pop();
        }
        self.open(end);
        if self.random.one_in(3) {
            // The counter as it was left.
            self.words.extend(counter);
        }
    }

    fn counter(&mut self, counter: Option<Id>, variable: Option<Id>) -> Id {
        match (counter, variable) {
            (Some(counter), _) => counter,
            (None, Some(variable)) => self.e.b.load(self.e.word, None, variable, None, []).unwrap(),
            (None, None) => self.leaf(),
        }
    }

    fn step(&mut self) -> Id {
        if self.random.one_in(4) {
            return self.leaf();
        }
        let step = self.random.pick(&[1, 1, 1, 2, 3, 4, 7, 0xffff_ffff, 0xffff_fffe]);
        self.e.constant(step)
    }

    /// The next value of a counter.
    fn change(&mut self, value: Id, step: Id, result: Id) {
        let (word, result) = (self.e.word, Some(result));
        let one = self.e.constant(1);
        match self.random.below(10) {
            0 => self.e.b.shift_right_logical(word, result, value, one),
            1 => self.e.b.shift_left_logical(word, result, value, one),
            2..=3 => self.e.b.i_sub(word, result, value, step),
            _ => self.e.b.i_add(word, result, value, step),
        }
        .unwrap();
    }

    /// A branch around a block.
    fn fork(&mut self, condition: Id) -> (Id, Id) {
        let (inside, merge) = (self.e.b.id(), self.e.b.id());
        self.select(condition, inside, merge, merge);
        (inside, merge)
    }

    pub(super) fn select(&mut self, condition: Id, yes: Id, no: Id, merge: Id) {
        self.e.b.selection_merge(merge, SelectionControl::NONE).unwrap();
        self.e.b.branch_conditional(condition, yes, no, []).unwrap();
    }

    pub(super) fn go(&mut self, to: Id) {
        self.e.b.branch(to).unwrap();
    }

    pub(super) fn open(&mut self, label: Id) {
        self.label = self.e.b.begin_block(Some(label)).unwrap();
    }
}
