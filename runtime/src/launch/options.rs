//! Limits and guarantees of one launch.

use crate::{
    test_hooks::{LaunchHooks, ServeFaults, Withheld},
    vk::info::{DeviceKind, Stopping},
};
use std::time::Duration;

/// Limits and guarantees of one launch: what [`Scope::launch_with`](crate::Scope::launch_with)
/// takes.
///
/// # Examples
///
/// ```
/// use farptr::LaunchOptions;
/// use std::time::Duration;
///
/// let options = LaunchOptions::new().transactional(true).deadline(Duration::from_secs(1));
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchOptions {
    pub(crate) transactional: bool,
    pub(crate) deadline: Option<Duration>,
    pub(crate) loop_limit: u32,
    pub(crate) max_rounds: u32,
    pub(crate) max_faults: u64,
    pub(crate) proofs: bool,
    /// Decides on proofs that are withheld, in tests.
    pub(crate) withheld: Option<Withheld>,
    /// The order in which faults are served, in tests.
    pub(crate) serve_faults: Option<ServeFaults>,
}

/// How long a launch may take unless [`LaunchOptions::deadline`] says otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How long a submission may take on a device that may have a watchdog, unless the launch has a
/// deadline of its own: `DESIGN.md`, "Watchdogs".
pub(crate) const SUBMISSION: Duration = Duration::from_secs(5);

/// When a watchdog looks, on the safe side of i915's 7.5 s.
const WATCHDOG: Duration = Duration::from_secs(7);

/// How much faster than at start-up a device may run: cards raise their clocks under load.
pub(crate) const FASTER: u32 = 4;
/// Passes that a launch may make with any deadline.
const FEWEST_PASSES: u32 = 1 << 16;

impl LaunchOptions {
    /// The default limits, which only ensure that a launch ends.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            transactional: false,
            deadline: None,
            loop_limit: u32::MAX,
            max_rounds: 1 << 20,
            max_faults: u64::MAX,
            proofs: true,
            withheld: None,
            serve_faults: None,
        }
    }

    /// Leaves lent memory as it was if the launch fails.
    ///
    /// The launch is then waited for before the call returns, and what is lent for writing is
    /// copied first where the device works on host memory itself.
    #[must_use]
    pub const fn transactional(mut self, on: bool) -> Self {
        self.transactional = on;
        self
    }

    /// Ends the launch with an error if it runs longer, 60 seconds unless set.
    ///
    /// Drivers of graphics devices reset them if one submission takes too long, amdgpu after 10
    /// seconds and i915 after 7.5. So on a device that is no processor, a launch without a deadline
    /// of its own gets 5 seconds for a submission, which several short launches share; a launch in
    /// rounds has a submission for each round.
    ///
    /// Only time counts in which the launch could run and a thread waits for it, or asks for it by
    /// [`is_done`](crate::Scope::is_done). Time does not count while launches of other scopes are
    /// before it in the device's queue, or while the process is stopped by a signal, a debugger or
    /// a pause of its container. In a launch in rounds the host's work for it counts too. A device
    /// that runs launches side by side may give it more: time beside an earlier launch of another
    /// scope counts as time behind it.
    ///
    /// A kernel with barriers is only stopped between workgroups, or by its
    /// [`loop_limit`](Self::loop_limit).
    #[must_use]
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Ends an invocation, and the launch with an error, after this many passes through loops;
    /// `u32::MAX` unless set.
    #[must_use]
    pub const fn loop_limit(mut self, passes: u32) -> Self {
        self.loop_limit = passes;
        self
    }

    /// Ends the launch with an error after this many rounds, a million unless set.
    #[must_use]
    pub const fn max_rounds(mut self, rounds: u32) -> Self {
        self.max_rounds = rounds;
        self
    }

    /// Ends the launch with an error after this many faults were served; no limit unless set.
    #[must_use]
    pub const fn max_faults(mut self, faults: u64) -> Self {
        self.max_faults = faults;
        self
    }

    /// Whether the launch may run without checks where it is proved that none of them would fail;
    /// it may unless this is set to `false`.
    ///
    /// A proof changes no result and accepts no launch that checks would refuse. A launch without
    /// checks is not stopped when its [`deadline`](Self::deadline) is over, since it is proved to
    /// end; it is an error then, with its results in place.
    /// [`RuntimeBuilder::proofs`](crate::RuntimeBuilder::proofs) is the same for all launches.
    #[must_use]
    pub const fn proofs(mut self, on: bool) -> Self {
        self.proofs = on;
        self
    }

    /// These options on a device. If kernels see no word of the host's, their loops are limited to
    /// the passes that an invocation can make before the deadline, on a device that is
    /// [`FASTER`] than it was when it was measured. Where the device may have a watchdog, they end
    /// before it looks, on a device as fast as it was measured.
    pub(crate) fn on(&self, stopping: Option<Stopping>, kind: DeviceKind) -> Self {
        let Some(Stopping::Unseen { passes_per_second }) = stopping else { return *self };
        let limit = self.submission_limit(kind);
        let time = limit.unwrap_or(self.time()).saturating_mul(FASTER);
        let time = if limit.is_some() { time.min(WATCHDOG) } else { time };
        let passes = u128::from(passes_per_second).saturating_mul(time.as_millis()) / 1000;
        let passes = passes.max(u128::from(FEWEST_PASSES));
        let loop_limit = self.loop_limit.min(u32::try_from(passes).unwrap_or(u32::MAX));
        Self { loop_limit, ..*self }
    }

    /// How long a submission of the launch may take, if the device limits that.
    pub(crate) fn submission_limit(&self, kind: DeviceKind) -> Option<Duration> {
        (self.deadline.is_none() && kind.has_watchdog()).then_some(SUBMISSION)
    }

    /// How long the launch may take.
    pub(crate) fn time(&self) -> Duration {
        self.deadline.unwrap_or(DEADLINE)
    }

    /// The number of passes through loops after which an invocation that has faulted ends, if it
    /// may not end at once because other invocations wait for it. After a fault it reads zeroes, so
    /// its loops may not end by themselves. On a driver that cuts loops, the invocation must end
    /// while it has passes left for its report.
    pub(crate) fn loop_limit_after_fault(&self, cuts_loops: bool) -> u32 {
        self.loop_limit.min(if cuts_loops { 1 << 12 } else { 1 << 20 })
    }
}

