//! Vulkan compute kernels that dereference ordinary host pointers.
//!
//! A program lends a slice, an mmap'd file or a structure linked by pointers to a kernel and
//! launches it, without staging buffers. The addresses that a kernel sees are host addresses.
//!
//! # Examples
//!
//! ```
//! use farptr::{Grid, Runtime, shaders::saxpy};
//!
//! let runtime = Runtime::builder().build()?;
//! let kernel = runtime.kernel::<saxpy::Kernel>()?;
//! let x = vec![1.0f32; 1 << 16];
//! let mut y = vec![2.0f32; 1 << 16];
//! runtime.scope(|s| {
//!     let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
//!     let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: 1 << 16, a: 3.0 };
//!     s.launch(&kernel, Grid::cover(1 << 16), args)?; // safe: each access is checked
//!     Ok(())
//! })?; // `scope` waits for the kernels before it returns
//! assert!(y.iter().all(|&y| y == 5.0));
//! # Ok::<(), farptr::Error>(())
//! ```
//!
//! The macro [`kernel!`] makes such a typed kernel from GLSL or SPIR-V of yours, and the module
//! [`guide`] begins there.
//!
//! # Programs to begin with
//!
//! The folder `examples` of this crate has programs of one file each, with their kernels in GLSL.
//! `cargo run --release --example n_body -p farptr` runs one in a clone of the repository.
//!
//! | example | shows |
//! |---|---|
//! | `convolution` | an array among the arguments, and a grid of two dimensions |
//! | `group_by` | files that kernels read and write where they are mapped, with atomics |
//! | `b_tree` | nodes with pointers, by `#[derive(Lendable)]` |
//! | `n_body` | a structure among the arguments, shared memory, steps in one scope |
//! | `jacobi` | a pointer that may be null, looks at a number between launches |
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | lend | give a kernel the use of host memory until a scope ends |
//! | direct access | device addresses equal host addresses; kernels run on host pointers as is |
//! | mirrored access | the device has addresses of its own; kernels are rewritten to translate |
//! | launch, grid | one run of a kernel; the number of its invocations |
//! | fault | an access of a kernel that is not allowed, or not possible yet |
//! | workgroup | invocations that share memory and barriers (CUDA's block) |
//! | invocation | one run of a kernel's entry point, as `main` (CUDA's thread) |
//! | round | one run of a launch; in direct access a launch takes one |
//!
//! # What a safe launch guarantees
//!
//! For a kernel whose [`KernelDesc`] (or [`Runtime::raw_kernel`]) keeps its promise about the
//! words, [`Scope::launch`] and its safe kin guarantee, in both access modes and whatever the
//! arguments are:
//!
//! 1. The kernel reads only bytes that its scope lent, and writes only those lent for writing. Any
//!    other access is [`LaunchError::Fault`]; it reads zeroes and writes nothing of the host's.
//! 2. It runs only while the borrows last: the scope waits before it returns.
//! 3. It ends: a loop without end is an error, by a limit or a deadline.
//! 4. A launch that failed may have written what it was allowed to write, unless it was
//!    [`transactional`](LaunchOptions::transactional); later launches of the scope do not run on it
//!    before the failure was reported.
//!
//! Provenance: an address is a number here, and carries no permission. A kernel may touch the
//! bytes that were lent, as they were lent: [`Scope::lend`] and [`Scope::lend_mut`] take the
//! slice for as long as the scope, and bytes beside it are out of reach, whichever object they
//! belong to. The host looks at memory lent for writing through [`Idle`] alone until the scope
//! has ended.
//!
//! # What a runtime does, and when
//!
//! With the feature `tracing` a runtime opens spans and reports events for subscribers of the
//! crate [`tracing`](https://docs.rs/tracing), all with the target `farptr`. Without the feature
//! nothing of it is compiled.
//!
//! | span | while | fields |
//! |---|---|---|
//! | `build` | a device is chosen and proved; the launches of the proof are inside | |
//! | `lend` | memory is lent | `bytes`, `writable`, `imported` |
//! | `launch` | a launch is recorded, or runs in rounds | `kernel`, `groups`, `checked`, `proved` |
//! | `analyse` | a kernel's words are read for the pass | `words` |
//! | `rewrite` | the pass makes a form of a kernel | `kernel`, `variant` |
//! | `compile` | the driver compiles a form | `kernel`, `words` |
//! | `round` | it runs once, and missing pages are brought in | `number`, `faults`, `pages` |
//! | `copy` | pages are copied | `to` (`device` or `home`), `bytes` |
//!
//! Spans have the level debug. A launch without rounds runs after its span, in a batch. A runtime
//! may hold locks while it calls a subscriber: a subscriber must not call the runtime.
//!
//! | event | level | fields |
//! |---|---|---|
//! | `device chosen` | info | `name`, `driver`, `access`, `backing` |
//! | `import refused`: the memory is copied | debug | `bytes`, `error` |
//! | `pipeline cache`: whether the file has the form | debug | `hit` |
//! | `fault`, `deadline` | warn | `kernel`, `error` |
//! | `failure`: a launch that ended otherwise | warn | `error` |
//!
//! ```
//! # #[cfg(feature = "tracing")] {
//! use farptr::{Grid, Runtime, shaders::saxpy};
//!
//! // Prints a line when a span ends, with the time that it took.
//! let subscriber = tracing_subscriber::fmt()
//!     .with_max_level(tracing::Level::DEBUG)
//!     .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
//!     .with_writer(std::io::stderr)
//!     .finish();
//! tracing::subscriber::with_default(subscriber, || {
//!     let runtime = Runtime::builder().build()?;
//!     let kernel = runtime.kernel::<saxpy::Kernel>()?;
//!     let (x, mut y) = ([1.0f32; 256], [2.0f32; 256]);
//!     runtime.scope(|s| {
//!         let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
//!         let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: 256, a: 3.0 };
//!         Ok(s.launch(&kernel, Grid::cover(256), args)?)
//!     })
//! })?;
//! # }
//! # Ok::<(), farptr::Error>(())
//! ```
//!
//! # Misuse that does not compile
//!
//! The module [`misuse`] lists what the borrow checker stops, each with an example.

