//! farptr's kernels and the ABI that host and kernels share.
//!
//! GLSL under `glsl/` is compiled by `vulkano-shaders` when this crate is built. A kernel is a type
//! that implements [`KernelDesc`]: it gives its SPIR-V words and turns typed arguments into push
//! constants. This crate knows no Vulkan device and no host memory.
//!
//! # Examples
//!
//! ```
//! use farptr_shaders::{KernelDesc, Reflection, saxpy};
//!
//! let kernel = Reflection::of(saxpy::Kernel::words())?;
//! assert_eq!(kernel.local_size, [64, 1, 1]);
//! assert_eq!(kernel.push_bytes, 24);
//! # Ok::<(), farptr_shaders::ReflectError>(())
//! ```

pub mod abi;
mod desc;
pub mod kernels;
mod ptr;
mod reflect;
pub mod rewrite;
mod words;

pub use desc::KernelDesc;
pub use kernels::{
    affine, axpby, bfs, chase, dot, empty, gather, hadamard, offsets, probe, saxpy, saxpy4, sparse,
    spmv, walk,
};
pub use ptr::{Ptr, PtrMut};
pub use reflect::{ReflectError, Reflection, without_unused_capabilities};
pub use spirv::Capability;
