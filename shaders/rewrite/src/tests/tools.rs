//! SPIRV-Tools as an independent judge: assembler and validator, found on the path.

use crate::tests::run::{run, to_bytes, to_words};

/// The validator's verdict on words as a module for Vulkan.
fn judge(words: &[u32]) -> Option<Result<Vec<u8>, String>> {
    let target = if words[1] >= 0x0001_0600 { "vulkan1.3" } else { "vulkan1.2" };
    let arguments = ["--target-env", target, "--scalar-block-layout", "-"];
    run("spirv-val", &arguments, &to_bytes(words))
}

/// Whether words are a valid module for Vulkan; `None` without a validator.
pub(crate) fn is_valid(words: &[u32]) -> Option<bool> {
    judge(words).map(|judged| judged.is_ok())
}

/// Asserts that words are a valid module for Vulkan.
pub(crate) fn validate(words: &[u32], what: &str) {
    if let Some(Err(complaint)) = judge(words) {
        let bytes = to_bytes(words);
        let listing = run("spirv-dis", &["--raw-id", "-"], &bytes);
        let listing = listing.and_then(Result::ok).unwrap_or_default();
        panic!("{what}: {complaint}\n{}", String::from_utf8_lossy(&listing));
    }
}

/// The module as spirv-opt makes it, if that is installed.
pub(crate) fn optimise(words: &[u32], target: &str) -> Option<Vec<u32>> {
    let target = format!("--target-env={target}");
    let bytes = run("spirv-opt", &["-O", &target, "-", "-o", "-"], &to_bytes(words))?;
    Some(to_words(&bytes.expect("the module is valid")))
}

/// The module with its specialisation constants' defaults, as the validation layer makes it.
pub(crate) fn specialise(words: &[u32]) -> Option<Vec<u32>> {
    let passes = ["--freeze-spec-const", "--fold-spec-const-op-composite", "-", "-o", "-"];
    let bytes = run("spirv-opt", &passes, &to_bytes(words))?;
    Some(to_words(&bytes.expect("the module is valid")))
}

/// Assembles a module of SPIR-V 1.5, or another version.
pub(crate) fn assemble(text: &str, target: &str) -> Option<Vec<u32>> {
    let arguments = ["--target-env", target, "-", "-o", "-"];
    let bytes = run("spirv-as", &arguments, text.as_bytes())?.expect("the module assembles");
    Some(to_words(&bytes))
}

/// Compiles GLSL with glslang, if that is installed.
pub(crate) fn compile(glsl: &str, target: &str, options: &[&str]) -> Option<Vec<u32>> {
    let folder = tempfile::tempdir().expect("a folder for the compiler's output");
    let output = folder.path().join("kernel.spv");
    let output = output.to_str().expect("the path is text");
    let mut arguments = vec!["--stdin", "-S", "comp", "-V", "--target-env", target, "-o", output];
    arguments.extend(options);
    if let Err(complaint) = run("glslangValidator", &arguments, glsl.as_bytes())? {
        panic!("{complaint}\n{glsl}");
    }
    let bytes = std::fs::read(output).expect("the compiler wrote it");
    Some(to_words(&bytes))
}

/// A module with many kinds of instructions, as a start for mutations, if glslang is installed.
pub(crate) fn torture() -> Option<Vec<u32>> {
    static WORDS: std::sync::OnceLock<Option<Vec<u32>>> = std::sync::OnceLock::new();
    WORDS.get_or_init(|| compile(include_str!("torture.comp"), "vulkan1.3", &["-gVS"])).clone()
}
