//! The effects of a kernel beside loads and stores, and whether a second run writes the same bytes.

use crate::analyse::access::{Access, PointerCheck};
use crate::analyse::pointers::Definitions;
use crate::analyse::sites;
use crate::contract::analysis::{AccessKind, Effects, IndexCheck};
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::Instruction;
use rspirv::spirv::{Op, StorageClass};
use std::collections::HashSet;

/// The most passes over the instructions. If more were needed, the answer is that a second run may
/// write other bytes.
const MAX_ROUNDS: usize = 16;

/// Collects the effects of a kernel.
pub(crate) fn effects(
    kernel: &Definitions<'_>,
    accesses: &[Access],
    index_checks: &[IndexCheck],
) -> Effects {
    let mut effects = Effects::default();
    for access in accesses {
        effects.writes |= access.dereference.kind.writes();
        effects.atomics |= access.dereference.kind == AccessKind::Atomic;
    }
    let mut others = false;
    for instruction in instructions(kernel) {
        let op = instruction.class.opcode;
        effects.barriers |= op == Op::ControlBarrier;
        effects.subgroups |= is_subgroup(instruction.class.opname);
        let bound = writes_descriptor(kernel, instruction);
        effects.atomics |= bound && sites::is_atomic(op);
        effects.writes |= bound;
        others |= bound;
    }
    effects.overwrites = !others
        && !effects.atomics
        && !effects.subgroups
        && apart(accesses, index_checks)
        && Taint::new(kernel).leaves_writes_alone(accesses);
    effects
}

fn instructions<'k>(kernel: &'k Definitions<'_>) -> impl Iterator<Item = &'k Instruction> {
    kernel.edit.module.functions.iter().flat_map(|function| function.all_inst_iter())
}

/// Whether an instruction works across a subgroup.
fn is_subgroup(name: &str) -> bool {
    name.starts_with("Group") || name.starts_with("Subgroup")
}

/// The storage class of the memory that a pointer points to.
fn class(kernel: &Definitions<'_>, pointer: Id) -> Option<StorageClass> {
    kernel.edit.pointer_parts(kernel.edit.type_of(pointer)?).map(|(class, _)| class)
}

/// Whether an instruction writes to a buffer or image that is bound with a descriptor.
fn writes_descriptor(kernel: &Definitions<'_>, instruction: &Instruction) -> bool {
    let op = instruction.class.opcode;
    let writes = matches!(op, Op::Store | Op::CopyMemory) || sites::is_atomic(op);
    let to = id_operand(instruction, 0).filter(|_| writes);
    let class = to.and_then(|pointer| class(kernel, pointer));
    let bound = [StorageClass::StorageBuffer, StorageClass::Uniform, StorageClass::Image].map(Some);
    op == Op::ImageWrite || (to.is_some() && bound.contains(&class))
}

/// Whether all accesses are indices, and no root is both read and written.
fn apart(accesses: &[Access], index_checks: &[IndexCheck]) -> bool {
    let (mut read, mut written) = (HashSet::new(), HashSet::new());
    for access in accesses {
        let PointerCheck::Index(check) = access.check else { return false };
        let Some(check) = index_checks.get(check) else { return false };
        if check.access.writes() { &mut written } else { &mut read }.insert(check.root);
    }
    read.is_disjoint(&written)
}

/// The values that depend on memory which is read.
struct Taint<'k, 'p> {
    kernel: &'k Definitions<'p>,
    /// Results that depend on such memory, and variables that hold one.
    values: HashSet<Id>,
    /// Whether such a value may be in any variable.
    anywhere: bool,
}

impl<'k, 'p> Taint<'k, 'p> {
    fn new(kernel: &'k Definitions<'p>) -> Self {
        Self { kernel, values: HashSet::new(), anywhere: false }
    }

    /// Whether no branch of the kernel and no index of a write depends on memory that is read.
    fn leaves_writes_alone(mut self, accesses: &[Access]) -> bool {
        let mut settled = false;
        for _ in 0..MAX_ROUNDS {
            let before = (self.values.len(), self.anywhere);
            for instruction in instructions(self.kernel) {
                self.spread(instruction);
            }
            settled = before == (self.values.len(), self.anywhere);
            if settled {
                break;
            }
        }
        let decides = |op: Op| matches!(op, Op::BranchConditional | Op::Switch);
        let mut branches = instructions(self.kernel).filter(|i| decides(i.class.opcode));
        let fixed_way = branches.all(|branch| !self.is_tainted(branch));
        let mut writes = accesses.iter().filter(|access| access.dereference.kind.writes());
        settled
            && fixed_way
            && writes.all(|access| !self.values.contains(&access.dereference.pointer))
    }

    /// Whether an operand depends on what is read.
    fn is_tainted(&self, instruction: &Instruction) -> bool {
        let mut ids = (0..instruction.operands.len()).filter_map(|i| id_operand(instruction, i));
        ids.any(|id| self.values.contains(&id))
    }

    /// Marks the results of an instruction that depends on memory.
    fn spread(&mut self, instruction: &Instruction) {
        let op = instruction.class.opcode;
        let mut depends = self.is_tainted(instruction);
        match op {
            Op::Load => depends |= id_operand(instruction, 0).is_none_or(|from| self.reads(from)),
            Op::Store if depends => self.store(id_operand(instruction, 0)),
            Op::CopyMemory | Op::ExtInst => {
                depends |= op == Op::CopyMemory;
                if depends {
                    (0..instruction.operands.len())
                        .filter_map(|i| id_operand(instruction, i))
                        .filter(|&id| class(self.kernel, id).is_some())
                        .for_each(|id| self.store(Some(id)));
                }
            }
            // Parameters and results are not followed one by one.
            Op::FunctionCall => depends = true,
            Op::FunctionParameter => depends = true,
            _ => {}
        }
        if depends {
            self.values.extend(instruction.result_id);
        }
    }

    /// Whether a value that is loaded through a pointer may depend on memory that the kernel reads.
    fn reads(&self, pointer: Id) -> bool {
        match class(self.kernel, pointer) {
            Some(StorageClass::Input | StorageClass::PushConstant | StorageClass::Uniform) => false,
            Some(StorageClass::Function | StorageClass::Private) => {
                let variable = self.variable(pointer);
                self.anywhere || variable.is_none_or(|variable| self.values.contains(&variable))
            }
            _ => true,
        }
    }

    /// Notes that a value that depends on memory is stored.
    fn store(&mut self, pointer: Option<Id>) {
        // A value that is loaded from other storage classes counts as dependent anyway.
        let class = pointer.and_then(|pointer| class(self.kernel, pointer));
        if !matches!(class, None | Some(StorageClass::Function | StorageClass::Private)) {
            return;
        }
        match pointer.and_then(|pointer| self.variable(pointer)) {
            Some(variable) => {
                self.values.insert(variable);
            }
            None => self.anywhere = true,
        }
    }

    /// The variable that a pointer points into.
    fn variable(&self, pointer: Id) -> Option<Id> {
        let mut pointer = pointer;
        for _ in 0..MAX_ROUNDS {
            let definition = self.kernel.definition(pointer)?;
            match definition.class.opcode {
                Op::Variable => return Some(pointer),
                Op::AccessChain | Op::InBoundsAccessChain | Op::CopyObject => {
                    pointer = id_operand(definition, 0)?;
                }
                _ => return None,
            }
        }
        None
    }
}