impl LaunchHooks for LaunchOptions {
    fn withhold_proofs(mut self, seed: u64) -> Self {
        self.withheld = Some(Withheld { seed });
        self
    }

    fn serve_faults(mut self, seed: u64, most_per_round: usize) -> Self {
        let most_per_round = most_per_round.max(1);
        self.serve_faults = Some(ServeFaults { seed, most_per_round });
        self
    }
}

impl Default for LaunchOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_are_limited_by_the_deadline_where_kernels_do_not_see_it() {
        let unseen = Some(Stopping::Unseen { passes_per_second: 1_000_000 });
        let limit = |options: LaunchOptions, stopping| {
            let [cpu, card] =
                [DeviceKind::Cpu, DeviceKind::Discrete].map(|kind| options.on(stopping, kind));
            assert!(options.deadline.is_none() || cpu.loop_limit == card.loop_limit);
            cpu.loop_limit
        };
        let second = LaunchOptions::new().deadline(Duration::from_secs(1));
        assert_eq!(limit(second, unseen), 4_000_000);
        assert_eq!(limit(second.loop_limit(1000), unseen), 1000, "the smaller one");
        assert_eq!(limit(second, Some(Stopping::Cut)), u32::MAX);
        assert_eq!(limit(second, None), u32::MAX);
        let short = second.deadline(Duration::from_millis(1));
        assert_eq!(limit(short, unseen), FEWEST_PASSES, "a measurement is not that exact");
        // A card's submission has less time than the launch.
        let card = LaunchOptions::new().on(unseen, DeviceKind::Discrete);
        assert_eq!(card.loop_limit, 7_000_000, "i915 looks after 7.5 s");
        assert_eq!(limit(LaunchOptions::new(), unseen), 240_000_000);
        let long = second.deadline(Duration::MAX);
        assert_eq!(limit(long, unseen), u32::MAX);
    }
}
