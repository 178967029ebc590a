//! Nests of loops, switches and jumps, rewritten and validated, as they are and optimised.

#[path = "../../../cases/src/nest/mod.rs"]
mod nest;
#[path = "../../src/tests/run.rs"]
mod run;

use farptr_rewrite::{Fold, Integers, Program, Proved, Search, Translation, Variant};
use nest::Nest;

/// How many nests are rewritten.
const NESTS: u64 = 400;

/// Runs a tool on words. Returns the words that it writes, or its complaint; `None` without the
/// tool.
fn run(tool: &str, arguments: &[&str], words: &[u32]) -> Option<Result<Vec<u32>, String>> {
    let output = run::run(tool, arguments, &run::to_bytes(words))?;
    Some(output.map(|bytes| run::to_words(&bytes)))
}

fn validate(words: &[u32]) -> Option<Result<Vec<u32>, String>> {
    run("spirv-val", &["--target-env", "vulkan1.2", "--scalar-block-layout", "-"], words)
}

/// A few forms: of every translation, with and without the guard of loops.
fn variants(seed: u64) -> Vec<Variant> {
    let translations = [
        Translation::None,
        Translation::Segments,
        Translation::Table { tree: false },
        Translation::Table { tree: true },
    ];
    let flag = |bit: u64| seed >> bit & 1 == 1;
    [true, false]
        .into_iter()
        .map(|loop_guard| Variant {
            translation: translations[(seed % 4) as usize],
            search: if flag(2) { Search::Bisected { steps: 4 } } else { Search::Unrolled(2) },
            integers: if flag(3) { Integers::Native } else { Integers::Pairs },
            offset_roots: flag(4),
            joint: flag(5),
            loop_guard,
            subgroup_faults: flag(6),
            fold: [Fold::None, Fold::Line, Fold::Space][(seed >> 7) as usize % 3],
            wide_offsets: flag(9),
            proved: proved(seed),
        })
        .collect()
}

/// Nothing, accesses, loops, or both.
fn proved(seed: u64) -> Proved {
    let which = seed / 4 % 4;
    let checks = if which & 1 == 1 { u64::MAX >> (seed % 8) } else { 0 };
    Proved { checks, own: checks & 1 == 1, loops: which & 2 == 2 }
}

/// The seed of a nest that fails is printed; `FARPTR_SEED` runs that one alone.
#[test]
fn every_form_of_every_nest_is_valid() {
    let one = std::env::var("FARPTR_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let mut valid = 0;
    for seed in one.map_or(0..NESTS, |seed: u64| seed..seed + 1) {
        let nest = Nest::new(seed);
        let words = nest.words();
        let Some(judged) = validate(&words) else { return };
        let target = ["-O", "--target-env=vulkan1.2", "-", "-o", "-"];
        let mut forms = vec![("", words)];
        if judged.is_ok() {
            valid += 1;
            let Some(optimised) = run("spirv-opt", &target, &forms[0].1) else { return };
            forms.push(("optimised", optimised.expect("it is valid")));
        }
        for (kind, words) in forms {
            let program = Program::parse(&words, None).expect("it can be rewritten");
            for variant in variants(seed) {
                let what = format!("FARPTR_SEED={seed} {kind} {variant:?}");
                let rewritten = program.rewrite(&variant).unwrap_or_else(|e| panic!("{what}: {e}"));
                if let Some(Err(said)) = validate(&rewritten) {
                    panic!("{what}: {said}\n{nest:#?}");
                }
                // A driver's compiler does this first.
                if seed % 8 == 0
                    && let Some(Err(said)) = run("spirv-opt", &target, &rewritten)
                {
                    panic!("{what}, then optimised: {said}");
                }
            }
        }
    }
    // The others have blocks that never run and branch to a continue target: compilers
    // make them and drivers take them, but this validator does not.
    println!("{valid} of {NESTS} are valid to begin with");
    assert!(one.is_some() || valid > NESTS / 2);
}
