//! The kernels that farptr's samples, measurements and tests launch.
//!
//! GLSL under `glsl/` is compiled by `vulkano-shaders` when this crate is built. A kernel is a type
//! that implements [`KernelDesc`]; [`abi`] has the structures that the kernels find in memory.
//!
//! # Examples
//!
//! ```
//! use farptr_kernels::{KernelDesc, Ptr, PtrMut, saxpy};
//!
//! let (x, y) = (Ptr::from_address(0x1000), PtrMut::from_address(0x2000));
//! let push = saxpy::Kernel::push(saxpy::Args { x, y, n: 64, a: 3.0 });
//! assert_eq!(size_of_val(&push), 24);
//! ```

pub mod abi;
mod kernels;
mod words;

pub use farptr_rewrite::{KernelDesc, Ptr, PtrMut};
pub use kernels::{
    affine, all, axpby, bfs, chase, dot, empty, endless, gather, hadamard, offsets, probe, saxpy,
    saxpy4, sparse, spmv, walk,
};
