//! Lends of many gigabytes: whatever a driver makes of large offsets, each element is the right
//! one.
//!
//! The memory is mapped without a reserve, and few of its pages are touched.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them, and are given positions within
//! what is lent.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(clippy::cast_possible_truncation, reason = "the tests are for 64-bit hosts")]
#![allow(unsafe_code, reason = "raw kernels, and unchecked launches")]

#[path = "common/checked.rs"]
mod checked;
mod common;
#[path = "common/glsl.rs"]
mod glsl;

use common::{build, runtimes};
use farptr::{
    AccessMode, Backing, Error, FaultReason, Grid, LaunchOptions, ProvedAccess, RawKernel, Runtime,
    VirtAddr,
};
use glsl::{Level, glsl};
use memmap2::{MmapMut, MmapOptions};

const GIB: usize = 1 << 30;
const PAGE: usize = 4096;

/// Zeroes that take memory where they are written alone.
fn sparse(bytes: usize) -> MmapMut {
    MmapOptions::new().len(bytes).no_reserve_swap().map_anon().unwrap()
}

/// Runtimes of each access mode, and one that copies.
fn all_runtimes() -> Vec<Runtime> {
    let copying = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    runtimes().into_iter().chain(build(copying)).collect()
}

fn raw(runtime: &Runtime, name: &'static str, source: &str) -> RawKernel {
    // SAFETY: shaderc's output is a valid module.
    unsafe { runtime.raw_kernel(name, &glsl(name, source, Level::Performance)) }.unwrap()
}

/// `x[at[i]] = x[at[i]] * 3 + 1` in the first of two words, the pointer an argument or, if `held`,
/// found in memory.
fn source(held: bool) -> String {
    let x = if held { "Pairs(push.x).at[0]" } else { "push.x" };
    format!(
        "layout(local_size_x = 8) in;
        REF(uint, Words, 4);
        REF(uvec2, Pairs, 8);
        layout(push_constant) uniform Push {{ uvec2 x; uvec2 at; uint n; }} push;
        void main() {{
            uint i = ID;
            if (i >= push.n) return;
            uvec2 x = {x};
            uint at = Words(push.at).at[i];
            Pairs(x).at[at].x = Pairs(x).at[at].x * 3 + 1;
        }}"
    )
}

