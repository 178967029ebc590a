//! The time that kernels run on the device, by kernel. Pure.
//!
//! Sums are kept in ticks of the device and converted when they are read, so that nothing is lost
//! by rounding launch by launch.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The time that a kernel ran on the device, as the device's timestamps have it.
///
/// [`Stats::kernel_times`](crate::Stats::kernel_times) has one for each kernel that was launched.
/// A launch is timed from the end of the commands before it to the end of its last workgroup:
/// waiting in the queue, copies and the host's work between rounds do not count. Some drivers
/// compile a kernel when they first run it, which does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelTime {
    /// The kernel's name; kernels of one name are added up.
    pub kernel: &'static str,
    /// Launches that were timed. As [`Stats::launches`](crate::Stats::launches), this includes
    /// launches that failed, and those behind a failed one, which do nothing.
    pub launches: u64,
    /// The time of all launches, with all their rounds.
    pub total: Duration,
    /// The part of the total that was spent in rounds that did not count.
    pub undone: Duration,
    /// The time of the longest launch since the runtime was built, with all its rounds.
    /// [`Stats::since`](crate::Stats::since) leaves it as it is.
    pub longest: Duration,
}

impl KernelTime {
    /// The time since an earlier one of this kernel; nothing if it was not launched since.
    fn since(self, earlier: Option<&Self>) -> Option<Self> {
        let Some(earlier) = earlier else { return Some(self) };
        let launches = self.launches.saturating_sub(earlier.launches);
        let total = self.total.saturating_sub(earlier.total);
        let undone = self.undone.saturating_sub(earlier.undone);
        (launches > 0).then_some(Self { launches, total, undone, ..self })
    }

    /// The times that came since earlier ones.
    pub(crate) fn all_since(now: &[Self], earlier: &[Self]) -> Vec<Self> {
        let before = |now: &Self| earlier.iter().find(|earlier| earlier.kernel == now.kernel);
        now.iter().filter_map(|now| now.since(before(now))).collect()
    }
}

/// The clock of a device's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The bits of a timestamp that count, 1 to 64; the others are 0 or without meaning.
    bits: u32,
    /// The nanoseconds of a tick are `significand * 2^exponent`, exactly.
    significand: u32,
    exponent: i32,
}

impl Clock {
    /// A clock of so many valid bits, with so many nanoseconds a tick; nothing if the device has
    /// no such clock, or one that does not run.
    pub(crate) fn new(valid_bits: u32, nanos_per_tick: f32) -> Option<Self> {
        if valid_bits == 0 || !nanos_per_tick.is_normal() || nanos_per_tick < 0.0 {
            return None;
        }
        let bits = nanos_per_tick.to_bits();
        let fraction_bits = f32::MANTISSA_DIGITS - 1;
        let significand = bits & ((1 << fraction_bits) - 1) | 1 << fraction_bits;
        // The exponent of a normal number is biased by 127 (IEEE 754, binary32).
        let exponent = (bits >> fraction_bits).cast_signed() - 127 - fraction_bits.cast_signed();
        Some(Self { bits: valid_bits.min(64), significand, exponent })
    }

    /// The ticks from one timestamp to a later one. The clock may have started again at 0 once.
    pub(crate) fn ticks(self, from: u64, to: u64) -> u64 {
        to.wrapping_sub(from) & (u64::MAX >> (64 - self.bits))
    }

    /// The time of so many ticks, rounded to the next nanosecond below.
    fn duration(self, ticks: u64) -> Duration {
        let scaled = u128::from(ticks) * u128::from(self.significand);
        let nanos = if self.exponent < 0 {
            scaled.checked_shr(self.exponent.unsigned_abs()).unwrap_or(0)
        } else {
            // `scaled` has 88 bits at most.
            scaled.saturating_mul(1u128 << self.exponent.min(126))
        };
        u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = f64::from(self.significand) * f64::from(self.exponent).exp2();
        write!(f, "{} bits and {nanos} ns", self.bits)
    }
}

/// Ticks of one launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaunchTicks {
    pub(crate) total: u64,
    /// Those of rounds that did not count.
    pub(crate) undone: u64,
}

/// Ticks of all launches of a kernel.
#[derive(Clone, Copy, Debug, Default)]
struct KernelTicks {
    launches: u64,
    total: u64,
    undone: u64,
    longest: u64,
}

/// The times of all kernels of a device with a clock.
#[derive(Debug)]
pub(crate) struct KernelTimes {
    pub(crate) clock: Clock,
    kernels: Mutex<BTreeMap<&'static str, KernelTicks>>,
}

