//! Waits for launches, and stops those that have not ended in their allowed time.

use super::{
    allowance::{Allowance, Overdue, Polled, Submission},
    options::FASTER,
};
use crate::{
    VulkanError,
    vk::{Device, command::Submitted, info::Stopping},
};
use std::time::{Duration, Instant};

/// The time in which launches have to end once they were told to. It counts as that of the launches
/// themselves does. Kernels look at the stop word every few microseconds, so that even a machine
/// that is very busy needs far less.
const GRACE: Duration = Duration::from_secs(30);

/// How many times their time launches get to end that look at no stop word, or whose device shows
/// them none.
pub(crate) const PATIENCE: u32 = 2 * FASTER;

/// The time in which launches on a device have to end once they were told to. Loops that do not see
/// this end after as many passes as a device makes that is [`FASTER`] than it was. Launches that
/// look at no word, of which the longest is `unwatched`, are as late.
pub(crate) fn grace(device: &Device, allowed: Duration, unwatched: Duration) -> Duration {
    let unseen = matches!(device.stopping(), None | Some(Stopping::Unseen { .. }));
    let longest = if unseen { allowed } else { unwatched };
    longest.saturating_mul(PATIENCE).saturating_add(GRACE)
}

/// Waits for launches. If they have not ended when their time is over, calls `stop` again and
/// again, which has to make them end, and returns the times for the error. `unwatched` is the time
/// of the longest that looks at no stop word.
///
/// Launches that do not end in the [`grace`] after it are an error: the device is taken for lost.
pub(crate) fn wait_or_stop(
    submitted: &Submitted,
    allowance: Option<&mut Allowance>,
    unwatched: Duration,
    stop: impl FnMut(),
) -> Result<Option<Overdue>, VulkanError> {
    let Some(allowance) = allowance else { return submitted.wait().map(|()| None) };
    let begun = Instant::now();
    if allowance.wait(&mut Waited(submitted, || {}), || begun.elapsed())? {
        return Ok(None);
    }
    let overdue = allowance.overdue();
    wait_stopped(submitted, overdue, unwatched, stop)?;
    Ok(Some(overdue))
}

/// The second half of [`wait_or_stop`], for launches whose time is over.
pub(crate) fn wait_stopped(
    submitted: &Submitted,
    overdue: Overdue,
    unwatched: Duration,
    stop: impl FnMut(),
) -> Result<(), VulkanError> {
    let begun = Instant::now();
    let mut grace = Allowance::new(grace(submitted.device(), overdue.allowed, unwatched));
    let ended = grace.wait(&mut Waited(submitted, stop), || begun.elapsed())?;
    if ended { Ok(()) } else { submitted.give_up() }
}

/// Looks whether launches have completed, without waiting; time may have run out instead.
pub(crate) fn poll(
    submitted: &Submitted,
    allowance: &mut Allowance,
    now: Duration,
) -> Result<Polled, VulkanError> {
    allowance.poll(&mut Waited(submitted, || {}), now)
}

/// A submission, as an [`Allowance`] waits for it, and what is done before each wait.
struct Waited<'s, F>(&'s Submitted, F);

impl<F: FnMut()> Submission for Waited<'_, F> {
    type Error = VulkanError;

    fn wait(&mut self, at_most: Duration) -> Result<bool, VulkanError> {
        (self.1)();
        self.0.wait_at_most(at_most)
    }

    fn is_first(&mut self) -> Result<bool, VulkanError> {
        self.0.is_first()
    }
}
