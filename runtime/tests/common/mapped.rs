//! Mapped files, and a kernel that adds words to others.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them. The mappings are of files that
//! no other process has.
#![allow(unsafe_code, reason = "mapping a file is unsafe")]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use crate::glsl::{Level, glsl};
use farptr::{Grid, LaunchError, LaunchOptions, RawKernel, Runtime, Scope};
use memmap2::MmapMut;
use std::fs::File;

pub const PAGE: usize = 4096;
/// Words of a page.
pub const WORDS: usize = PAGE / 4;

/// `y = 3 y + x`.
pub const MIX: &str = "
    layout(local_size_x = 8) in;
    REF(uint, U, 4);
    layout(push_constant, scalar) uniform Push { uvec2 x; uvec2 y; uint n; };
    void main() { if (ID < n) U(y).at[ID] = U(y).at[ID] * 3u + U(x).at[ID]; }";
pub fn kernel(runtime: &Runtime, name: &'static str, source: &str) -> RawKernel {
    let words = glsl(name, source, Level::Performance);
    // SAFETY: shaderc's output is a valid module.
    unsafe { runtime.raw_kernel(name, &words) }.unwrap()
}

pub fn launch(
    s: &mut Scope<'_, '_>,
    kernel: &RawKernel,
    x: u64,
    y: u64,
    n: usize,
) -> Result<(), LaunchError> {
    let push = [x as u32, (x >> 32) as u32, y as u32, (y >> 32) as u32, n as u32];
    s.launch_raw(kernel, Grid::cover(n), bytemuck::cast_slice(&push), &LaunchOptions::new())
}

pub fn file(pages: usize) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len((pages * PAGE) as u64).unwrap();
    file
}

pub fn map(file: &File) -> MmapMut {
    // SAFETY: the module's argument.
    unsafe { MmapMut::map_mut(file) }.unwrap()
}

pub fn words(memory: &mut [u8]) -> &mut [u32] {
    bytemuck::cast_slice_mut(memory)
}
