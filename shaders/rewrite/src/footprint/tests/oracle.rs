//! Random programs in an interpreter: what they touch is in their footprints.
//!
//! `FARPTR_PROGRAMS_SEED` is the first seed and `FARPTR_PROGRAMS_COUNT` the number of programs.

use super::machine::{Machine, Place, Trace};
use super::programs::{Program, program};
use crate::Program as Kernel;
use crate::contract::analysis::Root;
use crate::footprint::mutant::{Mutant, activate};
use crate::footprint::result::{Footprint, SiteReach};
use crate::footprint::unknown::Unknown;
use crate::tests::tools::{optimise, validate};
use rspirv::binary::{Assemble, Disassemble};
use rspirv::dr::load_words;

/// How many programs are run by default.
const COUNT: u64 = 2000;
/// How many programs are optimised and run by default.
const OPTIMISED_COUNT: u64 = 200;
/// How many programs may be run until a mutant is found.
const MUTANT_COUNT: u64 = 6000;
/// The most invocations of a launch that are interpreted.
const INVOCATIONS: usize = 48;

pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

/// How much was known.
#[derive(Default)]
struct Known {
    accesses: usize,
    bounded: usize,
    loops: usize,
    ending: usize,
    /// Programs of which nothing is known, though they are defined.
    given_up: usize,
}

/// Why a footprint is wrong, if it is.
fn wrong(footprint: &Footprint, trace: &Trace, push: &[u8], known: &mut Known) -> Option<String> {
    if trace.is_undefined && footprint.unknown.is_none() {
        return Some("what it does is not defined".to_owned());
    }
    for access in &trace.accesses {
        known.accesses += 1;
        let SiteReach::Bytes(spans) = &footprint.sites[access.site] else { continue };
        known.bounded += 1;
        let within = spans.iter().any(|span| {
            let root = span.root;
            let Root::Push { offset_bytes } = root;
            // Any eight bytes of the push constants may turn out to be what the rest is added to.
            let bytes = push[offset_bytes as usize..][..8].try_into().expect("there are eight");
            let base = u64::from_le_bytes(bytes);
            let distance = access.address.wrapping_sub(base).cast_signed();
            let bytes = i64::try_from(access.bytes).expect("it is small");
            let is_aligned = distance.rem_euclid(span.align_bytes.into()) == 0;
            is_aligned && span.start_bytes <= distance && distance <= span.end_bytes - bytes
        });
        if !within {
            return Some(format!("{access:x?} is not in {spans:?}"));
        }
    }
    for (number, &runs) in trace.loops.iter().enumerate().filter(|(_, runs)| **runs > 0) {
        known.loops += 1;
        let Some(limit) = footprint.loops[number] else { continue };
        known.ending += 1;
        if runs > limit {
            return Some(format!("loop {number} runs {runs} times, not {limit}"));
        }
    }
    let all = footprint.loop_runs.filter(|&limit| trace.loop_runs > limit);
    all.map(|limit| format!("all loops run {} times, not {limit}", trace.loop_runs))
}

/// The places of invocations to look at: the first, the last, and some between.
pub(super) fn places(of: &Program) -> Vec<Place> {
    let all = all_places(of);
    let step = all.len().div_ceil(INVOCATIONS).max(1);
    let is_taken = |number: usize| number.is_multiple_of(step) || number + 1 == all.len();
    all.iter()
        .enumerate()
        .filter(|(number, _)| is_taken(*number))
        .map(|(_, place)| *place)
        .collect()
}

/// The places of all invocations.
pub(super) fn all_places(of: &Program) -> Vec<Place> {
    let (groups, size) = (of.groups, of.size);
    let count = |of: [u32; 3]| of[0] * of[1] * of[2];
    let all = count(groups) * count(size);
    let at = |number: u32, of: [u32; 3]| {
        [number % of[0], number / of[0] % of[1], number / of[0] / of[1]]
    };
    (0..all)
        .map(|number| Place {
            groups,
            size,
            group: at(number / count(size), groups),
            local: at(number % count(size), size),
        })
        .collect()
}

