//! A device allows so many memory allocations, and each import is one: what goes beyond is copied,
//! or refused.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/masked.rs"]
mod masked;

use common::build;
use farptr::shaders::{affine, probe};
use farptr::{AccessMode, Backing, Error, Grid, LendError, Lent, Runtime};

/// More than the 4,096 that Vulkan promises.
const LENDS: usize = 5000;
const PAGE: usize = 4096;
const WORDS: usize = PAGE / 8;

/// Pages that lie one behind the other, each with a link to another one: all are on one chain.
fn chained(memory: &mut [u64]) -> Vec<&[u64]> {
    let ahead = memory.as_ptr().align_offset(PAGE);
    let pages = &mut memory[ahead..][..LENDS * WORDS];
    let start = pages.as_ptr() as u64;
    // 1009 is a prime that does not divide the number of pages.
    let address = |step: usize| start + (step * 1009 % LENDS * PAGE) as u64;
    for step in 0..LENDS {
        let page = &mut pages[step * 1009 % LENDS * WORDS..];
        page[0] = if step + 1 < LENDS { address(step + 1) } else { 0 };
        page[1] = payload(step);
    }
    pages.chunks(WORDS).collect()
}

fn payload(step: usize) -> u64 {
    (step as u64 * 0x9e37_79b9) & 0xffff_ffff
}

/// The least limit that a device may have.
const LIMIT: u64 = 4096;

#[test]
fn lends_beyond_the_limit_are_copied() {
    copy_beyond_the_limit();
}

/// The layer refuses, and counts, allocations beyond the limit.
#[test]
fn no_allocation_beyond_the_limit_is_tried() {
    let test = "no_allocation_beyond_the_limit_is_tried";
    let Some(ended) = masked::again("lavapipe,allocations=4096", test) else {
        copy_beyond_the_limit();
        return refuse_beyond_the_limit();
    };
    ended.assert_passed();
    assert!(ended.stdout.contains("TooManyImports"), "{}", ended.stdout);
    println!("{}", ended.report);
    let most = ended.counts("peak_memory").into_iter().max().unwrap();
    assert!((LIMIT * 7 / 8 - 100..=LIMIT).contains(&most), "{most}");
    assert!(!ended.stderr.contains("which is the limit"), "{}", ended.stderr);
    assert_eq!(ended.left(), []);
}

fn copy_beyond_the_limit() {
    for backing in [Backing::Auto, Backing::Copy] {
        let mirrored = Runtime::builder().access(AccessMode::Mirrored).backing(backing);
        let Some(runtime) = build(mirrored) else { return };
        let (probe, affine) = (runtime.kernel().unwrap(), runtime.kernel().unwrap());
        let mut memory = vec![0u64; (LENDS + 1) * WORDS];
        let (mut result, mut y) = ([0u32; 2], vec![1.0f32; 100_000]);
        let mut before = runtime.stats();
        for _ in 0..2 {
            let pages = chained(&mut memory);
            runtime
                .scope(|s| {
                    let lent: Vec<Lent<'_, u64>> =
                        pages.iter().map(|page| s.lend(page)).collect::<Result<_, _>>()?;
                    let (result, y) = (s.lend_mut(&mut result)?, s.lend_mut(&mut y)?);
                    let (head, result) = (lent[0].ptr(), result.ptr());
                    let args = probe::Args { head, result, limit: u32::MAX };
                    s.launch::<probe::Kernel>(&probe, Grid::groups(1, 1, 1), args)?;
                    let args = affine::Args { y: y.ptr(), n: 100_000, a: 2.0, c: 1.0 };
                    s.launch::<affine::Kernel>(&affine, Grid::cover(100_000), args)
                        .map_err(Error::from)
                })
                .unwrap();
            let expected = (0..LENDS).map(payload).fold(0, |all, one| all ^ one);
            assert_eq!([u64::from(result[0]), u64::from(result[1])], [LENDS as u64, expected]);
            // The scope before has given its allocations back.
            let stats = runtime.stats();
            let imported = stats.since(&before).pages_imported;
            before = stats;
            println!("{imported} pages were imported");
            assert!(imported == 0 || (3000..=LENDS as u64 + 100).contains(&imported));
        }
        assert!(y.iter().all(|&y| y == 7.0));
    }
}

#[test]
fn direct_access_names_the_limit() {
    refuse_beyond_the_limit();
}

fn refuse_beyond_the_limit() {
    let Some(runtime) = build(Runtime::builder().access(AccessMode::Direct)) else { return };
    let mut memory = vec![0u64; (LENDS + 1) * WORDS];
    let pages = chained(&mut memory);
    let lent = runtime.scope(|s| {
        for page in &pages {
            s.lend(page)?;
        }
        Ok(())
    });
    match lent {
        Ok(()) => println!("the device allows {LENDS} allocations"),
        Err(Error::Lend(LendError::TooManyImports { limit, used, .. })) => {
            println!("TooManyImports: {used} of {limit}");
            assert!(u32::try_from(LENDS).unwrap() > used && used < limit && limit >= 4096);
        }
        Err(other) => panic!("{other:?}"),
    }
    // The imports have ended with the scope.
    runtime.scope(|s| s.lend(pages[0]).map(drop).map_err(Error::from)).unwrap();
}
