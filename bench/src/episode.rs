//! Measures a case at one size, in episodes: each opens the device afresh, if the case needs one,
//! and prepares the variants anew.
//!
//! A device is a set of threads, caches and memory, and where the system happens to put them can
//! matter more than what is being compared: on a software device, two copies of one hand-written
//! program differ by up to 40 % as long as they keep their devices, in either direction. Within an
//! episode such a difference favours one variant; over many episodes it favours none.

use crate::{
    case::{Case, Context, First},
    failure::Failure,
    measure::{self, Plan, Samples},
};
use std::time::{Duration, Instant};

/// Episodes for a case that is prepared in no time.
const EPISODES: u32 = 20;
/// An episode measures for so many times as long as its preparation took.
const PREPARATIONS: u32 = 4;

/// How long to measure one case at one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Time for all episodes with their preparations.
    pub(crate) budget: Duration,
    /// Rounds that are taken even when the time is too short.
    pub(crate) rounds_min: usize,
}

/// The measurements of one variant.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) variant: &'static str,
    pub(crate) samples: Samples,
    /// Whether it had the right result in every episode.
    pub(crate) verified: bool,
}

/// Measures all variants of a case at one size; the baseline comes first.
pub(crate) fn measure(
    case: &dyn Case,
    device: &str,
    size_bytes: u64,
    effort: Effort,
    mut tick: impl FnMut(),
) -> Result<Vec<Outcome>, Failure> {
    let end = Instant::now() + effort.budget;
    let names = case.variants();
    let mut samples = vec![Samples::new(); names.len()];
    let mut verified = vec![true; names.len()];
    for episode in 0.. {
        let start = Instant::now();
        let context = Context::open(case, device, who_is_first(episode))?;
        let mut variants = case.prepare(&context, size_bytes)?;
        let prepared = variants.iter().map(|variant| variant.name());
        assert!(prepared.eq(names.iter().copied()), "`prepare` keeps the order of `variants`");
        let calls = measure::calibrate(&mut variants)?;
        let share = (effort.budget / EPISODES).max(start.elapsed() * PREPARATIONS);
        let plan = Plan {
            rounds_min: effort.rounds_min.saturating_sub(samples[0].len()).max(1),
            deadline: end.min(Instant::now() + share),
            seed: episode,
        };
        measure::take_rounds(&mut variants, &calls, plan, &mut samples, &mut tick)?;
        for (variant, verified) in variants.iter_mut().zip(&mut verified) {
            *verified &= variant.verify()?;
        }
        if Instant::now() >= end {
            break;
        }
    }
    let outcomes = names.iter().zip(samples).zip(verified);
    Ok(outcomes
        .map(|((&variant, samples), verified)| Outcome { variant, samples, verified })
        .collect())
}

/// Taken in turns, because the order of opening may matter.
fn who_is_first(episode: u64) -> First {
    if episode.is_multiple_of(2) { First::Farptr } else { First::Rival }
}
