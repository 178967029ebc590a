//! Reading a kernel's declarations: entry point, workgroup size, push constants, capabilities.

pub(crate) mod constants;
pub(crate) mod declarations;
mod error;
pub(crate) mod layout;
pub(crate) mod module;
pub(crate) mod number;
pub(crate) mod operations;
mod own;
mod source;
pub(crate) mod spec;
mod types;
mod unbound;
mod uses;
pub(crate) mod value;

pub use error::ReflectError;
pub use source::without_young_languages;
pub use unbound::without_unused_capabilities;

use crate::reflect::declarations::Declarations;
use crate::reflect::spec::SpecConstant;
use spirv::Capability;

/// The declarations of a kernel's words.
///
/// Version and capabilities are the module's, also where it has several entry points: a driver
/// demands all of them, whichever entry point is used.
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
    /// The specialisation constants of the module, by their ids. One id may be there several times,
    /// with other defaults or other types; a value is then for all of them.
    pub constants: Vec<SpecConstant>,
    /// The memory that a workgroup shares, in bytes, without what a device fills up.
    pub shared_bytes: u64,
}

impl Reflection {
    /// The size of the push constants in whole words of four bytes, as Vulkan takes them.
    #[must_use]
    pub fn push_word_bytes(&self) -> u32 {
        // A module declares less than 2^32 bytes by far, unless it is damaged.
        self.push_bytes.checked_next_multiple_of(4).unwrap_or(u32::MAX - 3)
    }

    /// Whether a launch may give this many bytes as push constants: at least as many as the kernel
    /// declares, in whole words, and at most the next multiple of their alignment, which is the
    /// size of a type with the same members on the CPU.
    #[must_use]
    pub fn takes_push(&self, given_bytes: usize) -> bool {
        let declared = self.push_word_bytes() as usize;
        let align = self.push_align_bytes.max(1) as usize;
        (declared..=declared.next_multiple_of(align)).contains(&given_bytes)
    }

    /// Reads the declarations of a module with one compute entry point.
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
    /// If a module has several entry points or several blocks of push constants, only those count
    /// that this entry point uses: in its function, in the functions that it calls, or in its
    /// interface. The same holds for descriptors. An entry point that uses no push constants then
    /// has none.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of), and [`ReflectError::NoSuchEntry`] when none has the name.
    pub fn of_entry(words: &[u32], entry: Option<&str>) -> Result<Self, ReflectError> {
        let module = Declarations::read(words)?;
        Self::from_declarations(module, words, entry)
    }

    fn from_declarations(
        module: Declarations,
        words: &[u32],
        wanted: Option<&str>,
    ) -> Result<Self, ReflectError> {
        let entry = module.entry(wanted)?;
        let local_size = module.local_size(entry)?;
        let used = module.used(words, entry)?;
        let is_used = |variable: u32| used.as_ref().is_none_or(|used| used.contains(&variable));
        let (push_bytes, push_align_bytes, push_names) = match module.push_pointer(words, wanted)? {
            None => (0, 1, Vec::new()),
            Some(pointer) => {
                let size = module.types.pointee_size_bytes(pointer);
                let align = module.types.pointee_align_bytes(pointer);
                let (size, align) = size.zip(align).ok_or(ReflectError::PushSize)?;
                (size, align, module.types.pointee_names(pointer))
            }
        };
        // A module has fewer variables than words, and those are counted in 32 bits.
        let descriptors = module.bound.iter().filter(|&&variable| is_used(variable)).count();
        Ok(Self {
            version: module.version,
            entry: entry.name.clone(),
            local_size,
            push_bytes,
            push_align_bytes,
            push_names,
            descriptors: u32::try_from(descriptors).unwrap_or(u32::MAX),
            constants: module.spec_constants(entry),
            shared_bytes: module.shared_bytes(is_used),
            capabilities: module.capabilities,
        })
    }
}

#[cfg(test)]
mod tests;
