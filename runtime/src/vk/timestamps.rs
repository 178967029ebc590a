//! Timestamps that the device writes before and after launches.

use super::{handle::Handle, named::Named};
use crate::{VulkanError, times::Clock};
use ash::vk;
use std::sync::Arc;

/// The timestamps of one command buffer: two for each launch.
pub(super) struct Timestamps {
    // Invariant: made from `handle`'s device, which has timestamps on the family of its queue;
    // destroyed by Drop only. It goes with its command buffer, of which no command is pending then.
    raw: vk::QueryPool,
    handle: Arc<Handle>,
}

impl Timestamps {
    /// The launches that have room.
    pub(super) const LAUNCHES: u32 = 128;

    /// Timestamps on a device whose queue has some.
    pub(super) fn new(handle: &Arc<Handle>) -> Result<Self, VulkanError> {
        let info = vk::QueryPoolCreateInfo::default()
            .query_type(vk::QueryType::TIMESTAMP)
            .query_count(2 * Self::LAUNCHES);
        // SAFETY: 1. the device is live.
        let raw =
            unsafe { handle.raw().create_query_pool(&info, None) }.named("vkCreateQueryPool")?;
        Ok(Self { raw, handle: Arc::clone(handle) })
    }

    /// Records that all timestamps are empty again.
    ///
    /// # Safety
    ///
    /// The command buffer is the one that has these timestamps, and is recording.
    pub(super) unsafe fn clear(&self, commands: vk::CommandBuffer) {
        let device = self.handle.raw();
        // SAFETY: 1. both are live, and the command buffer is recording, as the caller promises;
        // 2. no other command buffer has these queries.
        unsafe { device.cmd_reset_query_pool(commands, self.raw, 0, 2 * Self::LAUNCHES) };
    }

    /// Records that the time is written when everything recorded before has completed.
    ///
    /// # Safety
    ///
    /// 1. As [`clear`](Self::clear), which was recorded in this command buffer.
    /// 2. `at` is below twice [`LAUNCHES`](Self::LAUNCHES), and was not written since.
    pub(super) unsafe fn write(&self, commands: vk::CommandBuffer, at: u32) {
        let (device, stage) = (self.handle.raw(), vk::PipelineStageFlags::BOTTOM_OF_PIPE);
        // SAFETY: 1. both are live, and the command buffer is recording; the query is in the pool
        // and empty, as the caller promises; the queue's family has timestamps (invariant).
        unsafe { device.cmd_write_timestamp(commands, stage, self.raw, at) };
    }

    /// The ticks between the two timestamps of each of the first launches.
    ///
    /// # Safety
    ///
    /// The commands that wrote them have completed.
    pub(super) unsafe fn read(&self, launches: u32, clock: Clock) -> Result<Vec<u64>, VulkanError> {
        if launches == 0 {
            return Ok(Vec::new());
        }
        let mut times = vec![[0u64; 2]; launches as usize];
        let (device, flags) = (self.handle.raw(), vk::QueryResultFlags::TYPE_64);
        // SAFETY: 1. device and pool are live; the queries were written, as the caller promises,
        // and each has 64 bits.
        unsafe { device.get_query_pool_results(self.raw, 0, times.as_flattened_mut(), flags) }
            .named("vkGetQueryPoolResults")?;
        Ok(times.into_iter().map(|[from, to]| clock.ticks(from, to)).collect())
    }
}

impl Drop for Timestamps {
    fn drop(&mut self) {
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the pool is live; 4. no command that uses it is pending (invariant).
        unsafe { self.handle.raw().destroy_query_pool(self.raw, None) };
    }
}
