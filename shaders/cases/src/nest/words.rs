//! The words of a nest: blocks as unoptimising compilers make them.

use super::tree::{FACTOR, FUEL, Form, Jump, Loop, Nest, Statement, Switch, Test};

/// Opcodes, by the SPIR-V specification's numbers.
mod op {
    pub(super) const MEMORY_MODEL: u32 = 14;
    pub(super) const ENTRY_POINT: u32 = 15;
    pub(super) const EXECUTION_MODE: u32 = 16;
    pub(super) const CAPABILITY: u32 = 17;
    pub(super) const TYPE_VOID: u32 = 19;
    pub(super) const TYPE_BOOL: u32 = 20;
    pub(super) const TYPE_INT: u32 = 21;
    pub(super) const TYPE_VECTOR: u32 = 23;
    pub(super) const TYPE_RUNTIME_ARRAY: u32 = 29;
    pub(super) const TYPE_STRUCT: u32 = 30;
    pub(super) const TYPE_POINTER: u32 = 32;
    pub(super) const TYPE_FUNCTION: u32 = 33;
    pub(super) const CONSTANT_TRUE: u32 = 41;
    pub(super) const CONSTANT_FALSE: u32 = 42;
    pub(super) const CONSTANT: u32 = 43;
    pub(super) const FUNCTION: u32 = 54;
    pub(super) const FUNCTION_END: u32 = 56;
    pub(super) const FUNCTION_CALL: u32 = 57;
    pub(super) const VARIABLE: u32 = 59;
    pub(super) const LOAD: u32 = 61;
    pub(super) const STORE: u32 = 62;
    pub(super) const ACCESS_CHAIN: u32 = 65;
    pub(super) const DECORATE: u32 = 71;
    pub(super) const MEMBER_DECORATE: u32 = 72;
    pub(super) const BITCAST: u32 = 124;
    pub(super) const I_ADD: u32 = 128;
    pub(super) const I_SUB: u32 = 130;
    pub(super) const I_MUL: u32 = 132;
    pub(super) const LOGICAL_AND: u32 = 167;
    pub(super) const I_EQUAL: u32 = 170;
    pub(super) const U_GREATER_THAN: u32 = 172;
    pub(super) const SHIFT_RIGHT_LOGICAL: u32 = 194;
    pub(super) const BITWISE_AND: u32 = 199;
    pub(super) const NOT: u32 = 200;
    pub(super) const LOOP_MERGE: u32 = 246;
    pub(super) const SELECTION_MERGE: u32 = 247;
    pub(super) const LABEL: u32 = 248;
    pub(super) const BRANCH: u32 = 249;
    pub(super) const BRANCH_CONDITIONAL: u32 = 250;
    pub(super) const SWITCH: u32 = 251;
    pub(super) const RETURN: u32 = 253;
    pub(super) const RETURN_VALUE: u32 = 254;
    pub(super) const UNREACHABLE: u32 = 255;
}

impl Nest {
    /// The words of a kernel of 8 invocations a workgroup. Its push constants are the address of
    /// the states, a word for each invocation.
    pub fn words(&self) -> Vec<u32> {
        let mut code = Code::default();
        let ids = Ids::declare(&mut code);
        let mut writer = Writer { code, ids, breaks: Vec::new(), continues: Vec::new() };
        writer.functions(self);
        writer.finish()
    }
}

type Id = u32;

/// The sections of a module, and the ids that are taken.
#[derive(Default)]
struct Code {
    before: Vec<u32>,
    declared: Vec<u32>,
    functions: Vec<u32>,
    constants: Vec<(u32, Id)>,
    last: Id,
    /// Whether the block has ended.
    ended: bool,
}

fn add(to: &mut Vec<u32>, op: u32, operands: &[u32]) {
    to.push((operands.len() as u32 + 1) << 16 | op);
    to.extend(operands);
}

impl Code {
    fn fresh(&mut self) -> Id {
        self.last += 1;
        self.last
    }

