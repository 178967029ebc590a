//! Errors of one launch.

use super::{
    fault::{Fault, FaultReason},
    forked::FORKED,
    vulkan::VulkanError,
};
use farptr_rewrite::{LOOP_WINDOW, RewriteError};
use std::{fmt, time::Duration};

/// Why a launch was refused or failed. A refused launch did not run. A failed launch ran, and did
/// not do all of its work.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The grid has no invocations.
    #[error(
        "kernel `{kernel}` was launched over an empty grid; skip the launch when there is no work"
    )]
    EmptyGrid {
        /// The kernel.
        kernel: &'static str,
    },
    /// The grid has more workgroups in a dimension than the device allows.
    #[error(
        "kernel `{kernel}` was launched over {groups:?} workgroups, the device allows {limit:?}; \
         Grid::cover, cover_2d and cover_3d have no such limit"
    )]
    GridTooLarge {
        /// The kernel.
        kernel: &'static str,
        /// Workgroups asked for.
        groups: [u32; 3],
        /// The device's limits.
        limit: [u32; 3],
    },
    /// The grid asks for more invocations in a dimension than can be numbered.
    #[error(
        "kernel `{kernel}` was launched over {invocations} invocations in one dimension; numbers \
         of invocations have 32 bits, so that workgroups of this size have at most {limit}; split \
         it"
    )]
    TooManyInvocations {
        /// The kernel.
        kernel: &'static str,
        /// Invocations asked for in the dimension.
        invocations: u64,
        /// The most that can be numbered, in whole workgroups.
        limit: u64,
    },
    /// The grid has more workgroups than the device allows in a dimension, and altogether too many
    /// to be folded.
    #[error(
        "kernel `{kernel}` was launched over {groups:?} workgroups; a launch that goes beyond the \
         device's limits of {limit:?} has fewer than 2^32 altogether; split it"
    )]
    TooManyWorkgroups {
        /// The kernel.
        kernel: &'static str,
        /// Workgroups asked for.
        groups: [u32; 3],
        /// The device's limits.
        limit: [u32; 3],
    },
    /// [`Grid::cover`](crate::Grid::cover) needs a kernel whose workgroups have one dimension.
    #[error(
        "kernel `{kernel}` has workgroups of {local_size:?}; Grid::cover needs one dimension, use \
         Grid::cover_2d, Grid::cover_3d or Grid::groups"
    )]
    NotOneDimensional {
        /// The kernel.
        kernel: &'static str,
        /// Its workgroup size.
        local_size: [u32; 3],
    },
    /// [`Grid::cover_2d`](crate::Grid::cover_2d) needs a kernel whose workgroups have at most two
    /// dimensions.
    #[error(
        "kernel `{kernel}` has workgroups of {local_size:?}; Grid::cover_2d needs two dimensions \
         at most, use Grid::cover_3d or Grid::groups"
    )]
    NotTwoDimensional {
        /// The kernel.
        kernel: &'static str,
        /// Its workgroup size.
        local_size: [u32; 3],
    },
    /// The grid goes beyond the device's limits, and the kernel's words could not be changed for
    /// that.
    #[error(
        "kernel `{kernel}` cannot be launched over more workgroups than the device allows in a \
         dimension; launch over fewer"
    )]
    Fold {
        /// The kernel.
        kernel: &'static str,
        /// The obstacle.
        #[source]
        source: Box<RewriteError>,
    },
    /// The kernel belongs to another [`Runtime`](crate::Runtime).
    #[error("kernel `{kernel}` belongs to another runtime; get it from the one that launches it")]
    ForeignKernel {
        /// The kernel.
        kernel: &'static str,
    },
    /// The push constants do not have the size that the kernel declares.
    #[error("kernel `{kernel}` declares {declared} bytes of push constants, was given {given}")]
    PushSize {
        /// The kernel.
        kernel: &'static str,
        /// Bytes in the SPIR-V module.
        declared: usize,
        /// Bytes given.
        given: usize,
    },
    /// The kernel does something that cannot be checked.
    #[error("kernel `{kernel}` cannot be checked; it can only be launched unchecked")]
    Rewrite {
        /// The kernel.
        kernel: &'static str,
        /// The construct that cannot be checked.
        #[source]
        source: Box<RewriteError>,
    },
    /// There are more lends than a kernel can tell apart.
    #[error(
        "kernel `{kernel}` cannot tell {lends} lends apart; lend fewer, larger slices to its scope"
    )]
    TooManyLends {
        /// The kernel.
        kernel: &'static str,
        /// The lends, joined where they overlap.
        lends: usize,
    },
    /// The driver could not make a pipeline.
    #[error("kernel `{kernel}` could not be compiled by the driver")]
    Compile {
        /// The kernel.
        kernel: &'static str,
        /// The call that failed.
        #[source]
        source: VulkanError,
    },
    /// The kernel touched memory that it may not.
    #[error("{0}")]
    Fault(Box<Fault>),
    /// The driver ended a loop of the kernel too early, without an error.
    #[error(
        "kernel `{kernel}`: the driver ends an invocation's loops after {limit} passes over all of \
         them, and did so in {invocations} invocations; split the work over several launches of \
         {LOOP_WINDOW} passes at most (farptr::shaders::abi::LOOP_WINDOW)"
    )]
    LoopCut {
        /// The kernel.
        kernel: &'static str,
        /// After how many passes the driver was seen to end loops, when the runtime was built.
        limit: u32,
        /// Invocations with such a loop.
        invocations: u32,
    },
    /// Invocations made more passes through loops than they were allowed to.
    #[error("kernel `{kernel}`: {invocations} invocations were ended after {limit} loop passes")]
    LoopLimit {
        /// The kernel.
        kernel: &'static str,
        /// The limit.
        limit: u32,
        /// Invocations that reached it.
        invocations: u32,
    },
    /// The launch ran longer than it was allowed to, and was ended.
    #[error(
        "kernel `{kernel}` was ended after it had run for {deadline:?}{}; set a later deadline if \
         it is right",
        Queued(*.queued)
    )]
    Deadline {
        /// The kernel, or another one of the same batch.
        kernel: &'static str,
        /// The time that it, or its batch, was allowed.
        deadline: Duration,
        /// How long it had waited besides for launches of others, which does not count.
        queued: Duration,
    },
    /// The launch was not done after as many rounds as it was allowed to take.
    #[error("kernel `{kernel}` was ended after {limit} rounds; allow more if it is right")]
    TooManyRounds {
        /// The kernel.
        kernel: &'static str,
        /// The limit.
        limit: u32,
    },
    /// The launch had more faults than it was allowed to.
    #[error(
        "kernel `{kernel}` was ended after more than {limit} faults; allow more if it is right"
    )]
    TooManyFaults {
        /// The kernel.
        kernel: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A round reported faults and none of them could be served.
    #[error("kernel `{kernel}` faults on pages that it has; report this as a defect of farptr")]
    NoProgress {
        /// The kernel.
        kernel: &'static str,
    },
    /// Memory that was not lent by itself was unmapped, protected or overwritten by another thread
    /// while the launch wrote its results there: see [`lend_process`](crate::Scope::lend_process).
    ///
    /// Bytes that the launch wrote to such memory may be home in part; lends are as after any
    /// launch that failed.
    #[error("memory at {address:#x} changed while results of kernel `{kernel}` were written there")]
    Raced {
        /// The kernel.
        kernel: &'static str,
        /// The first byte of which it is not known whether it was written or put back.
        address: u64,
    },
    /// Results could not be written to memory that was not lent by itself, although the mapping
    /// allows it: see [`lend_process`](crate::Scope::lend_process). No bytes of the launch were
    /// written there.
    #[error(
        "results of kernel `{kernel}` cannot be written to memory at {address:#x}: it is {reason}"
    )]
    Unwritable {
        /// The kernel.
        kernel: &'static str,
        /// The first byte that was to be written.
        address: u64,
        /// The reason.
        reason: FaultReason,
    },
    /// Elements were asked for that a lend does not have: see
    /// [`read_range`](crate::Idle::read_range).
    #[error("elements {start}..{end} are not within the {len} that were lent")]
    OutOfRange {
        /// The first element that was asked for.
        start: usize,
        /// The element behind the last one.
        end: usize,
        /// The elements that the lend has.
        len: usize,
    },
    /// The process was forked from the one that built the runtime.
    #[error("{FORKED}")]
    Forked,
    /// The device was lost, or did not end a launch that it was told to end. Every later operation
    /// on it has this error, too.
    ///
    /// Results that had not been brought home are gone. Where the device works on copies, lent
    /// memory is otherwise as it was: [`Runtime::scope`](crate::Runtime::scope) says more.
    #[error(
        "the device is lost, with all results that were not home; build another runtime. A driver \
         resets a device if a launch takes too long for its watchdog, often some seconds: split \
         such a launch"
    )]
    DeviceLost {
        /// The call that said so. `VK_TIMEOUT` is that of work that does not end.
        #[source]
        source: VulkanError,
    },
    /// A Vulkan call failed.
    #[error("the launch could not be handed to the device")]
    Vulkan(#[source] VulkanError),
}

impl From<VulkanError> for LaunchError {
    fn from(source: VulkanError) -> Self {
        if source.is_loss() { Self::DeviceLost { source } } else { Self::Vulkan(source) }
    }
}

/// Says that a launch waited, if it did.
struct Queued(Duration);

impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Duration::ZERO => Ok(()),
            waited => write!(f, ", after {waited:.1?} behind launches of others"),
        }
    }
}
