//! How far a queue has come.
//!
//! Completion is a *timeline semaphore*: every submission to a queue signals the next value, and
//! waiting for a value waits for that submission and all before it in that queue. One semaphore
//! serves all threads, because the queue's lock hands out values in the order of submission.

use super::{handle::Handle, named::Named};
use crate::VulkanError;
use ash::vk;
use std::{
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    time::Duration,
};

/// The timeline of a queue.
pub(super) struct Timeline {
    // Invariant: made from `handle`'s device, destroyed by Drop only.
    raw: vk::Semaphore,
    /// The value that the newest submission signals; changed under the queue's lock.
    newest: AtomicU64,
    /// A value that the semaphore has reached; it may have reached a higher one.
    reached: AtomicU64,
    handle: Arc<Handle>,
}

impl Timeline {
    pub(super) fn new(handle: &Arc<Handle>) -> Result<Self, VulkanError> {
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(0);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: 1. the device is live; 3. it was created with timelineSemaphore.
        let raw =
            unsafe { handle.raw().create_semaphore(&info, None) }.named("vkCreateSemaphore")?;
        let (newest, reached) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { raw, newest, reached, handle: Arc::clone(handle) })
    }

    pub(super) fn raw(&self) -> vk::Semaphore {
        self.raw
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Acquire)
    }

    /// Notes a submission, under the queue's lock.
    pub(super) fn note_submitted(&self, value: u64) {
        // Pairs with the load in `newest`: a thread that drops objects of these commands has seen
        // this.
        self.newest.store(value, Release);
    }

    pub(super) fn reached(&self) -> u64 {
        self.reached.load(Acquire)
    }

    pub(super) fn note_reached(&self, value: u64) {
        self.reached.fetch_max(value, AcqRel);
    }

    /// Asks for a submission, for so long at most.
    pub(super) fn ask(&self, value: u64, at_most: Duration) -> Result<(), VulkanError> {
        let nanos = u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX);
        let (semaphores, values) = ([self.raw], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        // SAFETY: 1. the semaphore is live and a timeline.
        unsafe { self.handle.raw().wait_semaphores(&info, nanos) }.named("vkWaitSemaphores")
    }

    /// The value of the semaphore. It is not kept as reached: a driver may only find out in a wait
    /// that the work behind the value was ended by a reset of the device.
    pub(super) fn counter(&self) -> Result<u64, VulkanError> {
        // SAFETY: 1. the semaphore is live and a timeline.
        unsafe { self.handle.raw().get_semaphore_counter_value(self.raw) }
            .named("vkGetSemaphoreCounterValue")
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the semaphore is live; 4. `Submitted` has an Arc of the queues and waits, so
        // no submission is pending that would signal it, or wait for it.
        unsafe { self.handle.raw().destroy_semaphore(self.raw, None) };
    }
}
