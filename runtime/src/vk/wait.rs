//! Waiting for the device: what was submitted is complete afterwards, or the process ends.

use super::{Device, Named, command::Slot};
use crate::{
    VulkanError,
    launch::allowance::{Allowance, Overdue, Submission},
};
use ash::vk;
use std::{
    io::Write,
    time::{Duration, Instant},
};

impl Device {
    /// Records and submits commands and waits for them, as [`wait_or_stop`](Self::wait_or_stop)
    /// does. None of them is pending afterwards, whatever is returned.
    pub(crate) fn run(
        &self,
        allowance: Option<&mut Allowance>,
        submit: impl FnOnce(&mut Slot) -> Result<u64, VulkanError>,
        stop: impl FnOnce(),
    ) -> Result<Option<Overdue>, VulkanError> {
        let mut slot = self.take_slot()?;
        let overdue = match submit(&mut slot) {
            Ok(value) => Ok(self.wait_or_stop(value, allowance, stop)),
            Err(error) => Err(unsubmitted(error)),
        };
        self.return_slot(slot);
        overdue
    }

    /// Waits for a submission, and says whether it was not complete when its time was over. Then
    /// `stop` is to make it end, which is waited for as long as it takes.
    pub(crate) fn wait_or_stop(
        &self,
        value: u64,
        allowance: Option<&mut Allowance>,
        stop: impl FnOnce(),
    ) -> Option<Overdue> {
        let overdue = allowance.and_then(|allowance| {
            let begun = Instant::now();
            let ended = allowance.wait(&mut Submitted { device: self, value }, || begun.elapsed());
            (!ended).then(|| allowance.overdue())
        });
        if overdue.is_some() {
            stop();
        }
        self.wait_nanos(value, u64::MAX);
        overdue
    }

    fn wait_nanos(&self, value: u64, nanos: u64) -> bool {
        let (semaphores, values) = ([self.timeline()], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        // SAFETY: 1. the semaphore is live and a timeline.
        match unsafe { self.raw().wait_semaphores(&info, nanos) } {
            Err(vk::Result::TIMEOUT) => false,
            waited => {
                waited.named("vkWaitSemaphores").unwrap_or_else(|error| abort_unproved(error));
                true
            }
        }
    }

    /// Whether a submission and all before it are complete.
    fn has_completed(&self, value: u64) -> bool {
        // SAFETY: 1. the semaphore is live and a timeline.
        let newest = unsafe { self.raw().get_semaphore_counter_value(self.timeline()) };
        let newest = newest.named("vkGetSemaphoreCounterValue");
        newest.unwrap_or_else(|error| abort_unproved(error)) >= value
    }
}

/// What a value of the timeline was given for.
struct Submitted<'d> {
    device: &'d Device,
    value: u64,
}

impl Submission for Submitted<'_> {
    fn wait(&mut self, at_most: Duration) -> bool {
        let nanos = u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX);
        self.device.wait_nanos(self.value, nanos)
    }

    fn is_first(&mut self) -> bool {
        // Each submission signals the next value, and values are signalled in their order.
        self.device.has_completed(self.value.saturating_sub(1))
    }
}

/// The error of a submission that has begun nothing.
///
/// A lost device may have begun; every other failure submitted nothing (Vulkan specification,
/// vkQueueSubmit).
pub(crate) fn unsubmitted(error: VulkanError) -> VulkanError {
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
