//! Kernels that are compiled when a test runs.
#![allow(unreachable_pub, reason = "each test binary has its own copy")]

use farptr::{RawKernel, Runtime};
use std::{path::Path, process::Command};

/// Compiles a file of `tests/glsl`, or says why that is not possible.
pub fn words(name: &str) -> Option<Vec<u32>> {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/glsl").join(name),
        folder.path().join("kernel.spv"),
    );
    let mut command = Command::new("glslangValidator");
    command.args(["--target-env", "vulkan1.2", "-o"]).args([&target, &source]);
    let Ok(output) = command.output() else {
        super::skip("glslangValidator is not installed (package glslang-tools)");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let bytes = std::fs::read(target).unwrap();
    Some(bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect())
}

/// The kernel of a file of `tests/glsl`.
///
/// # Safety
///
/// The file is compiled by a compiler that makes valid modules.
#[allow(unsafe_code, reason = "the words come from a compiler")]
pub fn kernel(runtime: &Runtime, name: &'static str) -> Option<RawKernel> {
    let words = words(name)?;
    // SAFETY: 1. glslang's output is a valid module.
    Some(unsafe { runtime.raw_kernel(name, &words) }.unwrap())
}
