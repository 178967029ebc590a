//! The ABI that host and kernels share: what a kernel is, and how addresses reach it.

mod desc;
mod ptr;
mod specialized;

pub use desc::KernelDesc;
pub use ptr::{Ptr, PtrMut};
pub use specialized::SpecializedDesc;

/// The most loop iterations that a farptr kernel runs per invocation and launch, roughly.
///
/// Mesa's llvmpipe (22.3 and others) ends an invocation without an error after 65,535 iterations,
/// added up over all its loops (`LP_MAX_TGSI_LOOP_ITERATIONS`). Half of that leaves room for a
/// second, outer loop.
pub const LOOP_WINDOW: u32 = 32_768;
