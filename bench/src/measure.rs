//! How samples are taken: in rounds, every variant once a round, in an order that changes.
//!
//! 1. *Calibration.* Each variant runs once, which touches its memory and compiles what is compiled
//!    late; then the calls per sample are raised until a sample lasts [`SAMPLE`].
//! 2. *Rounds.* Each round takes one sample of every variant, in an order shuffled with a fixed
//!    seed, until the time is used up. The first rounds are thrown away.
//!
//! `crate::episode` repeats both with devices opened afresh. `bench/DESIGN.md` says why, and which
//! simpler forms were rejected.

use crate::failure::Failure;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::time::{Duration, Instant};

/// A sample lasts at least this long, if calls can make it so: far above the clock's own cost.
const SAMPLE: Duration = Duration::from_millis(2);
/// A first call that lasts longer is no warm-up effect: one call will do for a sample.
const LONG: Duration = Duration::from_millis(20);
/// The most calls per sample, for a clock that does not move.
const CALLS_MAX: u32 = 1 << 16;
/// One round in so many is thrown away at the start.
const WARM_UP_PART: u32 = 10;

/// One way to do a case's operation.
pub(crate) trait Variant {
    /// The name in tables and records.
    fn name(&self) -> &'static str;

    /// Does the operation `calls` times and returns the time that it took.
    ///
    /// The variant reads the clock itself, so that it can prepare a sample outside the timed part.
    fn sample(&mut self, calls: u32) -> Result<Duration, Failure>;

    /// How many operations one call counts as; times are given for one operation.
    fn operations_per_call(&self) -> u32 {
        1
    }

    /// Whether everything done so far has the right result.
    fn verify(&mut self) -> Result<bool, Failure>;
}

/// The samples of one variant, one per round: nanoseconds for one operation.
pub(crate) type Samples = Vec<f64>;

/// Finds the calls per sample for each variant.
pub(crate) fn calibrate(variants: &mut [Box<dyn Variant + '_>]) -> Result<Vec<u32>, Failure> {
    variants.iter_mut().map(|variant| calls_for(variant.as_mut())).collect()
}

/// How long rounds go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds that are taken even when the time is used up.
    pub(crate) rounds_min: usize,
    /// When the last round begins at the latest, once there are enough.
    pub(crate) deadline: Instant,
    /// The seed of the order of variants.
    pub(crate) seed: u64,
}

impl Plan {
    fn wants_more(&self, rounds: usize) -> bool {
        rounds < self.rounds_min || Instant::now() < self.deadline
    }
}

