//! What a kernel's words say about it: entry point, workgroup size, push constants, capabilities.

mod types;

use crate::reflect::types::Types;
use spirv::{Capability, Decoration, ExecutionMode, ExecutionModel, Op, StorageClass};
use std::collections::HashMap;

/// The number of words before the first instruction (SPIR-V specification, section 2.3).
const HEADER_WORDS: usize = 5;

/// Why words are not a kernel that farptr can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReflectError {
    /// The words do not begin with the header of a SPIR-V module.
    #[error("not a SPIR-V module: the magic number is missing; pass the words of a .spv file")]
    NotSpirv,
    /// An instruction is cut short, or an operand is missing or out of range.
    #[error("the SPIR-V module is damaged at word {word}; compile the kernel again")]
    Damaged {
        /// The position of the instruction, in words.
        word: usize,
    },
    /// No entry point has the execution model `GLCompute`.
    #[error("the SPIR-V module has no compute entry point; compile it as a compute shader")]
    NoComputeEntry,
    /// The module has more than one compute entry point.
    #[error("the SPIR-V module has several compute entry points; keep one")]
    SeveralEntries,
    /// The workgroup size is not a constant of the module.
    #[error("entry point `{entry}` has no constant workgroup size; declare layout(local_size_x)")]
    NoLocalSize {
        /// The entry point.
        entry: String,
    },
    /// The push constants have a type whose size the module does not fix.
    #[error("the push constants have no fixed size; use numbers, vectors and fixed arrays")]
    PushSize,
}

/// What a kernel's words say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reflection {
    /// The SPIR-V version: major and minor.
    pub version: (u8, u8),
    /// The name of the compute entry point.
    pub entry: String,
    /// Invocations per workgroup in each dimension.
    pub local_size: [u32; 3],
    /// The size of the push constants in bytes, from offset 0 to the end of the last member.
    pub push_bytes: u32,
    /// The capabilities that the module declares.
    pub capabilities: Vec<Capability>,
    /// The variables that need a descriptor: buffers, images and samplers that are bound.
    pub descriptors: u32,
}

impl Reflection {
    /// Reads what a module declares.
    ///
    /// Only declarations are read; the code is not checked. Unknown instructions are passed over.
    ///
    /// # Errors
    ///
    /// * [`ReflectError::NotSpirv`] or [`ReflectError::Damaged`] when the words are no module.
    /// * [`ReflectError::NoComputeEntry`], [`ReflectError::SeveralEntries`] or
    ///   [`ReflectError::NoLocalSize`] when it is not one compute kernel.
    /// * [`ReflectError::PushSize`] when its push constants have no fixed size.
    pub fn of(words: &[u32]) -> Result<Self, ReflectError> {
        let mut module = Declarations { version: version(words), ..Declarations::default() };
        for instruction in instructions(words)? {
            module.note(instruction?)?;
        }
        module.finish()
    }
}

/// One instruction of a module.
#[derive(Clone, Copy)]
struct Instruction<'w> {
    word: usize,
    op: Option<Op>,
    operands: &'w [u32],
}

impl Instruction<'_> {
    fn operand(&self, index: usize) -> Result<u32, ReflectError> {
        self.operands.get(index).copied().ok_or(ReflectError::Damaged { word: self.word })
    }

    /// The string that begins at an operand (section 2.2.1: UTF-8, little endian, zero ended).
    fn string(&self, from: usize) -> Result<String, ReflectError> {
        let damaged = ReflectError::Damaged { word: self.word };
        let words = self.operands.get(from..).unwrap_or_default();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let end = bytes.iter().position(|&byte| byte == 0).ok_or(damaged.clone())?;
        String::from_utf8(bytes[..end].to_vec()).map_err(|_| damaged)
    }
}

/// Splits a module into its instructions.
fn instructions(
    words: &[u32],
) -> Result<impl Iterator<Item = Result<Instruction<'_>, ReflectError>>, ReflectError> {
    if words.first() != Some(&spirv::MAGIC_NUMBER) {
        return Err(ReflectError::NotSpirv);
    }
    let mut word = HEADER_WORDS;
    Ok(std::iter::from_fn(move || {
        let &first = words.get(word)?;
        let here = word;
        let length = (first >> 16) as usize;
        match words.get(here + 1..here + length) {
            Some(operands) if length > 0 => {
                word += length;
                Some(Ok(Instruction { word: here, op: Op::from_u32(first & 0xffff), operands }))
            }
            _ => {
                word = words.len();
                Some(Err(ReflectError::Damaged { word: here }))
            }
        }
    }))
}

/// The version in a module's header (section 2.3: the second word, from the upper bytes down).
fn version(words: &[u32]) -> (u8, u8) {
    let [_, major, minor, _] = words.get(1).copied().unwrap_or_default().to_be_bytes();
    (major, minor)
}

/// How a module states its workgroup size.
#[derive(Clone, Copy)]
enum LocalSize {
    Literal([u32; 3]),
    Ids([u32; 3]),
}

/// The declarations that matter, collected in one pass.
#[derive(Default)]
struct Declarations {
    version: (u8, u8),
    entries: Vec<(u32, String)>,
    local_sizes: HashMap<u32, LocalSize>,
    workgroup_size_constant: Option<u32>,
    capabilities: Vec<Capability>,
    push_pointer: Option<u32>,
    descriptors: u32,
    types: Types,
}

