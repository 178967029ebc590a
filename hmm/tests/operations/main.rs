//! Random operations on a mirror with devices that fail: every byte is what it has to be, for the
//! CPU and for devices. The operations are those of the fuzz target in `fuzz/`, so that its
//! interpreter runs everywhere.

#![cfg(feature = "dmirror")]

mod device;
#[path = "../hmm_rig/mod.rs"]
mod hmm_rig;
mod machine;
mod region;

use machine::{Machine, decode};

/// How many inputs are run, and the bytes of each.
const INPUTS: u64 = 1500;
const BYTES: usize = 160;

/// Bytes that depend on the seed alone (SplitMix64).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    (0..BYTES / 8).flat_map(|_| next()).collect()
}

/// The seed of an input that fails is in the message; `FARPTR_SEED` runs that one alone.
#[test]
fn every_byte_is_what_it_has_to_be() {
    let one = std::env::var("FARPTR_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = one.map_or(0..INPUTS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let operations = decode(&bytes(seed));
        let Some(mut machine) = Machine::new() else { return };
        let run = std::panic::AssertUnwindSafe(|| machine.run(&operations));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("FARPTR_SEED={seed}: {operations:#?}");
            std::panic::resume_unwind(panic);
        }
    }
}
