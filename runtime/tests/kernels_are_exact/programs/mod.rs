//! Random programs over pointers, which must give the same bytes however they run.
//!
//! A program has 64 invocations. Each invocation owns a slice of words, and a few places for
//! addresses of that slice; it may read and write the slice and change it by atomic operations. All
//! invocations read the input, directly and through a table of addresses, and change counters by
//! operations whose order does not matter. Indices are masked, and addresses are computed from
//! owned memory, so no program races or leaves its lends.
//!
//! `FARPTR_PROGRAMS_SEED` is the first seed and `FARPTR_PROGRAMS_COUNT` the number of programs.

mod code;
mod draw;
mod statements;
mod values;
mod writer;

use crate::case::{Buffer, Case, random};
use crate::rigs::{quick_rigs, rigs};
use crate::run::check_words;
use std::io::Write;
use std::process::{Command, Stdio};
use writer::{Features, Writer};

/// Invocations per workgroup; there are two workgroups.
const GROUP: u32 = 32;
const LANES: u32 = 2 * GROUP;
/// Words of an invocation's own.
const OWN_WORDS: u32 = 32;
/// Addresses of an invocation's own.
const SLOTS_COUNT: u32 = 4;
const INPUT_WORDS: u32 = 2048;
const LINKS_COUNT: u32 = 256;
/// Counters for each of five operations.
const COUNTERS_EACH: u32 = 256;
/// Programs that run unless the environment says otherwise.
const COUNT: u64 = 500;

#[test]
fn share_0_of_4_is_exact() {
    check_share(0);
}

#[test]
fn share_1_of_4_is_exact() {
    check_share(1);
}

#[test]
fn share_2_of_4_is_exact() {
    check_share(2);
}

#[test]
fn share_3_of_4_is_exact() {
    check_share(3);
}

/// One program in so many runs with validation on: the layer looks at the words of the program and
/// of what became of it.
const VALIDATED: u64 = 50;

/// Set in the process that runs a share.
const INSIDE: &str = "FARPTR_PROGRAMS_INSIDE";

/// llvmpipe compiles in half the time so: no optimisation, narrow vectors. Three quarters of
/// the time, and more, go into its compiler. A variable that is set already is left alone.
const COMPILE_FAST: [(&str, &str); 2] =
    [("GALLIVM_PERF", "nopt"), ("LP_NATIVE_VECTOR_WIDTH", "128")];

/// Runs every fourth program, in a process of its own: drivers read variables as they start.
fn check_share(share: u64) {
    if std::env::var_os(INSIDE).is_some() {
        return run_share(share);
    }
    let mut inside = Command::new(std::env::current_exe().unwrap());
    inside.args([&format!("programs::share_{share}_of_4_is_exact"), "--exact", "--nocapture"]);
    inside.env(INSIDE, "1").stdout(Stdio::null());
    inside.envs(COMPILE_FAST.iter().filter(|(name, _)| std::env::var_os(name).is_none()).copied());
    let ended = inside.status().unwrap();
    assert!(ended.success(), "share {share}: {ended}; see above");
}

fn run_share(share: u64) {
    let (Some(validated), Some(quick)) = (rigs(), quick_rigs()) else { return };
    let first = number("FARPTR_PROGRAMS_SEED").unwrap_or(1);
    let count = number("FARPTR_PROGRAMS_COUNT").unwrap_or(COUNT);
    let swiftshader = validated[0].runtime.device_name().contains("SwiftShader");
    let features = Features { long: !swiftshader, pointers: !swiftshader };
    // Straight to the stream: what a passing test prints with macros is captured.
    let _ = writeln!(std::io::stderr(), "programs: seeds {first} + {share} + 4k, {count} in all");
    for seed in (first + share..first + count).step_by(4) {
        let words = words(seed, features);
        let rigs = if seed % VALIDATED == 0 { validated } else { &quick };
        check_words(&format!("program {seed}"), &case(seed), rigs, &words);
    }
}

/// The words of the program of a seed.
fn words(seed: u64, features: Features) -> Vec<u32> {
    statements::write(Writer::new(seed, features))
}

/// The words of the program of a seed, for a device that has everything that programs use.
pub(crate) fn full(seed: u64) -> Vec<u32> {
    words(seed, Features { long: true, pointers: true })
}

/// The number that a variable of the environment holds.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// The memory of a program.
fn case(seed: u64) -> Case {
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
    Case::assembly("")
        .lend(input)
        .lend(Buffer::random(seed + 1, (LANES * OWN_WORDS) as usize).writable())
        .lend(table)
        .at(0, INPUT_WORDS as usize * 4)
        .lend(Buffer::random(seed + 2, 5 * COUNTERS_EACH as usize).writable())
        .groups(2)
}
