//! Runs generated cases from a seed that is printed, and that `FARPTR_SEED` repeats.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// The seed of this run.
pub(crate) fn seed() -> u64 {
    match std::env::var("FARPTR_SEED") {
        Ok(text) => text.parse().expect("FARPTR_SEED is a number"),
        Err(_) => RandomState::new().hash_one(0),
    }
}

/// Checks that a property holds for as many generated cases.
///
/// A case fails by panicking; it is then shortened, and the shortest is reported with the seed.
pub(crate) fn check<S>(cases: u32, strategy: S, test: impl Fn(S::Value))
where
    S: Strategy,
    S::Value: Debug,
{
    let seed = seed();
    println!("FARPTR_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    // A failure is found again by its seed, so no file is written.
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&strategy, |case| {
        test(case);
        Ok::<(), TestCaseError>(())
    });
    if let Err(error) = result {
        panic!("FARPTR_SEED={seed}: {error}");
    }
}

/// A generator of numbers for threads, which need no shrinking.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`: the mixing function of splitmix64.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % bound as u64).expect("64 bits")
    }

    /// A range of one to `most` pages inside another.
    pub(crate) fn part(
        &mut self,
        of: std::ops::Range<usize>,
        most: usize,
    ) -> std::ops::Range<usize> {
        let len = 1 + self.below(most.min(of.len()));
        let start = of.start + self.below(of.len() - len + 1);
        start..start + len
    }
}
