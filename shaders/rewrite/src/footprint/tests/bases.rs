//! Random programs with other addresses: all else is the same if their roots are only bases.

use super::emit::ROOTS;
use super::machine::{Machine, Trace};
use super::oracle::places;
use super::programs::program_with_addresses;
use crate::contract::analysis::Root;
use crate::program::Program as Kernel;
use crate::tests::tools::optimise;
use rspirv::binary::Assemble;
use rspirv::dr::load_words;

/// How many programs are run by default.
const COUNT: u64 = 1500;
/// One in so many programs is optimised first.
const OPTIMISED: u64 = 16;

/// How far the addresses of the arguments are moved.
const DISTANCES: [u64; 2] = [0x0123_4567_89ab_c000, 0xffff_fedc_ba98_7000];

fn moved(push: &[u8], roots: [bool; 2]) -> Vec<u8> {
    let mut push = push.to_vec();
    for ((at, by), _) in ROOTS.iter().zip(DISTANCES).zip(roots).filter(|(_, moves)| *moves) {
        let bytes = &mut push[*at as usize..][..8];
        let address = u64::from_le_bytes((&*bytes).try_into().expect("there are eight"));
        bytes.copy_from_slice(&address.wrapping_add(by).to_le_bytes());
    }
    push
}

/// What differs between two runs of an invocation besides the moved addresses.
fn difference(one: &Trace, other: &Trace, roots: [bool; 2]) -> Option<String> {
    if (&one.loops, one.loop_runs, one.is_undefined, &one.stored)
        != (&other.loops, other.loop_runs, other.is_undefined, &other.stored)
        || one.accesses.len() != other.accesses.len()
    {
        return Some(format!("{one:x?} and {other:x?}"));
    }
    let mut pairs = one.accesses.iter().zip(&other.accesses);
    let differs = pairs.find(|(one, other)| {
        let by = other.address.wrapping_sub(one.address);
        let mut moves = DISTANCES.iter().zip(roots);
        let is_moved = by == 0 || moves.any(|(of, moves)| moves && *of == by);
        (one.site, one.bytes) != (other.site, other.bytes) || !is_moved
    });
    differs.map(|(one, other)| format!("{one:x?} and {other:x?}"))
}

#[test]
fn programs_do_the_same_behind_other_addresses() {
    let number = super::oracle::number;
    let first = number("FARPTR_PROGRAMS_SEED").unwrap_or(1);
    let count = number("FARPTR_PROGRAMS_COUNT").unwrap_or(COUNT);
    let (mut bases, mut others, mut shown) = (0, 0, 0);
    for seed in first..first + count {
        let mut program = program_with_addresses(seed);
        let mut words = program.module.assemble();
        if seed % OPTIMISED == 0
            && let Some(optimised) = optimise(&words, "vulkan1.2")
        {
            program.module = load_words(&optimised).expect("the optimiser's words are a module");
            words = optimised;
        }
        let kernel = Kernel::parse(&words, None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let is_base = |offset_bytes| kernel.analysis().is_only_base(Root::Push { offset_bytes });
        let roots = ROOTS.map(is_base);
        // Roots that are used otherwise are moved too, to see that this would be noticed.
        let all = [roots, roots.map(|_| true)].map(|roots| (roots, moved(&program.push, roots)));
        let mut differs = [false; 2];
        for (number, place) in (0..).zip(places(&program)) {
            let run =
                |push| Machine::new(&program.module, push, place, seed ^ (number << 32)).run();
            let before = run(&program.push);
            for (differs, (roots, push)) in differs.iter_mut().zip(&all) {
                let found = difference(&before, &run(push), *roots);
                let is_wrong = found.is_some() && *roots == all[0].0;
                assert!(!is_wrong, "FARPTR_PROGRAMS_SEED={seed}: {roots:?} {place:?} {found:?}");
                *differs |= found.is_some();
            }
        }
        bases += roots.iter().filter(|&&is_base| is_base).count();
        others += usize::from(roots.contains(&false));
        shown += usize::from(differs[1]);
    }
    println!("{bases} roots are bases; of {others} programs with others {shown} show it");
    let enough = bases as u64 * 2 > count && shown * 8 > others;
    assert!(count < COUNT || enough, "{bases} bases, {shown} of {others} shown");
}
