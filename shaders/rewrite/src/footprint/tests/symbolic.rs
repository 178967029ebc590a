//! The bounds that hold for every launch, against random programs in an interpreter and against the
//! footprints of launches.

use super::machine::{Machine, Trace};
use super::oracle::{number, places};
use super::programs::program;
use crate::footprint::mutant::{Mutant, activate};
use crate::footprint::result::SiteReach;
use crate::footprint::symbolic::{Reach, Symbolic};
use crate::tests::tools::optimise;
use crate::{Program, Reflection, Root};
use rspirv::binary::{Assemble, Disassemble};
use rspirv::dr::load_words;
use std::fmt::Write;

/// How many programs are run by default, and how many of them are optimised, too.
const COUNT: u64 = 400;
const OPTIMISED_COUNT: u64 = 60;

/// What the shipped kernels touch, in words.
const WORDS: &str = include_str!("kernels.txt");

/// How much was known.
#[derive(Default)]
struct Known {
    accesses: usize,
    bounded: usize,
    /// Those whose range is not the same in every launch.
    depending: usize,
}

/// Why bounds are wrong for what an invocation touched before anything wrapped, if they are.
fn wrong(
    symbolic: &Symbolic,
    trace: &Trace,
    (push, groups): (&[u8], [u32; 3]),
    known: &mut Known,
) -> Option<String> {
    for access in &trace.accesses[..trace.before_wrap.unwrap_or(trace.accesses.len())] {
        known.accesses += 1;
        let Reach::Bytes(all) = &symbolic.sites[access.site] else { continue };
        known.bounded += 1;
        let is_in = |bytes: &crate::footprint::symbolic::Bytes| {
            let base = push[bytes.root as usize..][..8].try_into().expect("there are eight");
            let distance = access.address.wrapping_sub(u64::from_le_bytes(base)).cast_signed();
            let ends = [&bytes.start, &bytes.end].map(|end| end.value(push, groups));
            // It is not known what a bound is that divides by 0.
            let [Some(start), Some(end)] = ends else { return true };
            start <= distance.into() && i128::from(distance) + i128::from(access.bytes) <= end
        };
        let depends = |bytes: &crate::footprint::symbolic::Bytes| {
            [&bytes.start, &bytes.end].iter().any(|end| end.has_given())
        };
        known.depending += usize::from(all.iter().any(depends));
        if !all.iter().any(is_in) {
            return Some(format!("{access:x?} is not in {all:?}"));
        }
    }
    None
}

