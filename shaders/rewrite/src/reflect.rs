//! What a kernel's words say about it: entry point, workgroup size, push constants, capabilities.

mod types;
mod unbound;
mod uses;

pub use unbound::without_unused_capabilities;

use crate::reflect::{types::Types, uses::Uses};
use spirv::{Capability, Decoration, ExecutionMode, ExecutionModel, Op, StorageClass};
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// The number of words before the first instruction (SPIR-V specification, section 2.3).
const HEADER_WORDS: usize = 5;

/// Why words are not a kernel that farptr can run.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
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
    /// The module has more than one compute entry point, and it was not said which is meant.
    #[error(
        "the SPIR-V module has several compute entry points, {found}; name one \
         (KernelDesc::ENTRY, raw_kernel_entry)"
    )]
    SeveralEntries {
        /// The compute entry points that are there.
        found: String,
    },
    /// No compute entry point has the name that was asked for.
    #[error("the SPIR-V module has no compute entry point `{wanted}`; it has {found}")]
    NoSuchEntry {
        /// The name that was asked for.
        wanted: String,
        /// The compute entry points that are there.
        found: String,
    },
    /// The workgroup size is not a constant of the module.
    #[error("entry point `{entry}` has no constant workgroup size; declare layout(local_size_x)")]
    NoLocalSize {
        /// The entry point.
        entry: String,
    },
    /// Several constants are decorated as the workgroup size of the whole module, and differ.
    #[error(
        "the SPIR-V module has several constants for the workgroup size, which counts for all its \
         entry points; keep one, or use execution modes"
    )]
    SeveralLocalSizes,
    /// The entry point uses more than one block of push constants, which Vulkan does not allow.
    #[error("entry point `{entry}` uses several blocks of push constants; use one")]
    SeveralPushBlocks {
        /// The entry point.
        entry: String,
    },
    /// The push constants have a type whose size the module does not fix.
    #[error("the push constants have no fixed size; use numbers, vectors and fixed arrays")]
    PushSize,
}

/// What Rust prints of an error that `main` returns: the message, which has no causes.
impl fmt::Debug for ReflectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a kernel's words say about it.
///
/// Version and capabilities are the module's, also where it has several entry points: a driver
/// asks for all of them, whichever entry point is used.
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
    /// The alignment of the push constants in bytes, that of vectors as the standard layouts have
    /// it; 1 where there are none.
    pub push_align_bytes: u32,
    /// The names of the values in the push constants, by their offsets in bytes, as far as the
    /// module has names.
    pub push_names: Vec<(u32, String)>,
    /// The capabilities that the module declares.
    pub capabilities: Vec<Capability>,
    /// The variables that need a descriptor: buffers, images and samplers that are bound.
    pub descriptors: u32,
}

impl Reflection {
    /// Whether so many bytes can be given as push constants: as many as declared, or more, up to
    /// what a type of the same members has on the CPU, whose size is a multiple of its alignment.
    #[must_use]
    pub fn takes_push(&self, given_bytes: usize) -> bool {
        let (declared, align) = (self.push_bytes as usize, self.push_align_bytes.max(1) as usize);
        (declared..=declared.next_multiple_of(align)).contains(&given_bytes)
    }

    /// Reads what a module declares that has one compute entry point.
    ///
    /// Only declarations are read; the code is not checked. Unknown instructions are passed over.
    ///
    /// # Errors
    ///
    /// * [`ReflectError::NotSpirv`] or [`ReflectError::Damaged`] when the words are no module.
    /// * [`ReflectError::NoComputeEntry`], [`ReflectError::SeveralEntries`],
    ///   [`ReflectError::NoLocalSize`] or [`ReflectError::SeveralLocalSizes`] when it is not one
    ///   compute kernel.
    /// * [`ReflectError::PushSize`] or [`ReflectError::SeveralPushBlocks`] when its push constants
    ///   have no fixed size.
    pub fn of(words: &[u32]) -> Result<Self, ReflectError> {
        Self::of_entry(words, None)
    }

