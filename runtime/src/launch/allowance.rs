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
    /// The slice that the last poll began.
    open: Option<Slice>,
}

/// Time that counts when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    began: Duration,
    /// It never counts as longer.
    at_most: Duration,
    /// Whether no earlier submission was running when it began.
    first: bool,
}

/// The state of a submission, as a poll found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    Ended,
    Running,
    /// It is running, and its time is over.
    Overdue,
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
    /// Why its end cannot be known.
    type Error;

    /// Waits for its end, so long at most, and says whether it has ended.
    fn wait(&mut self, at_most: Duration) -> Result<bool, Self::Error>;

    /// Whether all submissions before it have ended, so that nothing keeps it from running.
    fn is_first(&mut self) -> Result<bool, Self::Error>;
}

impl Allowance {
    pub(crate) fn new(allowed: Duration) -> Self {
        Self { allowed, spent: Duration::ZERO, queued: Duration::ZERO, open: None }
    }

    /// The part of it that is for one submission, which may have a limit.
    pub(crate) fn part(&self, limit: Option<Duration>) -> Self {
        let left = self.allowed.saturating_sub(self.spent);
        Self::new(limit.map_or(left, |limit| limit.min(left)))
    }

    /// Adds what a part has used.
    pub(crate) fn count_part(&mut self, part: &Self) {
        self.spent = self.spent.saturating_add(part.spent);
        self.queued = self.queued.saturating_add(part.queued);
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
    pub(crate) fn wait<S: Submission>(
        &mut self,
        submission: &mut S,
        clock: impl Fn() -> Duration,
    ) -> Result<bool, S::Error> {
        self.open = None;
        let mut first = submission.is_first()?;
        loop {
            if first && self.is_spent() {
                return submission.wait(Duration::ZERO);
            }
            let slice = self.slice(clock(), first);
            let ended = submission.wait(slice.at_most)?;
            self.count(slice, clock());
            if ended {
                return Ok(true);
            }
            first = first || submission.is_first()?;
        }
    }

    /// Looks whether a submission has ended, without waiting for it.
    ///
    /// The time since the last poll counts as a slice of waiting does, and as no more than one.
    pub(crate) fn poll<S: Submission>(
        &mut self,
        submission: &mut S,
        now: Duration,
    ) -> Result<Polled, S::Error> {
        if let Some(slice) = self.open.take() {
            self.count(slice, now);
        }
        let first = submission.is_first()?;
        if submission.wait(Duration::ZERO)? {
            return Ok(Polled::Ended);
        }
        if first && self.is_spent() {
            return Ok(Polled::Overdue);
        }
        self.open = Some(self.slice(now, first));
        Ok(Polled::Running)
    }

    /// The time to wait without a look at the clock.
    fn slice(&self, began: Duration, first: bool) -> Slice {
        let slice = (self.allowed / SLICES).clamp(SHORTEST_SLICE, LONGEST_SLICE);
        let left = self.allowed.saturating_sub(self.spent);
        Slice { began, at_most: if first { slice.min(left) } else { slice }, first }
    }

    fn count(&mut self, slice: Slice, now: Duration) {
        let took = now.saturating_sub(slice.began).min(slice.at_most);
        let account = if slice.first { &mut self.spent } else { &mut self.queued };
        *account = account.saturating_add(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, convert::Infallible, rc::Rc};

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
            let Ok(ended) = allowance.wait(self, || clock.get());
            ended
        }

        /// Polls with an allowance.
        fn poll(&mut self, allowance: &mut Allowance, now: Duration) -> Polled {
            let Ok(polled) = allowance.poll(self, now);
            polled
        }

        fn passed(&self) -> Duration {
            self.clock.get() - HOUR
        }
    }

    impl Submission for Device {
        type Error = Infallible;

        fn wait(&mut self, at_most: Duration) -> Result<bool, Infallible> {
            self.waits += 1;
            let before = self.before.min(at_most);
            let own = self.own.min(at_most - before);
            (self.before, self.own) = (self.before - before, self.own - own);
            let ended = self.before + self.own == Duration::ZERO;
            let rest = if ended { Duration::ZERO } else { at_most - before - own };
            let pause = if self.pauses.contains(&self.waits) { HOUR } else { Duration::ZERO };
            self.clock.set(self.clock.get() + before + own + rest + pause);
            Ok(ended)
        }

        fn is_first(&mut self) -> Result<bool, Infallible> {
            Ok(self.before == Duration::ZERO)
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
    fn polls_count_one_slice_at_most_and_only_time_in_which_it_could_run() {
        // Others keep the device at first. Polls come more often than slices are long, or hours
        // apart; either way a hundred slices of 10 ms are what the launch gets.
        for (between, counted) in [(SECOND / 200, SECOND / 200), (HOUR, LONGEST_SLICE)] {
            let mut device = Device::new(HOUR, HOUR);
            let mut allowance = Allowance::new(SECOND);
            let mut now = HOUR;
            let mut poll = |device: &mut Device, allowance: &mut Allowance| {
                now += between;
                device.poll(allowance, now)
            };
            for _ in 0..1000 {
                assert_eq!(poll(&mut device, &mut allowance), Polled::Running);
            }
            assert_eq!((allowance.spent, allowance.queued), (Duration::ZERO, counted * 999));
            device.before = Duration::ZERO;
            // The slice that is open now began behind others.
            assert_eq!(poll(&mut device, &mut allowance), Polled::Running);
            let mut polls = 0u32;
            while poll(&mut device, &mut allowance) == Polled::Running {
                polls += 1;
            }
            assert_eq!((allowance.spent, counted * (polls + 1)), (SECOND, SECOND), "{between:?}");
            assert_eq!(allowance.overdue().queued, counted * 1000);
            device.own = Duration::ZERO;
            assert_eq!(poll(&mut device, &mut allowance), Polled::Ended, "late, and yet");
        }
    }

    #[test]
    fn a_wait_goes_on_where_polls_have_stopped() {
        let mut device = Device::new(Duration::ZERO, SECOND);
        let mut allowance = Allowance::new(SECOND);
        for poll in 0..51u32 {
            assert_eq!(device.poll(&mut allowance, HOUR + LONGEST_SLICE * poll), Polled::Running);
        }
        assert_eq!(allowance.spent, SECOND / 2);
        assert!(!device.ends(&mut allowance), "half a second was left");
        assert_eq!((allowance.spent, device.passed()), (SECOND, SECOND / 2));
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
    fn a_part_has_a_limit_and_what_it_used_counts() {
        let mut whole = Allowance::new(3 * SECOND);
        for (limit, own, ends, spent) in [
            (Some(SECOND), SECOND / 2, true, SECOND / 2),
            (Some(SECOND), SECOND * 2, false, SECOND * 3 / 2),
            (None, SECOND * 2, false, 3 * SECOND),
        ] {
            let mut part = whole.part(limit);
            assert_eq!(Device::new(SECOND, own).ends(&mut part), ends, "{limit:?}");
            whole.count_part(&part);
            assert_eq!(whole.spent, spent);
        }
        assert!(whole.is_spent() && whole.overdue().queued >= 3 * SECOND);
        assert_eq!(whole.part(Some(SECOND)).allowed, Duration::ZERO);
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
