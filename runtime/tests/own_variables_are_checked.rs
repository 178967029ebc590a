//! Checked launches of kernels that index their own variables, or the lends, beyond their ends in
//! ways that a compiler of GLSL would refuse or not write.
#![allow(unsafe_code, reason = "kernels that are made at run time")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
//!
//! # Safety
//!
//! Each kernel is glslang's, with a constant or a number's type changed to another valid one.

#[path = "common/checked.rs"]
mod checked;
mod common;
#[path = "common/glsl.rs"]
mod glsl;

use common::runtimes;
use farptr::rewrite::Capability;
use farptr::{Error, Grid, KernelError, LaunchError, LaunchOptions, Runtime};
use glsl::Level;
use std::io::Write;

const ELEMENTS: usize = 64;

/// Arguments: two lends, the second writable, and two numbers.
const DECLARATIONS: &str = "
    #extension GL_EXT_shader_explicit_arithmetic_types : require
    layout(local_size_x = 8) in;
    REF(uint, U, 4);
    REF(uint8_t, Byte, 1);
    layout(push_constant) uniform Push { uvec2 x, y; uint a, b; };
";

fn words(body: &str) -> Vec<u32> {
    glsl::glsl("variables", &format!("{DECLARATIONS}{body}"), Level::Zero)
}

/// The opcode and the position of each instruction after the header.
fn instructions(words: &[u32]) -> Vec<(u32, usize)> {
    let mut found = Vec::new();
    let mut at = 5;
    while let Some(&first) = words.get(at) {
        found.push((first & 0xffff, at));
        at += (first >> 16) as usize;
    }
    found
}

/// Gives 32-bit constants another value, as unsigned numbers.
fn set_constants(words: &mut [u32], old_to_new: &[(u32, u32)]) {
    const TYPE_INT: u32 = 21;
    const CONSTANT: u32 = 43;
    let all = instructions(words);
    let unsigned = all.iter().find_map(|&(op, at)| {
        (op == TYPE_INT && words[at + 2..at + 4] == [32, 0]).then(|| words[at + 1])
    });
    let mut changed = 0;
    for (_, at) in all.into_iter().filter(|&(op, _)| op == CONSTANT) {
        if let Some(&(_, new)) = old_to_new.iter().find(|&&(old, _)| old == words[at + 3]) {
            (words[at + 1], words[at + 3]) = (unsigned.unwrap(), new);
            changed += 1;
        }
    }
    assert_eq!(changed, old_to_new.len());
}

/// Runs a kernel; `None` where the device lacks what it needs. Gives the second lend as it is then.
fn run(
    runtime: &Runtime,
    words: &[u32],
    (a, b): (u32, u32),
) -> Option<(Result<(), Error>, Vec<u32>)> {
    // SAFETY: see the module.
    let kernel = match unsafe { runtime.raw_kernel("variables", words) } {
        Ok(kernel) => kernel,
        Err(KernelError::Capability {
            capability: Capability::Int8 | Capability::StorageBuffer8BitAccess,
            ..
        }) => {
            // No skip: there is nothing to find on a device that cannot run it.
            let _ = writeln!(std::io::stderr(), "NOT RUN: the device lacks 8-bit integers");
            return None;
        }
        Err(error) => panic!("{error:?}"),
    };
    let (x, mut y) = (vec![1u32; ELEMENTS], vec![0u32; ELEMENTS]);
    let address = |first: *const u32| first.expose_provenance() as u64;
    let mut push = [address(x.as_ptr()), address(y.as_ptr())].map(u64::to_le_bytes).concat();
    push.extend([a, b].map(u32::to_le_bytes).concat());
    let ended = runtime.scope(|s| {
        s.lend(&x)?;
        s.lend_mut(&mut y)?;
        Ok(s.launch_raw(&kernel, Grid::groups(1, 1, 1), &push, &LaunchOptions::new())?)
    });
    assert_eq!(x, [1; ELEMENTS]);
    Some((ended, y))
}

fn assert_fault(ended: &Result<(), Error>) {
    assert!(matches!(ended, Err(Error::Launch(LaunchError::Fault(_)))), "{ended:?}");
}

#[test]
fn a_constant_beyond_the_end_of_an_own_array_is_a_fault() {
    let body = "
        shared uint pool[16];
        void main() {
            uint own[16];
            for (uint i = 0; i < 16; i++) own[i] = i;
            pool[gl_LocalInvocationIndex] = 1;
            own[12] = 700;
            pool[13] = 900;
            U(y).at[ID] = own[b] + pool[a];
        }";
    for runtime in runtimes() {
        let mut words = words(body);
        let (ended, y) = run(&runtime, &words, (1, 2)).unwrap();
        ended.unwrap();
        assert_eq!(y[..8], [3; 8]);
        // Far enough to hit what is not mapped.
        set_constants(&mut words, &[(12, 0x100_0000), (13, 0x200_0000)]);
        assert_fault(&run(&runtime, &words, (1, 2)).unwrap().0);
        checked::assert_usable(&runtime);
    }
}

#[test]
fn a_component_of_an_input_that_is_none_is_a_fault() {
    for runtime in runtimes() {
        let words = words("void main() { U(y).at[ID] = gl_GlobalInvocationID[a]; }");
        let (ended, y) = run(&runtime, &words, (0, 0)).unwrap();
        ended.unwrap();
        assert_eq!(y[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        for component in [3, 1 << 20, u32::MAX] {
            assert_fault(&run(&runtime, &words, (component, 0)).unwrap().0);
        }
    }
}

/// SPIR-V takes indices for signed, whatever their type.
#[test]
fn a_constant_with_its_upper_bit_set_is_a_negative_index() {
    for runtime in runtimes() {
        for read in [true, false] {
            let body = if read {
                "void main() { U(y).at[ID] = uint(Byte(x).at[77u]); }"
            } else {
                "void main() { Byte(y).at[77u] = uint8_t(1); }"
            };
            let mut words = words(body);
            set_constants(&mut words, &[(77, 0x8000_0000)]);
            let Some((ended, _)) = run(&runtime, &words, (0, 0)) else { return };
            assert_fault(&ended);
        }
    }
}

/// A byte above 127 is a negative index.
#[test]
fn a_short_index_into_an_own_array_is_signed() {
    const ACCESS_CHAIN: u32 = 65;
    const CONVERT: u32 = 113;
    let body = "
        void main() {
            uint own[256];
            for (uint i = 0; i < 256; i++) own[i] = i;
            uint8_t k = uint8_t(a + ID);
            U(y).at[ID] = own[uint(k)];
        }";
    for runtime in runtimes() {
        let mut words = words(body);
        // The byte itself is to be the index, not the number that it is converted to.
        let all = instructions(&words);
        let converted = |words: &[u32], id| {
            let found = all.iter().find(|&&(op, at)| op == CONVERT && words[at + 2] == id);
            found.map(|&(_, at)| words[at + 3])
        };
        for &(_, at) in all.iter().filter(|&&(op, _)| op == ACCESS_CHAIN) {
            if let Some(byte) = converted(&words, words[at + 4]) {
                words[at + 4] = byte;
            }
        }
        let Some((ended, y)) = run(&runtime, &words, (100, 0)) else { return };
        ended.unwrap();
        assert_eq!(y[..8], [100, 101, 102, 103, 104, 105, 106, 107]);
        let Some((ended, _)) = run(&runtime, &words, (200, 0)) else { return };
        assert_fault(&ended);
    }
}
