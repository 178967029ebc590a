//! The kernel's own variables: places in them, and what each of their numbers is made of.

use crate::analyse::bases::origin::{Origin, Uses};
use crate::analyse::bases::shape::{Kind, Shapes};
use crate::analyse::pointers::Definitions;
use crate::ir::instruction::{Id, id_operand};
use crate::ir::layouts;
use rspirv::dr::{Function, Instruction};
use rspirv::spirv::{Op, StorageClass};
use std::collections::HashMap;
use std::rc::Rc;

/// Functions by their ids.
pub(super) type Functions<'p> = HashMap<Id, &'p Function>;

/// How many instructions are followed back from a pointer.
const MOST_STEPS: usize = 64;

/// What a pointer that is not physical leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// In a variable of the kernel's own.
    Own(Own),
    /// In the push constants: the byte, if it is known, and the layout there.
    Push { at: Option<u32>, place: layouts::Place },
    /// In memory that others see, or in an input.
    Elsewhere,
}

/// A place in a variable of the kernel's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    variable: Id,
    /// The first number there, if it is known.
    first: Option<usize>,
    /// Whether it is half of a pair, and which if that is known.
    half: Option<Option<u32>>,
}

/// What a variable holds. There are no numbers if there are too many.
#[derive(Clone, Debug)]
struct Content {
    kinds: Rc<[Kind]>,
    numbers: Vec<Origin>,
}

/// The variables of a kernel.
pub(super) struct Variables {
    /// Parameters lead to what they are passed; all variables that one may lead to are one.
    same_as: HashMap<Id, Id>,
    contents: HashMap<Id, Content>,
    /// Whether a content has changed.
    pub(super) changed: bool,
}

impl Variables {
    /// The variables of a kernel. `None` if a pointer to a part of one is passed on.
    pub(super) fn of(
        kernel: &Definitions<'_>,
        functions_by_id: &Functions<'_>,
        shapes: &mut Shapes<'_>,
    ) -> Option<Self> {
        let module = &kernel.edit.module;
        let functions = || module.functions.iter().flat_map(|of| of.all_inst_iter());
        let declared = module.types_global_values.iter().chain(functions());
        let declared = declared.filter(|i| {
            matches!(i.class.opcode, Op::Variable | Op::FunctionParameter)
                && i.result_type.is_some_and(|of| is_own(kernel, of))
        });
        let same_as = declared.filter_map(|i| i.result_id.map(|id| (id, id))).collect();
        let mut all = Self { same_as, contents: HashMap::new(), changed: false };
        for call in functions().filter(|i| i.class.opcode == Op::FunctionCall) {
            for (parameter, argument) in passed(functions_by_id, call)? {
                if kernel.edit.type_of(parameter).is_some_and(|of| is_own(kernel, of)) {
                    all.unite(parameter, argument)?;
                }
            }
        }
        let ids: Vec<Id> = all.same_as.keys().copied().collect();
        for id in ids {
            let root = all.find(id);
            all.same_as.insert(id, root);
            let (_, of) = kernel.edit.pointer_parts(kernel.edit.type_of(id)?)?;
            let kinds = shapes.kinds(of).unwrap_or_default();
            let numbers = vec![Origin::Unseen; kinds.len()];
            let content = Content { kinds: kinds.clone(), numbers };
            let known = all.contents.entry(root).or_insert(content);
            if known.kinds != kinds {
                return None;
            }
        }
        Some(all)
    }

    /// The variable that others are the same as.
    fn find(&mut self, mut id: Id) -> Id {
        while let Some(&next) = self.same_as.get(&id).filter(|&&next| next != id) {
            let further = self.same_as.get(&next).copied().unwrap_or(next);
            self.same_as.insert(id, further);
            id = next;
        }
        id
    }

    fn unite(&mut self, one: Id, other: Id) -> Option<()> {
        if !self.same_as.contains_key(&other) {
            return None;
        }
        let (one, other) = (self.find(one), self.find(other));
        self.same_as.insert(one, other);
        Some(())
    }

    /// The place and the type that a pointer leads to. `None` if it is not followed.
    pub(super) fn place(
        &self,
        kernel: &Definitions<'_>,
        shapes: &mut Shapes<'_>,
        pointer: Id,
    ) -> Option<(Place, Id)> {
        let mut chains = Vec::new();
        let mut start = pointer;
        let mut found = None;
        for _ in 0..MOST_STEPS {
            let definition = kernel.definition(start)?;
            let (class, of) = kernel.edit.pointer_parts(definition.result_type?)?;
            let own = matches!(class, StorageClass::Function | StorageClass::Private);
            if !own && class != StorageClass::PushConstant {
                return Some((Place::Elsewhere, of));
            }
            match definition.class.opcode {
                Op::Variable | Op::FunctionParameter if own => {
                    let variable = *self.same_as.get(&start)?;
                    found = Some((Place::Own(Own { variable, first: Some(0), half: None }), of));
                    break;
                }
                Op::Variable => {
                    let place = layouts::Place::new(of);
                    found = Some((Place::Push { at: Some(0), place }, of));
                    break;
                }
                Op::CopyObject => {}
                Op::AccessChain | Op::InBoundsAccessChain => chains.push(definition),
                _ => return None,
            }
            start = id_operand(definition, 0)?;
        }
        let mut place = found?;
        for chain in chains.into_iter().rev() {
            for operand in 1..chain.operands.len() {
                let index = kernel.edit.integer(id_operand(chain, operand)?);
                let index = index.and_then(|index| u32::try_from(index).ok());
                place = step(kernel, shapes, place, index)?;
            }
        }
        let (_, of) = kernel.edit.pointer_parts(kernel.edit.type_of(pointer)?)?;
        (of == place.1).then_some(place)
    }

