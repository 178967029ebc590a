//! Random programs over pointers, which must give the same bytes however they run.
//!
//! A program has 64 invocations. Each invocation owns a slice of words, and a few places for
//! addresses of that slice; it may read and write the slice and change it by atomic operations. All
//! invocations read the input, directly and through a table of addresses, and change counters by
//! operations whose order does not matter. Indices are masked, and addresses are computed from
//! owned memory, so no program races or leaves its lends.

mod code;
mod draw;
mod prologue;
mod shape;
mod statements;
mod values;
mod writer;

use crate::case::{Buffer, Case, random};
use shape::{COUNTERS_EACH, INPUT_WORDS, LANES, LINKS_COUNT, OWN_WORDS, SLOTS_COUNT};
use writer::Writer;

pub use writer::Features;

/// The program of a seed, with its memory.
#[must_use]
pub fn case(seed: u64, features: Features) -> Case {
    let words = statements::write(Writer::new(seed, features));
    let places = random(seed ^ 0xface, (LANES * SLOTS_COUNT + LINKS_COUNT) as usize);
    let (slots, links) = places.split_at((LANES * SLOTS_COUNT) as usize);
    let mut table = Buffer::zeroes(slots.len() * 2).writable();
    for (k, place) in slots.iter().enumerate() {
        let lane = k / SLOTS_COUNT as usize;
        table = table.link(k * 8, 1, lane * 128 + *place as usize % 8 * 16);
    }
    // The table of links follows the input in the same lend.
    let mut input = random(seed, INPUT_WORDS as usize);
    input.resize((INPUT_WORDS + 2 * LINKS_COUNT) as usize, 0);
    let input = links.iter().enumerate().fold(Buffer::words(&input), |input, (k, at)| {
        let place = (INPUT_WORDS as usize) * 4 + k * 8;
        input.link(place, 0, (at % (INPUT_WORDS / 4) * 16) as usize)
    });
    Case::words(words)
        .lend(input)
        .lend(Buffer::random(seed + 1, (LANES * OWN_WORDS) as usize).writable())
        .lend(table)
        .at(0, INPUT_WORDS as usize * 4)
        .lend(Buffer::random(seed + 2, 5 * COUNTERS_EACH as usize).writable())
        .groups(2)
}
