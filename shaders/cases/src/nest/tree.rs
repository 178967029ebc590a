//! The statements of a nest, and what they compute.

/// Statements inside statements, at most.
const DEPTH: u32 = 4;
/// Statements of a program, at most.
const STATEMENTS: u32 = 24;
/// Passes of all loops of an invocation, the last of which returns.
pub(super) const FUEL: u32 = 48;
/// The factor by which a note multiplies the state.
pub(super) const FACTOR: u32 = 1_664_525;

/// A program: the statements of an invocation.
#[derive(Debug)]
pub struct Nest {
    pub(super) body: Vec<Statement>,
    /// The statements are those of a function that returns the state, and that the kernel calls.
    pub(super) in_function: bool,
}

#[derive(Debug)]
pub(super) enum Statement {
    /// Multiplies the state, adds this number, and stores it.
    Note(u32),
    If(Test, Vec<Statement>, Option<Vec<Statement>>),
    Switch(Switch),
    Loop(Loop),
    Jump(Jump),
    /// `OpUnreachable`, behind a condition that never holds.
    Unreachable,
}

/// The condition of a branch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Constant(bool),
    /// Whether two bits of the state, from the first number on, equal the second.
    State(u32, u32),
}

#[derive(Debug)]
pub(super) struct Switch {
    /// The first of the two bits of the state that are switched on.
    pub(super) bits: u32,
    /// The value, the statements, and whether control falls through to the next case.
    pub(super) cases: Vec<(u32, Vec<Statement>, bool)>,
    pub(super) default: Vec<Statement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Tests before the body, in a block of its own as glslang does, or in the header.
    First { in_header: bool },
    /// Tests behind the body.
    Last,
    /// Never tests.
    Forever,
    /// One block that is header, body and continue target.
    Single,
}

#[derive(Debug)]
pub(super) struct Loop {
    pub(super) form: Form,
    pub(super) test: Test,
    pub(super) body: Vec<Statement>,
    /// Code between two passes: no jumps, no loops.
    pub(super) step: Vec<Statement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jump {
    Break,
    Continue,
    Return,
}

/// The next place of an invocation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PointerCheck {
    Next,
    Jump(Jump),
}

impl Nest {
    /// The nest of a seed.
    pub fn new(seed: u64) -> Self {
        let mut draw = Draw { state: seed, left: STATEMENTS };
        let in_function = draw.one_in(3);
        let mut body = vec![Statement::Note(draw.word() | 1)];
        body.extend(draw.statements(0, &[Jump::Return]));
        body.push(Statement::Note(draw.word() | 1));
        Self { body, in_function }
    }

    /// The word that an invocation leaves in the place of its first state.
    pub fn run(&self, state: u32) -> u32 {
        let mut run = Run { state, fuel: FUEL };
        run.all(&self.body);
        if self.in_function { !run.state } else { run.state }
    }
}

/// An invocation that runs.
struct Run {
    state: u32,
    fuel: u32,
}

impl Run {
    fn all(&mut self, statements: &[Statement]) -> PointerCheck {
        for statement in statements {
            let check = self.one(statement);
            if check != PointerCheck::Next {
                return check;
            }
        }
        PointerCheck::Next
    }

    fn one(&mut self, statement: &Statement) -> PointerCheck {
        match statement {
            Statement::Note(add) => {
                self.state = self.state.wrapping_mul(FACTOR).wrapping_add(*add);
                PointerCheck::Next
            }
            Statement::If(test, yes, _) if self.holds(*test) => self.all(yes),
            Statement::If(_, _, no) => self.all(no.as_deref().unwrap_or_default()),
            Statement::Switch(switch) => self.switch(switch),
            Statement::Loop(found) => self.repeat(found),
            Statement::Jump(jump) => PointerCheck::Jump(*jump),
            Statement::Unreachable => PointerCheck::Next,
        }
    }

    fn holds(&self, test: Test) -> bool {
        match test {
            Test::Constant(value) => value,
            Test::State(bits, value) => self.state >> bits & 3 == value,
        }
    }

    fn switch(&mut self, switch: &Switch) -> PointerCheck {
        let value = self.state >> switch.bits & 3;
        let mut at = switch.cases.iter().position(|(case, ..)| *case == value);
        while let Some((_, body, falls)) = at.and_then(|at| switch.cases.get(at)) {
            match self.all(body) {
                PointerCheck::Next if *falls => at = at.map(|at| at + 1),
                PointerCheck::Next | PointerCheck::Jump(Jump::Break) => return PointerCheck::Next,
                check => return check,
            }
        }
        // No case, or the last one went on.
        match self.all(&switch.default) {
            PointerCheck::Jump(Jump::Break) => PointerCheck::Next,
            check => check,
        }
    }