/// Runs the program of a seed. Returns what is wrong with its footprint.
fn run(seed: u64, known: &mut Known) -> Option<String> {
    let program = program(seed);
    let words = program.module.assemble();
    compare(&program, &words, seed, known)
}

/// Runs a program whose words are these. Returns what is wrong with its footprint.
fn compare(program: &Program, words: &[u32], seed: u64, known: &mut Known) -> Option<String> {
    let kernel = Kernel::parse(words, None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    let footprint = kernel.footprints().of_launch_with_overwritten(&program.push, program.groups);
    known.given_up += usize::from(footprint.unknown.is_some_and(|of| of != Unknown::Undefined));
    for (number, place) in (0..).zip(places(program)) {
        let seed = seed ^ (number << 32);
        let trace = Machine::new(&program.module, &program.push, place, seed).run();
        if let Some(why) = wrong(&footprint, &trace, &program.push, known) {
            return Some(format!("{place:?}: {why}"));
        }
    }
    None
}

#[test]
fn what_programs_touch_is_in_their_footprints() {
    let first = number("FARPTR_PROGRAMS_SEED").unwrap_or(1);
    let count = number("FARPTR_PROGRAMS_COUNT").unwrap_or(COUNT);
    let mut known = Known::default();
    for seed in first..first + count {
        if let Some(why) = run(seed, &mut known) {
            if count == 1 {
                eprintln!("{}", program(seed).module.disassemble());
            }
            panic!("FARPTR_PROGRAMS_SEED={seed} FARPTR_PROGRAMS_COUNT=1: {why}");
        }
    }
    let Known { accesses, bounded, loops, ending, given_up } = known;
    // Some loops in loops in loops take more work than there may be.
    assert!(given_up as u64 * 1000 <= count, "{given_up} of {count} programs were given up");
    println!("{bounded} of {accesses} accesses bounded, {ending} of {loops} loops known to end");
    if count >= COUNT {
        assert!(bounded * 4 > accesses && ending * 4 > loops, "too little is known to show much");
    }
}

#[test]
fn every_mutant_of_the_analysis_is_caught() {
    for mutant in Mutant::ALL {
        activate(Some(mutant));
        let caught = (1..=MUTANT_COUNT).find(|&seed| run(seed, &mut Known::default()).is_some());
        activate(None);
        println!("{mutant:?}: seed {caught:?}");
        assert!(caught.is_some(), "{mutant:?} is not caught");
    }
}

/// Optimised words have other loops, phis and selections than those that the programs start with.
#[test]
fn what_optimised_programs_touch_is_in_their_footprints() {
    let first = number("FARPTR_PROGRAMS_SEED").unwrap_or(1);
    let count = number("FARPTR_PROGRAMS_COUNT").unwrap_or(OPTIMISED_COUNT);
    let mut known = Known::default();
    for seed in first..first + count {
        let mut program = program(seed);
        let words = program.module.assemble();
        if seed % 8 == 0 {
            validate(&words, &format!("seed {seed}"));
        }
        let Some(words) = optimise(&words, "vulkan1.2") else { return };
        program.module = load_words(&words).expect("the optimiser's words are a module");
        if let Some(why) = compare(&program, &words, seed, &mut known) {
            if count == 1 {
                eprintln!("{}", program.module.disassemble());
            }
            panic!("FARPTR_PROGRAMS_SEED={seed} FARPTR_PROGRAMS_COUNT=1: {why}");
        }
    }
    let Known { accesses, bounded, loops, ending, .. } = known;
    println!("{bounded} of {accesses} accesses bounded, {ending} of {loops} loops known to end");
    assert!(count < OPTIMISED_COUNT || bounded * 4 > accesses, "too little is known");
}