    fn declare(&mut self, op: u32, operands: &[u32]) -> Id {
        let id = self.fresh();
        add(&mut self.declared, op, &[&[id], operands].concat());
        id
    }

    /// A constant or variable: the type comes before the id.
    fn declare_of(&mut self, op: u32, of: Id, operands: &[u32]) -> Id {
        let id = self.fresh();
        add(&mut self.declared, op, &[&[of, id], operands].concat());
        id
    }

    fn value(&mut self, op: u32, of: Id, operands: &[u32]) -> Id {
        let id = self.fresh();
        add(&mut self.functions, op, &[&[of, id], operands].concat());
        id
    }

    fn act(&mut self, op: u32, operands: &[u32]) {
        add(&mut self.functions, op, operands);
    }

    fn begin(&mut self, label: Id) {
        self.act(op::LABEL, &[label]);
        self.ended = false;
    }

    fn end(&mut self, op: u32, operands: &[u32]) {
        self.act(op, operands);
        self.ended = true;
    }
}

/// Declarations.
struct Ids {
    void: Id,
    bool: Id,
    word: Id,
    pair: Id,
    yes: Id,
    no: Id,
    push: Id,
    push_pair: Id,
    block_pointer: Id,
    word_pointer: Id,
    variable: Id,
    gid: Id,
    input_word: Id,
    main: Id,
    state: Id,
    fuel: Id,
}

impl Ids {
    fn declare(c: &mut Code) -> Self {
        let void = c.declare(op::TYPE_VOID, &[]);
        let bool = c.declare(op::TYPE_BOOL, &[]);
        let word = c.declare(op::TYPE_INT, &[32, 0]);
        let pair = c.declare(op::TYPE_VECTOR, &[word, 2]);
        let triple = c.declare(op::TYPE_VECTOR, &[word, 3]);
        let (yes, no) = (
            c.declare_of(op::CONSTANT_TRUE, bool, &[]),
            c.declare_of(op::CONSTANT_FALSE, bool, &[]),
        );
        let push_block = c.declare(op::TYPE_STRUCT, &[pair]);
        let push_pointer = c.declare(op::TYPE_POINTER, &[9, push_block]);
        let push = c.declare_of(op::VARIABLE, push_pointer, &[9]);
        let push_pair = c.declare(op::TYPE_POINTER, &[9, pair]);
        let array = c.declare(op::TYPE_RUNTIME_ARRAY, &[word]);
        let block = c.declare(op::TYPE_STRUCT, &[array]);
        let block_pointer = c.declare(op::TYPE_POINTER, &[5349, block]);
        let word_pointer = c.declare(op::TYPE_POINTER, &[5349, word]);
        let variable = c.declare(op::TYPE_POINTER, &[6, word]);
        let input = c.declare(op::TYPE_POINTER, &[1, triple]);
        let gid = c.declare_of(op::VARIABLE, input, &[1]);
        let input_word = c.declare(op::TYPE_POINTER, &[1, word]);
        let state = c.declare_of(op::VARIABLE, variable, &[6]);
        let fuel = c.declare_of(op::VARIABLE, variable, &[6]);
        let main = c.fresh();
        // Shader, physical pointers; GLSL450; one block of push constants, one of states.
        let b = &mut c.before;
        add(b, op::CAPABILITY, &[1]);
        add(b, op::CAPABILITY, &[5347]);
        add(b, op::MEMORY_MODEL, &[5348, 1]);
        let name = u32::from_le_bytes(*b"main");
        add(b, op::ENTRY_POINT, &[5, main, name, 0, gid, push, state, fuel]);
        add(b, op::EXECUTION_MODE, &[main, 17, 8, 1, 1]);
        for block in [push_block, block] {
            add(b, op::DECORATE, &[block, 2]);
            add(b, op::MEMBER_DECORATE, &[block, 0, 35, 0]);
        }
        add(b, op::DECORATE, &[array, 6, 4]);
        add(b, op::DECORATE, &[gid, 11, 28]);
        Self {
            void,
            bool,
            word,
            pair,
            yes,
            no,
            push,
            push_pair,
            block_pointer,
            word_pointer,
            variable,
            gid,
            input_word,
            main,
            state,
            fuel,
        }
    }
}

