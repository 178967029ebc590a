//! farptr's rewriting pass, the ABI that host and kernels share, and reflection.
//!
//! [`KernelDesc`] describes a kernel as a type: its SPIR-V words, and how typed arguments become
//! push constants. [`Reflection`] reads what the words declare. A [`Program`] is a kernel that was
//! parsed and analysed once; [`Program::rewrite`] makes the form of it that a launch needs, which
//! checks and translates every access. The module [`control`] defines the data that host and kernel
//! exchange. This crate knows no Vulkan device and no host memory.
//!
//! # Examples
//!
//! ```
//! use farptr_kernels::saxpy;
//! use farptr_rewrite::{KernelDesc, Reflection};
//!
//! let kernel = Reflection::of(saxpy::Kernel::words())?;
//! assert_eq!(kernel.local_size, [64, 1, 1]);
//! assert_eq!(kernel.push_bytes, 24);
//! # Ok::<(), farptr_rewrite::ReflectError>(())
//! ```

mod abi;
mod analyse;
mod contract;
mod emit;
mod footprint;
mod ir;
mod load;
mod loops;
mod program;
mod reflect;
mod specialize;
#[cfg(test)]
mod tests;

pub use abi::{KernelDesc, LOOP_WINDOW, Ptr, PtrMut, SpecializedDesc};
pub use contract::analysis::{
    AccessKind, AddressCheck, Analysis, Check, Effects, IndexCheck, Joint, Line, PointerUse, Root,
    Site,
};
pub use contract::control;
pub use contract::error::RewriteError;
pub use contract::proved::Proved;
pub use contract::variant::{Fold, Integers, Search, Translation, Variant};
pub use emit::size::most_words;
pub use footprint::{
    Doubt, Footprint, FootprintCache, Footprints, IndexedAccess, KernelFootprint, RootBytes,
    SiteReach, Span, Unknown,
};
pub use program::{Program, unchecked};
pub use reflect::layout::{Arguments, Layout, Member, Number, Structure};
pub use reflect::operations::Undefined;
pub use reflect::spec::{SpecConstant, SpecKey, SpecValue};
pub use reflect::{ReflectError, Reflection, without_unused_capabilities, without_young_languages};
pub use specialize::{SpecializeError, specialize};
pub use spirv::Capability;
