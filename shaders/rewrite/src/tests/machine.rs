//! An interpreter of code without branches: what rewritten accesses compute, seen from outside.

use crate::ir::instruction::Id;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Op, StorageClass};
use std::collections::HashMap;

/// A value: scalars and booleans are one number, vectors several.
pub(crate) type Value = Vec<u64>;

/// A pointer: a variable and indices into it, or an address.
#[derive(Clone, Debug)]
enum Pointer {
    Variable(Id, Vec<u64>),
    Address(u64),
}

/// The state of an invocation that runs the only block of the only function of a module.
pub(crate) struct Machine<'m> {
    module: &'m Module,
    globals: HashMap<Id, &'m Instruction>,
    values: HashMap<Id, Value>,
    pointers: HashMap<Id, Pointer>,
    /// Words of variables: control rows, push constants, registers.
    pub(crate) variables: HashMap<(Id, Vec<u64>), Value>,
    /// Physical memory, in words.
    pub(crate) memory: HashMap<u64, u32>,
    /// Accesses of the kernel's and the pass's own through physical pointers: address, size and
    /// whether it was a write.
    pub(crate) accesses: Vec<(u64, u64, bool)>,
}

impl<'m> Machine<'m> {
    pub(crate) fn new(module: &'m Module) -> Self {
        let globals = module.types_global_values.iter().filter_map(|i| Some((i.result_id?, i)));
        let mut machine = Self {
            module,
            globals: globals.collect(),
            values: HashMap::new(),
            pointers: HashMap::new(),
            variables: HashMap::new(),
            memory: HashMap::new(),
            accesses: Vec::new(),
        };
        for global in &module.types_global_values {
            machine.declare(global);
        }
        machine
    }

    fn declare(&mut self, global: &Instruction) {
        let Some(id) = global.result_id else { return };
        match (global.class.opcode, &global.operands[..]) {
            (Op::Constant, [Operand::LiteralBit32(value)]) => {
                self.values.insert(id, vec![u64::from(*value)]);
            }
            (Op::Constant, [Operand::LiteralBit64(value)]) => {
                self.values.insert(id, vec![*value]);
            }
            (Op::ConstantTrue, _) => {
                self.values.insert(id, vec![1]);
            }
            (Op::ConstantFalse, _) => {
                self.values.insert(id, vec![0]);
            }
            (Op::ConstantNull, _) => {
                let count = self.count(global.result_type.expect("constants have a type"));
                self.values.insert(id, vec![0; count]);
            }
            (Op::ConstantComposite, parts) => {
                let value = parts.iter().flat_map(|part| self.values[&operand(part)].clone());
                let value = value.collect();
                self.values.insert(id, value);
            }
            (Op::Variable, _) => {
                self.pointers.insert(id, Pointer::Variable(id, vec![]));
            }
            _ => {}
        }
    }

    /// The global variables of a storage class, in their order.
    pub(crate) fn globals_of(&self, class: StorageClass) -> Vec<Id> {
        let class = Operand::StorageClass(class);
        let of =
            |i: &&Instruction| i.class.opcode == Op::Variable && i.operands.first() == Some(&class);
        self.module.types_global_values.iter().filter(of).filter_map(|i| i.result_id).collect()
    }

    fn bits(&self, of: Id) -> u32 {
        match (self.globals[&of].class.opcode, self.globals[&of].operands.first()) {
            (Op::TypeInt | Op::TypeFloat, Some(Operand::LiteralBit32(bits))) => *bits,
            (Op::TypeVector, Some(Operand::IdRef(part))) => self.bits(*part),
            (Op::TypeBool, _) => 1,
            other => panic!("{other:?}"),
        }
    }

    fn count(&self, of: Id) -> usize {
        match self.globals[&of].operands.get(1) {
            Some(Operand::LiteralBit32(count))
                if self.globals[&of].class.opcode == Op::TypeVector =>
            {
                *count as usize
            }
            _ => 1,
        }
    }