    /// The positions of the numbers of a kind that a place may be, one after the other.
    fn positions(&self, at: &Own, kind: Kind, nth: usize) -> Vec<usize> {
        let Some(content) = self.contents.get(&at.variable) else { return Vec::new() };
        let is_it = |position: &usize| content.kinds.get(*position) == Some(&kind);
        match at.first.map(|first| first.saturating_add(nth)) {
            Some(position) => Some(position).filter(is_it).into_iter().collect(),
            None => (0..content.numbers.len()).filter(is_it).collect(),
        }
    }

    /// What a place holds, whose numbers are of these kinds.
    pub(super) fn read(&self, uses: &mut Uses, at: &Own, kinds: &[Kind]) -> Vec<Origin> {
        let Some(content) = self.contents.get(&at.variable) else {
            return vec![Origin::Number; kinds.len()];
        };
        let mut found = Vec::with_capacity(kinds.len());
        for (nth, &kind) in kinds.iter().enumerate() {
            let of = if at.half.is_some() { Kind::Pair } else { kind };
            let mut all = Origin::Unseen;
            let positions = self.positions(at, of, nth);
            for &position in &positions {
                let number = &content.numbers[position];
                let half = at.half.map(|half| uses.half(number, half));
                all = uses.join(&all, half.as_ref().unwrap_or(number));
            }
            found.push(if positions.is_empty() { Origin::Number } else { all });
        }
        found
    }

    /// Puts numbers of these kinds to a place, or one of which nothing is known.
    pub(super) fn write(&mut self, uses: &mut Uses, at: &Own, numbers: &[(Kind, Origin)]) {
        for (nth, (kind, number)) in numbers.iter().enumerate() {
            let of = if at.half.is_some() { Kind::Pair } else { *kind };
            let positions = self.positions(at, of, nth);
            if positions.is_empty() || at.half.is_some() {
                uses.note(number);
            }
            for position in positions {
                if at.half.is_some() {
                    self.change(uses, at.variable, position, &Origin::Number);
                    self.use_number(uses, at.variable, position);
                } else {
                    self.change(uses, at.variable, position, number);
                }
            }
        }
    }

    /// Notes that all of a variable may be read and written in any way.
    pub(super) fn use_all(&mut self, uses: &mut Uses, at: &Own) {
        let count = self.contents.get(&at.variable).map_or(0, |content| content.numbers.len());
        for position in 0..count {
            self.change(uses, at.variable, position, &Origin::Number);
            self.use_number(uses, at.variable, position);
        }
    }

    fn use_number(&self, uses: &mut Uses, variable: Id, position: usize) {
        if let Some(content) = self.contents.get(&variable) {
            uses.note(&content.numbers[position]);
        }
    }

    fn change(&mut self, uses: &mut Uses, variable: Id, position: usize, to: &Origin) {
        if let Some(content) = self.contents.get_mut(&variable) {
            let joined = uses.join(&content.numbers[position], to);
            self.changed |= joined != content.numbers[position];
            content.numbers[position] = joined;
        }
    }

    /// Takes all that was not seen for numbers.
    pub(super) fn fill(&mut self) {
        for number in self.contents.values_mut().flat_map(|content| &mut content.numbers) {
            if *number == Origin::Unseen {
                *number = Origin::Number;
            }
        }
    }
}

/// Whether a type is that of pointers to variables of the kernel's own.
fn is_own(kernel: &Definitions<'_>, of: Id) -> bool {
    let parts = kernel.edit.pointer_parts(of);
    matches!(parts, Some((StorageClass::Function | StorageClass::Private, _)))
}

/// The parameters of a call with their arguments. `None` if the function is not there.
pub(super) fn passed(functions: &Functions<'_>, call: &Instruction) -> Option<Vec<(Id, Id)>> {
    let function = functions.get(&id_operand(call, 0)?)?;
    let parameters = function.parameters.iter().filter_map(|parameter| parameter.result_id);
    Some(parameters.zip((1..).map_while(|at| id_operand(call, at))).collect())
}

/// A step from a place to a part of it.
fn step(
    kernel: &Definitions<'_>,
    shapes: &mut Shapes<'_>,
    (place, of): (Place, Id),
    index: Option<u32>,
) -> Option<(Place, Id)> {
    match place {
        Place::Elsewhere => None,
        Place::Own(own) => {
            let step = shapes.step(of, index)?;
            let before = own.first.zip(step.before);
            let first = before.and_then(|(first, before)| first.checked_add(before));
            // A half stays where the pair is.
            let first = if step.is_half { own.first } else { first };
            let half = if step.is_half { Some(index) } else { own.half };
            Some((Place::Own(Own { first, half, ..own }), step.of))
        }
        Place::Push { at, place } => {
            let is_struct = kernel.edit.global(of)?.class.opcode == Op::TypeStruct;
            let step = kernel.layouts.step(kernel.edit, place, index.map(i64::from))?;
            let times = if is_struct { Some(1) } else { index };
            let further = times.and_then(|times| step.bytes.checked_mul(times));
            let at = at.zip(further).and_then(|(at, further)| at.checked_add(further));
            Some((Place::Push { at, place: step.place }, step.place.of))
        }
    }
}
