//! Damaged kernels: the pass refuses or rewrites them, without a panic and in bounded time, and
//! valid kernels become valid kernels. The inputs are those of the fuzz target in `fuzz/`, so that
//! its interpreter runs everywhere.

mod mutant;
#[path = "../../src/tests/run.rs"]
#[allow(dead_code, reason = "nothing here reads a tool's words")]
mod run;

use mutant::Mutant;

/// How many inputs are run.
const INPUTS: u64 = 3000;
/// The least number of inputs that must be valid: with fewer, the test would show little.
const VALID: u64 = 100;

/// Bytes that depend on the seed alone (SplitMix64): one to four changes.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    let bytes: Vec<u8> = (0..3).flat_map(|_| next()).collect();
    let changes = 1 + (seed % 4) as usize;
    bytes[..2 + 5 * changes].to_vec()
}

/// The validator's complaint, or `None` without a validator.
fn complaint(words: &[u32]) -> Option<Option<String>> {
    let arguments = ["--target-env", "vulkan1.2", "--scalar-block-layout", "-"];
    run::run("spirv-val", &arguments, &run::to_bytes(words)).map(Result::err)
}

/// The seed of an input that fails is printed; `FARPTR_SEED` runs that one alone.
#[test]
fn what_was_valid_stays_valid() {
    let one = std::env::var("FARPTR_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = one.map_or(0..INPUTS, |seed: u64| seed..seed + 1);
    let mut valid = 0;
    for seed in seeds {
        let mutant = Mutant::decode(&bytes(seed));
        let run = std::panic::AssertUnwindSafe(|| mutant.rewrite());
        let rewritten = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            eprintln!("FARPTR_SEED={seed}: {mutant:?}");
            std::panic::resume_unwind(panic);
        });
        match complaint(&mutant.words) {
            Some(None) => valid += 1,
            Some(Some(_)) => continue,
            None => return,
        }
        let Ok(rewritten) = rewritten else { continue };
        if let Some(Some(complaint)) = complaint(&rewritten) {
            panic!("FARPTR_SEED={seed}: {complaint}");
        }
    }
    assert!(one.is_some() || valid >= VALID, "only {valid} of {INPUTS} are valid");
    println!("{valid} of {INPUTS} are valid");
}
