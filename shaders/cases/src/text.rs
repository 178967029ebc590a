//! Kernels that are written as text, compiled when they are needed.

pub use shaderc::OptimizationLevel as Level;
use shaderc::{CompileOptions, Compiler, EnvVersion, ShaderKind, SpirvVersion, TargetEnv};
use std::sync::OnceLock;

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

/// Compiles GLSL, after a prelude of pointer types.
///
/// # Panics
///
/// With the compiler's messages, because the caller itself contains the kernel.
#[must_use]
pub fn glsl(name: &str, source: &str, level: Level) -> Vec<u32> {
    let mut options = options(level);
    // An unoptimised build of a user has names and lines.
    if level == Level::Zero {
        options.set_generate_debug_info();
    }
    compile(name, &format!("{PRELUDE}{source}"), &options)
}

/// Compiles GLSL as it stands, unoptimised.
///
/// # Panics
///
/// With the compiler's messages, because the caller itself contains the kernel.
#[must_use]
pub fn whole_glsl(name: &str, source: &str) -> Vec<u32> {
    compile(name, source, &options(Level::Zero))
}

fn compile(name: &str, source: &str, options: &CompileOptions<'_>) -> Vec<u32> {
    match compiler().compile_into_spirv(source, ShaderKind::Compute, name, "main", Some(options)) {
        Ok(artifact) => artifact.as_binary().to_vec(),
        Err(error) => panic!("kernel {name}: {error}"),
    }
}

/// Assembles SPIR-V's own text.
///
/// # Panics
///
/// With the assembler's messages, because the caller itself contains the kernel.
#[must_use]
pub fn assembly(name: &str, source: &str) -> Vec<u32> {
    match compiler().assemble(source, Some(&options(Level::Zero))) {
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

/// The compiler, which stays: the built-in functions of GLSL go with the last one of a process, and
/// reading them takes forty times as long as compiling a kernel.
fn compiler() -> &'static Compiler {
    static COMPILER: OnceLock<Compiler> = OnceLock::new();
    COMPILER.get_or_init(|| Compiler::new().expect("shaderc starts"))
}

fn options(level: Level) -> CompileOptions<'static> {
    let mut options = CompileOptions::new().expect("shaderc starts");
    options.set_target_env(TargetEnv::Vulkan, EnvVersion::Vulkan1_2 as u32);
    options.set_target_spirv(SpirvVersion::V1_5);
    options.set_optimization_level(level);
    options
}