impl Declarations {
    fn note(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        match i.op {
            Some(Op::Capability) => {
                self.capabilities.extend(Capability::from_u32(i.operand(0)?));
            }
            Some(Op::EntryPoint) if i.operand(0)? == ExecutionModel::GLCompute as u32 => {
                self.entries.push((i.operand(1)?, i.string(2)?));
            }
            Some(Op::ExecutionMode | Op::ExecutionModeId) => self.note_mode(i)?,
            Some(Op::Decorate) if i.operand(1)? == Decoration::BuiltIn as u32 => {
                if i.operand(2)? == spirv::BuiltIn::WorkgroupSize as u32 {
                    self.workgroup_size_constant = Some(i.operand(0)?);
                }
            }
            Some(Op::Variable) => match StorageClass::from_u32(i.operand(2)?) {
                Some(StorageClass::PushConstant) => {
                    // The result type of the variable: a pointer to the block.
                    self.push_pointer = Some(i.operand(0)?);
                }
                Some(
                    StorageClass::Uniform
                    | StorageClass::UniformConstant
                    | StorageClass::StorageBuffer,
                ) => self.descriptors += 1,
                _ => {}
            },
            _ => self.types.note(i)?,
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

    fn finish(self) -> Result<Reflection, ReflectError> {
        let [(function, entry)] = &self.entries[..] else {
            return Err(if self.entries.is_empty() {
                ReflectError::NoComputeEntry
            } else {
                ReflectError::SeveralEntries
            });
        };
        let local_size = self
            .local_size(*function)
            .ok_or_else(|| ReflectError::NoLocalSize { entry: entry.clone() })?;
        let push_bytes = match self.push_pointer {
            Some(pointer) => {
                self.types.pointee_size_bytes(pointer).ok_or(ReflectError::PushSize)?
            }
            None => 0,
        };
        Ok(Reflection {
            version: self.version,
            entry: entry.clone(),
            local_size,
            push_bytes,
            capabilities: self.capabilities,
            descriptors: self.descriptors,
        })
    }

    /// The workgroup size; the decorated constant wins over the execution mode (section 3.21).
    fn local_size(&self, function: u32) -> Option<[u32; 3]> {
        let size = match self.workgroup_size_constant {
            Some(id) => self.types.constant_vector(id)?,
            None => match *self.local_sizes.get(&function)? {
                LocalSize::Literal(size) => size,
                LocalSize::Ids([x, y, z]) => {
                    [self.types.constant(x)?, self.types.constant(y)?, self.types.constant(z)?]
                }
            },
        };
        (!size.contains(&0)).then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KernelDesc, dot, empty, saxpy, spmv, walk};
    use proptest::prelude::*;

    #[test]
    fn shipped_kernels_declare_what_their_sources_say() {
        let cases: [(&'static [u32], [u32; 3], u32); 5] = [
            (empty::Kernel::words(), [8, 1, 1], 0),
            (saxpy::Kernel::words(), [64, 1, 1], 24),
            (dot::Kernel::words(), [64, 1, 1], 28),
            (spmv::Kernel::words(), [64, 1, 1], 52),
            (walk::Kernel::words(), [64, 1, 1], 24),
        ];
        for (words, local_size, push_bytes) in cases {
            let reflection = Reflection::of(words).unwrap();
            assert_eq!(reflection.entry, "main");
            assert_eq!(reflection.local_size, local_size);
            assert_eq!(reflection.push_bytes, push_bytes);
            assert_eq!(reflection.descriptors, 0);
        }
    }

    #[test]
    fn shipped_kernels_need_no_64_bit_integers() {
        for words in [saxpy::Kernel::words(), spmv::Kernel::words(), walk::Kernel::words()] {
            let capabilities = Reflection::of(words).unwrap().capabilities;
            assert!(capabilities.contains(&Capability::PhysicalStorageBufferAddresses));
            assert!(!capabilities.contains(&Capability::Int64));
        }
    }

    #[test]
    fn words_that_are_no_module_are_refused() {
        assert_eq!(Reflection::of(&[]), Err(ReflectError::NotSpirv));
        assert_eq!(Reflection::of(&[1, 2, 3]), Err(ReflectError::NotSpirv));
        let header = &saxpy::Kernel::words()[..HEADER_WORDS];
        assert_eq!(Reflection::of(header), Err(ReflectError::NoComputeEntry));
    }

    #[test]
    fn a_cut_module_is_damaged() {
        let words = saxpy::Kernel::words();
        let cut = Reflection::of(&words[..HEADER_WORDS + 1]);
        assert!(matches!(cut, Err(ReflectError::Damaged { .. })), "{cut:?}");
    }

    proptest! {
        #[test]
        fn mutated_modules_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..8),
        ) {
            let mut words = spmv::Kernel::words().to_vec();
            for (index, word) in changes {
                let index = index.index(words.len());
                words[index] = word;
            }
            let _ = Reflection::of(&words);
        }

        #[test]
        fn arbitrary_words_never_panic(mut words in prop::collection::vec(any::<u32>(), 0..64)) {
            if let Some(first) = words.first_mut() {
                *first = spirv::MAGIC_NUMBER;
            }
            let _ = Reflection::of(&words);
        }
    }
}
