//! A limit to the time of one submission.
//!
//! A fence follows each submission. Submissions of a device run one after the other, so the time of
//! one begins when the one before was seen to be complete, or when it was submitted.
//!
//! # Safety
//!
//! As in the crate's documentation.

use ash::vk;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The submissions that were not seen to be complete, oldest first.
#[derive(Default)]
pub(crate) struct Watchdog {
    running: VecDeque<vk::Fence>,
    free: Vec<vk::Fence>,
    /// When the oldest one began.
    since: Option<Instant>,
}

impl Watchdog {
    /// Begins to watch a submission to a queue.
    pub(crate) fn watch(&mut self, next: &ash::Device, queue: vk::Queue) -> Result<(), vk::Result> {
        self.look(next);
        let fence = match self.free.pop() {
            Some(fence) => fence,
            // SAFETY: 2. the device is live.
            None => unsafe { next.create_fence(&vk::FenceCreateInfo::default(), None) }?,
        };
        // SAFETY: 2. all are live, and the caller of vkQueueSubmit has the queue to itself.
        if let Err(error) = unsafe { next.queue_submit(queue, &[], fence) } {
            self.free.push(fence);
            return Err(error);
        }
        self.running.push_back(fence);
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// The time that is left to the oldest submission.
    pub(crate) fn left(&mut self, next: &ash::Device, limit: Duration) -> Duration {
        self.look(next);
        self.since.map_or(limit, |since| limit.saturating_sub(since.elapsed()))
    }

    /// Looks which submissions are complete.
    fn look(&mut self, next: &ash::Device) {
        while let Some(&fence) = self.running.front() {
            // SAFETY: 2. both are live.
            if unsafe { next.get_fence_status(fence) } != Ok(true) {
                return;
            }
            // SAFETY: 2. both are live, and no submission will signal it.
            if unsafe { next.reset_fences(&[fence]) }.is_ok() {
                self.free.push(fence);
            }
            self.running.pop_front();
            self.since = (!self.running.is_empty()).then(Instant::now);
        }
    }

    /// Destroys the fences, when the queue is idle.
    pub(crate) fn end(&mut self, next: &ash::Device) {
        for fence in self.running.drain(..).chain(self.free.drain(..)) {
            // SAFETY: 2. both are live, and the queue has done with it, as the caller says.
            unsafe { next.destroy_fence(fence, None) };
        }
    }
}
