//! An interpreter of whole kernels, one invocation at a time. It shares nothing with the analysis.
//!
//! Memory is random, and random again at each use. So is what the specification does
//! not define; a branch on it, and a division by 0, end the invocation as not defined.

use super::random::Random;
use super::types::Types;
use crate::ir::instruction::Id;
use rspirv::dr::{Block, Function, Instruction, Module, Operand};
use rspirv::spirv::{BuiltIn, Op, StorageClass};
use std::collections::{HashMap, HashSet};

/// The most instructions of an invocation that are interpreted.
const MOST_STEPS: usize = 6000;

/// How a number came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Known,
    /// It is another one at each use.
    Fickle,
    Undefined,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) bits: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Cells(Vec<Cell>),
    /// Some cells of a variable, or of an input.
    Variable(usize, usize),
    Push(u32),
    /// Memory that is not looked at.
    Shared,
}

/// An access to memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) site: usize,
    pub(super) address: u64,
    pub(super) bytes: u64,
}

/// The record of an invocation.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) accesses: Vec<Access>,
    /// The numbers that are stored to memory, as far as they are known.
    pub(super) stored: Vec<u64>,
    /// The most runs of each loop's start for one entry.
    pub(super) loops: Vec<u64>,
    pub(super) loop_runs: u64,
    /// Whether it was cut short.
    pub(super) is_cut: bool,
    /// Whether it did what is not defined.
    pub(super) is_undefined: bool,
    /// How many accesses came before the first number that left those with a sign of its width, or
    /// a negative one of the push constants. `None` if there was none.
    pub(super) before_wrap: Option<usize>,
}

/// One invocation of a grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) groups: [u32; 3],
    pub(super) size: [u32; 3],
    pub(super) group: [u32; 3],
    pub(super) local: [u32; 3],
}

pub(super) struct Machine<'m> {
    pub(super) module: &'m Module,
    pub(super) types: Types<'m>,
    push: &'m [u8],
    place: Place,
    pub(super) random: Random,
    variables: Vec<Vec<Cell>>,
    globals: HashMap<Id, Value>,
    sites: HashMap<*const Instruction, usize>,
    loops: HashMap<*const Block, usize>,
    pub(super) trace: Trace,
    steps: usize,
}

/// The values of a function that is called.
type Frame = HashMap<Id, Value>;

/// Why an invocation ends early.
pub(super) struct Ended;

impl<'m> Machine<'m> {
    pub(super) fn new(module: &'m Module, push: &'m [u8], place: Place, seed: u64) -> Self {
        let types = Types::new(module);
        let mut machine = Self {
            module,
            types,
            push,
            place,
            random: Random::new(seed),
            variables: Vec::new(),
            globals: HashMap::new(),
            sites: HashMap::new(),
            loops: HashMap::new(),
            trace: Trace::default(),
            steps: 0,
        };
        machine.number();
        machine
    }

    /// The functions that are called, and the entry point.
    fn called(&self) -> HashSet<Id> {
        let mut open = vec![id(&self.module.entry_points[0].operands[1])];
        let mut called = HashSet::new();
        while let Some(next) = open.pop() {
            if called.insert(next) {
                let calls = self.function(next).all_inst_iter();
                let calls = calls.filter(|i| i.class.opcode == Op::FunctionCall);
                open.extend(calls.map(|call| id(&call.operands[0])));
            }
        }
        called
    }

    /// Numbers accesses and loops in the order of the module.
    fn number(&mut self) {
        let called = self.called();
        let functions = self.module.functions.iter();
        let functions = functions.filter(|of| of.def_id().is_some_and(|id| called.contains(&id)));
        let blocks = functions.flat_map(|function| &function.blocks);
        let mut loops = 0;
        for block in blocks {
            for instruction in &block.instructions {
                let op = instruction.class.opcode;
                let pointer = instruction.operands.first().and_then(Operand::id_ref_any);
                let touches = op == Op::Load
                    || op == Op::Store
                    || instruction.class.opname.starts_with("Atomic");
                if touches && pointer.is_some_and(|of| self.types.is_physical(of)) {
                    let site = self.sites.len();
                    self.sites.insert(instruction, site);
                }
                assert_ne!(op, Op::CopyMemory, "its sites are not numbered here");
                if op == Op::LoopMerge {
                    self.loops.insert(block, loops);
                    loops += 1;
                }
            }
        }
        self.trace.loops = vec![0; loops];
    }

