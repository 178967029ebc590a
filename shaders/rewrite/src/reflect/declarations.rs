//! The declarations of a module that reflection reads.

use crate::reflect::error::ReflectError;
use crate::reflect::module::{Instruction, instructions, version};
use crate::reflect::types::Types;
use crate::reflect::uses::Uses;
use spirv::{
    Capability, Decoration, ExecutionMode, ExecutionModel, GroupOperation, Op, StorageClass,
};
use std::collections::{HashMap, HashSet};

/// How a module states its workgroup size.
#[derive(Clone, Copy)]
enum LocalSize {
    Literal([u32; 3]),
    Ids([u32; 3]),
}

/// An entry point for compute.
pub(crate) struct Entry {
    function: u32,
    pub(crate) name: String,
    /// The variables that it lists: input and output, and from SPIR-V 1.4 on all that it uses.
    interface: Vec<u32>,
}

/// The declarations that matter, collected in one pass.
#[derive(Default)]
pub(crate) struct Declarations {
    pub(crate) version: (u8, u8),
    /// Entry points of every execution model.
    entry_points: usize,
    entries: Vec<Entry>,
    local_sizes: HashMap<u32, LocalSize>,
    workgroup_size_constants: Vec<u32>,
    /// The parts of the first of those.
    workgroup_size_parts: Option<[u32; 3]>,
    pub(crate) capabilities: Vec<Capability>,
    /// Variables in the storage class for push constants, with their type.
    pub(crate) push_blocks: Vec<(u32, u32)>,
    /// Variables that are bound.
    pub(crate) bound: Vec<u32>,
    /// Variables of the kernel's own, with their class and type.
    pub(crate) own: Vec<(StorageClass, u32, u32)>,
    /// The ids of sizes of clusters of invocations.
    pub(crate) cluster_sizes: Vec<u32>,
    /// The ids of directions of swaps in quads.
    pub(crate) quad_directions: Vec<u32>,
    pub(crate) types: Types,
}

impl Declarations {
    /// Reads the declarations of a module.
    pub(crate) fn read(words: &[u32]) -> Result<Self, ReflectError> {
        let mut module = Self { version: version(words), ..Self::default() };
        for instruction in instructions(words)? {
            module.note(instruction?)?;
        }
        Ok(module)
    }

    fn note(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        match i.op {
            Some(Op::Capability) => {
                self.capabilities.extend(Capability::from_u32(i.operand(0)?));
            }
            Some(Op::EntryPoint) => self.note_entry(i)?,
            Some(Op::ExecutionMode | Op::ExecutionModeId) => self.note_mode(i)?,
            Some(Op::Decorate)
                if i.operand(1)? == Decoration::BuiltIn as u32
                    && i.operand(2)? == spirv::BuiltIn::WorkgroupSize as u32 =>
            {
                self.workgroup_size_constants.push(i.operand(0)?);
            }
            Some(Op::Variable) => match StorageClass::from_u32(i.operand(2)?) {
                Some(StorageClass::PushConstant) => {
                    // The result type of the variable: a pointer to the block.
                    self.push_blocks.push((i.operand(1)?, i.operand(0)?));
                }
                Some(
                    StorageClass::Uniform
                    | StorageClass::UniformConstant
                    | StorageClass::StorageBuffer,
                ) => self.bound.push(i.operand(1)?),
                Some(
                    class @ (StorageClass::Workgroup
                    | StorageClass::Private
                    | StorageClass::Function),
                ) => self.own.push((class, i.operand(1)?, i.operand(0)?)),
                _ => {}
            },
            Some(op) => {
                self.note_workgroup_size(op, i)?;
                self.cluster_sizes.extend(cluster_size(op, i.operands));
                if op == Op::GroupNonUniformQuadSwap {
                    self.quad_directions.push(i.operand(4)?);
                }
                self.types.note(i)?;
            }
            None => {}
        }
        Ok(())
    }

    fn note_workgroup_size(&mut self, op: Op, i: Instruction<'_>) -> Result<(), ReflectError> {
        if matches!(op, Op::ConstantComposite | Op::SpecConstantComposite)
            && self.workgroup_size_constants.first() == Some(&i.operand(1)?)
        {
            self.workgroup_size_parts = Some([i.operand(2)?, i.operand(3)?, i.operand(4)?]);
        }
        Ok(())
    }

    fn note_entry(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        self.entry_points += 1;
        if i.operand(0)? == ExecutionModel::GLCompute as u32 {
            let (name, interface) = i.string(2)?;
            let interface = interface.to_vec();
            self.entries.push(Entry { function: i.operand(1)?, name, interface });
        }
        Ok(())
    }

    fn note_mode(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        let size = |i: Instruction<'_>| Ok([i.operand(2)?, i.operand(3)?, i.operand(4)?]);
        let mode = i.operand(1)?;
        if mode == ExecutionMode::LocalSize as u32 {
            self.local_sizes.insert(i.operand(0)?, LocalSize::Literal(size(i)?));
        } else if mode == ExecutionMode::LocalSizeId as u32 {
            self.local_sizes.insert(i.operand(0)?, LocalSize::Ids(size(i)?));
        }
        Ok(())
    }

