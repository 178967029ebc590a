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

use farptr::{
    AccessMode, Backing, Error, Grid, KernelError, LaunchError, LaunchOptions, ProvedAccess,
    Runtime, SpecKey, VirtAddr,
    rewrite::{Fold, Integers, Program, Proved, Search, Translation, Variant, specialize},
};
use farptr_kernel_cases::devices::has_pointer_values;
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A version in a module's header.
const SPIRV_1_6: u32 = 0x0001_0600;

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
    let folder = folder();
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

/// Where `.ci/producers` leaves its work.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../producers")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    paths
}

/// The complaints of SPIRV-Tools about a module, for the environment that its version belongs to.
fn objections(words: &[u32]) -> Option<String> {
    let environment = if words[1] >= SPIRV_1_6 { "vulkan1.3" } else { "vulkan1.2" };
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
        joint: true,
        loop_guard: true,
        subgroup_faults: false,
        fold: Fold::None,
        wide_offsets: false,
        proved: Proved::NOTHING,
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
            fold: Fold::Line,
            wide_offsets: true,
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

/// How many elements the kernels work on: not a multiple of a workgroup.
const N: usize = 200;
/// How far they follow links.
const HOPS: u32 = 6;

/// Four numbers, as aligned as any access of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
struct Quad([u32; 4]);

/// A link as in `push.glsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
struct Link {
    next: u64,
    payload: u32,
    extra: u32,
}

/// The memory that kernels read: N small numbers, and N links that lead to each other. The memory
/// that they write is made for each run.
struct Memory {
    a: Vec<Quad>,
    links: Vec<Link>,
}

impl Memory {
    fn new() -> Self {
        let small = |index: usize| f32::from(u8::try_from(index * 7 % 16).unwrap()).to_bits();
        let a = (0..N / 4).map(|quad| Quad([0, 1, 2, 3].map(|part| small(4 * quad + part))));
        let blank = Link { next: 0, payload: 0, extra: 0 };
        let mut links = vec![blank; N];
        let addresses: Vec<u64> = links.iter().map(|link| VirtAddr::of(link).get()).collect();
        for (index, link) in links.iter_mut().enumerate() {
            link.next = addresses[(index * 7 + 3) % N];
            link.payload = u32::try_from(index * 5 % 97).unwrap();
            link.extra = !link.payload;
        }
        Self { a: a.collect(), links }
    }

    /// 4 N numbers before a kernel has written any, some of them zero.
    fn z() -> Vec<Quad> {
        let small = |index: usize| f32::from(u8::try_from(index % 5).unwrap()).to_bits();
        (0..N).map(|quad| Quad([0, 1, 2, 3].map(|part| small(4 * quad + part)))).collect()
    }
}

/// How a kernel is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Launch {
    Unchecked,
    Checked,
}

/// The memory after a kernel.
fn run(
    runtime: &Runtime,
    module: &Module,
    memory: &Memory,
    launch: Launch,
) -> Result<Vec<Quad>, Error> {
    // SAFETY: the module has passed the validator (`rewritten_modules_are_valid`).
    let kernel = unsafe { runtime.raw_kernel("of another compiler", &module.words) }?;
    let mut z = Memory::z();
    runtime.scope(|s| {
        let (a, links, z) = (s.lend(&memory.a)?, s.lend(&memory.links)?, s.lend_mut(&mut z)?);
        let addresses = [a.ptr().address(), links.ptr().address(), z.ptr().address()];
        let mut push = bytemuck::cast_slice::<u64, u8>(&addresses).to_vec();
        push.extend_from_slice(bytemuck::bytes_of(&[u32::try_from(N).unwrap(), HOPS]));
        // Optimisers drop what a kernel does not use.
        let push = &push[..kernel.push_bytes()];
        let groups = Grid::groups(u32::try_from(N.div_ceil(64)).unwrap(), 1, 1);
        match launch {
            // SAFETY: the kernels touch what is lent, write just z, and end after few steps; where
            // invocations write the same words they use atomics.
            Launch::Unchecked => unsafe { s.launch_raw_unchecked(&kernel, groups, push) },
            Launch::Checked => s.launch_raw(&kernel, groups, push, &LaunchOptions::new()),
        }?;
        Ok(())
    })?;
    Ok(z)
}

