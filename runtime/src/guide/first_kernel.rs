//! From GLSL to a launch.
//!
//! A kernel is a function that the device runs many times side by side. Each run, an *invocation*,
//! has a number, and works on the elements that belong to it. This program doubles numbers:
//!
//! ```
//! farptr::kernel! {
//!     mod double,
//!     source: r#"
//!         #version 460
//!         #extension GL_EXT_buffer_reference_uvec2 : require
//!         layout(local_size_x = 64) in;
//!         // What an address leads to: an array of numbers, each aligned to 4 bytes.
//!         layout(buffer_reference, buffer_reference_align = 4) buffer Numbers { uint at[]; };
//!         // The arguments.
//!         layout(push_constant) uniform Push { uvec2 numbers; uint n; };
//!
//!         void main() {
//!             uint i = gl_GlobalInvocationID.x;
//!             // Whole workgroups of 64 run, so some invocations have no element.
//!             if (i < n) Numbers(numbers).at[i] *= 2;
//!         }
//!     "#,
//! }
//!
//! fn main() -> Result<(), farptr::Error> {
//!     let runtime = farptr::Runtime::builder().build()?;
//!     let kernel = runtime.kernel::<double::Kernel>()?;
//!
//!     let mut numbers: Vec<u32> = (0..1000).collect();
//!     runtime.scope(|s| {
//!         let numbers = s.lend_mut(&mut numbers)?;
//!         let args = double::Args { numbers: numbers.ptr(), n: 1000 };
//!         s.launch(&kernel, farptr::Grid::cover(1000), args)?;
//!         Ok(())
//!     })?;
//!
//!     assert!(numbers.iter().enumerate().all(|(i, &number)| number as usize == 2 * i));
//!     Ok(())
//! }
//! ```
//!
//! 1. The macro [`kernel!`](crate::kernel) compiles the GLSL when the crate is compiled, and makes
//!    the module `double` with two types. `double::Args` has a field for each argument, with its
//!    name in the kernel. Use `path: "double.comp"` in place of `source` to keep the GLSL in a
//!    file.
//! 2. An address is a `uvec2` in GLSL. The macro sees that the kernel writes through it, so the
//!    field is a [`PtrMut`](crate::PtrMut), and a [`Ptr`](crate::Ptr) would not compile.
//! 3. [`Runtime::scope`](crate::Runtime::scope) is the stretch of the program in which kernels may
//!    use your memory. [`lend_mut`](crate::Scope::lend_mut) borrows the vector until the scope has
//!    ended.
//! 4. [`launch`](crate::Scope::launch) returns at once. The scope waits for the kernels before it
//!    returns.
//! 5. [`Grid::cover`](crate::Grid::cover) is the number of invocations, whatever the size of a
//!    workgroup.
//!
//! Memory that the kernel shares between invocations, barriers, subgroups and atomics work as in
//! any Vulkan kernel.
//!
//! # Values that are fixed when a kernel is made
//!
//! A specialisation constant is known before the driver compiles the kernel: the size of a tile, a
//! factor, the size of the workgroup itself. In GLSL it is `layout(constant_id = 1) const float
//! FACTOR = 2.0;`, or `layout(local_size_x_id = 0) in;`. The macro then makes a third type,
//! `Constants`, with a field for each, and
//! [`Runtime::specialized`](crate::Runtime::specialized) makes the kernel with your values.
//!
//! # What a mistake looks like
//!
//! A kernel cannot touch what was not lent. Here `n` says one element more than there is:
//!
//! ```
//! # farptr::kernel! {
//! #     mod double,
//! #     source: r#"
//! #         #version 460
//! #         #extension GL_EXT_buffer_reference_uvec2 : require
//! #         layout(local_size_x = 64) in;
//! #         layout(buffer_reference, buffer_reference_align = 4) buffer Numbers { uint at[]; };
//! #         layout(push_constant) uniform Push { uvec2 numbers; uint n; };
//! #         void main() {
//! #             uint i = gl_GlobalInvocationID.x;
//! #             if (i < n) Numbers(numbers).at[i] *= 2;
//! #         }
//! #     "#,
//! # }
//! # fn main() -> Result<(), farptr::Error> {
//! # let runtime = farptr::Runtime::builder().build()?;
//! # let kernel = runtime.kernel::<double::Kernel>()?;
//! use farptr::{Error, LaunchError};
//!
//! let mut numbers = vec![1; 1000];
//! let error = runtime.scope(|s| {
//!     let numbers = s.lend_mut(&mut numbers)?;
//!     let args = double::Args { numbers: numbers.ptr(), n: 1001 };
//!     s.launch(&kernel, farptr::Grid::cover(1001), args)?;
//!     Ok(())
//! });
//!
//! // kernel `double`: read of 4 bytes at 0x... (argument numbers, byte 0 of the push constants)
//! // is out of bounds: ...; 0 bytes after the end of the lend 0x...
//! let Err(Error::Launch(LaunchError::Fault(fault))) = error else { panic!("{error:?}") };
//! assert!(fault.to_string().contains("(argument numbers, byte 0 of the push"), "{fault}");
//! # Ok(())
//! # }
//! ```
//!
//! The error names the argument, the address, the invocation, the line of the GLSL, and the lend
//! that is nearest. The elements that the kernel was allowed to write may have been written; a
//! launch that is [`transactional`](crate::LaunchOptions::transactional) leaves them as they were.
//!
//! A kernel without an end is an error, too, after the time that
//! [`LaunchOptions`](crate::LaunchOptions) allows. [`Runtime::explain`](crate::Runtime::explain)
//! says which device was chosen, and how kernels reach host memory on it.