    /// The entry point of a name, or the only one.
    pub(crate) fn entry(&self, wanted: Option<&str>) -> Result<&Entry, ReflectError> {
        let fits = |entry: &&Entry| wanted.is_none_or(|wanted| entry.name == wanted);
        let mut fitting = self.entries.iter().filter(fits);
        let found = || {
            let names: Vec<_> =
                self.entries.iter().map(|entry| format!("`{}`", entry.name)).collect();
            names.join(", ")
        };
        match (fitting.next(), fitting.next(), wanted) {
            (Some(entry), None, _) => Ok(entry),
            (Some(_), Some(_), _) => Err(ReflectError::SeveralEntries { found: found() }),
            (None, _, Some(wanted)) if !self.entries.is_empty() => {
                Err(ReflectError::NoSuchEntry { wanted: wanted.to_owned(), found: found() })
            }
            (None, ..) => Err(ReflectError::NoComputeEntry),
        }
    }

    /// The ids that an entry point uses, or `None` if all declarations are its own.
    pub(crate) fn used(
        &self,
        words: &[u32],
        entry: &Entry,
    ) -> Result<Option<HashSet<u32>>, ReflectError> {
        if self.entry_points <= 1 && self.push_blocks.len() <= 1 {
            return Ok(None);
        }
        let first = std::iter::once(entry.function).chain(entry.interface.iter().copied());
        Ok(Some(Uses::read(words)?.reached_from(first)))
    }

    /// The type of the pointer to the push constants that an entry point uses, if it uses any.
    pub(crate) fn push_pointer(
        &self,
        words: &[u32],
        wanted: Option<&str>,
    ) -> Result<Option<u32>, ReflectError> {
        let entry = self.entry(wanted)?;
        let used = self.used(words, entry)?;
        let is_used = |variable: u32| used.as_ref().is_none_or(|used| used.contains(&variable));
        let mut blocks = self.push_blocks.iter().filter(|&&(variable, _)| is_used(variable));
        match (blocks.next(), blocks.next()) {
            (block, None) => Ok(block.map(|&(_, pointer)| pointer)),
            _ => Err(ReflectError::SeveralPushBlocks { entry: entry.name.clone() }),
        }
    }

    /// The workgroup size; a decorated constant wins over the execution mode (section 3.21), and
    /// counts for all entry points.
    pub(crate) fn local_size(&self, entry: &Entry) -> Result<[u32; 3], ReflectError> {
        let none = || ReflectError::NoLocalSize { entry: entry.name.clone() };
        let constant = |&id: &u32| self.constant_size(id).ok_or_else(none);
        let size = if let Some((first, others)) = self.workgroup_size_constants.split_first() {
            let size = constant(first)?;
            for other in others {
                if constant(other)? != size {
                    return Err(ReflectError::SeveralLocalSizes);
                }
            }
            size
        } else {
            self.mode_size(entry.function).ok_or_else(none)?
        };
        if size.contains(&0) {
            return Err(ReflectError::EmptyWorkgroup { entry: entry.name.clone(), size });
        }
        Ok(size)
    }

    /// The value of a constant vector of three integers.
    fn constant_size(&self, id: u32) -> Option<[u32; 3]> {
        let [x, y, z] = self.types.constants.counts(id)?.map(u32::try_from);
        Some([x.ok()?, y.ok()?, z.ok()?])
    }

    /// The constants that are the workgroup size in each dimension, if it has such.
    pub(crate) fn size_constants(&self, entry: &Entry) -> Option<[u32; 3]> {
        match self.local_sizes.get(&entry.function) {
            _ if !self.workgroup_size_constants.is_empty() => self.workgroup_size_parts,
            Some(LocalSize::Ids(ids)) => Some(*ids),
            _ => None,
        }
    }

    /// The workgroup size by the execution mode of an entry point's function.
    fn mode_size(&self, function: u32) -> Option<[u32; 3]> {
        match *self.local_sizes.get(&function)? {
            LocalSize::Literal(size) => Some(size),
            LocalSize::Ids([x, y, z]) => {
                Some([self.types.constant(x)?, self.types.constant(y)?, self.types.constant(z)?])
            }
        }
    }
}

/// The id of the size of clusters in an operation of a subgroup, if it has one.
fn cluster_size(op: Op, operands: &[u32]) -> Option<u32> {
    // Type, result and scope come first.
    match (op, operands) {
        (Op::GroupNonUniformRotateKHR, [_, _, _, _value, _delta, size]) => Some(*size),
        (Op::GroupNonUniformRotateKHR, _) => None,
        (_, [_, _, _, operation, _value, size]) if is_reduction(op) => {
            (*operation == GroupOperation::ClusteredReduce as u32).then_some(*size)
        }
        _ => None,
    }
}

/// Whether an operation combines the values of a subgroup.
fn is_reduction(op: Op) -> bool {
    let all = Op::GroupNonUniformIAdd as u32..=Op::GroupNonUniformLogicalXor as u32;
    all.contains(&(op as u32))
}
