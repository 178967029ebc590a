//! Why words are not a kernel that farptr can run.

use std::fmt;

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
    /// No compute entry point has the wanted name.
    #[error("the SPIR-V module has no compute entry point `{wanted}`; it has {found}")]
    NoSuchEntry {
        /// The wanted name.
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
    /// The workgroup has no invocations.
    #[error(
        "entry point `{entry}` has workgroups of {size:?} invocations; give each dimension 1 or \
         more"
    )]
    EmptyWorkgroup {
        /// The entry point.
        entry: String,
        /// Invocations in each dimension.
        size: [u32; 3],
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

/// Prints the message, because Rust prints this form of an error that `main` returns.
impl fmt::Debug for ReflectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
