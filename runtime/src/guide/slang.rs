//! Kernels in Slang, whose pointers are pointers.
//!
//! In GLSL an address is a `uvec2` that a cast turns into a reference.
//! [Slang](https://shader-slang.org) has the pointers of C: `node->next`, `base[i]`, `pointer + 1`,
//! structures that hold pointers. The compiler makes SPIR-V, and the macro reads the types from it.
//! So farptr needs no feature and no C++ for it. Slang's pointers are numbers of 64
//! bits, so the device has to have `shaderInt64`, as llvmpipe does and SwiftShader does not.
//!
//! This kernel is in the file `sum.slang`:
//!
//! ```text
#![doc = include_str!("sum.slang")]
//! ```
//!
//! The compiler is in the Vulkan SDK, in Slang's own releases, and on PyPI, in the package
//! `slangtorch`:
//!
//! ```text
//! pip download --no-deps slangtorch==1.3.22
//! python3 -m zipfile -e slangtorch-*.whl slang && chmod +x slang/slangtorch/bin/slangc
//! slang/slangtorch/bin/slangc sum.slang -O0 -target spirv -entry main -stage compute -o sum.spv
//! ```
//!
//! `-O0` because that package has no optimiser; drivers optimise what they get.
//!
//! The program lends nodes that hold raw pointers to each other:
//!
//! ```
//! farptr::kernel! {
//!     mod sum,
//!     // SAFETY: slangc made the file.
//!     unsafe spv: "src/guide/sum.spv",
//!     args: { first: Node }, // Slang calls it `Node_natural`
//! }
//!
//! #[repr(C)]
//! #[derive(farptr::Lendable)]
//! struct Node {
//!     value: u32,
//!     reserved: u32,
//!     next: *const Node,
//! }
//!
//! fn main() -> Result<(), farptr::Error> {
//!     let runtime = farptr::Runtime::builder().build()?;
//!     # if runtime.device_name().contains("SwiftShader") { return Ok(()); } // no shaderInt64
//!     let kernel = runtime.kernel::<sum::Kernel>()?;
//!
//!     // Each node leads to the one that follows it, and the last one to none.
//!     let mut nodes: Vec<Node> =
//!         (0..100).map(|value| Node { value, reserved: 0, next: std::ptr::null() }).collect();
//!     let start = nodes.as_ptr();
//!     for (node, next) in nodes.iter_mut().zip(1..100) {
//!         node.next = start.wrapping_add(next);
//!     }
//!
//!     let mut sums = vec![0u32; 100];
//!     runtime.scope(|s| {
//!         let (nodes, sums) = (s.lend(&nodes)?, s.lend_mut(&mut sums)?);
//!         let args = sum::Args { first: nodes.ptr(), sums: sums.ptr(), n: 100 };
//!         s.launch(&kernel, farptr::Grid::cover(100), args)?;
//!         Ok(())
//!     })?;
//!
//!     // From node i on: i, i + 1, ..., 99.
//!     assert!(sums.iter().zip(0u32..).all(|(&sum, i)| sum == (i..100).sum()));
//!     Ok(())
//! }
//! ```
//!
//! `unsafe` before `spv` is a promise about the words, not about the kernel: a driver trusts
//! SPIR-V, and this macro did not make it. The launch is as safe as any other. Add a rule to your
//! build that makes the file anew when the source changes, or run `slangc` in a build script.
