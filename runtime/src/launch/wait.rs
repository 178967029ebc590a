//! Waiting for launches, which may have a time in which they have to end.

use super::allowance::{Allowance, Overdue, Submission};
use crate::vk::command::Submitted;
use std::time::{Duration, Instant};

/// Waits for launches, and says whether they had not ended when their time was over. Then `stop`
/// has to make them end, which is waited for as long as it takes.
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

/// Launches that are waited for.
struct Waited<'s>(&'s Submitted);

impl Submission for Waited<'_> {
    fn wait(&mut self, at_most: Duration) -> bool {
        self.0.wait_at_most(at_most)
    }

    fn is_first(&mut self) -> bool {
        self.0.is_first()
    }
}
