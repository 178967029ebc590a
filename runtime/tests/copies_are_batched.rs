//! Copies between host and device share submissions, and go to and from the pages that launches can
//! reach, counted on devices whose memory the host does not map.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/masked.rs"]
mod masked;

use common::{always_in_rounds, build};
use farptr::shaders::affine;
use farptr::test_hooks::TestHooks;
use farptr::{AccessMode, Backing, Grid, LaunchOptions, Runtime, RuntimeBuilder};

const PAGE: usize = 4096;
const ON_A_PAGE: usize = PAGE / 4;
const WORDS: usize = PAGE / 8;

/// Memory that starts on a page.
fn pages(memory: &mut [f32], count: usize) -> &mut [f32] {
    let ahead = memory.as_ptr().align_offset(PAGE);
    &mut memory[ahead..ahead + count * ON_A_PAGE]
}

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

const LENDS: u64 = 500;

#[test]
fn each_of_many_pages_goes_in_once_and_home_once() {
    for proofs in [false, true] {
        if let Some(runtime) = build(copying().staged_copies(true).proofs(proofs)) {
            launch_on_each_of_many_pages(&runtime, proofs);
        }
    }
}

/// The same on a device whose memory the host cannot map, counted between runtime and driver.
#[test]
fn a_card_copies_each_of_many_pages_twice() {
    let test = "a_card_copies_each_of_many_pages_twice";
    let Some(ended) = masked::again("nvidia", test) else {
        let Some(runtime) = build(copying().proofs(false)) else { return };
        return launch_on_each_of_many_pages(&runtime, false);
    };
    ended.assert_passed();
    println!("{}", ended.report);
    let bytes = LENDS * PAGE as u64;
    // The trials at start-up take some as well.
    let [submissions, bytes_copied] = ["submissions", "copy_bytes"].map(|name| ended.total(name));
    assert!((2 * LENDS + 1..2 * LENDS + 100).contains(&submissions), "{submissions}");
    assert!((2 * bytes..2 * bytes + 400_000).contains(&bytes_copied), "{bytes_copied}");
    assert_eq!(ended.left(), []);
}

/// With `proofs`, what a launch touches comes before it, unless all launches run in rounds.
fn launch_on_each_of_many_pages(runtime: &Runtime, proofs: bool) {
    let known = proofs && !always_in_rounds(runtime);
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let count = usize::try_from(LENDS).unwrap();
    let mut memory = vec![1.0f32; (count + 1) * ON_A_PAGE];
    let memory = pages(&mut memory, count);
    let before = runtime.stats();
    runtime
        .scope(|s| {
            let lends = memory.chunks_mut(ON_A_PAGE).map(|page| s.lend_mut(page));
            let lends = lends.collect::<Result<Vec<_>, _>>()?;
            for y in &lends {
                let n = u32::try_from(y.len()).unwrap();
                let args = affine::Args { y: y.ptr(), n, a: 2.0, c: 1.0 };
                s.launch(&kernel, Grid::cover(y.len()), args)?;
            }
            Ok(())
        })
        .unwrap();
    assert!(memory.iter().all(|&y| y == 3.0));
    let stats = runtime.stats().since(&before);
    println!("{stats:?}");
    // Two rounds for each: in the second one the page is there. Or one, since it is there before:
    // for those that have frames in one stretch.
    let (least, most) = (if proofs { 1 } else { 2 }, if known { 1 } else { 2 });
    let rounds = stats.rounds;
    assert!((least * LENDS..=most * LENDS).contains(&rounds), "{rounds}");
    assert_eq!((stats.launches, stats.submissions), (LENDS, rounds));
    let bytes = LENDS * PAGE as u64;
    assert_eq!((stats.bytes_in, stats.bytes_home), (bytes, bytes));
    // On demand the table of each lend goes in with the first round of the launch that reaches it,
    // the page with the second. All pages go home together.
    assert_eq!(stats.transfers, rounds + 1);
    // A page, and the page home; and on demand its table, and the changed word of the table. Where
    // some run in rounds and some do not, rounds take the tables of the others along.
    let others = if most > least { 2 * LENDS - rounds } else { 0 };
    let regions = stats.transfer_regions;
    assert!((2 * rounds..=2 * rounds + others).contains(&regions), "{regions}");
}

/// Kernels that follow pointers may write to every lend. A launch of them that may have to be
/// undone takes all home together before it.
#[test]
fn each_round_of_any_kernel_copies_once_each_way() {
    const LENDS: usize = 40;
    const LAUNCHES: u64 = 5;
    let Some(runtime) = build(copying().staged_copies(true)) else { return };
    let kernel = glsl::kernel(&runtime, "list.comp");
    // Items of a list, one on each page: the address of the next one, and a number.
    let mut memory = vec![0u64; (LENDS + 1) * WORDS];
    let ahead = memory.as_ptr().align_offset(PAGE);
    let memory = &mut memory[ahead..][..LENDS * WORDS];
    let start = memory.as_ptr() as u64;
    for item in 1..LENDS {
        memory[(item - 1) * WORDS] = start + (item * PAGE) as u64;
    }
    let before = runtime.stats();
    runtime
        .scope(|s| {
            for page in memory.chunks_mut(WORDS) {
                s.lend_mut(page)?;
            }
            let push = [start, u64::from(u32::MAX)];
            for _ in 0..LAUNCHES {
                let options = LaunchOptions::new().transactional(true);
                s.launch_raw(&kernel, Grid::cover(1), &bytemuck::bytes_of(&push)[..12], &options)?;
            }
            Ok(())
        })
        .unwrap();
    assert!(memory.chunks(WORDS).all(|item| item[1] == LAUNCHES));
    let stats = runtime.stats().since(&before);
    println!("{stats:?}");
    assert_eq!((stats.launches, stats.submissions), (LAUNCHES, stats.rounds));
    // Each launch but the first takes all home, and so does the end of the scope.
    assert_eq!(stats.rounds, stats.undone_rounds + LAUNCHES);
    assert_eq!(stats.bytes_home, LAUNCHES * (LENDS * PAGE) as u64);
    // The rounds of the first launch bring in tables and pages.
    assert_eq!(stats.transfers, stats.undone_rounds + 1 + LAUNCHES);
}
