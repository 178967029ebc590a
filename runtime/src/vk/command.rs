//! Command slots: one command buffer with a pool of its own, recorded, submitted, used again.

use super::{Named, Pipeline};
use crate::VulkanError;
use ash::vk;

/// What one launch runs.
pub(crate) struct Work<'w> {
    pub(crate) pipeline: &'w Pipeline,
    /// The set of control blocks and the offset of the launch's, if the pipeline has that set.
    pub(crate) control: Option<(vk::DescriptorSet, u32)>,
    pub(crate) push: &'w [u8],
    pub(crate) groups: [u32; 3],
    /// A word that is copied before the launch, as the launches before left it.
    pub(crate) copy: Option<WordCopy>,
}

/// A word that the device copies: buffers, and where to in the second one, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct WordCopy {
    pub(crate) from: vk::Buffer,
    pub(crate) to: (vk::Buffer, u64),
}

/// Stages and accesses on one side of a barrier.
#[derive(Clone, Copy)]
struct Side {
    stage: vk::PipelineStageFlags,
    access: vk::AccessFlags,
}

impl Side {
    /// What kernels write.
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

/// A command buffer with a pool of its own, so that a thread that owns a slot owns both.
///
/// A slot does not destroy itself: it belongs to its [`Device`](super::Device), which does.
pub(crate) struct Slot {
    // Invariant: `commands` was allocated from `pool`, and nobody else has either.
    pool: vk::CommandPool,
    commands: vk::CommandBuffer,
}

impl Slot {
    pub(crate) fn new(device: &ash::Device, family: u32) -> Result<Self, VulkanError> {
        let info = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::TRANSIENT)
            .queue_family_index(family);
        // SAFETY: 1. the device is live and has this queue family.
        let pool =
            unsafe { device.create_command_pool(&info, None) }.named("vkCreateCommandPool")?;
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        // SAFETY: 1. device and pool are live; 2. nobody else knows the pool.
        let commands =
            unsafe { device.allocate_command_buffers(&info) }.named("vkAllocateCommandBuffers");
        match commands {
            Ok(commands) => Ok(Self { pool, commands: commands[0] }),
            Err(error) => {
                // SAFETY: 1. the pool is live and empty.
                unsafe { device.destroy_command_pool(pool, None) };
                Err(error)
            }
        }
    }

    pub(crate) fn commands(&self) -> vk::CommandBuffer {
        self.commands
    }

