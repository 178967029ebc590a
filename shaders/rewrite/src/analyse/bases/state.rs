//! The state of the search, and the three ends of a number: it is made, passed on, or used.

use crate::analyse::bases::origin::{Origin, Uses};
use crate::analyse::bases::shape::{Kind, Shapes};
use crate::analyse::bases::variables::{Functions, Place, Variables};
use crate::analyse::pointers::Definitions;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{Decoration, Op};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// The most numbers that are looked at. If more were needed, nothing is known.
pub(super) const MOST_WORK: usize = 1 << 22;

/// The numbers of a value.
pub(super) type Numbers = Rc<[Origin]>;

/// A kernel whose numbers are followed.
pub(super) struct Follower<'k, 'p> {
    pub(super) kernel: &'k Definitions<'p>,
    pub(super) shapes: Shapes<'k>,
    pub(super) uses: Uses,
    pub(super) functions: Functions<'k>,
    pub(super) variables: Variables,
    values: HashMap<Id, Numbers>,
    /// The results of functions.
    pub(super) returned: HashMap<Id, Numbers>,
    /// Results that are not defined where they would wrap.
    pub(super) may_not_wrap: HashSet<Id>,
    /// Whether what was not seen counts as a number.
    filled: bool,
    pub(super) changed: bool,
    pub(super) work: usize,
}

impl<'k, 'p> Follower<'k, 'p> {
    /// A kernel before anything was followed. `None` if it cannot be.
    pub(super) fn of(kernel: &'k Definitions<'p>) -> Option<Self> {
        let edit = kernel.edit;
        let functions = edit.module.functions.iter();
        let functions = functions.filter_map(|of| Some((of.def_id()?, of))).collect();
        let mut shapes = Shapes::new(edit);
        let variables = Variables::of(kernel, &functions, &mut shapes)?;
        let mut may_not_wrap = HashSet::new();
        for annotation in &edit.module.annotations {
            match (annotation.class.opcode, annotation.operands.get(1)) {
                // What a group of decorations says is not looked up.
                (Op::GroupDecorate | Op::GroupMemberDecorate, _) => return None,
                (
                    Op::Decorate,
                    Some(Operand::Decoration(
                        Decoration::NoSignedWrap | Decoration::NoUnsignedWrap,
                    )),
                ) => may_not_wrap.extend(id_operand(annotation, 0)),
                _ => {}
            }
        }
        Some(Self {
            kernel,
            shapes,
            uses: Uses::default(),
            functions,
            variables,
            values: HashMap::new(),
            returned: HashMap::new(),
            may_not_wrap,
            filled: false,
            changed: false,
            work: 0,
        })
    }

    /// From now on what was not seen counts as a number.
    pub(super) fn fill(&mut self) {
        self.filled = true;
        self.variables.fill();
        for numbers in self.values.values_mut().chain(self.returned.values_mut()) {
            *numbers = numbers.iter().map(filled).collect();
        }
    }

    /// The bytes that are used otherwise. `None` if that may be any.
    pub(super) fn finish(self) -> Option<Vec<(u32, u32)>> {
        self.uses.finish()
    }

    /// The numbers of a value. `None` if it is none that has them, or has too many.
    pub(super) fn value(&mut self, id: Id) -> Option<Numbers> {
        if let Some(known) = self.values.get(&id) {
            self.work += known.len();
            return Some(known.clone());
        }
        let edit = self.kernel.edit;
        let kinds = self.shapes.kinds(edit.type_of(id)?)?;
        let is_known = self.filled || edit.global(id).is_some();
        let number = if is_known { Origin::Number } else { Origin::Unseen };
        Some(vec![number; kinds.len()].into())
    }

    /// The numbers of an operand, and their kinds.
    pub(super) fn operand(&mut self, i: &Instruction, at: usize) -> Option<(Numbers, Rc<[Kind]>)> {
        let id = id_operand(i, at)?;
        let kinds = self.shapes.kinds(self.kernel.edit.type_of(id)?)?;
        Some((self.value(id)?, kinds))
    }

