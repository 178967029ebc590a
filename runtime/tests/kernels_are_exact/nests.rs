//! Random nests of loops, switches and jumps, which must run through the same blocks in every mode.
//! The generator also computes the result of each.

#[path = "../../../shaders/rewrite/tests/nests/nest.rs"]
mod nest;

use crate::case::{Buffer, Case};
use crate::rigs::quick_rigs;
use crate::run::check_words;
use nest::Nest;

/// How many nests run.
pub(crate) const NESTS: u32 = 120;
/// Invocations, in workgroups of 8.
const LANES: usize = 64;

/// The words of the nest of a seed.
pub(crate) fn words(seed: u32) -> Vec<u32> {
    Nest::new(seed.into()).words()
}

#[test]
fn nests_take_the_same_way_however_they_run() {
    let Some(rigs) = quick_rigs() else { return };
    for seed in 0..NESTS {
        let words = words(seed);
        // The seed lies in a lend of its own, for the oracle alone.
        let case = Case::assembly("")
            .lend(Buffer::random(u64::from(seed) + 500, LANES).writable())
            .lend_silently(Buffer::words(&[seed]))
            .groups(8)
            .oracle(|image| {
                let nest = Nest::new(image.words(1)[0].into());
                let states: Vec<u32> = image.words(0).iter().map(|&s| nest.run(s)).collect();
                image.set_words(0, &states);
            });
        check_words(&format!("nest {seed}"), &case, &rigs, &words);
    }
}
