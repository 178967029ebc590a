//! Command buffers: recorded, submitted, waited for, used again.
//!
//! A command buffer is in one of three types: a [`CommandBuffer`] that is free, a [`Recording`], or
//! [`Submitted`] commands, whose Drop waits.

use super::{
    Device, Pipeline,
    buffer::WordAt,
    command_buffer::CommandBuffer,
    control::BlockAt,
    named::Named,
    queues::{Point, Role},
    timestamps::Timestamps,
};
use crate::VulkanError;
use ash::vk;
use std::{sync::Arc, time::Duration};

/// One launch of a pipeline.
pub(crate) struct Work<'w> {
    pub(crate) pipeline: &'w Pipeline,
    /// The launch's control block, if the pipeline has one.
    pub(crate) control: Option<BlockAt>,
    pub(crate) push: &'w [u8],
    pub(crate) groups: [u32; 3],
    /// A word that is copied before the launch, as the launches before left it.
    pub(crate) copy: Option<WordCopy>,
    /// Whether it waits for the launches before it, so that it sees what they wrote. It waits for
    /// those of earlier recordings in any case.
    pub(crate) waits: bool,
}

/// A word that the device copies.
#[derive(Clone, Copy)]
pub(crate) struct WordCopy {
    pub(crate) from: WordAt,
    pub(crate) to: WordAt,
}

/// Stages and accesses on one side of a barrier.
#[derive(Clone, Copy)]
struct Side {
    stage: vk::PipelineStageFlags,
    access: vk::AccessFlags,
}

impl Side {
    /// The writes of kernels.
    const WRITTEN: Self = Self {
        stage: vk::PipelineStageFlags::COMPUTE_SHADER,
        access: vk::AccessFlags::SHADER_WRITE,
    };
    const KERNEL: Self = Self {
        stage: vk::PipelineStageFlags::COMPUTE_SHADER,
        access: vk::AccessFlags::from_raw(
            vk::AccessFlags::SHADER_READ.as_raw()
                | vk::AccessFlags::SHADER_WRITE.as_raw()
                | vk::AccessFlags::UNIFORM_READ.as_raw(),
        ),
    };
    const COPY_READ: Self =
        Self { stage: vk::PipelineStageFlags::TRANSFER, access: vk::AccessFlags::TRANSFER_READ };
    const COPIED: Self =
        Self { stage: vk::PipelineStageFlags::TRANSFER, access: vk::AccessFlags::TRANSFER_WRITE };
    const HOST: Self = Self {
        stage: vk::PipelineStageFlags::HOST,
        access: vk::AccessFlags::from_raw(
            vk::AccessFlags::HOST_READ.as_raw() | vk::AccessFlags::HOST_WRITE.as_raw(),
        ),
    };

    fn and(self, other: Self) -> Self {
        Self { stage: self.stage | other.stage, access: self.access | other.access }
    }
}

/// Commands that are being recorded. If they are dropped, nothing was submitted.
pub(crate) struct Recording {
    // Invariant: the command buffer is recording; it is there until Drop.
    commands: Option<CommandBuffer>,
    /// Launches that were recorded. Timestamps that were written belong to the first of them.
    launches: u32,
    /// The pipeline of the last launch.
    bound: Option<vk::Pipeline>,
    device: Arc<Device>,
}

impl Recording {
    /// Begins recording kernels, with a barrier against all earlier commands of their queue: their
    /// writes are visible to the commands that are recorded here.
    pub(crate) fn begin(device: &Arc<Device>) -> Result<Self, VulkanError> {
        let mut recording = Self::begin_on(device, Role::Compute)?;
        recording.barrier(Side::WRITTEN, Side::KERNEL);
        Ok(recording)
    }

    /// Begins recording copies alone, for the queue that is for them.
    pub(super) fn begin_copies(device: &Arc<Device>) -> Result<Self, VulkanError> {
        Self::begin_on(device, device.queues().copies())
    }

    fn begin_on(device: &Arc<Device>, role: Role) -> Result<Self, VulkanError> {
        let commands = device.take_commands(role)?;
        commands.begin()?;
        let device = Arc::clone(device);
        Ok(Self { commands: Some(commands), launches: 0, bound: None, device })
    }

    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn raw(&self) -> vk::CommandBuffer {
        self.commands.as_ref().expect("there until Drop").raw()
    }

    fn role(&self) -> Role {
        self.commands.as_ref().expect("there until Drop").role()
    }

