//! The origin of a pointer: the analysis follows it back along access chains, to a value of the
//! push constants if it came from one.

use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use crate::ir::layouts::{Layouts, Place, scalar_bytes, vector_parts};
use rspirv::dr::{Function, Instruction, Operand};
use rspirv::spirv::{Op, StorageClass};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// The most instructions that are followed back, so that the search ends in damaged modules too.
const MAX_STEPS: usize = 64;
/// How deep values are followed back through variables and calls.
const MAX_DEPTH: usize = 24;

/// The instructions of a kernel's functions, by what they define.
pub(crate) struct Definitions<'p> {
    pub(crate) edit: &'p Edit,
    pub(crate) layouts: &'p Layouts,
    definitions: HashMap<Id, &'p Instruction>,
    /// The value of each variable that is only ever loaded and stored whole.
    stored: HashMap<Id, Stored>,
    /// Arguments and the parameters that they are passed as.
    passed: Vec<(Id, Id)>,
    /// The arguments of all calls, per parameter.
    arguments: HashMap<Id, Vec<Id>>,
    /// Offsets in the push constants, of values that were looked at.
    offsets: RefCell<HashMap<Id, Option<u32>>>,
}

/// The values that a kernel stores to a variable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// One value by one instruction.
    Once(Id),
    /// Several values, or a store that is not followed.
    Unknown,
}

/// The path of a pointer from its origin.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The pointer that the access chains start from, and its type.
    pub(crate) start: Id,
    pub(crate) start_type: Id,
    /// The instructions from there to the pointer.
    pub(crate) steps: Vec<Instruction>,
    /// The type that the pointer points to, and its layout.
    pub(crate) place: Place,
    /// The constant distance and the one index that is not constant, if the path has no other
    /// index.
    pub(crate) distance: Option<Distance>,
    /// The sum of all constant distances, wrapping, and all other indices with their strides.
    pub(crate) bytes: u64,
    pub(crate) indices: Vec<(Id, u32)>,
    /// Whether a member on the path is coherent or volatile.
    pub(crate) coherent: bool,
}

impl Trace {
    /// Notes a step by an index.
    fn note_index(&mut self, edit: &Edit, index: Id, bytes: u32) {
        match edit.constant_index(index) {
            Some(constant) => {
                let further = constant.cast_unsigned().wrapping_mul(u64::from(bytes));
                self.bytes = self.bytes.wrapping_add(further);
            }
            None => self.indices.push((index, bytes)),
        }
    }
}

/// How far a pointer is from where its access chains start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Distance {
    pub(crate) bytes: u64,
    /// An index that is no constant, and the bytes from one to the next.
    pub(crate) index: Option<(Id, u32)>,
}

impl Distance {
    fn step(self, edit: &Edit, index: Id, bytes: u32) -> Option<Self> {
        match edit.constant_index(index) {
            Some(constant) => {
                let further = u64::try_from(constant).ok()?.checked_mul(u64::from(bytes))?;
                Some(Self { bytes: self.bytes.checked_add(further)?, ..self })
            }
            None if self.index.is_none() => {
                Some(Self { index: Some((index, bytes)), bytes: self.bytes })
            }
            None => None,
        }
    }
}

impl<'p> Definitions<'p> {
    pub(crate) fn new(edit: &'p Edit, layouts: &'p Layouts) -> Self {
        let mut kernel = Self {
            edit,
            layouts,
            definitions: HashMap::new(),
            stored: HashMap::new(),
            passed: Vec::new(),
            arguments: HashMap::new(),
            offsets: RefCell::default(),
        };
        let parameters: HashMap<Id, &Function> =
            edit.module.functions.iter().filter_map(|f| Some((f.def_id()?, f))).collect();
        for function in &edit.module.functions {
            for instruction in function.all_inst_iter() {
                kernel.note(instruction, &parameters);
            }
        }
        kernel.note_written_by_callees();
        kernel
    }

