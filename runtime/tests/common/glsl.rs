//! Kernels that tests write as text, compiled when the test runs.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub use shaderc::OptimizationLevel as Level;
use shaderc::{CompileOptions, Compiler, EnvVersion, ShaderKind, SpirvVersion, TargetEnv};

/// The first lines of every kernel in GLSL.
///
/// `REF(T, Name, bytes)` declares the pointer type `Name` to any number of `T`, whose address is a
/// multiple of `bytes`; the elements are packed as scalars are.
const PRELUDE: &str = "\
#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_scalar_block_layout : require
#define REF(T, Name, bytes) \
layout(buffer_reference, scalar, buffer_reference_align = bytes) buffer Name { T at[]; }
#define ID gl_GlobalInvocationID.x
";

/// Compiles GLSL; panics with the compiler's messages, because the test itself contains the kernel.
pub fn glsl(name: &str, source: &str, level: Level) -> Vec<u32> {
    let compiler = Compiler::new().expect("shaderc starts");
    let mut options = options(level);
    // An unoptimised build of a user has names and lines.
    if level == Level::Zero {
        options.set_generate_debug_info();
    }
    let source = format!("{PRELUDE}{source}");
    match compiler.compile_into_spirv(&source, ShaderKind::Compute, name, "main", Some(&options)) {
        Ok(artifact) => artifact.as_binary().to_vec(),
        Err(error) => panic!("kernel {name}: {error}"),
    }
}

/// Assembles SPIR-V's own text.
pub fn assembly(name: &str, source: &str) -> Vec<u32> {
    let compiler = Compiler::new().expect("shaderc starts");
    match compiler.assemble(source, Some(&options(Level::Zero))) {
        Ok(artifact) => {
            let mut words = artifact.as_binary().to_vec();
            // The assembler states version 1.0, whatever the target: the second word is the version
            // (SPIR-V specification, section 2.3).
            words[1] = 0x0001_0500;
            words
        }
        Err(error) => panic!("kernel {name}: {error}"),
    }
}

fn options(level: Level) -> CompileOptions<'static> {
    let mut options = CompileOptions::new().expect("shaderc starts");
    options.set_target_env(TargetEnv::Vulkan, EnvVersion::Vulkan1_2 as u32);
    options.set_target_spirv(SpirvVersion::V1_5);
    options.set_optimization_level(level);
    options
}

/// The kernel of a file of `tests/glsl`.
#[allow(unsafe_code, reason = "the words come from a compiler")]
pub fn kernel(runtime: &farptr::Runtime, name: &'static str) -> farptr::RawKernel {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/glsl").join(name);
    let source = std::fs::read_to_string(path).expect("the file is part of the tests");
    let compiler = Compiler::new().expect("shaderc starts");
    let (kind, options) = (ShaderKind::Compute, options(Level::Zero));
    let words = match compiler.compile_into_spirv(&source, kind, name, "main", Some(&options)) {
        Ok(artifact) => artifact.as_binary().to_vec(),
        Err(error) => panic!("kernel {name}: {error}"),
    };
    // SAFETY: 1. shaderc's output is a valid module.
    unsafe { runtime.raw_kernel(name, &words) }.expect("the kernel can be rewritten")
}