/// Writes statements; knows where jumps lead.
struct Writer {
    code: Code,
    ids: Ids,
    breaks: Vec<Id>,
    continues: Vec<Id>,
}

impl Writer {
    fn finish(self) -> Vec<u32> {
        let Code { before, declared, functions, last, .. } = self.code;
        // Version 1.5.
        let header = vec![0x0723_0203, 0x0001_0500, 0, last + 1, 0];
        [header, before, declared, functions].concat()
    }

    fn word(&mut self, value: u32) -> Id {
        let known = self.code.constants.iter().find(|(known, _)| *known == value);
        known.map(|&(_, id)| id).unwrap_or_else(|| {
            let id = self.code.declare_of(op::CONSTANT, self.ids.word, &[value]);
            self.code.constants.push((value, id));
            id
        })
    }

    fn functions(&mut self, nest: &Nest) {
        let (void, word, main) = (self.ids.void, self.ids.word, self.ids.main);
        let of_main = self.code.declare(op::TYPE_FUNCTION, &[void]);
        let inner = nest.in_function.then(|| {
            let of = self.code.declare(op::TYPE_FUNCTION, &[word]);
            let function = self.code.fresh();
            self.code.act(op::FUNCTION, &[word, function, 0, of]);
            let label = self.code.fresh();
            self.code.begin(label);
            self.body(nest, true);
            function
        });
        self.code.act(op::FUNCTION, &[void, main, 0, of_main]);
        let label = self.code.fresh();
        self.code.begin(label);
        let place = self.place();
        let first = self.code.value(op::LOAD, word, &[place, 2, 4]);
        let fuel = self.word(FUEL);
        let (state_at, fuel_at) = (self.ids.state, self.ids.fuel);
        self.code.act(op::STORE, &[state_at, first]);
        self.code.act(op::STORE, &[fuel_at, fuel]);
        match inner {
            Some(function) => {
                let state = self.code.value(op::FUNCTION_CALL, word, &[function]);
                let state = self.code.value(op::NOT, word, &[state]);
                let place = self.place();
                self.code.act(op::STORE, &[place, state, 2, 4]);
                self.code.end(op::RETURN, &[]);
                self.code.act(op::FUNCTION_END, &[]);
            }
            None => self.body(nest, false),
        }
    }

    /// The statements, and the end of the function that they are in.
    fn body(&mut self, nest: &Nest, gives_state: bool) {
        self.statements(&nest.body, gives_state);
        if !self.code.ended {
            self.leave(gives_state);
        }
        self.code.act(op::FUNCTION_END, &[]);
    }

    fn leave(&mut self, gives_state: bool) {
        if gives_state {
            let state = self.state();
            self.code.end(op::RETURN_VALUE, &[state]);
        } else {
            self.code.end(op::RETURN, &[]);
        }
    }

    fn state(&mut self) -> Id {
        self.code.value(op::LOAD, self.ids.word, &[self.ids.state])
    }

    /// The invocation's word in memory.
    fn place(&mut self) -> Id {
        let Ids {
            word, pair, push, push_pair, block_pointer, word_pointer, gid, input_word, ..
        } = self.ids;
        let zero = self.word(0);
        let at = self.code.value(op::ACCESS_CHAIN, input_word, &[gid, zero]);
        let lane = self.code.value(op::LOAD, word, &[at]);
        let at = self.code.value(op::ACCESS_CHAIN, push_pair, &[push, zero]);
        let address = self.code.value(op::LOAD, pair, &[at]);
        let block = self.code.value(op::BITCAST, block_pointer, &[address]);
        self.code.value(op::ACCESS_CHAIN, word_pointer, &[block, zero, lane])
    }

