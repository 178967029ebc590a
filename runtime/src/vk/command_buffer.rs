//! Command buffers that are free.

use super::{handle::Handle, named::Named, queues::Role, timestamps::Timestamps};
use crate::VulkanError;
use ash::vk;
use std::sync::Arc;

/// A command buffer with a pool of its own, so that a thread that owns the one owns both.
pub(crate) struct CommandBuffer {
    // Invariant: `raw` was allocated from `pool`, and this value alone has them. Both were made
    // from `handle`'s device, and go with Drop. No command of the buffer is pending.
    pool: vk::CommandPool,
    raw: vk::CommandBuffer,
    role: Role,
    /// The timestamps of its launches, on a device that times kernels.
    timestamps: Option<Timestamps>,
    handle: Arc<Handle>,
}

impl CommandBuffer {
    /// A command buffer for the queue of a family; for launches that are timed, if asked for.
    pub(crate) fn new(
        handle: &Arc<Handle>,
        (role, family): (Role, u32),
        timed: bool,
    ) -> Result<Self, VulkanError> {
        let timestamps = timed.then(|| Timestamps::new(handle)).transpose()?;
        let info = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::TRANSIENT)
            .queue_family_index(family);
        // SAFETY: 1. the device is live and has this queue family.
        let pool = unsafe { handle.raw().create_command_pool(&info, None) }
            .named("vkCreateCommandPool")?;
        let raw = vk::CommandBuffer::null();
        let mut made = Self { pool, raw, role, timestamps, handle: Arc::clone(handle) };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        // SAFETY: 1. device and pool are live; 2. this value alone has the pool.
        let buffers = unsafe { handle.raw().allocate_command_buffers(&info) }
            .named("vkAllocateCommandBuffers")?;
        made.raw = buffers[0];
        Ok(made)
    }

    pub(super) fn raw(&self) -> vk::CommandBuffer {
        self.raw
    }

    /// The queue that it is for.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn timestamps(&self) -> Option<&Timestamps> {
        self.timestamps.as_ref()
    }

    /// Begins recording.
    pub(super) fn begin(&self) -> Result<(), VulkanError> {
        let device = self.handle.raw();
        // SAFETY: 1. the pool is live; 4. none of its commands is pending (invariant).
        unsafe { device.reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty()) }
            .named("vkResetCommandPool")?;
        let info = vk::CommandBufferBeginInfo::default()
            .flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: 1. the command buffer is live and in the initial state after the reset.
        unsafe { device.begin_command_buffer(self.raw, &info) }.named("vkBeginCommandBuffer")
    }
}

impl Drop for CommandBuffer {
    fn drop(&mut self) {
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the pool is live; 4. none of its commands is pending (invariant). Its command
        // buffer goes with it.
        unsafe { self.handle.raw().destroy_command_pool(self.pool, None) };
    }
}