/// Whether values of pointer type are loaded, which not every driver compiles.
fn loads_pointers(words: &[u32]) -> bool {
    const OP_TYPE_POINTER: u32 = 32;
    const OP_LOAD: u32 = 61;
    const PHYSICAL_STORAGE_BUFFER: u32 = 5349;
    let (mut pointers, mut at, mut found) = (Vec::new(), 5, false);
    while at < words.len() {
        match words[at] & 0xffff {
            OP_TYPE_POINTER if words[at + 2] == PHYSICAL_STORAGE_BUFFER => {
                pointers.push(words[at + 1]);
            }
            OP_LOAD => found |= pointers.contains(&words[at + 1]),
            _ => {}
        }
        at += (words[at] >> 16) as usize;
    }
    found
}

/// Runs every module that the device can run on a runtime for checked launches, and compares with
/// the module as it came.
fn check(checked: &Runtime) {
    let Some(mut modules) = modules() else { return };
    // The runtime asks for Vulkan 1.2, whose modules are at most of version 1.5.
    modules.retain(|module| module.words[1] < SPIRV_1_6);
    let Some(plain) = common::runtime() else { return };
    if plain.access() != ProvedAccess::Direct {
        return common::skip("the modules as they came need direct access");
    }
    let pointers = has_pointer_values(plain.device_name());
    let (memory, mut results, mut count) = (Memory::new(), BTreeMap::new(), 0);
    for module in modules.iter().filter(|module| pointers || !loads_pointers(&module.words)) {
        let name = &module.name;
        let kernel = name.split('/').next_back().unwrap_or(name).to_owned();
        // Debug information of this kind needs a Vulkan extension, unless the pass has dropped it.
        if !name.starts_with("glslang-gVS/") {
            let original = match run(&plain, module, &memory, Launch::Unchecked) {
                Ok(original) => original,
                // A device without 64-bit integers, or one whose driver cannot compile the original
                // kernel: Mesa 22.3 cannot compile the structures of Slang.
                Err(
                    why @ (Error::Kernel(KernelError::Capability { .. })
                    | Error::Launch(LaunchError::Compile { .. })),
                ) => {
                    println!("not run: {name}: {why}");
                    continue;
                }
                Err(error) => panic!("{name}: {error:?}"),
            };
            assert_ne!(original, Memory::z(), "{name} has done nothing");
            // A kernel does one thing, with every compiler.
            let first = results.entry(kernel.clone()).or_insert_with(|| original.clone());
            assert_eq!(*first, original, "{name} differs from the kernel of another compiler");
        }
        // A device on which no original of the kernel ran does not run it here.
        if !results.contains_key(&kernel) {
            continue;
        }
        match run(checked, module, &memory, Launch::Checked) {
            Ok(result) => assert_eq!(Some(&result), results.get(&kernel), "{name}"),
            Err(error) => panic!("{name}: {error:?}"),
        }
        count += 1;
    }
    let least = modules.len() * if pointers { 95 } else { 50 } / 100;
    assert!(count >= least, "{count} of {} ran", modules.len());
    println!("{count} of {} ran", modules.len());
}

fn runtime(access: AccessMode, backing: Backing) -> Option<Runtime> {
    common::runtime()?;
    let builder = Runtime::builder().validation(true).no_pipeline_cache();
    match builder.access(access).backing(backing).build() {
        Ok(runtime) => Some(runtime),
        Err(error) => {
            common::skip(&error.to_string());
            None
        }
    }
}

#[test]
fn modules_do_the_same_when_they_are_checked() {
    if let Some(runtime) = runtime(AccessMode::Direct, Backing::Auto) {
        check(&runtime);
    }
}

#[test]
fn modules_do_the_same_on_imported_memory() {
    if let Some(runtime) = runtime(AccessMode::Mirrored, Backing::Import) {
        check(&runtime);
    }
}

#[test]
fn modules_do_the_same_on_copied_memory() {
    if let Some(runtime) = runtime(AccessMode::Mirrored, Backing::Copy) {
        check(&runtime);
    }
}