#[cfg(test)]
extern crate self as farptr;

mod access;
mod array;
mod builder;
mod config;
mod error;
mod explain;
pub mod guide;
mod kernel;
mod launch;
mod lend;
#[doc(hidden)]
pub mod macro_support;
pub mod misuse;
mod pace;
mod paging;
mod prove;
mod residency;
mod runtime;
mod scope;
mod shortage;
mod stats;
#[doc(hidden)]
pub mod test_hooks;
mod times;
mod trace;
mod vk;

pub use access::{AccessMode, Backing, ChosenBacking, ProvedAccess, ResidencyTier, Reuse};
pub use array::Array;
pub use builder::RuntimeBuilder;
pub use error::array::ArrayError;
pub use error::fault::{Argument, Fault, FaultReason, Nearest};
pub use error::launch::LaunchError;
pub use error::vulkan::VulkanError;
pub use error::{BuildError, Error, KernelError, LendError};
pub use explain::{Explanation, KernelExplanation};
pub use farptr_hmm::{VaRange, VirtAddr};
#[cfg(feature = "kernels")]
pub use farptr_kernels as shaders;
pub use farptr_macros::{Lendable, LendableMut, kernel};
pub use farptr_rewrite as rewrite;
pub use farptr_rewrite::{
    AccessKind, KernelDesc, Ptr, PtrMut, RewriteError, SpecConstant, SpecKey, SpecValue,
    SpecializeError, SpecializedDesc,
};
pub use kernel::handle::{Kernel, RawKernel};
pub use kernel::options::RawKernelOptions;
pub use launch::explanation::LaunchExplanation;
pub use launch::grid::Grid;
pub use launch::options::LaunchOptions;
pub use launch::proof::{NotLent, Unproved};
pub use lend::lendable::{Lendable, LendableMut};
pub use lend::token::{Lent, LentMut};
pub use runtime::Runtime;
pub use scope::{Idle, Scope};
pub use stats::Stats;
pub use times::KernelTime;

/// The two families of types that can be lent: the parameter of [`Lendable`] and [`LendableMut`].
pub mod kind {
    pub use crate::lend::lendable::{Declared, Plain};
}

/// The examples of both READMEs, compiled and run as tests.
#[cfg(doctest)]
mod readme {
    #[doc = include_str!("../README.md")]
    mod of_the_crate {}

    #[doc = include_str!("../../README.md")]
    mod of_the_project {}
}