    /// The kinds of a result.
    pub(super) fn kinds(&mut self, i: &Instruction) -> Option<Rc<[Kind]>> {
        self.shapes.kinds(i.result_type?)
    }

    /// Notes the numbers of a result: those that were found, or else any that no root is part of.
    pub(super) fn define(&mut self, i: &Instruction, found: Option<Vec<Origin>>) {
        let (Some(id), Some(kinds)) = (i.result_id, self.kinds(i)) else { return };
        self.add(id, &found.unwrap_or_else(|| vec![Origin::Number; kinds.len()]));
    }

    /// The same, where no numbers were found because operands are used in another way.
    pub(super) fn define_or_use(&mut self, i: &Instruction, found: Option<Vec<Origin>>) {
        let fits = |found: &Vec<Origin>, kinds: Option<Rc<[Kind]>>| {
            kinds.is_some_and(|kinds| kinds.len() == found.len())
        };
        let kinds = self.kinds(i);
        let found = found.filter(|found| fits(found, kinds));
        if found.is_none() {
            (0..i.operands.len()).for_each(|at| self.use_operand(i, at));
        }
        self.define(i, found);
    }

    /// Adds to what a value's numbers may be made of.
    pub(super) fn add(&mut self, id: Id, numbers: &[Origin]) {
        self.work += numbers.len();
        let of = self.kernel.edit.type_of(id).and_then(|of| self.shapes.kinds(of));
        if of.is_none_or(|of| of.len() != numbers.len()) {
            return self.uses.note_all();
        }
        let Some(known) = self.values.get(&id) else {
            self.changed = true;
            self.values.insert(id, numbers.iter().map(|of| self.seen(of)).collect());
            return;
        };
        if **known == *numbers {
            return;
        }
        let pairs = known.iter().zip(numbers);
        let joined: Numbers = pairs.map(|(one, other)| self.uses.join(one, other)).collect();
        self.changed |= joined != *known;
        self.values.insert(id, joined);
    }

    pub(super) fn seen(&self, of: &Origin) -> Origin {
        if self.filled { filled(of) } else { of.clone() }
    }

    /// Notes that an operand is used in another way than as an address.
    pub(super) fn use_operand(&mut self, i: &Instruction, at: usize) {
        let Some(id) = id_operand(i, at) else { return };
        match self.value(id) {
            Some(numbers) => numbers.iter().for_each(|number| self.uses.note(number)),
            None => self.use_pointer(id),
        }
    }

    /// Notes that a pointer is used in a way that is not followed.
    pub(super) fn use_pointer(&mut self, id: Id) {
        let edit = self.kernel.edit;
        let is_pointer = edit.type_of(id).and_then(|of| edit.global(of));
        let is_pointer = is_pointer.is_some_and(|of| {
            matches!(of.class.opcode, Op::TypePointer | Op::TypeUntypedPointerKHR)
        });
        if !is_pointer {
            return;
        }
        match self.variables.place(self.kernel, &mut self.shapes, id) {
            Some((Place::Own(own), _)) => self.variables.use_all(&mut self.uses, &own),
            Some((Place::Elsewhere, _)) => {}
            Some((Place::Push { .. }, _)) | None => self.uses.note_all(),
        }
    }

    /// What is one of some operands: every so many from the first.
    pub(super) fn joined(
        &mut self,
        i: &Instruction,
        first: usize,
        step: usize,
    ) -> Option<Vec<Origin>> {
        let mut all: Option<Vec<Origin>> = None;
        let kinds = self.kinds(i)?;
        for at in (first..i.operands.len()).step_by(step) {
            let (numbers, of) = self.operand(i, at)?;
            if of != kinds {
                return None;
            }
            all = Some(match all {
                None => numbers.to_vec(),
                Some(all) => all.iter().zip(&*numbers).map(|(a, b)| self.uses.join(a, b)).collect(),
            });
        }
        all
    }
}

fn filled(of: &Origin) -> Origin {
    if *of == Origin::Unseen { Origin::Number } else { of.clone() }
}