    /// Records one launch. If it [waits](Work::waits), it stands behind a barrier that makes the
    /// writes of the launches before it visible to it; if not, the device may run them together.
    ///
    /// # Safety
    ///
    /// 1. The pipeline belongs to this device; the control block is there if the pipeline has one,
    ///    the push constants are as many as it declares, and the groups keep the device's limits.
    /// 2. Pipeline, control block and the words of the copy are live until these commands were
    ///    submitted or dropped.
    /// 3. The memory that the kernel touches is valid for it from when these commands are submitted
    ///    until they have completed.
    pub(crate) unsafe fn launch(&mut self, work: &Work<'_>) {
        let &Work { pipeline, control, push, groups: [x, y, z], copy, waits } = work;
        if waits && self.launches > 0 {
            self.barrier(Side::WRITTEN, Side::KERNEL);
        }
        if let Some(copy) = copy {
            // SAFETY: the caller's promise 2.
            unsafe { self.copy_word(copy) };
            self.barrier(Side::COPIED, Side::KERNEL);
        }
        let (commands, compute) = (self.raw(), vk::PipelineBindPoint::COMPUTE);
        let device = self.device.raw();
        // A pipeline stays bound from launch to launch.
        if self.bound.replace(pipeline.raw()) != Some(pipeline.raw()) {
            // SAFETY: 1. all handles are live; the command buffer is recording.
            unsafe { device.cmd_bind_pipeline(commands, compute, pipeline.raw()) };
        }
        if let Some(BlockAt { set, offset }) = control {
            let (layout, sets, offsets) = (pipeline.layout(), [set], [offset]);
            // SAFETY: as above; the layout has this set by promise 1.
            unsafe {
                device.cmd_bind_descriptor_sets(commands, compute, layout, 0, &sets, &offsets);
            }
        }
        if !push.is_empty() {
            let stage = vk::ShaderStageFlags::COMPUTE;
            // SAFETY: as above; the layout was made for this many bytes by promise 1.
            unsafe { device.cmd_push_constants(commands, pipeline.layout(), stage, 0, push) };
        }
        self.stamp(0);
        // SAFETY: as above; the group counts keep the limits by promise 1.
        unsafe { device.cmd_dispatch(commands, x, y, z) };
        self.stamp(1);
        self.launches += 1;
    }

    /// Records a timestamp, before the launch or after it, on a device that times kernels.
    fn stamp(&self, side: u32) {
        let commands = self.commands.as_ref().and_then(CommandBuffer::timestamps);
        let Some(timestamps) = commands.filter(|_| self.launches < Timestamps::LAUNCHES) else {
            return;
        };
        let at = 2 * self.launches + side;
        if at == 0 {
            // SAFETY: they are those of this command buffer, which is recording.
            unsafe { timestamps.clear(self.raw()) };
        }
        // SAFETY: 1. as above; the first one was behind `clear`; 2. the launch has room, and each
        // number is used once, since `launch` counts.
        unsafe { timestamps.write(self.raw(), at) };
    }

    /// Whether launches are timed.
    pub(crate) fn times_kernels(&self) -> bool {
        self.device.times().is_some()
    }

    /// Ends recording, with the copy of a word, if one is given, and a barrier that makes
    /// everything that was written visible to the host; and hands the commands to the device.
    ///
    /// An error means that nothing was submitted, or that the device is lost.
    pub(crate) fn submit(mut self, copy: Option<WordCopy>) -> Result<Submitted, VulkanError> {
        if let Some(copy) = copy {
            // SAFETY: the caller of `launch` promised that the words are live until now.
            unsafe { self.copy_word(copy) };
        }
        let written = match self.role() {
            Role::Compute => Side::WRITTEN.and(Side::COPIED),
            Role::Transfer => Side::COPIED,
        };
        self.barrier(written, Side::HOST);
        // SAFETY: 1. the command buffer is live and recording.
        unsafe { self.device.raw().end_command_buffer(self.raw()) }.named("vkEndCommandBuffer")?;
        // SAFETY: the commands were ended just now; the callers of `launch` and `copy` promised
        // the rest.
        let submitted = unsafe { self.device.queues().submit(self.role(), self.raw()) };
        let (point, lost) = match submitted {
            Ok(point) => (point, None),
            Err((lost, Some(point))) => (point, Some(lost)),
            Err((error, None)) => return Err(error),
        };
        let (commands, launches) = (self.commands.take(), self.launches);
        let submitted = Submitted { commands, point, launches, device: Arc::clone(&self.device) };
        // Commands that may be pending are no longer those of a recording.
        lost.map_or(Ok(submitted), Err)
    }

    /// Records copies between two buffers, without any order among copies.
    ///
    /// # Safety
    ///
    /// The buffers belong to this device, have the bytes of all copies, of which there is one at
    /// least, may be copied from and to, and live until the commands were submitted or dropped.
    pub(super) unsafe fn copy(
        &mut self,
        from: vk::Buffer,
        to: vk::Buffer,
        copies: &[vk::BufferCopy],
    ) {
        // SAFETY: 1. all handles are live; 3. the caller's promises.
        unsafe { self.device.raw().cmd_copy_buffer(self.raw(), from, to, copies) };
    }