/// The guide's kernel in Slang: what the guide shows is what it ships, and is launched as it came,
/// though the validation layer does not know the number of its language.
#[test]
fn the_guides_kernel_is_what_slang_makes_and_runs_as_it_is() {
    let Some(_) = modules() else { return };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/sum.spv");
    assert_eq!(fs::read(&shipped).unwrap(), fs::read(folder().join("guide/sum.spv")).unwrap());
    let chapter = include_str!("../src/guide/slang.rs");
    assert!(chapter.contains(r#"include_str!("sum.slang")"#), "the guide shows it");

    let Some(runtime) = common::runtime() else { return };
    // SAFETY: slangc made the words; the validation layer looks at them.
    let kernel = unsafe { runtime.raw_kernel("sum", &Module::read(&shipped).words) };
    let kernel = match kernel {
        // A device without 64-bit integers.
        Err(KernelError::Capability { .. }) => return,
        kernel => kernel.unwrap(),
    };
    // Each a value, and the address of the next one.
    let mut nodes = [[1u64, 0], [20, 0], [300, 0]];
    let addresses = nodes.each_ref().map(|node| VirtAddr::of(node).get());
    (nodes[0][1], nodes[1][1]) = (addresses[1], addresses[2]);
    let mut sums = [0u32; 3];
    runtime
        .scope(|s| {
            let (nodes, sums) = (s.lend(nodes.as_flattened())?, s.lend_mut(&mut sums)?);
            let push = [nodes.ptr().address(), sums.ptr().address(), 3];
            let push = &bytemuck::bytes_of(&push)[..kernel.push_bytes()];
            s.launch_raw(&kernel, Grid::cover(3), push, &LaunchOptions::new())?;
            Ok(())
        })
        .unwrap();
    assert_eq!(sums, [321, 320, 300]);
}

/// Runs the kernels that have specialisation constants with other values than theirs.
fn check_constants(runtime: &Runtime, modules: &[Module]) {
    let (factor, first) = (3u32, 4u32);
    let memory = Memory::new();
    let a: Vec<f32> = memory.a.iter().flat_map(|quad| quad.0).map(f32::from_bits).collect();
    let terms = a[first as usize..(factor * first) as usize].iter().map(|&a| a * 3.0);
    let sum: f32 = terms.sum();
    let mut expected = Memory::z();
    let written =
        expected.iter_mut().flat_map(|quad| &mut quad.0).zip(0..u32::try_from(N).unwrap());
    // The sum is a small whole number.
    written.for_each(|(z, index)| *z = format!("{sum}").parse::<u32>().unwrap() + index);
    let mut count = 0;
    for module in modules {
        let values = [(SpecKey::Id(3), factor.into()), (SpecKey::Id(4), first.into())];
        let words = specialize(&module.words, None, &values).unwrap().into_owned();
        assert_eq!(objections(&words), None, "{}", module.name);
        let module = Module { name: module.name.clone(), words };
        match run(runtime, &module, &memory, Launch::Checked) {
            Ok(result) => assert_eq!(result, expected, "{}", module.name),
            Err(Error::Kernel(KernelError::Capability { .. })) => continue,
            Err(error) => panic!("{}: {error:?}", module.name),
        }
        count += 1;
    }
    assert!(count * 2 > modules.len(), "{count} of {} ran", modules.len());
}

#[test]
fn constants_take_values_whichever_compiler_made_them() {
    let Some(mut modules) = modules() else { return };
    let is_meant = |module: &Module| module.name.ends_with("/constants.spv");
    modules.retain(|module| is_meant(module) && module.words[1] < SPIRV_1_6);
    assert!(modules.iter().any(|module| module.name.starts_with("slang/")), "Slang's is there");
    for (access, backing) in [
        (AccessMode::Direct, Backing::Auto),
        (AccessMode::Mirrored, Backing::Import),
        (AccessMode::Mirrored, Backing::Copy),
    ] {
        let Some(runtime) = runtime(access, backing) else { continue };
        let runs = |module: &&Module| {
            has_pointer_values(runtime.device_name()) || !loads_pointers(&module.words)
        };
        let all = modules.iter().filter(runs);
        let all: Vec<Module> = all
            .map(|module| Module { name: module.name.clone(), words: module.words.clone() })
            .collect();
        check_constants(&runtime, &all);
    }
}
