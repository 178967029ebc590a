//! Command slots: one command buffer with a pool of its own, recorded, submitted, used again.

use super::{Named, Pipeline};
use crate::VulkanError;
use ash::vk;

/// What one launch runs.
pub(super) struct Work<'w> {
    pub(super) pipeline: &'w Pipeline,
    /// The set of control blocks and the offset of the launch's, if the pipeline has that set.
    pub(super) control: Option<(vk::DescriptorSet, u32)>,
    pub(super) push: &'w [u8],
    pub(super) groups: [u32; 3],
}

/// A command buffer with a pool of its own, so that a thread that owns a slot owns both.
///
/// A slot does not destroy itself: it belongs to its [`Device`](super::Device), which does.
pub(super) struct Slot {
    // Invariant: `commands` was allocated from `pool`, and nobody else has either.
    pool: vk::CommandPool,
    commands: vk::CommandBuffer,
}

impl Slot {
    pub(super) fn new(device: &ash::Device, family: u32) -> Result<Self, VulkanError> {
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

    pub(super) fn commands(&self) -> vk::CommandBuffer {
        self.commands
    }

    /// Begins recording, with a barrier against all earlier commands of the queue: their writes
    /// are visible to what is recorded here.
    ///
    /// # Safety
    ///
    /// The slot belongs to `device` and its last commands have completed.
    pub(super) unsafe fn begin(&mut self, device: &ash::Device) -> Result<(), VulkanError> {
        // SAFETY: 1. the pool is live; 4. its commands have completed, as the caller promises.
        unsafe { device.reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty()) }
            .named("vkResetCommandPool")?;
        let info = vk::CommandBufferBeginInfo::default()
            .flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: 1. the command buffer is live and in the initial state after the reset.
        unsafe { device.begin_command_buffer(self.commands, &info) }
            .named("vkBeginCommandBuffer")?;
        // SAFETY: the command buffer is recording since just now.
        unsafe {
            self.barrier(device, vk::PipelineStageFlags::COMPUTE_SHADER, KERNEL_ACCESS);
        };
        Ok(())
    }

    /// Records one launch; with `after_another`, behind a barrier that makes the writes of the
    /// launches before it visible to it.
    ///
    /// # Safety
    ///
    /// 1. The slot belongs to `device` and is recording.
    /// 2. The pipeline belongs to `device`, and what it runs with keeps its and the device's
    ///    limits.
    pub(super) unsafe fn launch(
        &mut self,
        device: &ash::Device,
        after_another: bool,
        work: &Work<'_>,
    ) {
        let &Work { pipeline, control, push, groups: [x, y, z] } = work;
        if after_another {
            // SAFETY: the caller's promise 1.
            unsafe {
                self.barrier(device, vk::PipelineStageFlags::COMPUTE_SHADER, KERNEL_ACCESS);
            };
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

    /// Ends recording, with a barrier that makes the kernels' writes visible to the host.
    ///
    /// # Safety
    ///
    /// The slot belongs to `device` and is recording.
    pub(super) unsafe fn end(&mut self, device: &ash::Device) -> Result<(), VulkanError> {
        let host = vk::AccessFlags::HOST_READ | vk::AccessFlags::HOST_WRITE;
        // SAFETY: the caller's promise.
        unsafe { self.barrier(device, vk::PipelineStageFlags::HOST, host) };
        // SAFETY: 1. the command buffer is live and recording.
        unsafe { device.end_command_buffer(self.commands) }.named("vkEndCommandBuffer")
    }

    /// Records a copy between buffers, without any order among copies.
    ///
    /// # Safety
    ///
    /// The slot belongs to `device` and is recording; so do the buffers, which hold the bytes from
    /// their offsets on, may be copied from and to, and live until the commands have completed.
    pub(super) unsafe fn copy(
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
    pub(super) unsafe fn full_barrier(&mut self, device: &ash::Device) {
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

    /// # Safety
    ///
    /// The slot belongs to `device` and is recording.
    unsafe fn barrier(
        &mut self,
        device: &ash::Device,
        stage: vk::PipelineStageFlags,
        access: vk::AccessFlags,
    ) {
        let barriers = [vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::SHADER_WRITE)
            .dst_access_mask(access)];
        let (from, none) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::DependencyFlags::empty());
        // SAFETY: 1. the command buffer is live and recording, as the caller promises.
        unsafe {
            device.cmd_pipeline_barrier(self.commands, from, stage, none, &barriers, &[], &[]);
        }
    }

    /// # Safety
    ///
    /// The slot belongs to `device` and its commands have completed.
    pub(super) unsafe fn destroy(self, device: &ash::Device) {
        // SAFETY: 1. the pool is live and this is its end; 4. the caller's promise. Its command
        // buffer goes with it.
        unsafe { device.destroy_command_pool(self.pool, None) };
    }
}

const KERNEL_ACCESS: vk::AccessFlags = vk::AccessFlags::from_raw(
    vk::AccessFlags::SHADER_READ.as_raw() | vk::AccessFlags::SHADER_WRITE.as_raw(),
);