    /// Notes which variables a called function writes through a parameter, or passes on to another
    /// function.
    fn note_written_by_callees(&mut self) {
        let passed = std::mem::take(&mut self.passed);
        let further: HashSet<Id> = passed.iter().map(|(argument, _)| *argument).collect();
        for &(argument, parameter) in &passed {
            if self.stored.contains_key(&parameter) || further.contains(&parameter) {
                self.note_stored(argument, Stored::Unknown);
            }
        }
    }

    fn note(&mut self, instruction: &'p Instruction, functions: &HashMap<Id, &Function>) {
        let op = instruction.class.opcode;
        if let Some(id) = instruction.result_id {
            self.definitions.insert(id, instruction);
        }
        let ids = (0..instruction.operands.len()).filter_map(|i| id_operand(instruction, i));
        match op {
            Op::Load => {}
            Op::Variable => {
                // An initialiser is one more value.
                if let (Some(id), Some(value)) = (instruction.result_id, id_operand(instruction, 1))
                {
                    self.note_stored(id, Stored::Once(value));
                }
            }
            Op::Store => {
                let (to, value) = (id_operand(instruction, 0), id_operand(instruction, 1));
                if let (Some(to), Some(value)) = (to, value) {
                    self.note_stored(to, Stored::Once(value));
                    self.note_stored(value, Stored::Unknown);
                }
            }
            Op::FunctionCall => {
                let called = id_operand(instruction, 0).and_then(|id| functions.get(&id));
                let parameters = called.into_iter().flat_map(|f| &f.parameters);
                let parameters = parameters.filter_map(|parameter| parameter.result_id);
                for (parameter, argument) in parameters.zip(ids.skip(1)) {
                    self.arguments.entry(parameter).or_default().push(argument);
                    // Whether the called function only reads the variable is known when all
                    // functions were looked at.
                    self.passed.push((argument, parameter));
                }
            }
            // Any other instruction that takes a variable may write it.
            _ => ids.for_each(|id| self.note_stored(id, Stored::Unknown)),
        }
    }

    fn note_stored(&mut self, to: Id, stored: Stored) {
        // A function's variables come before their uses.
        let defined = self.definitions.get(&to).map(|defined| defined.class.opcode);
        if !matches!(defined, Some(Op::Variable | Op::FunctionParameter)) {
            return;
        }
        self.stored.entry(to).and_modify(|known| *known = Stored::Unknown).or_insert(stored);
    }

    /// The instruction that defines an id, in a function or outside.
    pub(crate) fn definition(&self, id: Id) -> Option<&Instruction> {
        self.definitions.get(&id).copied().or_else(|| self.edit.global(id))
    }

    /// Whether an id is a pointer to physical storage.
    pub(crate) fn is_physical(&self, id: Id) -> bool {
        self.edit.type_of(id).is_some_and(|of| self.is_physical_type(of))
    }

    /// Whether a type is that of pointers to physical storage.
    pub(crate) fn is_physical_type(&self, of: Id) -> bool {
        let declared = self.edit.global(of);
        declared.is_some_and(|declared| {
            matches!(declared.class.opcode, Op::TypePointer | Op::TypeUntypedPointerKHR)
                && declared.operands.first()
                    == Some(&Operand::StorageClass(StorageClass::PhysicalStorageBuffer))
        })
    }

    /// Follows a pointer back over its access chains. Returns `None` if a type is not understood.
    pub(crate) fn trace(&self, pointer: Id) -> Option<Trace> {
        let mut start = pointer;
        let mut steps = Vec::new();
        while steps.len() < MAX_STEPS && self.push_offset(start).is_none() {
            let Some(definition) = self.definition(start) else { break };
            let from = match definition.class.opcode {
                Op::AccessChain
                | Op::InBoundsAccessChain
                | Op::PtrAccessChain
                | Op::InBoundsPtrAccessChain
                | Op::CopyObject
                | Op::Bitcast => id_operand(definition, 0),
                _ => None,
            };
            let Some(from) = from.filter(|&from| self.is_physical(from)) else { break };
            steps.push(definition.clone());
            start = from;
        }
        steps.reverse();
        let start_type = self.edit.type_of(start)?;
        let (_, pointee) = self.edit.pointer_parts(start_type)?;
        let mut trace = Trace {
            start,
            start_type,
            steps: Vec::new(),
            place: Place::new(pointee),
            distance: Some(Distance::default()),
            bytes: 0,
            indices: Vec::new(),
            coherent: false,
        };
        let mut of = start_type;
        for step in steps {
            self.follow(&mut trace, of, &step)?;
            of = step.result_type?;
            trace.steps.push(step);
        }
        // The declared type counts; the walk only adds how matrices are laid out.
        let (_, declared) = self.edit.pointer_parts(of)?;
        (declared == trace.place.of).then_some(trace)
    }

