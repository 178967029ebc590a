//! The part of its allowed time that a launch has used. Pure: clocks and waits are the caller's.
//!
//! The protocol is in `DESIGN.md`, "The time of a launch".

use std::time::Duration;

/// The longest wait without a look at the clock: what a pause of the process costs at most.
const LONGEST_SLICE: Duration = Duration::from_millis(10);
/// The shortest such wait, unless less is left.
const SHORTEST_SLICE: Duration = Duration::from_micros(100);
/// Into how many waits a short allowance is cut, so that a pause costs a small part of it.
const SLICES: u32 = 16;

/// The time that launches may take together, and what they have used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    allowed: Duration,
    spent: Duration,
    queued: Duration,
}

/// A launch did not end in the time that it was allowed, and was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    /// The time that it was allowed, and had.
    pub(crate) allowed: Duration,
    /// The time that it had waited besides for launches before it in the device's queue.
    pub(crate) queued: Duration,
}

/// A submission in the device's queue.
pub(crate) trait Submission {
    /// Waits for its end, so long at most, and says whether it has ended.
    fn wait(&mut self, at_most: Duration) -> bool;

    /// Whether all submissions before it have ended, so that nothing keeps it from running.
    fn is_first(&mut self) -> bool;
}

impl Allowance {
    pub(crate) fn new(allowed: Duration) -> Self {
        Self { allowed, spent: Duration::ZERO, queued: Duration::ZERO }
    }

    /// Adds time that the host worked for the launch.
    pub(crate) fn work(&mut self, took: Duration) {
        self.spent = self.spent.saturating_add(took);
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.spent >= self.allowed
    }

    /// The times to name in the error of a launch that was stopped.
    pub(crate) fn overdue(&self) -> Overdue {
        Overdue { allowed: self.allowed, queued: self.queued }
    }

    /// Waits for the end of a submission until the time is over, and says whether it has ended.
    ///
    /// A slice of waiting never counts as longer than its planned length: if the process was paused
    /// meanwhile, the clock may say that hours have passed in which nothing ran. A slice counts
    /// only if no earlier submission was running when it began.
    pub(crate) fn wait(
        &mut self,
        submission: &mut impl Submission,
        clock: impl Fn() -> Duration,
    ) -> bool {
        let mut first = submission.is_first();
        loop {
            if first && self.is_spent() {
                return submission.wait(Duration::ZERO);
            }
            let slice = self.slice(first);
            let began = clock();
            let ended = submission.wait(slice);
            let took = clock().saturating_sub(began).min(slice);
            let account = if first { &mut self.spent } else { &mut self.queued };
            *account = account.saturating_add(took);
            if ended {
                return true;
            }
            first = first || submission.is_first();
        }
    }

    /// How long to wait without a look at the clock.
    fn slice(&self, first: bool) -> Duration {
        let slice = (self.allowed / SLICES).clamp(SHORTEST_SLICE, LONGEST_SLICE);
        if first { slice.min(self.allowed.saturating_sub(self.spent)) } else { slice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    /// A device whose clock moves as a test waits for it.
    struct Device {
        clock: Rc<Cell<Duration>>,
        /// Work of others that comes first, and the submission's own: what is left of them.
        before: Duration,
        own: Duration,
        /// A pause of an hour, while the device rests too: in which waits.
        pauses: Vec<u32>,
        waits: u32,
    }

    impl Device {
        fn new(before: Duration, own: Duration) -> Self {
            let clock = Rc::new(Cell::new(HOUR));
            Self { clock, before, own, pauses: Vec::new(), waits: 0 }
        }

        /// Waits with an allowance, and tells whether it was enough.
        fn ends(&mut self, allowance: &mut Allowance) -> bool {
            let clock = Rc::clone(&self.clock);
            allowance.wait(self, || clock.get())
        }

        fn passed(&self) -> Duration {
            self.clock.get() - HOUR
        }
    }

    impl Submission for Device {
        fn wait(&mut self, at_most: Duration) -> bool {
            self.waits += 1;
            let before = self.before.min(at_most);
            let own = self.own.min(at_most - before);
            (self.before, self.own) = (self.before - before, self.own - own);
            let ended = self.before + self.own == Duration::ZERO;
            let rest = if ended { Duration::ZERO } else { at_most - before - own };
            let pause = if self.pauses.contains(&self.waits) { HOUR } else { Duration::ZERO };
            self.clock.set(self.clock.get() + before + own + rest + pause);
            ended
        }

        fn is_first(&mut self) -> bool {
            self.before == Duration::ZERO
        }
    }

    #[test]
    fn a_launch_may_take_what_it_was_allowed_and_no_more() {
        for (own, ended) in [(SECOND / 2, true), (SECOND, true), (SECOND * 2, false)] {
            let mut device = Device::new(Duration::ZERO, own);
            let mut allowance = Allowance::new(SECOND);
            assert_eq!(device.ends(&mut allowance), ended, "{own:?}");
            assert_eq!((allowance.spent, device.passed()), (own.min(SECOND), own.min(SECOND)));
        }
    }

    #[test]
    fn a_pause_costs_one_slice_at_most() {
        for wait in [1, 2, 50, 90] {
            let mut device = Device::new(Duration::ZERO, SECOND);
            device.pauses = vec![wait];
            let mut allowance = Allowance::new(SECOND + LONGEST_SLICE);
            assert!(device.ends(&mut allowance), "paused in wait {wait}");
            assert!(device.passed() >= HOUR && allowance.spent <= SECOND + LONGEST_SLICE);
        }
    }

    #[test]
    fn pauses_do_not_use_up_a_short_allowance() {
        let allowed = Duration::from_millis(8);
        let mut device = Device::new(Duration::ZERO, allowed / 2);
        device.pauses = vec![1, 3];
        assert!(device.ends(&mut Allowance::new(allowed)));
    }

    #[test]
    fn time_behind_other_submissions_does_not_count() {
        let mut allowance = Allowance::new(SECOND);
        assert!(Device::new(HOUR, SECOND / 2).ends(&mut allowance));
        assert!(allowance.queued >= HOUR && allowance.spent <= SECOND / 2);

        let mut allowance = Allowance::new(SECOND);
        assert!(!Device::new(HOUR, SECOND * 2).ends(&mut allowance), "then it ran too long");
        let Overdue { allowed, queued } = allowance.overdue();
        assert_eq!(allowed, SECOND);
        assert!(queued >= HOUR && queued < HOUR + LONGEST_SLICE, "{queued:?}");
    }

    #[test]
    fn rounds_and_the_work_between_them_share_an_allowance() {
        let mut allowance = Allowance::new(SECOND);
        for _ in 0..3 {
            assert!(Device::new(Duration::ZERO, SECOND / 4).ends(&mut allowance));
        }
        assert!(!allowance.is_spent());
        allowance.work(SECOND / 8);
        let ended = Device::new(Duration::ZERO, SECOND / 4).ends(&mut allowance);
        assert!(!ended, "an eighth of a second was left");
        assert!(allowance.is_spent());
    }

    #[test]
    fn no_time_at_all_and_all_the_time_are_allowances() {
        let mut all = Allowance::new(Duration::MAX);
        assert!(Device::new(HOUR, SECOND).ends(&mut all));
        all.work(Duration::MAX);
        assert!(all.is_spent());
        let mut none = Allowance::new(Duration::ZERO);
        let mut device = Device::new(HOUR, SECOND);
        assert!(!device.ends(&mut none), "due as soon as it could run");
        assert!(device.passed() >= HOUR, "and not before");
        assert!(Device::new(Duration::ZERO, Duration::ZERO).ends(&mut none), "it has ended");
    }
}
