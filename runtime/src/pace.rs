//! The time that launches take, as far as earlier ones tell. Pure.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Picoseconds in a nanosecond.
const PICOS: u128 = 1000;

/// The time that a workgroup of a pipeline takes of a device, as the newest launches had it; on a
/// device that runs several side by side it is a part of the time of each.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// 0 if no launch is known.
    picoseconds: AtomicU64,
}

impl Pace {
    /// Notes that so many workgroups took so long at most.
    pub(crate) fn note(&self, groups: u64, took: Duration) {
        let each = took.as_nanos() * PICOS / u128::from(groups.max(1));
        let each = u64::try_from(each).unwrap_or(u64::MAX);
        self.picoseconds.store(each.max(1), Relaxed);
    }

    /// The time that so many workgroups are likely to take.
    pub(crate) fn expect(&self, groups: u64) -> Option<Duration> {
        let each = self.picoseconds.load(Relaxed);
        let nanos = u128::from(each) * u128::from(groups) / PICOS;
        (each > 0).then(|| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_launches_tell_of_the_next() {
        let pace = Pace::default();
        assert_eq!(pace.expect(1), None, "nothing is known");
        pace.note(1000, Duration::from_millis(5));
        assert_eq!(pace.expect(1000), Some(Duration::from_millis(5)));
        assert_eq!(pace.expect(400_000), Some(Duration::from_secs(2)));
        pace.note(u64::MAX, Duration::from_nanos(1));
        assert_eq!(pace.expect(1), Some(Duration::ZERO), "it is known to be short");
        pace.note(0, Duration::MAX);
        assert_eq!(pace.expect(u64::MAX), Some(Duration::from_nanos(u64::MAX)));
    }
}
