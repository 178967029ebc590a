//! Operations of a program and its devices on a mirror, chosen by libFuzzer; see
//! `tests/operations`, whose interpreter and model this runs.
//!
//! `cargo +nightly fuzz run --fuzz-dir hmm/fuzz --sanitizer none operations`, as root: pages cannot
//! be moved otherwise.

#![no_main]
#![allow(dead_code, reason = "the test uses more of what they share")]

#[path = "../../tests/operations/device.rs"]
mod device;
#[path = "../../tests/hmm_rig/mod.rs"]
mod hmm_rig;
#[path = "../../tests/operations/machine.rs"]
mod machine;
#[path = "../../tests/operations/region.rs"]
mod region;

use std::sync::atomic::{AtomicBool, Ordering};

use libfuzzer_sys::fuzz_target;
use machine::{Machine, decode};

/// Whether pages cannot be moved here, so that nothing is to be found. To exit would count as a
/// finding.
static IDLE: AtomicBool = AtomicBool::new(false);

fuzz_target!(|bytes: &[u8]| {
    let operations = decode(bytes);
    // Relaxed: inputs are run by one thread.
    if IDLE.load(Ordering::Relaxed) {
        return;
    }
    match Machine::new() {
        Some(mut machine) => machine.run(&operations),
        None => IDLE.store(true, Ordering::Relaxed),
    }
});