    pub(crate) fn run(&mut self) {
        let module = self.module;
        for instruction in &module.functions[0].blocks[0].instructions {
            self.step(instruction);
        }
    }

    fn value(&self, instruction: &Instruction, index: usize) -> Value {
        let id = operand(&instruction.operands[index]);
        self.values.get(&id).unwrap_or_else(|| panic!("{id} in {instruction:?}")).clone()
    }

    fn step(&mut self, instruction: &Instruction) {
        let of = instruction.result_type.unwrap_or_default();
        let id = instruction.result_id.unwrap_or_default();
        let is_pointer = self.globals.get(&of).is_some_and(|of| of.class.opcode == Op::TypePointer);
        match instruction.class.opcode {
            Op::AccessChain => self.chain(id, of, instruction),
            Op::Load => {
                let value = self.load(of, operand(&instruction.operands[0]));
                if is_pointer {
                    self.pointers.insert(id, Pointer::Address(value[0] | value[1] << 32));
                } else {
                    self.values.insert(id, value);
                }
            }
            Op::Store => {
                let value = self.value(instruction, 1);
                let from = operand(&instruction.operands[1]);
                self.store(operand(&instruction.operands[0]), from, &value);
            }
            Op::Bitcast | Op::ConvertUToPtr if is_pointer => {
                let value = self.value(instruction, 0);
                let high = value.get(1).map_or(0, |high| high << 32);
                self.pointers.insert(id, Pointer::Address(value[0] | high));
            }
            Op::Bitcast | Op::ConvertPtrToU => {
                let from = operand(&instruction.operands[0]);
                let value = match self.pointers.get(&from) {
                    Some(Pointer::Address(address)) => vec![*address],
                    _ => self.values[&from].clone(),
                };
                let value = match (self.count(of), &value[..]) {
                    (2, [whole]) => vec![whole & 0xffff_ffff, whole >> 32],
                    (1, [low, high]) => vec![low | high << 32],
                    (_, same) => same.to_vec(),
                };
                self.values.insert(id, value);
            }
            Op::Return => {}
            op => {
                let value = self.compute(op, of, instruction);
                self.values.insert(id, value);
            }
        }
    }

    fn compute(&self, op: Op, of: Id, instruction: &Instruction) -> Value {
        let part = |index: usize| match instruction.operands[index] {
            Operand::LiteralBit32(part) => part as usize,
            ref other => panic!("{other:?}"),
        };
        match op {
            Op::CompositeExtract => vec![self.value(instruction, 0)[part(1)]],
            Op::CompositeConstruct => {
                let parts = 0..instruction.operands.len();
                parts.flat_map(|index| self.value(instruction, index)).collect()
            }
            Op::VectorShuffle => {
                let both = [self.value(instruction, 0), self.value(instruction, 1)].concat();
                (2..instruction.operands.len()).map(|index| both[part(index)]).collect()
            }
            Op::Select => {
                let condition = self.value(instruction, 0);
                let (yes, no) = (self.value(instruction, 1), self.value(instruction, 2));
                let picked = yes.iter().zip(&no).enumerate();
                picked
                    .map(|(at, (yes, no))| {
                        let condition = condition[at.min(condition.len() - 1)];
                        if condition != 0 { *yes } else { *no }
                    })
                    .collect()
            }
            Op::LogicalNot => vec![1 - self.value(instruction, 0)[0]],
            _ => {
                let mask = u64::MAX >> (64 - self.bits(of));
                let one = self.value(instruction, 0);
                let other = if instruction.operands.len() > 1 {
                    self.value(instruction, 1)
                } else {
                    one.clone()
                };
                one.iter().zip(&other).map(|(&a, &b)| arithmetic(op, a, b) & mask).collect()
            }
        }
    }