/// Positions of elements of eight bytes: both ends, and both sides of where 31 and 32 bits of an
/// offset end.
fn positions(bytes: usize) -> Vec<u32> {
    let bounds = (0..=9).map(|gib| gib * GIB).chain([bytes]);
    let around = bounds.flat_map(|bound| [bound.wrapping_sub(8), bound, bound + PAGE * 5 + 8]);
    let mut all: Vec<u32> =
        around.filter(|&byte| byte < bytes).map(|byte| (byte / 8) as u32).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn launch(
    runtime: &Runtime,
    kernel: &RawKernel,
    memory: &mut [u64],
    (at, held, checked): (&[u32], bool, bool),
) -> Result<(), Error> {
    let pointer = [VirtAddr::of_slice(memory).get()];
    runtime.scope(|s| {
        let (lent, at, pointer) = (s.lend_mut(memory)?, s.lend(at)?, s.lend(&pointer)?);
        let x = if held { pointer.ptr().address() } else { lent.ptr().address() };
        let mut push = x.to_le_bytes().to_vec();
        push.extend(at.ptr().address().to_le_bytes());
        push.extend((at.len() as u32).to_le_bytes());
        let grid = Grid::cover(at.len());
        if checked {
            s.launch_raw(kernel, grid, &push, &LaunchOptions::new())?;
        } else {
            // SAFETY: the positions are within what is lent, one for each invocation.
            unsafe { s.launch_raw_unchecked(kernel, grid, &push) }?;
        }
        Ok(())
    })
}

#[test]
fn every_element_of_a_long_lend_is_the_right_one() {
    let sizes = [
        GIB - PAGE,
        GIB,
        GIB + PAGE,
        2 * GIB - PAGE,
        2 * GIB,
        2 * GIB + PAGE,
        3 * GIB,
        4 * GIB - PAGE,
        4 * GIB,
        4 * GIB + PAGE,
        6 * GIB,
        9 * GIB,
    ];
    for runtime in all_runtimes() {
        let direct = runtime.access() == ProvedAccess::Direct;
        for held in [false, true] {
            let kernel = raw(&runtime, "triple", &source(held));
            for bytes in sizes {
                for checked in if direct { vec![true, false] } else { vec![true] } {
                    let what = format!(
                        "{bytes:#x} bytes, {:?}, {:?}, held {held}, checked {checked}",
                        runtime.access(),
                        runtime.explain().backing()
                    );
                    let mut mapped = sparse(bytes);
                    let memory: &mut [u64] = bytemuck::cast_slice_mut(&mut mapped);
                    let at = positions(bytes);
                    for (value, &at) in (1u64..).zip(&at) {
                        memory[at as usize] = value | 7 << 32;
                    }
                    launch(&runtime, &kernel, memory, (&at, held, checked)).expect(&what);
                    for (value, &at) in (1u64..).zip(&at) {
                        let expected = (value * 3 + 1) | 7 << 32;
                        assert_eq!(memory[at as usize], expected, "{at:#x} of {what}");
                    }
                    // An offset that lost its upper bits would have led here.
                    let others = at.iter().map(|&at| (at as usize + GIB / 16) % memory.len());
                    for other in others.filter(|&other| !at.contains(&(other as u32))) {
                        assert_eq!(memory[other], 0, "{other:#x} of {what}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_beyond_a_lend_stays_beyond_it_however_far() {
    for runtime in all_runtimes() {
        for held in [false, true] {
            let kernel = raw(&runtime, "triple", &source(held));
            // 4 GiB behind the start, which 32 bits of an offset do not tell from it.
            let at = [(1u32 << 29) + 1];
            let mut memory = vec![5u64; 64];
            let start = VirtAddr::of_slice(&memory).get();
            let ended = launch(&runtime, &kernel, &mut memory, (&at, held, true));
            let fault = checked::fault(ended);
            assert_eq!(fault.reason, FaultReason::OutOfBounds);
            assert_eq!(fault.address, start + u64::from(at[0]) * 8);
            assert_eq!(memory, [5; 64]);
        }
    }
}

#[test]
fn an_index_that_is_negative_to_the_device_is_refused_with_that_reason() {
    let index = (1u32 << 31) + 3;
    let by_word = |held: bool| source(held).replace("Pairs(x).at[at].x", "Words(x).at[at]");
    for runtime in all_runtimes() {
        let mut mapped = sparse(8 * GIB + PAGE);
        let memory: &mut [u64] = bytemuck::cast_slice_mut(&mut mapped);
        for held in [false, true] {
            let kernel = raw(&runtime, "word", &by_word(held));
            let ended = launch(&runtime, &kernel, memory, (&[index], held, true));
            let fault = checked::fault(ended);
            assert_eq!(fault.reason, FaultReason::IndexTooLarge, "{fault}");
            assert_eq!(fault.address, VirtAddr::of_slice(memory).get() + u64::from(index) * 4);
            let said = fault.to_string();
            assert!(said.contains("index of 2^31 or more") && said.contains("signed"), "{said}");
        }
    }
}

#[test]
fn indices_lead_as_far_back_as_forth() {
    let (bytes, middle) = (9 * GIB, 5 * GIB / 8);
    for runtime in all_runtimes() {
        for held in [false, true] {
            let kernel = raw(&runtime, "triple", &source(held));
            let mut mapped = sparse(bytes);
            let memory: &mut [u64] = bytemuck::cast_slice_mut(&mut mapped);
            let places = positions(bytes);
            for (value, &place) in (1u64..).zip(&places) {
                memory[place as usize] = value;
            }
            let at: Vec<u32> = places.iter().map(|at| at.wrapping_sub(middle as u32)).collect();
            let pointer = [VirtAddr::of_slice(memory).get() + middle as u64 * 8];
            runtime
                .scope(|s| {
                    let (_lent, at) = (s.lend_mut(memory)?, s.lend(&at)?);
                    let x = if held { s.lend(&pointer)?.ptr().address() } else { pointer[0] };
                    let mut push = x.to_le_bytes().to_vec();
                    push.extend(at.ptr().address().to_le_bytes());
                    push.extend((at.len() as u32).to_le_bytes());
                    let (grid, options) = (Grid::cover(at.len()), LaunchOptions::new());
                    Ok(s.launch_raw(&kernel, grid, &push, &options)?)
                })
                .unwrap();
            for (value, &place) in (1u64..).zip(&places) {
                assert_eq!(memory[place as usize], value * 3 + 1, "{place:#x}, held {held}");
            }
        }
        let (said, narrow) = (runtime.explain().to_string(), runtime.explain().narrow_offsets());
        assert_eq!(said.contains("offsets     64 bits"), !narrow, "{said}");
    }
}
