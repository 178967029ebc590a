//! Bytes that are said to be overwritten: the interpreter's invocations write each of them.

use super::machine::Machine;
use super::oracle::{all_places, number};
use super::programs::program_that_fills;
use crate::contract::analysis::{AccessKind, Root};
use crate::footprint::mutant::{Mutant, activate};
use crate::program::Program as Kernel;
use crate::tests::tools::compile;
use rspirv::binary::Assemble;
use std::collections::HashSet;

/// How many programs are run by default.
const COUNT: u64 = 2000;
/// How many programs may be run until a mutant is found.
const MUTANT_COUNT: u64 = 6000;

/// How much was overwritten.
#[derive(Default)]
struct Found {
    ranges: usize,
    programs: usize,
}

/// Runs the program of a seed. Returns what is wrong with what it is said to overwrite.
fn run(seed: u64, found: &mut Found) -> Option<String> {
    let program = program_that_fills(seed);
    let words = program.module.assemble();
    let kernel = Kernel::parse(&words, None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    let footprint = kernel.footprints().of_launch_with_overwritten(&program.push, program.groups);
    let ranges = footprint.roots.iter().filter_map(|of| Some((of.root, of.overwritten?)));
    let ranges: Vec<(Root, (i64, i64))> = ranges.collect();
    if ranges.is_empty() {
        return None;
    }
    let (mut read, mut written) = (HashSet::new(), HashSet::new());
    for (number, place) in (0..).zip(all_places(&program)) {
        let seed = seed ^ (number << 32);
        let trace = Machine::new(&program.module, &program.push, place, seed).run();
        // What is not defined is the business of another test, and what is cut is no end.
        if trace.is_undefined || trace.is_cut {
            return None;
        }
        for access in trace.accesses {
            let kind = kernel.analysis().sites[access.site].access;
            let to = if kind == AccessKind::Write { &mut written } else { &mut read };
            to.extend(access.address..access.address + access.bytes);
        }
    }
    found.programs += 1;
    for (Root::Push { offset_bytes }, (start, end)) in ranges {
        found.ranges += 1;
        let root = program.push[offset_bytes as usize..][..8].try_into().expect("there are eight");
        let root = u64::from_le_bytes(root);
        let mut bytes = (start..end).map(|at| root.wrapping_add_signed(at));
        if let Some(byte) = bytes.find(|at| read.contains(at) || !written.contains(at)) {
            return Some(format!("{byte:x} of {start}..{end} behind {root:x}"));
        }
    }
    None
}

#[test]
fn what_is_overwritten_is_written() {
    let first = number("FARPTR_PROGRAMS_SEED").unwrap_or(1);
    let count = number("FARPTR_PROGRAMS_COUNT").unwrap_or(COUNT);
    let mut found = Found::default();
    for seed in first..first + count {
        if let Some(why) = run(seed, &mut found) {
            panic!("FARPTR_PROGRAMS_SEED={seed} FARPTR_PROGRAMS_COUNT=1: {why}");
        }
    }
    println!("{} ranges of {} programs of {count}", found.ranges, found.programs);
    assert!(count < COUNT || found.programs as u64 * 10 > count, "too little is overwritten");
}

#[test]
fn every_mutant_of_what_is_overwritten_is_caught() {
    for mutant in Mutant::OVERWRITTEN {
        activate(Some(mutant));
        let caught = (1..=MUTANT_COUNT).find(|&seed| run(seed, &mut Found::default()).is_some());
        activate(None);
        println!("{mutant:?}: seed {caught:?}");
        assert!(caught.is_some(), "{mutant:?} is not caught");
    }
}

const HEAD: &str = "#version 460
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
layout(local_size_x = 16, local_size_y = 2) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint d[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer V { uvec4 d[]; };
struct S { uint a, b, c; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer R { S d[]; };
layout(push_constant) uniform P { uvec2 b; uvec2 a; uint n; uint w; uint h; } p;
";

/// What a kernel overwrites behind `b`. n = 100, w = 40, h = 5; 4 times 3 workgroups of 16 times 2.
fn overwritten(code: &str) -> Option<Option<(i64, i64)>> {
    let code = code.replace("b[", "U(p.b).d[").replace("a[", "U(p.a).d[");
    let (functions, main) = code.split_once("main:").unwrap_or(("", &code));
    let glsl = format!(
        "{HEAD}{functions} void main() {{
         uint x = gl_GlobalInvocationID.x, y = gl_GlobalInvocationID.y; {main} }}"
    );
    let words = compile(&glsl, "vulkan1.2", &[])?;
    let words_of_push = [0x1000, 1, 0x9000, 1, 100, 40, 5];
    let push: Vec<u8> = words_of_push.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    let program = Kernel::parse(&words, None).expect("it is a kernel");
    let footprint = program.footprints().of_launch_with_overwritten(&push, [4, 3, 1]);
    let root = Root::Push { offset_bytes: 0 };
    let found = footprint.roots.iter().find(|of| of.root == root);
    Some(found.and_then(|found| found.overwritten))
}

#[test]
fn overwritten_bytes_are_known_exactly() {
    for (code, bytes) in [
        ("b[x] = a[x];", Some((0, 256))),
        ("if (x >= p.w) return; b[x] = a[x];", Some((0, 160))),
        ("if (x < p.w) b[x] = 1;", Some((0, 160))),
        ("if (x <= p.w) b[x + 1u] = 1;", Some((4, 168))),
        ("if (x < p.w) b[63u - x] = 1;", Some((96, 256))),
        ("b[y * 64u + x] = 1;", Some((0, 1536))),
        ("if (x >= p.w || y >= p.h) return; b[y * p.w + x] = 1;", Some((0, 800))),
        ("if (x >= p.w || y >= p.h) return; b[y * (p.w + 1u) + x] = 1;", None),
        ("if (x >= p.w || y >= p.h) return; b[x * p.h + y] = 1;", Some((0, 800))),
        ("b[x * 2u] = 1;", None),
        ("b[x * 2u] = 1; b[x * 2u + 1u] = 2;", Some((0, 512))),
        ("V(p.b).d[x] = uvec4(x);", Some((0, 1024))),
        ("R(p.b).d[x].a = 1; R(p.b).d[x].b = 2;", None),
        ("R(p.b).d[x].a = 1; R(p.b).d[x].b = 2; R(p.b).d[x].c = 3;", Some((0, 768))),
        // Of a structure it is not looked up whether it has gaps.
        ("R(p.b).d[x] = S(x, 1, 2);", None),
        ("if (a[x] != 0u) b[x] = 1;", None),
        ("if (a[x] != 0u) return; b[x] = 1;", None),
        ("if (a[x] != 0u) a[x] = 1; b[x] = 1;", Some((0, 256))),
        ("if (x == 7u) return; b[x] = 1;", None),
        ("b[x] += 1;", None),
        ("b[x] = b[100];", Some((0, 256))),
        ("b[x] = b[63];", None),
        ("atomicAdd(b[x], 1);", None),
        ("uint t = 0; for (uint i = 0; i < 5u; i++) t += a[i]; b[x] = t;", Some((0, 256))),
        ("for (uint i = 0; i < a[0]; i++) if (a[i] == 0u) return; b[x] = 1;", None),
        ("uint t; b[x] = t;", None),
        ("b[x] = 1u << a[x];", None),
        ("void f(uint i) { U(p.b).d[i] = i; } main: f(x);", Some((0, 256))),
        ("b[x & 31u] = 1;", None),
        ("b[a[x] & 31u] = 1;", None),
    ] {
        let Some(found) = overwritten(code) else { return };
        assert_eq!(found, bytes, "{code}");
    }
}
