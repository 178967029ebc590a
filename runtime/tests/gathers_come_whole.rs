//! On copies, a lend of which a kernel needed half by indices from memory comes as a whole before
//! the next launch of the kernel.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::{copying_whole_lends, ramp};
use farptr::shaders::gather;
use farptr::{Grid, Kernel, Runtime, Stats};

/// Elements of a page.
const PAGE: usize = 1024;
const PAGES: usize = 256;
const N: usize = PAGES * PAGE;

/// Gathers in a scope of its own, and says what it cost.
fn gathered(runtime: &Runtime, kernel: &Kernel<gather::Kernel>, x: &[f32], index: &[u32]) -> Stats {
    let mut z = vec![0.0f32; index.len()];
    let before = runtime.stats();
    runtime
        .scope(|s| {
            let (x, count) = (s.lend(x)?.ptr(), index.len());
            let (index, z) = (s.lend(index)?.ptr(), s.lend_mut(&mut z)?.ptr());
            let args = gather::Args { x, index, z, n: count.try_into().unwrap() };
            Ok(s.launch(kernel, Grid::cover(count), args)?)
        })
        .unwrap();
    let expected: Vec<f32> = index.iter().map(|&at| x[at as usize]).collect();
    assert_eq!(z, expected);
    runtime.stats().since(&before)
}

/// One element of each of so many pages, every so many, from the last one to the first.
fn one_of_each(pages: usize, step: usize) -> Vec<u32> {
    (0..pages).rev().map(|page| u32::try_from(page * step * PAGE + page).unwrap()).collect()
}

#[test]
fn a_lend_comes_whole_once_a_kernel_has_needed_half_of_it() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let kernel = runtime.kernel::<gather::Kernel>().unwrap();
    let x = ramp(N);
    let most = one_of_each(PAGES * 5 / 8, 1);
    let first = gathered(&runtime, &kernel, &x, &most);
    assert!(first.rounds > 1 && first.faults >= most.len() as u64, "{first:?}");
    let second = gathered(&runtime, &kernel, &x, &most);
    assert_eq!((second.faults, second.rounds), (0, 1), "{second:?}");
    assert!(second.bytes_in >= N as u64 * 4, "the whole lend: {second:?}");
    // It is the argument of the kernel that is known, and not the lend.
    let other = ramp(N / 2);
    let third = gathered(&runtime, &kernel, &other, &[7, 3, 20_000]);
    assert_eq!((third.faults, third.rounds), (0, 1), "{third:?}");
}

/// One page of one is half of a lend, and says nothing of a larger one.
#[test]
fn a_large_lend_does_not_come_because_a_small_one_was_needed() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let kernel = runtime.kernel::<gather::Kernel>().unwrap();
    let (small, x) = (ramp(10), ramp(N));
    let first = gathered(&runtime, &kernel, &small, &[7, 0, 9]);
    assert_eq!(first.undone_rounds, 1, "{first:?}");
    let again = gathered(&runtime, &kernel, &small, &[3]);
    assert_eq!(again.undone_rounds, 0, "{again:?}");
    let large = gathered(&runtime, &kernel, &x, &[7, 3, 20_000]);
    assert!(large.undone_rounds > 0 && large.bytes_in < N as u64, "{large:?}");
}

#[test]
fn a_lend_of_which_less_is_needed_comes_on_demand() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let kernel = runtime.kernel::<gather::Kernel>().unwrap();
    let x = ramp(N);
    let few = one_of_each(PAGES / 8, 8);
    for _ in 0..3 {
        let each = gathered(&runtime, &kernel, &x, &few);
        assert!(each.rounds > 1 && each.faults > 0, "{each:?}");
        assert!(each.bytes_in < N as u64, "less than a quarter of the lend: {each:?}");
    }
}