/// Runs the program of a seed, as it is or optimised. Returns what is wrong with its bounds.
fn run(seed: u64, optimised: bool, known: &mut Known) -> Option<String> {
    let mut program = program(seed);
    let mut words = program.module.assemble();
    if optimised {
        words = optimise(&words, "vulkan1.2")?;
        program.module = load_words(&words).expect("the optimiser's words are a module");
    }
    let kernel = Program::parse(&words, None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    let symbolic = kernel.footprints().symbolic().ok()?;
    for (number, place) in (0..).zip(places(&program)) {
        let seed = seed ^ (number << 32);
        let trace = Machine::new(&program.module, &program.push, place, seed).run();
        let launch = (&program.push[..], program.groups);
        if let Some(why) = wrong(&symbolic, &trace, launch, known) {
            if super::oracle::number("FARPTR_PROGRAMS_COUNT") == Some(1) {
                eprintln!("{}", program.module.disassemble());
            }
            return Some(format!("{place:?}: {why}"));
        }
    }
    None
}

/// Runs programs. Returns the first seed with wrong bounds, and why.
fn first_wrong(optimised: bool, count: u64, known: &mut Known) -> Option<(u64, String)> {
    let first = number("FARPTR_PROGRAMS_SEED").unwrap_or(1);
    (first..first + count).find_map(|seed| Some((seed, run(seed, optimised, known)?)))
}

#[test]
fn what_programs_touch_is_within_the_bounds_of_all_launches() {
    for (optimised, default) in [(false, COUNT), (true, OPTIMISED_COUNT)] {
        let count = number("FARPTR_PROGRAMS_COUNT").unwrap_or(default);
        let mut known = Known::default();
        let found = first_wrong(optimised, count, &mut known);
        let how = "FARPTR_PROGRAMS_SEED with FARPTR_PROGRAMS_COUNT=1 shows it";
        assert_eq!(found, None, "optimised: {optimised}; {how}");
        let Known { accesses, bounded, depending } = known;
        println!("{bounded} of {accesses} accesses bounded, {depending} by what a launch decides");
        let shows = bounded * 5 > accesses && depending * 20 > accesses;
        assert!(count < default || accesses == 0 || shows, "too little is known to show much");
    }
}

#[test]
fn a_bound_that_is_too_small_by_one_is_found() {
    activate(Some(Mutant::WordsTooNarrow));
    let found = first_wrong(false, COUNT, &mut Known::default());
    activate(None);
    println!("{:?}", found.as_ref().map(|(seed, _)| seed));
    assert!(found.is_some(), "it is not found");
}

/// Launches of shipped kernels touch no more than the bounds of all launches allow.
#[test]
fn footprints_of_launches_are_within_the_bounds_of_all_launches() {
    let (mut compared, mut equal) = (0, 0);
    for (name, words) in farptr_kernels::all() {
        let program = Program::parse(words, Some("main")).expect(name);
        let Ok(symbolic) = program.footprints().symbolic() else { continue };
        for (word, groups) in [(64u32, [3, 1, 1]), (5, [1, 1, 1]), (3, [2, 2, 2]), (40, [1, 2, 1])]
        {
            let push = word.to_le_bytes().repeat(32);
            let footprint = program.footprints().of_launch(&push, groups);
            for (reach, all) in footprint.sites.iter().zip(&symbolic.sites) {
                let (SiteReach::Bytes(spans), Reach::Bytes(all)) = (reach, all) else { continue };
                for span in spans {
                    let root = span.root;
                    let Root::Push { offset_bytes } = root;
                    let of_root = all.iter().filter(|bytes| bytes.root == offset_bytes);
                    let ends = of_root.map(|bytes| {
                        let ends = [&bytes.start, &bytes.end].map(|end| end.value(&push, groups));
                        ends.map(|end| end.expect("nothing divides by 0"))
                    });
                    let ends: Vec<[i128; 2]> = ends.collect();
                    let start = ends.iter().map(|[start, _]| *start).min();
                    let end = ends.iter().map(|[_, end]| *end).max();
                    let (start, end) = start.zip(end).expect("there are bounds");
                    let (from, to) = (i128::from(span.start_bytes), i128::from(span.end_bytes));
                    assert!(start <= from && to <= end, "{name}, {word}: {span:?} in {all:?}");
                    compared += 1;
                    equal += usize::from((start, end) == (from, to));
                }
            }
        }
    }
    println!("{equal} of {compared} bounds are exact");
    assert!(compared > 50 && equal * 2 > compared, "{equal} of {compared}");
}

#[test]
fn shipped_kernels_touch_what_the_list_says() {
    let mut found = String::new();
    for (name, words) in farptr_kernels::all() {
        let program = Program::parse(words, Some("main")).expect(name);
        let names = Reflection::of(words).expect(name).push_names;
        let footprint = program.footprints().of_kernel(program.analysis(), &names);
        writeln!(found, "{name}").expect("it is text");
        for line in footprint.to_string().lines() {
            writeln!(found, "    {line}").expect("it is text");
        }
    }
    if std::env::var_os("FARPTR_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/footprint/tests/kernels.txt");
        std::fs::write(path, &found).expect("the list can be written");
        return;
    }
    assert_eq!(found, WORDS, "FARPTR_BLESS=1 writes the list again");
}