    fn repeat(&mut self, found: &Loop) -> PointerCheck {
        loop {
            if matches!(found.form, Form::First { .. }) && !self.holds(found.test) {
                return PointerCheck::Next;
            }
            self.fuel -= 1;
            if found.form == Form::Single {
                self.all(&found.body);
                if self.fuel <= 1 || !self.holds(found.test) {
                    return PointerCheck::Next;
                }
                continue;
            }
            if self.fuel == 0 {
                return PointerCheck::Jump(Jump::Return);
            }
            match self.all(&found.body) {
                PointerCheck::Jump(Jump::Break) => return PointerCheck::Next,
                PointerCheck::Jump(Jump::Return) => return PointerCheck::Jump(Jump::Return),
                PointerCheck::Next | PointerCheck::Jump(Jump::Continue) => {}
            }
            self.all(&found.step);
            if found.form == Form::Last && !self.holds(found.test) {
                return PointerCheck::Next;
            }
        }
    }
}

/// A stream of choices (SplitMix64), and how many statements are left.
struct Draw {
    state: u64,
    left: u32,
}

impl Draw {
    fn word(&mut self) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }

    fn below(&mut self, end: u32) -> u32 {
        self.word() % end
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    fn test(&mut self) -> Test {
        match self.below(6) {
            0 => Test::Constant(false),
            1 => Test::Constant(true),
            // The upper bits are the more random ones.
            _ => Test::State(16 + self.below(14), self.below(4)),
        }
    }

    fn note(&mut self) -> Statement {
        Statement::Note(self.word() | 1)
    }

    /// Statements, with the jumps that are allowed there. Some stand behind a jump and never run.
    fn statements(&mut self, depth: u32, jumps: &[Jump]) -> Vec<Statement> {
        let count = self.below(if depth == 0 { 5 } else { 4 });
        let mut statements = Vec::new();
        for _ in 0..count {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            statements.push(self.statement(depth, jumps));
        }
        statements
    }

    fn statement(&mut self, depth: u32, jumps: &[Jump]) -> Statement {
        let kinds = if depth < DEPTH { 16 } else { 5 };
        match self.below(kinds) {
            0 | 1 => self.note(),
            2 | 3 if !jumps.is_empty() => {
                Statement::Jump(jumps[self.below(jumps.len() as u32) as usize])
            }
            4 => Statement::Unreachable,
            5..8 => {
                let (test, yes) = (self.test(), self.statements(depth + 1, jumps));
                let no = self.one_in(2).then(|| self.statements(depth + 1, jumps));
                Statement::If(test, yes, no)
            }
            8 | 9 => Statement::Switch(self.switch(depth, jumps)),
            10.. => Statement::Loop(self.repeat(depth)),
            _ => self.note(),
        }
    }

    fn switch(&mut self, depth: u32, jumps: &[Jump]) -> Switch {
        let mut inside = jumps.to_vec();
        if !inside.contains(&Jump::Break) {
            inside.push(Jump::Break);
        }
        let bits = 16 + self.below(14);
        let mut cases = Vec::new();
        for value in 0..self.below(4) {
            let body = self.statements(depth + 1, &inside);
            cases.push((value, body, self.one_in(3)));
        }
        let default = self.statements(depth + 1, &inside);
        Switch { bits, cases, default }
    }

    fn repeat(&mut self, depth: u32) -> Loop {
        let form = match self.below(8) {
            0 | 1 => Form::First { in_header: false },
            2 => Form::First { in_header: true },
            3 | 4 => Form::Last,
            5 => Form::Single,
            _ => Form::Forever,
        };
        let test = self.test();
        if form == Form::Single {
            return Loop { form, test, body: vec![self.note()], step: Vec::new() };
        }
        let jumps = [Jump::Break, Jump::Continue, Jump::Return];
        let body = self.statements(depth + 1, &jumps);
        let mut step = Vec::new();
        if self.one_in(2) {
            step.push(self.note());
        }
        if self.one_in(4) {
            let (test, note) = (self.test(), self.note());
            step.push(Statement::If(test, vec![note], None));
        }
        Loop { form, test, body, step }
    }
}
