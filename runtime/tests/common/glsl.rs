//! Kernels that tests write as text, compiled when the test runs.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test binary uses its part")]

pub use farptr_kernel_cases::text::{Level, assembly, glsl};

/// The kernel of a file of `tests/glsl`.
#[allow(unsafe_code, reason = "the words come from a compiler")]
pub fn kernel(runtime: &farptr::Runtime, name: &'static str) -> farptr::RawKernel {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/glsl").join(name);
    let source = std::fs::read_to_string(path).expect("the file is part of the tests");
    let words = farptr_kernel_cases::text::whole_glsl(name, &source);
    // SAFETY: 1. shaderc's output is a valid module.
    unsafe { runtime.raw_kernel(name, &words) }.expect("the kernel can be rewritten")
}
