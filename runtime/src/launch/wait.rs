//! Waits for launches, and stops those that have not ended in their allowed time.

use super::allowance::{Allowance, Overdue, Polled, Submission};
use crate::vk::command::Submitted;
use std::time::{Duration, Instant};

/// Waits for launches. If they have not ended when their time is over, calls `stop`, which has to
/// make them end, waits for the end without a limit, and returns the times for the error.
pub(crate) fn wait_or_stop(
    submitted: &Submitted,
    allowance: Option<&mut Allowance>,
    stop: impl FnOnce(),
) -> Option<Overdue> {
    let overdue = allowance.and_then(|allowance| {
        let begun = Instant::now();
        let ended = allowance.wait(&mut Waited(submitted), || begun.elapsed());
        (!ended).then(|| allowance.overdue())
    });
    if overdue.is_some() {
        stop();
    }
    submitted.wait();
    overdue
}

/// Looks whether launches have completed, without waiting; time may have run out instead.
pub(crate) fn poll(submitted: &Submitted, allowance: &mut Allowance, now: Duration) -> Polled {
    allowance.poll(&mut Waited(submitted), now)
}

/// A submission, as an [`Allowance`] waits for it.
struct Waited<'s>(&'s Submitted);

impl Submission for Waited<'_> {
    fn wait(&mut self, at_most: Duration) -> bool {
        self.0.wait_at_most(at_most)
    }

    fn is_first(&mut self) -> bool {
        self.0.is_first()
    }
}
