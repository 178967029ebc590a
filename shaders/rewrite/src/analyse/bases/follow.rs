//! Instructions, one by one: which keep an address an address, and which use it otherwise.

use crate::analyse::bases::origin::{Origin, Uses, moved};
use crate::analyse::bases::shape::Kind;
use crate::analyse::bases::state::{Follower, MOST_WORK, Numbers};
use crate::analyse::bases::variables::{Place, passed};
use crate::analyse::sites;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use crate::ir::layouts::{self, Layouts, scalar_bytes};
use rspirv::dr::Instruction;
use rspirv::spirv::{Op, StorageClass};

impl<'k> Follower<'k, '_> {
    /// Looks at all instructions until nothing changes. Returns whether that was so.
    pub(super) fn settle(&mut self, rounds: usize) -> bool {
        for _ in 0..rounds {
            (self.changed, self.variables.changed) = (false, false);
            self.globals();
            let functions = self.kernel.edit.module.functions.iter();
            for function in functions {
                let id = function.def_id().unwrap_or_default();
                for instruction in function.blocks.iter().flat_map(|block| &block.instructions) {
                    self.instruction(id, instruction);
                    if self.uses.is_all() || self.work > MOST_WORK {
                        return false;
                    }
                }
            }
            if !self.changed && !self.variables.changed {
                return true;
            }
        }
        false
    }

    /// The values that variables of the module start with.
    fn globals(&mut self) {
        let kernel = self.kernel;
        let globals = kernel.edit.module.types_global_values.iter();
        for global in globals.filter(|global| global.class.opcode == Op::Variable) {
            self.first_value(global);
        }
    }

    /// A variable, with the value that it starts with, if it has one.
    fn first_value(&mut self, variable: &Instruction) {
        if let (Some(id), Some(first)) = (variable.result_id, id_operand(variable, 1)) {
            self.write_to(id, Some(first));
        }
    }

    fn instruction(&mut self, function: Id, i: &'k Instruction) {
        self.work += 1;
        let op = i.class.opcode;
        match op {
            Op::Variable => self.first_value(i),
            Op::Load => {
                let numbers = id_operand(i, 0).and_then(|from| self.read_from(from));
                self.define(i, numbers);
            }
            Op::Store => {
                if let Some(to) = id_operand(i, 0) {
                    self.write_to(to, id_operand(i, 1));
                }
            }
            Op::CopyMemory => self.copy_memory(i),
            Op::AccessChain
            | Op::InBoundsAccessChain
            | Op::PtrAccessChain
            | Op::InBoundsPtrAccessChain => self.access_chain(i),
            Op::FunctionCall => self.function_call(i),
            Op::ReturnValue => {
                let numbers = id_operand(i, 0).and_then(|id| self.value(id));
                self.give_back(function, i, numbers);
            }
            Op::Phi => {
                let found = self.joined(i, 0, 2);
                self.define_or_use(i, found);
            }
            Op::IAdd | Op::ISub => {
                let found = self.moved(i);
                self.define_or_use(i, found);
            }
            _ if sites::is_atomic(op) => {
                (1..i.operands.len()).for_each(|at| self.use_operand(i, at));
                let target = id_operand(i, 0).filter(|&to| !self.kernel.is_physical(to));
                target.into_iter().for_each(|to| self.use_pointer(to));
                self.define(i, None);
            }
            _ => {
                let found = self.rearranged(i);
                self.define_or_use(i, found);
            }
        }
    }

    /// What is read through a pointer. `None` if no root is part of it.
    fn read_from(&mut self, from: Id) -> Option<Vec<Origin>> {
        if self.kernel.is_physical(from) {
            return None;
        }
        match self.variables.place(self.kernel, &mut self.shapes, from) {
            Some((Place::Own(own), of)) => {
                let kinds = self.shapes.kinds(of)?;
                self.work += kinds.len();
                Some(self.variables.read(&mut self.uses, &own, &kinds))
            }
            Some((Place::Push { at, place }, of)) => {
                let mut found = Vec::new();
                let kinds = self.shapes.kinds(of);
                let known = at.zip(kinds);
                if known.and_then(|(at, _)| self.push_constants(at, place, &mut found)).is_none() {
                    self.uses.note_all();
                }
                Some(found)
            }
            Some((Place::Elsewhere, _)) => None,
            None => {
                self.uses.note_all();
                None
            }
        }
    }

    /// Adds the numbers of the push constants at a byte. `None` where they have no layout.
    fn push_constants(
        &mut self,
        at: u32,
        place: layouts::Place,
        found: &mut Vec<Origin>,
    ) -> Option<()> {
        let (edit, layouts) = (self.kernel.edit, self.kernel.layouts);
        let kinds = self.shapes.kinds(place.of)?;
        let is_pair = self.shapes.is_pair(place.of);
        // An array may have any number of parts that hold nothing.
        if kinds.is_empty() {
            return Some(());
        }
        if let Some(bytes) = scalar_bytes(edit, place.of) {
            found.push(match bytes {
                8 => self.uses.root(at),
                4 => Origin::Word(at),
                _ => {
                    self.uses.note_bytes(at, bytes);
                    Origin::Number
                }
            });
            return Some(());
        }
        if is_pair && layouts.step(edit, place, Some(0))?.bytes == 4 {
            found.push(self.uses.root(at));
            return Some(());
        }
        let (mut parts, is_struct) = (Vec::new(), is_struct(edit, place.of));
        for index in 0..Layouts::parts(edit, place.of)? {
            let step = layouts.step(edit, place, Some(i64::from(index)))?;
            let times = if is_struct { 1 } else { index };
            let at = at.checked_add(step.bytes.checked_mul(times)?)?;
            self.push_constants(at, step.place, &mut parts)?;
        }
        if is_pair {
            // Its words are not next to each other.
            parts.iter().for_each(|word| self.uses.note(word));
            parts = vec![Origin::Number];
        }
        found.append(&mut parts);
        Some(())
    }

    /// Puts a value, or one of which nothing is known, where a pointer leads to.
    fn write_to(&mut self, to: Id, value: Option<Id>) {
        let id = value;
        let value = id.and_then(|id| self.value(id));
        let place = if self.kernel.is_physical(to) {
            Some((Place::Elsewhere, 0))
        } else {
            self.variables.place(self.kernel, &mut self.shapes, to)
        };
        match (place, value) {
            (Some((Place::Own(own), of)), value) => {
                // A value of too many numbers has none that a root is part of.
                let kinds = self.shapes.kinds(of).unwrap_or_default();
                let numbers = value.unwrap_or_else(|| vec![Origin::Number; kinds.len()].into());
                if numbers.len() != kinds.len() {
                    return self.uses.note_all();
                }
                self.work += numbers.len();
                let numbers = kinds.iter().copied().zip(numbers.iter().cloned());
                self.variables.write(&mut self.uses, &own, &numbers.collect::<Vec<_>>());
            }
            (Some((Place::Elsewhere, _)), Some(value)) => {
                value.iter().for_each(|number| self.uses.note(number));
            }
            (Some((Place::Elsewhere, _)), None) => {
                id.into_iter().for_each(|id| self.use_pointer(id));
            }
            (Some((Place::Push { .. }, _)) | None, _) => self.uses.note_all(),
        }
    }

    /// A copy from one place to another.
    fn copy_memory(&mut self, i: &Instruction) {
        let (Some(to), Some(from)) = (id_operand(i, 0), id_operand(i, 1)) else {
            return self.uses.note_all();
        };
        // What is copied of a variable is used; what is copied to one is a number.
        if !self.kernel.is_physical(from) {
            let numbers = self.read_from(from).unwrap_or_default();
            numbers.iter().for_each(|number| self.uses.note(number));
        }
        self.write_to(to, None);
    }

    /// A pointer that is some way behind another one.
    fn access_chain(&mut self, i: &Instruction) {
        (1..i.operands.len()).for_each(|at| self.use_operand(i, at));
        let base = id_operand(i, 0).filter(|&base| self.kernel.is_physical(base));
        if let Some(numbers) = base.and_then(|base| self.value(base)) {
            self.define(i, Some(numbers.iter().map(moved).collect()));
        }
    }

    fn function_call(&mut self, i: &Instruction) {
        let Some(passed) = passed(&self.functions, i) else { return self.uses.note_all() };
        for (parameter, argument) in passed {
            let numbers = self.value(argument);
            let of = self.kernel.edit.type_of(parameter);
            let is_push = of.and_then(|of| self.kernel.edit.pointer_parts(of));
            match numbers {
                Some(numbers) => self.add(parameter, &numbers),
                None if is_push.is_some_and(|(of, _)| of == StorageClass::PushConstant) => {
                    self.uses.note_all();
                }
                None => {}
            }
        }
        let returned = id_operand(i, 0).and_then(|of| self.returned.get(&of)).cloned();
        let kinds = self.kinds(i);
        let unseen = self.seen(&Origin::Unseen);
        let unseen = kinds.map(|kinds| vec![unseen; kinds.len()]);
        self.define(i, returned.map(|numbers| numbers.to_vec()).or(unseen));
    }

    fn give_back(&mut self, function: Id, i: &Instruction, numbers: Option<Numbers>) {
        let Some(numbers) = numbers else { return self.use_operand(i, 0) };
        let known = self.returned.get(&function).cloned();
        let known = known.filter(|known| known.len() == numbers.len());
        let joined: Numbers = match &known {
            Some(known) => known.iter().zip(&*numbers).map(|(a, b)| self.uses.join(a, b)).collect(),
            None => numbers,
        };
        if known.as_ref() != Some(&joined) {
            self.changed = true;
            self.returned.insert(function, joined);
        }
    }

    /// A sum or a difference of 64 bits.
    fn moved(&mut self, i: &Instruction) -> Option<Vec<Origin>> {
        let bits = self.kernel.edit.integer_width(i.result_type?)?;
        if bits != 64 || i.result_id.is_none_or(|id| self.may_not_wrap.contains(&id)) {
            return None;
        }
        let ((one, of), (other, and)) = (self.operand(i, 0)?, self.operand(i, 1)?);
        if (&*of, &*and) != (&[Kind::Long][..], &[Kind::Long][..]) {
            return None;
        }
        let ([one], [other]) = (&*one, &*other) else { return None };
        let op = if i.class.opcode == Op::IAdd { Uses::sum } else { Uses::difference };
        Some(vec![op(&mut self.uses, one, other)])
    }
}

fn is_struct(edit: &Edit, of: Id) -> bool {
    edit.global(of).is_some_and(|of| of.class.opcode == Op::TypeStruct)
}
