//! Waiting for the device: what was submitted is complete afterwards, or the process ends.

use super::{Device, Named, command::Slot};
use crate::VulkanError;
use ash::vk;
use std::{
    io::Write,
    time::{Duration, Instant},
};

impl Device {
    /// Records and submits commands and waits for them, as [`wait_or_stop`](Self::wait_or_stop)
    /// does. None of them is pending afterwards, whatever is returned.
    pub(super) fn run(
        &self,
        due: Option<Instant>,
        submit: impl FnOnce(&mut Slot) -> Result<u64, VulkanError>,
        stop: impl FnOnce(),
    ) -> Result<bool, VulkanError> {
        let mut slot = self.take_slot()?;
        let in_time = match submit(&mut slot) {
            Ok(value) => Ok(self.wait_or_stop(value, due, stop)),
            Err(error) => Err(unsubmitted(error)),
        };
        self.return_slot(slot);
        in_time
    }

    /// Waits for a submission, and says whether it was complete when it was due. If not, `stop` is
    /// to make it end, which is waited for as long as it takes.
    pub(super) fn wait_or_stop(
        &self,
        value: u64,
        due: Option<Instant>,
        stop: impl FnOnce(),
    ) -> bool {
        let in_time = match due {
            Some(due) => self.wait_until(value, due),
            None => self.wait_nanos(value, u64::MAX),
        };
        if !in_time {
            stop();
            self.wait_nanos(value, u64::MAX);
        }
        in_time
    }

    /// Blocks until the submission that signals `value` has completed or the time is over, and says
    /// whether it has completed.
    fn wait_until(&self, value: u64, due: Instant) -> bool {
        // A driver may compute with the time; a year is as good as for ever.
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
        let left = due.saturating_duration_since(Instant::now()).min(LONGEST);
        self.wait_nanos(value, u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
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
}

/// The error of a submission that has begun nothing.
///
/// A lost device may have begun; every other failure submitted nothing (Vulkan specification,
/// vkQueueSubmit).
pub(super) fn unsubmitted(error: VulkanError) -> VulkanError {
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