    /// Begins recording, with a barrier against all earlier commands of the queue: their writes
    /// are visible to what is recorded here.
    ///
    /// # Safety
    ///
    /// The slot belongs to `device` and its last commands have completed.
    pub(crate) unsafe fn begin(&mut self, device: &ash::Device) -> Result<(), VulkanError> {
        // SAFETY: 1. the pool is live; 4. its commands have completed, as the caller promises.
        unsafe { device.reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty()) }
            .named("vkResetCommandPool")?;
        let info = vk::CommandBufferBeginInfo::default()
            .flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: 1. the command buffer is live and in the initial state after the reset.
        unsafe { device.begin_command_buffer(self.commands, &info) }
            .named("vkBeginCommandBuffer")?;
        // SAFETY: the command buffer is recording since just now.
        unsafe { self.barrier(device, Side::WRITTEN, Side::KERNEL) };
        Ok(())
    }

    /// Records one launch; with `after_another`, behind a barrier that makes the writes of the
    /// launches before it visible to it.
    ///
    /// # Safety
    ///
    /// 1. The slot belongs to `device` and is recording.
    /// 2. The pipeline belongs to `device`, and what it runs with keeps its and the device's
    ///    limits; the buffers of the copy are live, belong to `device` and have these words.
    pub(crate) unsafe fn launch(
        &mut self,
        device: &ash::Device,
        after_another: bool,
        work: &Work<'_>,
    ) {
        let &Work { pipeline, control, push, groups: [x, y, z], copy } = work;
        if after_another {
            // SAFETY: the caller's promise 1.
            unsafe { self.barrier(device, Side::WRITTEN, Side::KERNEL) };
        }
        if let Some(copy) = copy {
            // SAFETY: the caller's promises.
            unsafe { self.copy_word(device, copy) };
            // SAFETY: the caller's promise 1.
            unsafe { self.barrier(device, Side::COPIED, Side::KERNEL) };
        }
        let compute = vk::PipelineBindPoint::COMPUTE;
        // SAFETY: 1. all handles are live; the command buffer is recording by promise 1.
        unsafe { device.cmd_bind_pipeline(self.commands, compute, pipeline.raw()) };
        if let Some((set, offset)) = control {
            let (layout, sets, offsets) = (pipeline.layout(), [set], [offset]);
            // SAFETY: as above; the layout has this set by promise 2.
            unsafe {
                let raw = self.commands;
                device.cmd_bind_descriptor_sets(raw, compute, layout, 0, &sets, &offsets);
            }
        }
        if !push.is_empty() {
            let stage = vk::ShaderStageFlags::COMPUTE;
            // SAFETY: as above; the layout was made for this many bytes by promise 2.
            unsafe {
                device.cmd_push_constants(self.commands, pipeline.layout(), stage, 0, push);
            }
        }
        // SAFETY: as above; the group counts keep the limits by promise 2.
        unsafe { device.cmd_dispatch(self.commands, x, y, z) };
    }

    /// Ends recording, with a barrier that makes everything that was written visible to the host.
    ///
    /// # Safety
    ///
    /// The slot belongs to `device` and is recording; the buffers of the copy are as for
    /// [`launch`](Self::launch).
    pub(crate) unsafe fn end(
        &mut self,
        device: &ash::Device,
        copy: Option<WordCopy>,
    ) -> Result<(), VulkanError> {
        if let Some(copy) = copy {
            // SAFETY: the caller's promise.
            unsafe { self.copy_word(device, copy) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.barrier(device, Side::WRITTEN.and(Side::COPIED), Side::HOST) };
        // SAFETY: 1. the command buffer is live and recording.
        unsafe { device.end_command_buffer(self.commands) }.named("vkEndCommandBuffer")
    }

    /// Records a copy between buffers, without any order among copies.
    ///
    /// # Safety
    ///
    /// The slot belongs to `device` and is recording; so do the buffers, which hold the bytes from
    /// their offsets on, may be copied from and to, and live until the commands have completed.
    pub(crate) unsafe fn copy(
        &mut self,
        device: &ash::Device,
        (from, src_offset): (vk::Buffer, u64),
        (to, dst_offset): (vk::Buffer, u64),
        size: u64,
    ) {
        let regions = [vk::BufferCopy { src_offset, dst_offset, size }];
        // SAFETY: 1. all handles are live; 3. the caller's promises.
        unsafe { device.cmd_copy_buffer(self.commands, from, to, &regions) };
    }

    /// Records a barrier between everything before and everything after it, the host included.
    ///
    /// # Safety
    ///
    /// The slot belongs to `device` and is recording.
    pub(crate) unsafe fn full_barrier(&mut self, device: &ash::Device) {
        let (all, host) = (vk::PipelineStageFlags::ALL_COMMANDS, vk::PipelineStageFlags::HOST);
        let (read, write) = (vk::AccessFlags::MEMORY_READ, vk::AccessFlags::MEMORY_WRITE);
        let barrier =
            [vk::MemoryBarrier::default().src_access_mask(write).dst_access_mask(read | write)];
        let none = vk::DependencyFlags::empty();
        // SAFETY: 1. the command buffer is live and recording, as the caller promises.
        unsafe {
            let to = all | host;
            device.cmd_pipeline_barrier(self.commands, all, to, none, &barrier, &[], &[]);
        }
    }

    /// Records the copy of a word that kernels write, behind a barrier.
    ///
    /// # Safety
    ///
    /// As for [`end`](Self::end).
    unsafe fn copy_word(&mut self, device: &ash::Device, copy: WordCopy) {
        // SAFETY: the caller's promise.
        unsafe { self.barrier(device, Side::WRITTEN, Side::COPY_READ) };
        let WordCopy { from, to: (to, at) } = copy;
        let regions = [vk::BufferCopy::default().dst_offset(at).size(4)];
        // SAFETY: 1. the command buffer is live and recording; the buffers are live and have these
        // words, as the caller promises.
        unsafe { device.cmd_copy_buffer(self.commands, from, to, &regions) };
    }

    /// # Safety
    ///
    /// The slot belongs to `device` and is recording.
    unsafe fn barrier(&mut self, device: &ash::Device, from: Side, to: Side) {
        let barriers =
            [vk::MemoryBarrier::default().src_access_mask(from.access).dst_access_mask(to.access)];
        let (raw, none) = (self.commands, vk::DependencyFlags::empty());
        // SAFETY: 1. the command buffer is live and recording, as the caller promises.
        unsafe {
            device.cmd_pipeline_barrier(raw, from.stage, to.stage, none, &barriers, &[], &[]);
        }
    }

    /// # Safety
    ///
    /// The slot belongs to `device` and its commands have completed.
    pub(crate) unsafe fn destroy(self, device: &ash::Device) {
        // SAFETY: 1. the pool is live and this is its end; 4. the caller's promise. Its command
        // buffer goes with it.
        unsafe { device.destroy_command_pool(self.pool, None) };
    }
}
