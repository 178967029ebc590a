//! A kernel, launched through farptr as a user would.
//!
//! # Safety
//!
//! The words are those of a compiler, the assembler or a generator that makes valid modules.
#![allow(unsafe_code, reason = "kernels made at run time")]

use farptr::{Error, Grid, LaunchOptions, RawKernel, Runtime};
use farptr_kernel_cases::{
    arena::{Arena, Slice},
    case::Case,
};

/// Runs the words of a case on the lends of an arena.
pub(super) fn run(
    runtime: &Runtime,
    case: &Case,
    words: &[u32],
    arena: &mut Arena,
) -> Result<(), Error> {
    // SAFETY: 1. the words are valid; see the module's documentation.
    let kernel: RawKernel = unsafe { runtime.raw_kernel("kernel", words) }?;
    let push = arena.push(&case.push);
    let [x, y, z] = case.groups;
    let slices = arena.slices();
    runtime.scope(|s| {
        for slice in slices {
            match slice {
                Slice::Read(bytes) => drop(s.lend(bytes)?),
                Slice::Write(bytes) => drop(s.lend_mut(bytes)?),
            }
        }
        Ok(s.launch_raw(&kernel, Grid::groups(x, y, z), &push, &LaunchOptions::new())?)
    })
}