    fn chain(&mut self, id: Id, of: Id, instruction: &Instruction) {
        let base = self.pointers[&operand(&instruction.operands[0])].clone();
        let indices = (1..instruction.operands.len()).map(|at| self.value(instruction, at)[0]);
        let pointer = match base {
            Pointer::Variable(variable, mut path) => {
                path.extend(indices);
                Pointer::Variable(variable, path)
            }
            // The only structure in physical memory: an array of words at byte 8.
            Pointer::Address(address) => {
                let _ = of;
                let indices: Vec<u64> = indices.collect();
                let index = u32::try_from(indices[1]).expect("it is a word").cast_signed();
                let bytes = i64::from(index) * 4 + 8;
                Pointer::Address(address.wrapping_add_signed(bytes))
            }
        };
        self.pointers.insert(id, pointer);
    }

    fn load(&mut self, of: Id, pointer: Id) -> Value {
        let is_pointer = self.globals[&of].class.opcode == Op::TypePointer;
        match self.pointers[&pointer].clone() {
            Pointer::Variable(variable, path) => {
                let known = self.variables.get(&(variable, path.clone())).cloned();
                known.unwrap_or_else(|| {
                    // A part of a vector that was set as a whole.
                    let whole = path.split_last().and_then(|(part, whole)| {
                        let part = usize::try_from(*part).expect("it is small");
                        let whole = self.variables.get(&(variable, whole.to_vec()))?;
                        Some(vec![whole[part]])
                    });
                    let count = if is_pointer { 2 } else { self.count(of) };
                    whole.unwrap_or_else(|| vec![0; count])
                })
            }
            Pointer::Address(address) => {
                let (words, count) = match (self.bits(of), self.count(of)) {
                    (64, 1) => (2, 1),
                    (32, count) => (count as u64, count),
                    other => panic!("{other:?}"),
                };
                self.accesses.push((address, words * 4, false));
                let word = |at: u64| self.memory.get(&address.wrapping_add(at * 4)).copied();
                let loaded: Vec<u64> =
                    (0..words).map(|at| u64::from(word(at).unwrap_or_default())).collect();
                if count == 1 && words == 2 { vec![loaded[0] | loaded[1] << 32] } else { loaded }
            }
        }
    }

    fn store(&mut self, pointer: Id, _from: Id, value: &[u64]) {
        match self.pointers[&pointer].clone() {
            Pointer::Variable(variable, path) => {
                let whole = path.split_last().and_then(|(part, whole)| {
                    let part = usize::try_from(*part).expect("it is small");
                    Some((part, self.variables.get_mut(&(variable, whole.to_vec()))?))
                });
                match whole {
                    Some((part, whole)) if whole.len() > part => whole[part] = value[0],
                    _ => {
                        self.variables.insert((variable, path), value.to_vec());
                    }
                }
            }
            Pointer::Address(address) => {
                self.accesses.push((address, value.len() as u64 * 4, true));
                for (at, value) in (0u64..).zip(value) {
                    let value = u32::try_from(*value).expect("words are stored");
                    self.memory.insert(address.wrapping_add(at * 4), value);
                }
            }
        }
    }
}

fn arithmetic(op: Op, a: u64, b: u64) -> u64 {
    let shift = u32::try_from(b & 63).expect("it is small");
    match op {
        Op::IAdd => a.wrapping_add(b),
        Op::ISub => a.wrapping_sub(b),
        Op::BitwiseAnd | Op::LogicalAnd => a & b,
        Op::BitwiseOr | Op::LogicalOr => a | b,
        Op::ShiftLeftLogical => a << shift,
        Op::ShiftRightLogical => a >> shift,
        Op::ULessThan => u64::from(a < b),
        Op::IEqual => u64::from(a == b),
        Op::INotEqual => u64::from(a != b),
        Op::UConvert => a,
        other => panic!("{other:?} is not interpreted"),
    }
}

fn operand(operand: &Operand) -> Id {
    match operand {
        Operand::IdRef(id) => *id,
        other => panic!("{other:?} is no id"),
    }
}
