//! Random nests of loops, switches and jumps, which must run through the same blocks in every mode.
//! The generator also computes the result of each.

use crate::case::{Buffer, Case};
use crate::nest::Nest;

/// How many nests the suite has: those of the seeds from 0 on.
pub const NESTS: u32 = 120;
/// Invocations, in workgroups of 8.
const LANES: usize = 64;

/// The nest of a seed, with its memory and its result.
#[must_use]
pub fn case(seed: u32) -> Case {
    // The seed lies in a lend of its own, for the oracle alone.
    Case::words(Nest::new(seed.into()).words())
        .lend(Buffer::random(u64::from(seed) + 500, LANES).writable())
        .lend_silently(Buffer::words(&[seed]))
        .groups(8)
        .oracle(|image| {
            let nest = Nest::new(image.words(1)[0].into());
            let states: Vec<u32> = image.words(0).iter().map(|&s| nest.run(s)).collect();
            image.set_words(0, &states);
        })
}
