//! Kernels that other compilers made: what the pass makes of them is valid and does the same.
//!
//! `.ci/producers`, which `./farptr test` runs, makes the modules from the sources in
//! `tests/producers`. They go to the folder `producers` beside cargo's `debug` and `release`.
//!
//! # Safety
//!
//! The modules are made from sources in this repository, whose kernels keep to the memory that
//! [`Memory`] describes. They are validated here before a device sees them.
#![allow(unsafe_code, reason = "words that a driver trusts; the proof is above")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use farptr::shaders::rewrite::{Integers, Program, Search, Translation, Variant};
use rayon::prelude::*;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A module that a compiler made.
struct Module {
    /// The compiler with its options, and the kernel.
    name: String,
    words: Vec<u32>,
}

impl Module {
    fn read(path: &Path) -> Self {
        let name: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
        let bytes = fs::read(path).unwrap();
        let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        Self { name: format!("{}/{}", name[1], name[0]), words: words.collect() }
    }
}

/// Every module, or nothing where there is none: a loud skip.
fn modules() -> Option<Vec<Module>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../producers");
    if !folder.join("ready").exists() {
        common::skip("no kernels of other compilers; `./farptr test` makes them");
        return None;
    }
    let compilers = files(&folder.join("modules"));
    let all: Vec<Module> =
        compilers.iter().flat_map(|one| files(one)).map(|path| Module::read(&path)).collect();
    let is_there = |compiler: &str| all.iter().any(|module| module.name.starts_with(compiler));
    for compiler in ["glslang/", "glslang-spirv1.6/", "glslang-gVS/", "glslang-opt-O/"] {
        assert!(is_there(compiler), "{compiler}");
    }
    for compiler in ["glslc-O0/", "glslc-O/", "glslc-Os/", "slang/", "slang-opt-O/"] {
        assert!(is_there(compiler), "{compiler}");
    }
    Some(all)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    paths
}

/// What SPIRV-Tools says against a module, for the environment that its version belongs to.
fn objections(words: &[u32]) -> Option<String> {
    let environment = if words[1] >= 0x0001_0600 { "vulkan1.3" } else { "vulkan1.2" };
    let mut validator = Command::new("spirv-val")
        .args(["--target-env", environment, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`./farptr test` installs spirv-val");
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    validator.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = validator.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(said)
}

/// Variants that differ in everything.
fn variants() -> [Variant; 4] {
    let direct = Variant {
        translation: Translation::None,
        search: Search::Unrolled(2),
        offset_roots: false,
        integers: Integers::Native,
        loop_guard: true,
        subgroup_faults: false,
    };
    [
        direct,
        Variant {
            translation: Translation::Segments,
            search: Search::Bisected { steps: 4 },
            offset_roots: true,
            integers: Integers::Pairs,
            ..direct
        },
        Variant {
            translation: Translation::Table { tree: false },
            subgroup_faults: true,
            loop_guard: false,
            ..direct
        },
        Variant {
            translation: Translation::Table { tree: true },
            integers: Integers::Pairs,
            ..direct
        },
    ]
}

#[test]
fn rewritten_modules_are_valid() {
    let Some(modules) = modules() else { return };
    let cut_short = &modules[0].words[..modules[0].words.len() - 1];
    assert!(objections(cut_short).is_some(), "the validator validates");
    let wrong: Vec<String> = modules
        .par_iter()
        .flat_map_iter(|module| {
            let program = Program::parse(&module.words, None);
            let original = objections(&module.words).map(|said| format!("as it came: {said}"));
            let rewritten = variants().into_iter().filter_map(move |variant| {
                let words = program
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|program| program.rewrite(&variant));
                match words {
                    Ok(words) => objections(&words).map(|said| format!("{variant:?}: {said}")),
                    Err(refusal) => Some(format!("{variant:?}: {refusal}")),
                }
            });
            original.into_iter().chain(rewritten).map(|said| format!("{}: {said}", module.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{} objections: {}", wrong.len(), wrong.join("\n"));
}