impl KernelTimes {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, kernels: Mutex::new(BTreeMap::new()) }
    }

    /// Adds launches, in one step.
    pub(crate) fn add(&self, launches: impl IntoIterator<Item = (&'static str, LaunchTicks)>) {
        // A panic under the lock cannot leave a half-made entry, so a poisoned one is as good.
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        for (kernel, LaunchTicks { total, undone }) in launches {
            let ticks = kernels.entry(kernel).or_default();
            ticks.launches += 1;
            ticks.total = ticks.total.saturating_add(total);
            ticks.undone = ticks.undone.saturating_add(undone);
            ticks.longest = ticks.longest.max(total);
        }
    }

    /// Starts again without launches.
    pub(crate) fn begin(&self) {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The times so far, in the order of the names.
    pub(crate) fn times(&self) -> Vec<KernelTime> {
        let kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let time = |(&kernel, ticks): (&&'static str, &KernelTicks)| KernelTime {
            kernel,
            launches: ticks.launches,
            total: self.clock.duration(ticks.total),
            undone: self.clock.duration(ticks.undone),
            longest: self.clock.duration(ticks.longest),
        };
        kernels.iter().map(time).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock(bits: u32, period: f32) -> Clock {
        Clock::new(bits, period).unwrap()
    }

    #[test]
    fn clocks_that_do_not_run_are_none() {
        assert_eq!(Clock::new(0, 1.0), None);
        for period in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(Clock::new(64, period), None, "{period}");
        }
    }

    #[test]
    fn ticks_are_counted_over_the_end_of_the_clock() {
        assert_eq!(clock(64, 1.0).ticks(u64::MAX - 1, 3), 5);
        assert_eq!(clock(36, 1.0).ticks((1 << 36) - 2, 3), 5);
        assert_eq!(clock(36, 1.0).ticks(10, 15), 5);
        // Bits above the valid ones have no meaning.
        assert_eq!(clock(8, 1.0).ticks(0xab_fe, 0xcd_03), 5);
        assert_eq!(clock(1, 1.0).ticks(1, 0), 1);
    }

    #[test]
    fn ticks_become_nanoseconds_exactly() {
        let nanos = |period: f32, ticks| clock(64, period).duration(ticks).as_nanos();
        assert_eq!(nanos(1.0, 12_345_678_901_234_567), 12_345_678_901_234_567);
        assert_eq!(nanos(0.5, 7), 3);
        assert_eq!(nanos(62.5, 16_000_000), 1_000_000_000);
        assert_eq!(nanos(16_777_216.0 * 4.0, 3), 201_326_592);
        // 52.08 is 13652460 / 2^18 as a single; the product has more digits than a double.
        let exact = 1_000_000_000_000_001u128 * 13_652_460 / 262_144;
        assert_eq!(nanos(52.08, 1_000_000_000_000_001), exact);
        assert_eq!(clock(64, 1e30).duration(u64::MAX), Duration::MAX);
        assert_eq!(clock(64, f32::MIN_POSITIVE).duration(u64::MAX), Duration::ZERO);
    }

    #[test]
    fn launches_are_added_up_by_kernel() {
        let times = KernelTimes::new(clock(64, 2.0));
        let launch = |kernel, total, undone| (kernel, LaunchTicks { total, undone });
        times.add([launch("b", 5, 0), launch("a", 1, 1)]);
        let before = times.times();
        times.add([launch("b", 3, 2), launch("c", 4, 0)]);
        let nanos = Duration::from_nanos;
        let time = |kernel, launches, total, undone, longest| KernelTime {
            kernel,
            launches,
            total: nanos(total),
            undone: nanos(undone),
            longest: nanos(longest),
        };
        let (a, c) = (time("a", 1, 2, 2, 2), time("c", 1, 8, 0, 8));
        assert_eq!(before, [a, time("b", 1, 10, 0, 10)]);
        assert_eq!(times.times(), [a, time("b", 2, 16, 4, 10), c]);
        let since = KernelTime::all_since(&times.times(), &before);
        assert_eq!(since, [time("b", 1, 6, 4, 10), c]);
        times.begin();
        assert_eq!(times.times(), []);
    }

    proptest! {
        #[test]
        fn durations_agree_with_exact_fractions(
            ticks in 0u64..1 << 40,
            significand in 1u32..1 << 24,
            shift in 0u32..20,
        ) {
            #[allow(clippy::cast_precision_loss, reason = "it has 24 bits")]
            let period = significand as f32 / (1u32 << shift) as f32;
            let exact = (u128::from(ticks) * u128::from(significand)) >> shift;
            prop_assert_eq!(clock(64, period).duration(ticks).as_nanos(), exact);
        }
    }
}