/// Takes samples of all variants, side by side, and appends them to `samples`. `tick` is called
/// after every round.
pub(crate) fn take_rounds(
    variants: &mut [Box<dyn Variant + '_>],
    calls: &[u32],
    plan: Plan,
    samples: &mut [Samples],
    tick: &mut dyn FnMut(),
) -> Result<(), Failure> {
    let mut order = Order::new(variants.len(), plan.seed);
    let warm_until = warm_up_end(Instant::now(), plan.deadline);
    let mut rounds = 0;
    while plan.wants_more(rounds) {
        let warm = Instant::now() >= warm_until;
        for &index in order.next_round() {
            let (variant, calls) = (variants[index].as_mut(), calls[index]);
            let elapsed = variant.sample(calls)?;
            if warm {
                let operations = f64::from(calls) * f64::from(variant.operations_per_call());
                samples[index].push(nanoseconds(elapsed) / operations);
            }
        }
        rounds += usize::from(warm);
        tick();
    }
    Ok(())
}

/// The calls with which a sample of this variant is long enough.
fn calls_for(variant: &mut dyn Variant) -> Result<u32, Failure> {
    if variant.sample(1)? > LONG {
        return Ok(1);
    }
    let mut calls = 1;
    while calls < CALLS_MAX && variant.sample(calls)? < SAMPLE {
        calls *= 2;
    }
    Ok(calls)
}

fn warm_up_end(now: Instant, deadline: Instant) -> Instant {
    now + deadline.saturating_duration_since(now) / WARM_UP_PART
}

#[allow(clippy::cast_precision_loss, reason = "2^53 ns are 104 days, a sample is shorter")]
fn nanoseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// The order of variants in each round: a new shuffle every time, the same ones for a seed.
struct Order {
    indices: Vec<usize>,
    random: StdRng,
}

impl Order {
    fn new(variants: usize, seed: u64) -> Self {
        Self { indices: (0..variants).collect(), random: StdRng::seed_from_u64(seed) }
    }

    fn next_round(&mut self) -> &[usize] {
        self.indices.shuffle(&mut self.random);
        &self.indices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, rc::Rc};

    /// Pretends that each call takes `cost` and writes down which variant was sampled.
    struct Fake {
        name: &'static str,
        cost: Duration,
        log: Rc<RefCell<Vec<&'static str>>>,
    }

    impl Variant for Fake {
        fn name(&self) -> &'static str {
            self.name
        }

        fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
            self.log.borrow_mut().push(self.name);
            Ok(self.cost * calls)
        }

        fn operations_per_call(&self) -> u32 {
            10
        }

        fn verify(&mut self) -> Result<bool, Failure> {
            Ok(true)
        }
    }

    fn fake(name: &'static str, cost_us: u64, log: &Rc<RefCell<Vec<&'static str>>>) -> Box<Fake> {
        let (cost, log) = (Duration::from_micros(cost_us), Rc::clone(log));
        Box::new(Fake { name, cost, log })
    }

    #[test]
    fn small_operations_are_batched_and_large_ones_are_not() {
        let log = Rc::default();
        let calls = |cost_us| calls_for(fake("a", cost_us, &log).as_mut()).unwrap();
        assert_eq!(calls(0), CALLS_MAX);
        assert_eq!(calls(1), 2048);
        assert_eq!(calls(1999), 2);
        assert_eq!(calls(2000), 1);
        assert_eq!(calls(1_000_000), 1);
    }

    #[test]
    fn every_round_samples_every_variant_once() {
        const ROUNDS: usize = 5;
        let log = Rc::default();
        let mut variants: Vec<Box<dyn Variant>> =
            vec![fake("a", 300, &log), fake("b", 900, &log), fake("c", 1, &log)];
        let plan = Plan { rounds_min: ROUNDS, deadline: Instant::now(), seed: 1 };
        let calls = calibrate(&mut variants).unwrap();
        let mut samples = vec![Samples::new(); 3];
        take_rounds(&mut variants, &calls, plan, &mut samples, &mut || ()).unwrap();
        assert_eq!(samples[0], vec![30_000.0; ROUNDS]);
        assert_eq!(samples[1], vec![90_000.0; ROUNDS]);
        assert_eq!(samples[2], vec![100.0; ROUNDS]);
        let log = log.borrow();
        for round in log[log.len() - 3 * ROUNDS..].chunks(3) {
            let mut names = round.to_vec();
            names.sort_unstable();
            assert_eq!(names, ["a", "b", "c"]);
        }
    }

    #[test]
    fn the_order_is_the_same_in_every_run_and_favours_nobody() {
        let (mut one, mut two) = (Order::new(4, 1), Order::new(4, 1));
        let (mut first, mut after_zero) = ([0u32; 4], [0u32; 4]);
        for _ in 0..4000 {
            let round = one.next_round().to_vec();
            assert_eq!(round, two.next_round());
            first[round[0]] += 1;
            let zero = round.iter().position(|&index| index == 0).unwrap();
            if let Some(&next) = round.get(zero + 1) {
                after_zero[next] += 1;
            }
        }
        assert!(first.iter().all(|count| (900..1100).contains(count)), "{first:?}");
        assert!(after_zero[1..].iter().all(|count| (900..1100).contains(count)), "{after_zero:?}");
    }
}
