//! A guide in five short chapters, each with programs that run.
//!
//! 1. [`first_kernel`]: from GLSL to a launch, and what its errors say.
//! 2. [`structures`]: structures of yours, and pointers between them.
//! 3. [`slang`]: kernels in Slang, whose pointers are pointers.
//! 4. [`functions`]: functions, structures and error types of yours around scopes.
//! 5. [`choices`]: when to lend, when to lend the process, and when to copy.
//!
//! Five whole programs are in the folder `examples` of this crate: a convolution, groups counted
//! with atomics on a mapped file, look-ups in a tree of pointers, bodies that attract each other,
//! and an iterative solver that looks at its residual.

pub mod choices;
pub mod first_kernel;
pub mod functions;
pub mod slang;
pub mod structures;
