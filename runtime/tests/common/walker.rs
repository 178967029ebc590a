//! Walks along a list in memory that was not lent.
#![allow(unreachable_pub, reason = "each test binary has a copy")]

use crate::{common::build, glsl};
use farptr::{AccessMode, Backing, RawKernel, Runtime};

/// A runtime that copies, and the kernel that adds one to each item of a list.
pub fn walker() -> Option<(Runtime, RawKernel)> {
    let runtime = build(Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy))?;
    let kernel = glsl::kernel(&runtime, "list.comp");
    Some((runtime, kernel))
}