    /// As [`of`](Self::of), for the compute entry point of a name, or with `None` the only one.
    ///
    /// Where a module has several entry points, or several blocks of push constants, push
    /// constants and descriptors are those that this one's code uses, in its function or those that
    /// it calls, or that its interface lists. An entry point that uses no push constants then has
    /// none.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of), and [`ReflectError::NoSuchEntry`] when none has the name.
    pub fn of_entry(words: &[u32], entry: Option<&str>) -> Result<Self, ReflectError> {
        let mut module = Declarations { version: version(words), ..Declarations::default() };
        for instruction in instructions(words)? {
            module.note(instruction?)?;
        }
        module.finish(words, entry)
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

    /// The string that begins at an operand, and the operands behind it (section 2.2.1: UTF-8,
    /// little endian, zero ended).
    fn string(&self, from: usize) -> Result<(String, &[u32]), ReflectError> {
        let damaged = ReflectError::Damaged { word: self.word };
        let words = self.operands.get(from..).unwrap_or_default();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let end = bytes.iter().position(|&byte| byte == 0).ok_or(damaged.clone())?;
        let text = String::from_utf8(bytes[..end].to_vec()).map_err(|_| damaged)?;
        Ok((text, &words[end / size_of::<u32>() + 1..]))
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

/// An entry point for compute.
struct Entry {
    function: u32,
    name: String,
    /// The variables that it lists: input and output, and from SPIR-V 1.4 on all that it uses.
    interface: Vec<u32>,
}

/// The declarations that matter, collected in one pass.
#[derive(Default)]
struct Declarations {
    version: (u8, u8),
    /// Entry points of every execution model.
    entry_points: usize,
    entries: Vec<Entry>,
    local_sizes: HashMap<u32, LocalSize>,
    workgroup_size_constants: Vec<u32>,
    capabilities: Vec<Capability>,
    /// Variables in the storage class for push constants, with their type.
    push_blocks: Vec<(u32, u32)>,
    /// Variables that are bound.
    bound: Vec<u32>,
    types: Types,
}

impl Declarations {
    fn note(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        match i.op {
            Some(Op::Capability) => {
                self.capabilities.extend(Capability::from_u32(i.operand(0)?));
            }
            Some(Op::EntryPoint) => self.note_entry(i)?,
            Some(Op::ExecutionMode | Op::ExecutionModeId) => self.note_mode(i)?,
            Some(Op::Decorate) if i.operand(1)? == Decoration::BuiltIn as u32 => {
                if i.operand(2)? == spirv::BuiltIn::WorkgroupSize as u32 {
                    self.workgroup_size_constants.push(i.operand(0)?);
                }
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
                _ => {}
            },
            _ => self.types.note(i)?,
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

    fn finish(self, words: &[u32], wanted: Option<&str>) -> Result<Reflection, ReflectError> {
        let entry = self.entry(wanted)?;
        let local_size = self.local_size(entry)?;
        let used = self.used(words, entry)?;
        let is_used = |variable: u32| used.as_ref().is_none_or(|used| used.contains(&variable));
        let mut blocks = self.push_blocks.iter().filter(|&&(variable, _)| is_used(variable));
        let (push_bytes, push_align_bytes, push_names) = match (blocks.next(), blocks.next()) {
            (None, _) => (0, 1, Vec::new()),
            (Some(&(_, pointer)), None) => {
                let size = self.types.pointee_size_bytes(pointer);
                let align = self.types.pointee_align_bytes(pointer);
                let (size, align) = size.zip(align).ok_or(ReflectError::PushSize)?;
                (size, align, self.types.pointee_names(pointer))
            }
            _ => return Err(ReflectError::SeveralPushBlocks { entry: entry.name.clone() }),
        };
        // A module has fewer variables than words, and those are counted in 32 bits.
        let descriptors = self.bound.iter().filter(|&&variable| is_used(variable)).count();
        Ok(Reflection {
            version: self.version,
            entry: entry.name.clone(),
            local_size,
            push_bytes,
            push_align_bytes,
            push_names,
            descriptors: u32::try_from(descriptors).unwrap_or(u32::MAX),
            capabilities: self.capabilities,
        })
    }

    /// The entry point of a name, or the only one.
    fn entry(&self, wanted: Option<&str>) -> Result<&Entry, ReflectError> {
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

    /// What an entry point uses, or nothing where all that is declared is its own.
    fn used(&self, words: &[u32], entry: &Entry) -> Result<Option<HashSet<u32>>, ReflectError> {
        if self.entry_points <= 1 && self.push_blocks.len() <= 1 {
            return Ok(None);
        }
        let first = std::iter::once(entry.function).chain(entry.interface.iter().copied());
        Ok(Some(Uses::read(words)?.reached_from(first)))
    }

    /// The workgroup size; a decorated constant wins over the execution mode (section 3.21), and
    /// counts for all entry points.
    fn local_size(&self, entry: &Entry) -> Result<[u32; 3], ReflectError> {
        let none = || ReflectError::NoLocalSize { entry: entry.name.clone() };
        let constant = |&id: &u32| self.types.constant_vector(id).ok_or_else(none);
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
        if size.contains(&0) { Err(none()) } else { Ok(size) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use farptr_kernels::{KernelDesc, dot, empty, saxpy, spmv, walk};
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
    fn values_of_the_push_constants_have_names() {
        let names = Reflection::of(saxpy::Kernel::words()).unwrap().push_names;
        let expected = [(0, "x"), (8, "y"), (16, "n"), (20, "a")];
        assert_eq!(names, expected.map(|(at, name)| (at, name.to_owned())));
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
