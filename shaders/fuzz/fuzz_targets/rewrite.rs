//! Damaged kernels for the rewriting pass, chosen by libFuzzer; see `tests/mutants`, whose
//! interpreter this runs.
//!
//! `cargo +nightly fuzz run --fuzz-dir shaders/fuzz --sanitizer none rewrite`

#![no_main]

#[path = "../../rewrite/tests/mutants/mutant.rs"]
mod mutant;

use libfuzzer_sys::fuzz_target;
use mutant::Mutant;

fuzz_target!(|bytes: &[u8]| {
    // A refusal is as good as a rewritten kernel.
    drop(Mutant::decode(bytes).rewrite());
});
