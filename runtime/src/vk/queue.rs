//! The device's queue, and the timeline that says how far it has come.
//!
//! Completion is a *timeline semaphore*: every submission signals the next value, and waiting for a
//! value waits for that submission and all before it. One semaphore serves all threads, because the
//! queue's mutex hands out values in the order of submission.
//!
//! If completion cannot be proved, since the device was lost, the process ends: lent memory would
//! be given back that a kernel may still write.

use super::{handle::Handle, named::Named, retire::Retired};
use crate::VulkanError;
use ash::vk;
use std::{
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    time::Duration,
};

/// The time of one wait.
const SLICE: Duration = Duration::from_secs(1);

/// The one queue of a device.
pub(crate) struct Queue {
    // Invariant: both were made from `handle`; the semaphore is destroyed by Drop only.
    raw: Mutex<vk::Queue>,
    timeline: vk::Semaphore,
    /// The value that the newest submission signals; changed under the lock of `raw`.
    newest: AtomicU64,
    /// A value that the timeline has reached; it may have reached a higher one.
    reached: AtomicU64,
    /// Nothing may be submitted any more, since memory that kernels may use is not imported.
    refuses: AtomicBool,
    retired: Mutex<Retired>,
    handle: Arc<Handle>,
}

impl Queue {
    /// The queue of the family that the device was opened with.
    pub(crate) fn new(handle: &Arc<Handle>, family: u32) -> Result<Self, VulkanError> {
        // SAFETY: 1. the device is live, and was created with one queue of this family.
        let raw = unsafe { handle.raw().get_device_queue(family, 0) };
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(0);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: 1. the device is live; 3. it was created with timelineSemaphore.
        let timeline =
            unsafe { handle.raw().create_semaphore(&info, None) }.named("vkCreateSemaphore")?;
        Ok(Self {
            raw: Mutex::new(raw),
            timeline,
            newest: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            refuses: AtomicBool::new(false),
            retired: Mutex::new(Retired::default()),
            handle: Arc::clone(handle),
        })
    }

    /// Hands commands to the queue and returns the timeline value that they will signal.
    ///
    /// An error means that nothing was submitted. A lost device may have begun, so the process ends
    /// then; every other failure submitted nothing (Vulkan specification, vkQueueSubmit).
    ///
    /// # Safety
    ///
    /// The commands belong to this device, and are recorded and ended; what they use is as
    /// [`Recording::launch`](super::command::Recording::launch) asks for.
    pub(crate) unsafe fn submit(&self, commands: vk::CommandBuffer) -> Result<u64, VulkanError> {
        // A panic while the lock was held leaves at worst a value that is never signalled or waited
        // for, so a poisoned lock is as good as any.
        let queue = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        if self.refuses.load(Acquire) {
            let result = vk::Result::ERROR_OUT_OF_HOST_MEMORY;
            return Err(VulkanError { call: "vkQueueSubmit", result });
        }
        let value = self.newest.load(Acquire) + 1;
        let values = [value];
        let mut timeline =
            vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
        let (commands, semaphores) = ([commands], [self.timeline]);
        let info = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .signal_semaphores(&semaphores)
            .push_next(&mut timeline);
        // SAFETY: 1. handles are live; 2. the mutex guards the queue; 4. the caller's promise.
        unsafe { self.handle.raw().queue_submit(*queue, &[info], vk::Fence::null()) }
            .named("vkQueueSubmit")
            .map_err(unsubmitted)?;
        // Pairs with the load in `retire`: a thread that drops objects of these commands has
        // seen this.
        self.newest.store(value, Release);
        drop(queue);
        self.reap();
        Ok(value)
    }

    /// Runs `act` while no command is pending and none can be submitted; absent if commands were
    /// pending for so long.
    pub(crate) fn while_idle<R>(&self, at_most: Duration, act: impl FnOnce() -> R) -> Option<R> {
        // The long wait is without the lock, under which only the newest submissions are left.
        let newest = self.newest.load(Acquire);
        if !self.wait_at_most(newest, at_most) {
            return None;
        }
        let queue = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.newest.load(Acquire);
        let done = self.wait_at_most(newest, at_most).then(act);
        drop(queue);
        done
    }

    /// Makes all submissions fail from now on.
    pub(crate) fn refuse(&self) {
        self.refuses.store(true, Release);
    }

    /// Waits for a submission, so long at most, and says whether it is complete.
    pub(crate) fn wait_at_most(&self, value: u64, at_most: Duration) -> bool {
        if self.reached.load(Acquire) >= value {
            return true;
        }
        let nanos = u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX);
        let (semaphores, values) = ([self.timeline], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        // SAFETY: 1. the semaphore is live and a timeline.
        match unsafe { self.handle.raw().wait_semaphores(&info, nanos) } {
            Err(vk::Result::TIMEOUT) => false,
            waited => {
                waited.named("vkWaitSemaphores").unwrap_or_else(|error| abort_unproved(error));
                self.reached.fetch_max(value, AcqRel);
                true
            }
        }
    }

    /// Waits for a submission and all before it.
    ///
    /// After the device is lost, a driver must return from a wait with a limit in time, and need
    /// not return from a wait without one (Vulkan specification, "Lost Device"). So this wait is
    /// made of short waits.
    pub(crate) fn wait(&self, value: u64) {
        while !self.wait_at_most(value, SLICE) {}
    }

    /// Whether a submission and all before it are complete.
    pub(crate) fn has_completed(&self, value: u64) -> bool {
        self.reached.load(Acquire) >= value || self.look() >= value
    }

    /// The newest value that was reached.
    fn look(&self) -> u64 {
        // SAFETY: 1. the semaphore is live and a timeline.
        let reached = unsafe { self.handle.raw().get_semaphore_counter_value(self.timeline) };
        let reached = reached.named("vkGetSemaphoreCounterValue");
        let reached = reached.unwrap_or_else(|error| abort_unproved(error));
        self.reached.fetch_max(reached, AcqRel).max(reached)
    }

    /// Destroys an object when all commands that were submitted so far are complete.
    pub(crate) fn retire(&self, object: impl Send + 'static) {
        // In a forked child objects destroy nothing, and a lock may have been held by a thread that
        // did not come along.
        if self.handle.is_inherited() {
            return drop(object);
        }
        let value = self.newest.load(Acquire);
        if self.reached.load(Acquire) >= value {
            return drop(object);
        }
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(value, object);
        self.reap();
    }

    /// Destroys the objects that the device has done with.
    fn reap(&self) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        if retired.is_empty() {
            return;
        }
        let done = retired.take_until(self.look());
        // Destroying takes other locks.
        drop(retired);
        drop(done);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let retired = self.retired.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.handle.is_inherited() {
            return;
        }
        if !retired.is_empty() {
            let newest = self.newest.load(Acquire);
            self.wait(newest);
        }
        // SAFETY: 1. the semaphore is live; 4. `Submitted` has an Arc of this queue and waits, so
        // no submission is pending that would signal it.
        unsafe { self.handle.raw().destroy_semaphore(self.timeline, None) };
    }
}

/// The error of a submission that has begun nothing.
fn unsubmitted(error: VulkanError) -> VulkanError {
    if error.result == vk::Result::ERROR_DEVICE_LOST { abort_unproved(error) } else { error }
}

/// Ends the process because the device may still be using lent memory.
fn abort_unproved(error: VulkanError) -> ! {
    let _ = writeln!(
        std::io::stderr(),
        "farptr: cannot prove that the device has stopped ({error}: {}); aborting, because a \
         kernel may still write to memory that would be given back",
        error.result
    );
    std::process::abort()
}