    fn statements(&mut self, statements: &[Statement], f: bool) {
        for statement in statements {
            if self.code.ended {
                // No invocation gets here.
                let label = self.code.fresh();
                self.code.begin(label);
            }
            self.statement(statement, f);
        }
    }

    fn statement(&mut self, statement: &Statement, f: bool) {
        match statement {
            Statement::Note(more) => self.note(*more),
            Statement::If(test, yes, no) => {
                let condition = self.test(*test);
                let [then, otherwise, after] = [(); 3].map(|()| self.code.fresh());
                let no_label = if no.is_some() { otherwise } else { after };
                self.code.act(op::SELECTION_MERGE, &[after, 0]);
                self.code.end(op::BRANCH_CONDITIONAL, &[condition, then, no_label]);
                self.block(then, yes, after, f);
                if let Some(no) = no {
                    self.block(otherwise, no, after, f);
                }
                self.code.begin(after);
            }
            Statement::Switch(switch) => self.switch(switch, f),
            Statement::Loop(found) if found.form == Form::Single => self.single(found),
            Statement::Loop(found) => self.repeat(found, f),
            Statement::Jump(Jump::Return) => self.leave(f),
            Statement::Jump(jump) => {
                let targets = if *jump == Jump::Break { &self.breaks } else { &self.continues };
                let target = *targets.last().expect("jumps are drawn where they are allowed");
                self.code.end(op::BRANCH, &[target]);
            }
            Statement::Unreachable => {
                // There is more fuel than that.
                let (bool, word, most) = (self.ids.bool, self.ids.word, self.word(FUEL));
                let fuel = self.code.value(op::LOAD, word, &[self.ids.fuel]);
                let condition = self.code.value(op::U_GREATER_THAN, bool, &[fuel, most]);
                let [never, after] = [(); 2].map(|()| self.code.fresh());
                self.code.act(op::SELECTION_MERGE, &[after, 0]);
                self.code.end(op::BRANCH_CONDITIONAL, &[condition, never, after]);
                self.code.begin(never);
                self.code.end(op::UNREACHABLE, &[]);
                self.code.begin(after);
            }
        }
    }

    /// Statements of a block, and what follows it.
    fn block(&mut self, label: Id, statements: &[Statement], after: Id, f: bool) {
        self.code.begin(label);
        self.statements(statements, f);
        if !self.code.ended {
            self.code.end(op::BRANCH, &[after]);
        }
    }

    fn note(&mut self, more: u32) {
        let word = self.ids.word;
        let (factor, more, state) = (self.word(FACTOR), self.word(more), self.state());
        let product = self.code.value(op::I_MUL, word, &[state, factor]);
        let sum = self.code.value(op::I_ADD, word, &[product, more]);
        self.code.act(op::STORE, &[self.ids.state, sum]);
        let place = self.place();
        self.code.act(op::STORE, &[place, sum, 2, 4]);
    }

    /// Two bits of the state.
    fn bits(&mut self, from: u32) -> Id {
        let (word, from, three) = (self.ids.word, self.word(from), self.word(3));
        let state = self.state();
        let shifted = self.code.value(op::SHIFT_RIGHT_LOGICAL, word, &[state, from]);
        self.code.value(op::BITWISE_AND, word, &[shifted, three])
    }

    fn test(&mut self, test: Test) -> Id {
        match test {
            Test::Constant(true) => self.ids.yes,
            Test::Constant(false) => self.ids.no,
            Test::State(from, value) => {
                let (bits, value) = (self.bits(from), self.word(value));
                self.code.value(op::I_EQUAL, self.ids.bool, &[bits, value])
            }
        }
    }

