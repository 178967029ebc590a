//! One queue of the device.

use super::{handle::Handle, lost::Answer, named::Named, timeline::Timeline};
use crate::VulkanError;
use ash::vk;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
};

/// A queue, with the timeline that its submissions signal.
pub(super) struct Queue {
    // Invariant: it belongs to `handle`'s device.
    raw: Mutex<vk::Queue>,
    pub(super) timeline: Timeline,
    /// The value of the other queue's timeline that submissions to this one have waited for;
    /// changed under the lock.
    joined: AtomicU64,
    handle: Arc<Handle>,
}

/// A failed submission. A device that was lost by the call may have begun: then the value is there.
pub(super) type Refused = (VulkanError, Option<u64>);

impl Queue {
    /// The queue of a family that the device was opened with.
    pub(super) fn new(handle: &Arc<Handle>, family: u32) -> Result<Self, VulkanError> {
        // SAFETY: 1. the device is live, and was created with one queue of this family.
        let raw = unsafe { handle.raw().get_device_queue(family, 0) };
        Ok(Self {
            raw: Mutex::new(raw),
            timeline: Timeline::new(handle)?,
            joined: AtomicU64::new(0),
            handle: Arc::clone(handle),
        })
    }

    /// The right to submit. A thread that has it keeps all others from submitting.
    pub(super) fn lock(&self) -> MutexGuard<'_, vk::Queue> {
        // A panic while the lock was held leaves at worst a value that is never signalled or waited
        // for, so a poisoned lock is as good as any.
        self.raw.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands commands to the queue, and returns the value that they will signal.
    ///
    /// They wait for the value that the timeline of another queue, if one is given, is known to
    /// have reached. So nothing waits; but what was done there before that value is visible to
    /// these commands, and to all that follow in this queue (Vulkan specification, "Semaphore
    /// Waiting").
    ///
    /// # Safety
    ///
    /// 1. The commands belong to this device, and are recorded and ended; what they use is as
    ///    [`Recording::launch`](super::command::Recording::launch) asks for.
    /// 2. The other timeline belongs to this device.
    pub(super) unsafe fn submit(
        &self,
        commands: vk::CommandBuffer,
        other: Option<&Timeline>,
    ) -> Result<u64, Refused> {
        let queue = self.lock();
        // Under the lock, so that nothing is submitted once `settle` has had it.
        self.handle.loss().why().map_or(Ok(()), |lost| Err((lost, None)))?;
        let value = self.timeline.newest() + 1;
        let reached = other.map(|timeline| (timeline.raw(), timeline.reached()));
        let joined = reached.filter(|&(_, value)| value > self.joined.load(Acquire));
        let (before, at): (Vec<_>, Vec<_>) = joined.into_iter().unzip();
        let stages = vec![vk::PipelineStageFlags::ALL_COMMANDS; before.len()];
        let values = [value];
        let mut timeline = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&at)
            .signal_semaphore_values(&values);
        let (commands, signalled) = ([commands], [self.timeline.raw()]);
        let info = vk::SubmitInfo::default()
            .wait_semaphores(&before)
            .wait_dst_stage_mask(&stages)
            .command_buffers(&commands)
            .signal_semaphores(&signalled)
            .push_next(&mut timeline);
        // SAFETY: 1. handles are live; 2. the lock guards the queue; 4. the caller's promise 1.
        let submitted =
            unsafe { self.handle.raw().queue_submit(*queue, &[info], vk::Fence::null()) }
                .named("vkQueueSubmit");
        // A driver without memory has submitted nothing (Vulkan specification, vkQueueSubmit).
        let may_run = |error: &VulkanError| Answer::of(error.result) == Answer::Lost;
        if submitted.as_ref().err().is_none_or(may_run) {
            self.timeline.note_submitted(value);
            joined.iter().for_each(|&(_, value)| self.joined.store(value, Release));
        }
        submitted.map(|()| value).map_err(|error| (error, may_run(&error).then_some(value)))
    }

    /// Waits for everything in a way that needs no memory. It must return in time also if the
    /// device is lost.
    pub(super) fn wait_idle(&self) -> Result<(), VulkanError> {
        let queue = self.lock();
        // SAFETY: 1. the queue is live; 2. the lock guards it.
        unsafe { self.handle.raw().queue_wait_idle(*queue) }.named("vkQueueWaitIdle")
    }
}