    /// Goes one step forward on the path of a pointer.
    fn follow(&self, trace: &mut Trace, of: Id, step: &Instruction) -> Option<()> {
        let mut indices = (1..step.operands.len()).filter_map(|index| id_operand(step, index));
        match step.class.opcode {
            Op::Bitcast | Op::CopyObject => {
                let (_, pointee) = self.edit.pointer_parts(step.result_type?)?;
                if pointee != trace.place.of {
                    trace.place = Place::new(pointee);
                }
                return Some(());
            }
            Op::PtrAccessChain | Op::InBoundsPtrAccessChain => {
                let element = indices.next()?;
                let stride = self.layouts.pointer_stride(of);
                trace.distance =
                    trace.distance.and_then(|distance| distance.step(self.edit, element, stride?));
                trace.note_index(self.edit, element, stride.unwrap_or_default());
            }
            _ => {}
        }
        for index in indices {
            let constant = self.edit.integer(index);
            let part = self.layouts.step(self.edit, trace.place, constant)?;
            let is_member = self.edit.global(trace.place.of)?.class.opcode == Op::TypeStruct;
            trace.distance = match trace.distance {
                Some(Distance { bytes, index }) if is_member => {
                    let bytes = bytes.checked_add(u64::from(part.bytes));
                    bytes.map(|bytes| Distance { bytes, index })
                }
                Some(distance) => distance.step(self.edit, index, part.bytes),
                None => None,
            };
            if is_member {
                trace.bytes = trace.bytes.wrapping_add(u64::from(part.bytes));
            } else {
                trace.note_index(self.edit, index, part.bytes);
            }
            trace.coherent |= part.coherent;
            trace.place = part.place;
        }
        Some(())
    }

    /// The offset of a 64-bit value in the push constants, if it was loaded from a fixed place.
    pub(crate) fn push_offset(&self, id: Id) -> Option<u32> {
        self.push_offset_within(id, 0)
    }

    fn push_offset_within(&self, id: Id, depth: usize) -> Option<u32> {
        if let Some(&known) = self.offsets.borrow().get(&id) {
            return known;
        }
        if depth > MAX_DEPTH {
            return None;
        }
        // Unknown while it is being found out, so that a cycle ends.
        self.offsets.borrow_mut().insert(id, None);
        let found = self.find_push_offset(id, depth);
        self.offsets.borrow_mut().insert(id, found);
        found
    }

    fn find_push_offset(&self, id: Id, depth: usize) -> Option<u32> {
        let definition = self.definition(id)?;
        if !self.has_eight_bytes(definition.result_type?) {
            return None;
        }
        match definition.class.opcode {
            Op::CopyObject | Op::Bitcast | Op::ConvertPtrToU | Op::ConvertUToPtr => {
                self.push_offset_within(id_operand(definition, 0)?, depth + 1)
            }
            Op::Load => {
                let from = id_operand(definition, 0)?;
                let place = self.push_place(from, 0).map(|(offset, _)| offset);
                place.or_else(|| self.held_offset(from, depth + 1))
            }
            Op::CompositeExtract => {
                let load = self.definition(id_operand(definition, 0)?)?;
                let (mut offset, mut place) = match load.class.opcode {
                    Op::Load => self.push_place(id_operand(load, 0)?, 0)?,
                    _ => return None,
                };
                for index in definition.operands.get(1..)? {
                    let &Operand::LiteralBit32(index) = index else { return None };
                    (offset, place) = self.part(offset, place, i64::from(index))?;
                }
                Some(offset)
            }
            Op::FunctionParameter => {
                let (first, others) = self.arguments.get(&id)?.split_first()?;
                let offset = self.push_offset_within(*first, depth + 1)?;
                let same = |&other| self.push_offset_within(other, depth + 1) == Some(offset);
                others.iter().all(same).then_some(offset)
            }
            _ => None,
        }
    }