    /// Records a barrier between everything before and everything after it, the host included.
    pub(crate) fn full_barrier(&mut self) {
        let (all, host) = (vk::PipelineStageFlags::ALL_COMMANDS, vk::PipelineStageFlags::HOST);
        let (read, write) = (vk::AccessFlags::MEMORY_READ, vk::AccessFlags::MEMORY_WRITE);
        let barrier =
            [vk::MemoryBarrier::default().src_access_mask(write).dst_access_mask(read | write)];
        let (commands, none, to) = (self.raw(), vk::DependencyFlags::empty(), all | host);
        // SAFETY: 1. the command buffer is live and recording.
        unsafe {
            let device = self.device.raw();
            device.cmd_pipeline_barrier(commands, all, to, none, &barrier, &[], &[]);
        }
    }

    /// Records the copy of a word that kernels write, behind a barrier.
    ///
    /// # Safety
    ///
    /// Both words are live until these commands were submitted or dropped.
    unsafe fn copy_word(&mut self, WordCopy { from, to }: WordCopy) {
        self.barrier(Side::WRITTEN, Side::COPY_READ);
        let (src_offset, dst_offset) = (from.offset, to.offset);
        let word = [vk::BufferCopy { src_offset, dst_offset, size: 4 }];
        // SAFETY: the buffers are live, as the caller promises, and have these words.
        unsafe { self.copy(from.buffer, to.buffer, &word) };
    }

    fn barrier(&mut self, from: Side, to: Side) {
        let barriers =
            [vk::MemoryBarrier::default().src_access_mask(from.access).dst_access_mask(to.access)];
        let (commands, none) = (self.raw(), vk::DependencyFlags::empty());
        // SAFETY: 1. the command buffer is live and recording.
        unsafe {
            let device = self.device.raw();
            device.cmd_pipeline_barrier(commands, from.stage, to.stage, none, &barriers, &[], &[]);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(commands) = self.commands.take() {
            self.device.recycle(commands);
        }
    }
}

/// Commands that were handed to the device. Dropping them waits until they have completed, or until
/// the device is known to be lost.
pub(crate) struct Submitted {
    // Invariant: the commands are pending until `point` is reached, or until the lost device is at
    // rest; they are there until Drop.
    commands: Option<CommandBuffer>,
    point: Point,
    launches: u32,
    device: Arc<Device>,
}

/// The time that farptr's own copies and probes may take once the device could begin them: far more
/// than they need.
const OWN_WORK: Duration = Duration::from_secs(60);

impl Submitted {
    /// Launches of one submission that can be timed.
    pub(crate) const TIMED_LAUNCHES: u32 = Timestamps::LAUNCHES;

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Waits for the commands, so long at most, and says whether they have completed.
    pub(crate) fn wait_at_most(&self, at_most: Duration) -> Result<bool, VulkanError> {
        self.device.queues().wait_at_most(self.point, at_most)
    }

    /// Whether all commands that were submitted before these to their queue have completed.
    pub(crate) fn is_first(&self) -> Result<bool, VulkanError> {
        self.device.queues().is_first(self.point)
    }

    /// Waits until the commands have completed, as long as it takes; a device that is being tried
    /// runs probes alone.
    pub(crate) fn wait(&self) -> Result<(), VulkanError> {
        let limit = (!self.device.is_tried()).then_some(OWN_WORK);
        self.device.queues().wait(self.point, limit)
    }

    /// Takes the device for lost, since the commands do not end, unless they have ended by now.
    pub(crate) fn give_up(&self) -> Result<(), VulkanError> {
        self.device.queues().give_up(self.point)
    }

    /// The ticks of each launch of commands that have completed, in their order; none on a device
    /// that does not time kernels, or that cannot read its timestamps.
    pub(crate) fn ticks(&self) -> Vec<u64> {
        let timestamps = self.commands.as_ref().and_then(CommandBuffer::timestamps);
        let Some((timestamps, times)) = timestamps.zip(self.device.times()) else {
            return Vec::new();
        };
        if self.wait().is_err() {
            return Vec::new();
        }
        let launches = self.launches.min(Timestamps::LAUNCHES);
        // SAFETY: the commands have completed; each of these launches wrote two.
        unsafe { timestamps.read(launches, times.clock) }.unwrap_or_default()
    }

    /// Waits for commands that only copy; the command buffer is free for others then.
    pub(crate) fn finish(self) -> Result<(), VulkanError> {
        self.device.queues().wait(self.point, Some(OWN_WORK))
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        // In a child made by `fork` nothing is pending, and the commands are the parent's.
        if self.device.is_inherited() {
            return;
        }
        let ended = self.wait();
        // A lost device uses no command buffer again, and this one knows by itself whether to stay.
        if let Some(commands) = self.commands.take().filter(|_| ended.is_ok()) {
            self.device.recycle(commands);
        }
    }
}