    fn switch(&mut self, switch: &Switch, f: bool) {
        let selector = self.bits(switch.bits);
        let (default, after) = (self.code.fresh(), self.code.fresh());
        let labels: Vec<Id> = switch.cases.iter().map(|_| self.code.fresh()).collect();
        let mut operands = vec![selector, default];
        for ((value, ..), label) in switch.cases.iter().zip(&labels) {
            operands.extend([*value, *label]);
        }
        self.code.act(op::SELECTION_MERGE, &[after, 0]);
        self.code.end(op::SWITCH, &operands);
        self.breaks.push(after);
        for (at, (_, body, falls)) in switch.cases.iter().enumerate() {
            let next = labels.get(at + 1).copied().unwrap_or(default);
            self.block(labels[at], body, if *falls { next } else { after }, f);
        }
        self.block(default, &switch.default, after, f);
        self.breaks.pop();
        self.code.begin(after);
    }

    /// Uses up fuel, and gives what is left.
    fn burn(&mut self) -> Id {
        let (word, one) = (self.ids.word, self.word(1));
        let fuel = self.code.value(op::LOAD, word, &[self.ids.fuel]);
        let left = self.code.value(op::I_SUB, word, &[fuel, one]);
        self.code.act(op::STORE, &[self.ids.fuel, left]);
        left
    }

    fn single(&mut self, found: &Loop) {
        let (header, after) = (self.code.fresh(), self.code.fresh());
        self.code.end(op::BRANCH, &[header]);
        self.code.begin(header);
        let (left, one) = (self.burn(), self.word(1));
        self.statements(&found.body, false);
        let test = self.test(found.test);
        let more = self.code.value(op::U_GREATER_THAN, self.ids.bool, &[left, one]);
        let more = self.code.value(op::LOGICAL_AND, self.ids.bool, &[test, more]);
        self.code.act(op::LOOP_MERGE, &[after, header, 0]);
        self.code.end(op::BRANCH_CONDITIONAL, &[more, header, after]);
        self.code.begin(after);
    }

    fn repeat(&mut self, found: &Loop, f: bool) {
        let [header, test, body, next, after] = [(); 5].map(|()| self.code.fresh());
        self.code.end(op::BRANCH, &[header]);
        self.code.begin(header);
        let merge = [after, next, 0];
        match found.form {
            Form::First { in_header: true } => {
                let condition = self.test(found.test);
                self.code.act(op::LOOP_MERGE, &merge);
                self.code.end(op::BRANCH_CONDITIONAL, &[condition, body, after]);
            }
            Form::First { in_header: false } => {
                self.code.act(op::LOOP_MERGE, &merge);
                self.code.end(op::BRANCH, &[test]);
                self.code.begin(test);
                let condition = self.test(found.test);
                self.code.end(op::BRANCH_CONDITIONAL, &[condition, body, after]);
            }
            _ => {
                self.code.act(op::LOOP_MERGE, &merge);
                self.code.end(op::BRANCH, &[body]);
            }
        }
        self.code.begin(body);
        self.return_without_fuel(f);
        self.breaks.push(after);
        self.continues.push(next);
        self.statements(&found.body, f);
        self.breaks.pop();
        self.continues.pop();
        if !self.code.ended {
            self.code.end(op::BRANCH, &[next]);
        }
        self.code.begin(next);
        self.statements(&found.step, f);
        if found.form == Form::Last {
            let condition = self.test(found.test);
            self.code.end(op::BRANCH_CONDITIONAL, &[condition, header, after]);
        } else {
            self.code.end(op::BRANCH, &[header]);
        }
        self.code.begin(after);
    }

    fn return_without_fuel(&mut self, f: bool) {
        let (left, zero) = (self.burn(), self.word(0));
        let empty = self.code.value(op::I_EQUAL, self.ids.bool, &[left, zero]);
        let [stop, go] = [(); 2].map(|()| self.code.fresh());
        self.code.act(op::SELECTION_MERGE, &[go, 0]);
        self.code.end(op::BRANCH_CONDITIONAL, &[empty, stop, go]);
        self.code.begin(stop);
        self.leave(f);
        self.code.begin(go);
    }
}