    /// The offset in the push constants of the value that a variable always holds. The variable is
    /// the function's own, or a parameter that leads to variables of the callers.
    fn held_offset(&self, variable: Id, depth: usize) -> Option<u32> {
        let is_parameter = self.definition(variable)?.class.opcode == Op::FunctionParameter;
        if !is_parameter {
            return self.push_offset_within(self.only_value(variable)?, depth + 1);
        }
        if depth > MAX_DEPTH || self.stored.contains_key(&variable) {
            return None;
        }
        let (first, others) = self.arguments.get(&variable)?.split_first()?;
        let held = |&argument| self.push_offset_within(self.only_value(argument)?, depth + 1);
        let offset = held(first)?;
        others.iter().all(|other| held(other) == Some(offset)).then_some(offset)
    }

    /// The value of a variable of a function that is stored once.
    ///
    /// A load before the store counts too: its value is undefined, so it may be this value.
    fn only_value(&self, variable: Id) -> Option<Id> {
        match self.stored.get(&variable)? {
            Stored::Once(value) => Some(*value),
            Stored::Unknown => None,
        }
    }

    /// Offset and type of a fixed place in the push constants.
    fn push_place(&self, pointer: Id, depth: usize) -> Option<(u32, Place)> {
        let definition = self.definition(pointer)?;
        match definition.class.opcode {
            Op::Variable => {
                let (class, pointee) = self.edit.pointer_parts(definition.result_type?)?;
                (class == StorageClass::PushConstant).then_some((0, Place::new(pointee)))
            }
            Op::AccessChain | Op::InBoundsAccessChain if depth < MAX_DEPTH => {
                let mut at = self.push_place(id_operand(definition, 0)?, depth + 1)?;
                for index in 1..definition.operands.len() {
                    let index = self.edit.integer(id_operand(definition, index)?)?;
                    at = self.part(at.0, at.1, index)?;
                }
                Some(at)
            }
            _ => None,
        }
    }

    fn part(&self, offset: u32, place: Place, index: i64) -> Option<(u32, Place)> {
        let is_member = self.edit.global(place.of)?.class.opcode == Op::TypeStruct;
        let step = self.layouts.step(self.edit, place, Some(index))?;
        let times = if is_member { 1 } else { u32::try_from(index).ok()? };
        Some((offset.checked_add(step.bytes.checked_mul(times)?)?, step.place))
    }

    /// Whether a type can hold an address: 64 bits, or two words.
    fn has_eight_bytes(&self, of: Id) -> bool {
        let words = || {
            let (part, count) = vector_parts(self.edit, of)?;
            Some(count == 2 && scalar_bytes(self.edit, part)? == 4)
        };
        scalar_bytes(self.edit, of) == Some(8) || words().unwrap_or(false)
    }

    /// Whether a value is a physical pointer, or a number that has all bits of one.
    pub(crate) fn is_address(&self, id: Id) -> bool {
        let of = self.edit.type_of(id);
        of.is_some_and(|of| self.is_physical_type(of) || self.has_eight_bytes(of))
    }

    /// Whether a value is a 32-bit integer.
    pub(crate) fn is_word(&self, id: Id) -> bool {
        let of = self.edit.type_of(id).and_then(|of| self.edit.global(of));
        of.is_some_and(|of| {
            of.class.opcode == Op::TypeInt
                && of.operands.first() == Some(&Operand::LiteralBit32(32))
        })
    }
}