    /// Runs the entry point.
    pub(super) fn run(mut self) -> Trace {
        let module = self.module;
        for global in &module.types_global_values {
            self.declare(global);
        }
        let entry = id(&module.entry_points[0].operands[1]);
        let entry = self.function(entry);
        let _ = self.call(entry, Frame::new());
        self.trace
    }

    fn function(&self, id: Id) -> &'m Function {
        let functions = &self.module.functions;
        functions.iter().find(|function| function.def_id() == Some(id)).expect("it is there")
    }

    fn declare(&mut self, global: &Instruction) {
        let (Some(id), Some(of)) = (global.result_id, global.result_type) else { return };
        let known = |bits: u64| Value::Cells(vec![Cell { bits, kind: Kind::Known }]);
        let value = match (global.class.opcode, &global.operands[..]) {
            (Op::Constant, [Operand::LiteralBit32(bits)]) => known(u64::from(*bits)),
            (Op::Constant, [Operand::LiteralBit64(bits)]) => known(*bits),
            (Op::ConstantTrue, _) => known(1),
            (Op::ConstantFalse, _) => known(0),
            (Op::ConstantNull, _) => {
                let cell = Cell { bits: 0, kind: Kind::Known };
                Value::Cells(vec![cell; self.types.widths(of).len()])
            }
            (Op::ConstantComposite, parts) => {
                let parts = parts.iter().flat_map(|part| match &self.globals[&self::id(part)] {
                    Value::Cells(cells) => cells.clone(),
                    other => panic!("{other:?}"),
                });
                Value::Cells(parts.collect())
            }
            (Op::Undef, _) => self.undefined(of),
            (Op::Variable, _) => self.global_variable(id, of),
            _ => return,
        };
        self.globals.insert(id, value);
    }

    fn global_variable(&mut self, id: Id, of: Id) -> Value {
        let (class, pointee) = self.types.pointee(of);
        match class {
            StorageClass::PushConstant => Value::Push(0),
            StorageClass::Input => {
                let builtin = self.types.builtin(id);
                let cells = self.input(builtin, pointee);
                self.add(cells)
            }
            StorageClass::Private => {
                let Value::Cells(cells) = self.undefined(pointee) else { unreachable!() };
                self.add(cells)
            }
            _ => Value::Shared,
        }
    }

    fn add(&mut self, cells: Vec<Cell>) -> Value {
        self.variables.push(cells);
        Value::Variable(self.variables.len() - 1, 0)
    }

    fn input(&mut self, of: Option<BuiltIn>, pointee: Id) -> Vec<Cell> {
        let Place { groups, size, group, local } = self.place;
        let index = (local[2] * size[1] + local[1]) * size[0] + local[0];
        let words = match of {
            Some(BuiltIn::NumWorkgroups) => groups.to_vec(),
            Some(BuiltIn::WorkgroupSize) => size.to_vec(),
            Some(BuiltIn::WorkgroupId) => group.to_vec(),
            Some(BuiltIn::LocalInvocationId) => local.to_vec(),
            Some(BuiltIn::LocalInvocationIndex) => vec![index],
            Some(BuiltIn::GlobalInvocationId) => (0..3)
                .map(|axis| group[axis].wrapping_mul(size[axis]).wrapping_add(local[axis]))
                .collect(),
            _ => {
                let count = self.types.widths(pointee).len();
                return vec![Cell { bits: 0, kind: Kind::Fickle }; count];
            }
        };
        words.into_iter().map(|word| Cell { bits: word.into(), kind: Kind::Known }).collect()
    }

    pub(super) fn undefined(&self, of: Id) -> Value {
        let cell = Cell { bits: 0, kind: Kind::Undefined };
        Value::Cells(vec![cell; self.types.widths(of).len()])
    }

    fn call(&mut self, function: &'m Function, mut frame: Frame) -> Result<Option<Value>, Ended> {
        let mut block = &function.blocks[0];
        let mut from = None;
        let mut running: HashMap<*const Block, u64> = HashMap::new();
        loop {
            self.count(function, block, from, &mut running);
            let label = label(block);
            let phis = block.instructions.iter().take_while(|i| i.class.opcode == Op::Phi);
            let came: Vec<(Id, Value)> = phis.map(|phi| self.phi(phi, from, &frame)).collect();
            frame.extend(came);
            for instruction in &block.instructions {
                self.steps += 1;
                if self.steps > MOST_STEPS {
                    self.trace.is_cut = true;
                    return Err(Ended);
                }
                match instruction.class.opcode {
                    Op::Phi => {}
                    Op::Return => return Ok(None),
                    Op::ReturnValue => return Ok(Some(self.get(&frame, instruction, 0))),
                    Op::FunctionCall => self.enter(instruction, &mut frame)?,
                    Op::Unreachable => return self.end(),
                    Op::Branch | Op::BranchConditional | Op::Switch => {}
                    _ => self.step(instruction, &mut frame)?,
                }
            }
            let next = self.next(block, &frame)?;
            let mut blocks = function.blocks.iter();
            (from, block) = (Some(label), blocks.find(|b| self::label(b) == next).expect("it is"));
        }
    }

    pub(super) fn end<T>(&mut self) -> Result<T, Ended> {
        self.trace.is_undefined = true;
        Err(Ended)
    }

    /// Counts the runs of a loop's start.
    fn count(
        &mut self,
        function: &Function,
        block: &'m Block,
        from: Option<Id>,
        running: &mut HashMap<*const Block, u64>,
    ) {
        let Some(&number) = self.loops.get(&std::ptr::from_ref(block)) else { return };
        // The way back comes from a block that stands after the start.
        let position = |of: Id| function.blocks.iter().position(|b| label(b) == of);
        let is_back = from.and_then(position) >= position(label(block));
        let runs = running.entry(block).or_default();
        *runs = if is_back { *runs + 1 } else { 1 };
        self.trace.loop_runs += 1;
        self.trace.loops[number] = self.trace.loops[number].max(*runs);
    }

    fn phi(&self, phi: &Instruction, from: Option<Id>, frame: &Frame) -> (Id, Value) {
        let mut pairs = phi.operands.chunks_exact(2);
        let pair = pairs.find(|pair| Some(id(&pair[1])) == from).expect("it has the way");
        let value = frame.get(&id(&pair[0])).or_else(|| self.globals.get(&id(&pair[0])));
        (phi.result_id.expect("it has"), value.expect("it is computed").clone())
    }

    fn enter(&mut self, call: &'m Instruction, frame: &mut Frame) -> Result<(), Ended> {
        let function = self.function(id(&call.operands[0]));
        let mut inner = Frame::new();
        for (at, parameter) in (1..).zip(&function.parameters) {
            let value = self.get(frame, call, at);
            inner.insert(parameter.result_id.expect("it has"), value);
        }
        let result = self.call(function, inner)?;
        if let (Some(id), Some(value)) = (call.result_id, result) {
            frame.insert(id, value);
        }
        Ok(())
    }

    /// The label of the next block.
    fn next(&mut self, block: &'m Block, frame: &Frame) -> Result<Id, Ended> {
        let branch = block.instructions.last().expect("it ends");
        let target = |at: usize| id(&branch.operands[at]);
        if branch.class.opcode == Op::Branch {
            return Ok(target(0));
        }
        let on = self.cell(frame, branch, 0);
        if on.kind == Kind::Undefined {
            return self.end();
        }
        if branch.class.opcode == Op::BranchConditional {
            return Ok(target(if on.bits != 0 { 1 } else { 2 }));
        }
        for pair in branch.operands[2..].chunks_exact(2) {
            if matches!(pair[0], Operand::LiteralBit32(number) if u64::from(number) == on.bits) {
                return Ok(id(&pair[1]));
            }
        }
        Ok(target(1))
    }

    pub(super) fn get(&self, frame: &Frame, instruction: &Instruction, at: usize) -> Value {
        let id = self::id(&instruction.operands[at]);
        let found = frame.get(&id).or_else(|| self.globals.get(&id));
        found.unwrap_or_else(|| panic!("%{id} in {instruction:?}")).clone()
    }

    /// The numbers of an operand, as this use sees them.
    pub(super) fn cells(&mut self, frame: &Frame, of: &Instruction, at: usize) -> Vec<Cell> {
        let Value::Cells(mut cells) = self.get(frame, of, at) else { panic!("{of:?}") };
        let widths = self.types.widths(self.types.type_of(id(&of.operands[at])));
        for (cell, width) in cells.iter_mut().zip(widths.iter()) {
            if cell.kind != Kind::Known {
                cell.bits = self.any(*width);
            }
        }
        cells
    }

    pub(super) fn cell(&mut self, frame: &Frame, of: &Instruction, at: usize) -> Cell {
        self.cells(frame, of, at)[0]
    }

    /// A number of a width that memory may hold.
    fn any(&mut self, width: u8) -> u64 {
        let number = match self.random.below(4) {
            0 => self.random.bits(),
            1 => u64::from(self.random.hard()),
            _ => self.random.below(12),
        };
        number & (u64::MAX >> (64 - width))
    }

    fn step(&mut self, i: &'m Instruction, frame: &mut Frame) -> Result<(), Ended> {
        let value = match i.class.opcode {
            Op::LoopMerge | Op::SelectionMerge | Op::ControlBarrier | Op::MemoryBarrier => {
                return Ok(());
            }
            Op::Variable => {
                let (_, pointee) = self.types.pointee(i.result_type.expect("it has"));
                let Value::Cells(cells) = self.undefined(pointee) else { unreachable!() };
                let cells = if i.operands.len() > 1 { self.raw(frame, i, 1) } else { cells };
                self.add(cells)
            }
            Op::Load => self.load(i, frame),
            Op::Store => {
                self.store(i, frame);
                return Ok(());
            }
            Op::AccessChain | Op::InBoundsAccessChain => self.chain(i, frame),
            Op::CopyObject => self.get(frame, i, 0),
            Op::Undef => self.undefined(i.result_type.expect("it has")),
            _ if i.class.opname.starts_with("Atomic") => {
                let of = i.result_type.unwrap_or_else(|| self.types.type_of(id(&i.operands[3])));
                self.touch(i, frame, self.types.bytes(of));
                Value::Cells(vec![Cell { bits: 0, kind: Kind::Fickle }])
            }
            _ => match self.compute(i, frame) {
                Some(cells) => Value::Cells(cells),
                None => return self.end(),
            },
        };
        if let Some(id) = i.result_id {
            frame.insert(id, value);
        }
        Ok(())
    }

    /// The numbers of an operand as they are.
    pub(super) fn raw(&self, frame: &Frame, of: &Instruction, at: usize) -> Vec<Cell> {
        match self.get(frame, of, at) {
            Value::Cells(cells) => cells,
            other => panic!("{other:?} in {of:?}"),
        }
    }

    /// Notes that a number has wrapped, unless one has before.
    pub(super) fn note_wrap(&mut self) {
        self.trace.before_wrap.get_or_insert(self.trace.accesses.len());
    }

    /// Notes an access to memory.
    fn touch(&mut self, i: &'m Instruction, frame: &Frame, bytes: u64) {
        if let (Some(&site), Value::Cells(_)) =
            (self.sites.get(&std::ptr::from_ref(i)), self.get(frame, i, 0))
        {
            let address = self.cell(frame, i, 0).bits;
            self.trace.accesses.push(Access { site, address, bytes });
        }
    }

    fn load(&mut self, i: &'m Instruction, frame: &Frame) -> Value {
        let of = i.result_type.expect("it has");
        let widths = self.types.widths(of);
        self.touch(i, frame, self.types.bytes(of));
        match self.get(frame, i, 0) {
            Value::Variable(which, at) => {
                let cells = self.variables[which].get(at..at + widths.len());
                cells.map_or_else(|| self.undefined(of), |cells| Value::Cells(cells.to_vec()))
            }
            Value::Push(at) => {
                let bytes = self.types.offsets(of).into_iter().zip(widths.iter());
                let cells = bytes.map(|(offset, &width)| {
                    let start = (at + offset) as usize;
                    let mut number = [0; 8];
                    let count = usize::from(width / 8);
                    number[..count].copy_from_slice(&self.push[start..start + count]);
                    Cell { bits: u64::from_le_bytes(number), kind: Kind::Known }
                });
                let cells: Vec<Cell> = cells.collect();
                let both = cells.iter().zip(widths.iter());
                if both.into_iter().any(|(cell, width)| cell.bits >> (width - 1) == 1) {
                    self.note_wrap();
                }
                Value::Cells(cells)
            }
            Value::Cells(_) | Value::Shared => {
                Value::Cells(vec![Cell { bits: 0, kind: Kind::Fickle }; widths.len()])
            }
        }
    }

    fn store(&mut self, i: &'m Instruction, frame: &Frame) {
        let bytes = self.types.bytes(self.types.type_of(id(&i.operands[1])));
        self.touch(i, frame, bytes);
        let cells = self.raw(frame, i, 1);
        let Value::Variable(which, at) = self.get(frame, i, 0) else {
            return self.trace.stored.extend(cells.iter().map(|cell| cell.bits));
        };
        // Beyond its end it is the checked form that keeps the kernel from harm.
        if let Some(to) = self.variables[which].get_mut(at..at + cells.len()) {
            to.copy_from_slice(&cells);
        }
    }

    fn chain(&mut self, i: &'m Instruction, frame: &Frame) -> Value {
        let (_, mut of) = self.types.pointee(self.types.type_of(id(&i.operands[0])));
        let mut base = self.get(frame, i, 0);
        for at in 1..i.operands.len() {
            let cell = self.cell(frame, i, at);
            let width = self.types.widths(self.types.type_of(id(&i.operands[at])))[0];
            let index = (cell.bits << (64 - width)).cast_signed() >> (64 - width);
            let (part, cells, bytes) = self.types.part(of, index);
            base = match base {
                Value::Variable(which, at) => {
                    let at = i64::try_from(at).expect("it is small");
                    let at = at.saturating_add(cells);
                    Value::Variable(which, usize::try_from(at).unwrap_or(1 << 40))
                }
                Value::Push(at) => {
                    let at = i64::from(at) + bytes;
                    Value::Push(u32::try_from(at).expect("indices are constant"))
                }
                Value::Cells(address) => {
                    let kind = address[0].kind.max(if cell.kind == Kind::Undefined {
                        Kind::Undefined
                    } else {
                        Kind::Known
                    });
                    let bits = address[0].bits.wrapping_add_signed(bytes);
                    Value::Cells(vec![Cell { bits, kind }])
                }
                Value::Shared => Value::Shared,
            };
            of = part;
        }
        base
    }
}

fn label(block: &Block) -> Id {
    block.label.as_ref().and_then(|label| label.result_id).expect("it has")
}

pub(super) fn id(operand: &Operand) -> Id {
    operand.id_ref_any().unwrap_or_else(|| panic!("{operand:?} is no id"))
}
