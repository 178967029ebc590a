//! Copies of lent memory stay on the device after a scope, and never give old bytes.
//!
//! # Safety
//!
//! A mapping of the test's own loses its content while nobody has a slice of it.
#![allow(unsafe_code, reason = "it drops pages, with the argument above")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::build;
use farptr::shaders::{affine, saxpy};
use farptr::{AccessMode, Backing, Grid, ResidencyTier, Reuse, Runtime, RuntimeBuilder, Stats};
use proptest::prelude::*;
use std::{fmt::Write as _, thread};

const PAGE_BYTES: u64 = 4096;
/// Elements of a page.
const PAGE: usize = 1024;

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

/// A runtime that keeps copies, if there is a device and Linux tracks stores.
fn keeping(builder: RuntimeBuilder) -> Option<Runtime> {
    let runtime = build(builder.reuse(Reuse::Anonymous))?;
    if runtime.tier() != ResidencyTier::Scoped {
        println!("SKIP: this kernel tracks no stores; Linux 6.7 is needed");
        assert!(std::env::var_os("CI").is_none(), "CI has a kernel that does");
        return None;
    }
    Some(runtime)
}

/// Memory of so many pages that begins on a page boundary.
fn mapped(pages: usize) -> memmap2::MmapMut {
    memmap2::MmapMut::map_anon(pages * 4 * PAGE).unwrap()
}

fn words(memory: &mut [u8]) -> &mut [f32] {
    bytemuck::cast_slice_mut(memory)
}

/// `y = x + y` in a scope of its own, and what it counted.
fn add(runtime: &Runtime, x: &[f32], y: &mut [f32]) -> Stats {
    let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
    let before = runtime.stats();
    let n = u32::try_from(x.len()).unwrap();
    let launched = runtime.scope(|s| {
        let (x, y) = (s.lend(x)?.ptr(), s.lend_mut(y)?.ptr());
        s.launch(&kernel, Grid::cover(n as usize), saxpy::Args { x, y, n, a: 1.0 })?;
        Ok(())
    });
    launched.unwrap();
    runtime.stats().since(&before)
}

#[test]
fn what_nobody_has_stored_to_does_not_come_again() {
    let Some(runtime) = keeping(copying()) else { return };
    assert!(runtime.explain().to_string().contains("scoped"));
    let (mut x, mut y) = (mapped(64), mapped(64));
    let (x, y) = (words(&mut x), words(&mut y));
    x.fill(1.0);
    let all = 64 * PAGE_BYTES;
    let first = add(&runtime, x, y);
    assert_eq!((first.bytes_in, first.bytes_home, first.pages_kept), (2 * all, all, 0));
    // `y` was written by the kernel, so it comes again.
    let second = add(&runtime, x, y);
    assert_eq!((second.bytes_in, second.bytes_home, second.pages_kept), (all, all, 64));
    assert_eq!((second.rounds, second.faults), (1, 0));
    // One word on each of two pages.
    x[5 * PAGE] = 10.0;
    x[63 * PAGE + 7] = 10.0;
    let third = add(&runtime, x, y);
    assert_eq!((third.bytes_in, third.pages_kept), (all + 2 * PAGE_BYTES, 62));
    let expected = |at: usize| if at == 5 * PAGE || at == 63 * PAGE + 7 { 12.0 } else { 3.0 };
    assert!(y.iter().enumerate().all(|(at, &y)| y == expected(at)));
    let fourth = add(&runtime, x, y);
    assert_eq!((fourth.bytes_in, fourth.pages_kept), (all, 64));
}

#[test]
fn nothing_stays_unless_asked_for() {
    let Some(runtime) = build(copying().reuse(Reuse::Never)) else { return };
    assert_eq!(runtime.tier(), ResidencyTier::None);
    let (mut x, mut y) = (mapped(64), mapped(64));
    for _ in 0..2 {
        let counted = add(&runtime, words(&mut x), words(&mut y));
        assert_eq!((counted.bytes_in, counted.pages_kept), (128 * PAGE_BYTES, 0));
    }
}

#[test]
fn memory_that_is_mapped_anew_gives_its_own_bytes() {
    let Some(runtime) = keeping(copying()) else { return };
    let mut y = mapped(32);
    let mut reused = 0;
    let mut last = None;
    for number in 1..=20u8 {
        let mut memory = mapped(32);
        let x = words(&mut memory);
        x.fill(f32::from(number));
        reused += usize::from(last.replace(x.as_ptr().addr()) == Some(x.as_ptr().addr()));
        let y = words(&mut y);
        y.fill(0.0);
        assert_eq!(add(&runtime, x, y).pages_kept, 0, "mapping {number}");
        assert!(y.iter().all(|&y| y == f32::from(number)), "mapping {number}");
    }
    println!("{reused} mappings of 20 were where the one before had been");
}

#[test]
fn dropped_pages_and_heap_memory_give_their_own_bytes() {
    let Some(runtime) = keeping(copying()) else { return };
    let mut memory = mapped(32);
    words(&mut memory).fill(7.0);
    let mut y = vec![0.0f32; 32 * PAGE];
    add(&runtime, words(&mut memory), &mut y);
    // SAFETY: the pages become zeroes, which are values of `u8`; nobody has a slice of them.
    unsafe { memory.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) }.unwrap();
    add(&runtime, words(&mut memory), &mut y);
    assert!(y.iter().all(|&y| y == 7.0), "zeroes were added the second time");
    // A vector that grows, moves and is freed, at whatever address.
    let mut x = Vec::new();
    for pages in 1..60 {
        x.resize(pages * PAGE, 1.0f32);
        x[0] = 2.0;
        let mut y = vec![0.0f32; x.len()];
        add(&runtime, &x, &mut y);
        assert_eq!(y, x, "{pages} pages");
    }
}

/// Who stores to every page between scopes pays for few of them.
#[test]
fn lends_that_the_host_rewrites_are_left_alone() {
    let Some(runtime) = keeping(copying()) else { return };
    let (mut x, mut y) = (mapped(64), mapped(64));
    let mut kept = String::new();
    for scope in 0..40u8 {
        words(&mut x).fill(f32::from(scope));
        words(&mut y).fill(0.0);
        let counted = add(&runtime, words(&mut x), words(&mut y));
        assert!(words(&mut y).iter().all(|&y| y == f32::from(scope)));
        assert_eq!(counted.pages_kept, 0);
        write!(kept, "{} ", counted.bytes_in / PAGE_BYTES).unwrap();
    }
    println!("pages in: {kept}");
}

/// Buffers that swap their roles are written at home by each second scope.
#[test]
fn lends_that_swap_their_roles_are_left_alone() {
    let Some(runtime) = keeping(copying()) else { return };
    let (mut x, mut y) = (mapped(64), mapped(64));
    words(&mut x).fill(1.0);
    let mut kept = 0;
    let (mut model_x, mut model_y) = (1.0f32, 0.0f32);
    for _ in 0..14 {
        kept += add(&runtime, words(&mut x), words(&mut y)).pages_kept;
        model_y += model_x;
        kept += add(&runtime, words(&mut y), words(&mut x)).pages_kept;
        model_x += model_y;
        assert!(words(&mut x).iter().all(|&x| x == model_x));
        assert!(words(&mut y).iter().all(|&y| y == model_y));
    }
    assert_eq!(kept, 128, "each of them once");
}

/// To track a lend costs as much as it is long.
#[test]
fn lends_of_which_little_is_there_are_left_alone() {
    let Some(runtime) = keeping(copying()) else { return };
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let mut y = mapped(512);
    for _ in 0..3 {
        let before = runtime.stats();
        let launched = runtime.scope(|s| {
            let y = s.lend_mut(words(&mut y))?;
            s.launch(&kernel, Grid::cover(9), affine::Args { y: y.ptr(), n: 9, a: 1.0, c: 1.0 })?;
            Ok(())
        });
        launched.unwrap();
        let counted = runtime.stats().since(&before);
        assert_eq!((counted.bytes_in, counted.pages_kept), (PAGE_BYTES, 0));
    }
    assert_eq!(words(&mut y)[8..10], [3.0, 0.0]);
}

/// A lend comes back with the permissions that its pages had, so only what is written goes home.
#[test]
fn a_page_that_is_written_takes_no_other_home() {
    let Some(runtime) = keeping(copying()) else { return };
    let copy = runtime.kernel::<saxpy::Kernel>().unwrap();
    let increment = runtime.kernel::<affine::Kernel>().unwrap();
    let (mut x, mut y) = (mapped(64), mapped(64));
    let mut kept = Vec::new();
    for scope in 1..=4u8 {
        words(&mut y).fill(0.0);
        let before = runtime.stats();
        let launched = runtime.scope(|s| {
            let (x, y) = (s.lend_mut(words(&mut x))?.ptr(), s.lend_mut(words(&mut y))?.ptr());
            let n = u32::try_from(60 * PAGE)?;
            let args = saxpy::Args { x: x.into(), y, n, a: 1.0 };
            s.launch(&copy, Grid::cover(60 * PAGE), args)?;
            s.launch(&increment, Grid::cover(9), affine::Args { y: x, n: 9, a: 1.0, c: 1.0 })?;
            Ok(())
        });
        launched.unwrap();
        let counted = runtime.stats().since(&before);
        assert_eq!(counted.bytes_home, 61 * PAGE_BYTES, "scope {scope}");
        kept.push(counted.pages_kept);
        assert_eq!(words(&mut x)[8..10], [f32::from(scope), 0.0]);
        assert_eq!(words(&mut y)[8..10], [f32::from(scope) - 1.0, 0.0]);
    }
    // The page that came home was stored to.
    assert_eq!(kept, [0, 60, 59, 59]);
}

#[test]
fn a_part_of_a_lend_that_is_kept_is_kept_in_its_place() {
    let Some(runtime) = keeping(copying()) else { return };
    let (mut x, mut y) = (mapped(64), mapped(64));
    let (x, y) = (words(&mut x), words(&mut y));
    add(&runtime, x, y);
    let part = 0..32 * PAGE;
    let kept = [0; 3].map(|_| add(&runtime, &x[part.clone()], &mut y[part.clone()]).pages_kept);
    assert_eq!(kept, [0, 32, 32]);
}

/// What is kept gives way to scopes that need the memory.
#[test]
fn kept_copies_give_way() {
    let Some(runtime) = keeping(copying().device_budget(200 * PAGE_BYTES)) else { return };
    let mut all: Vec<_> = (0..8u8).map(|_| mapped(40)).collect();
    let mut y = mapped(40);
    for scope in 0..40 {
        let place = scope * 5 % 8;
        let x = words(&mut all[place]);
        x[scope * PAGE] += 1.0;
        let x: Vec<f32> = x.to_vec();
        let x_lent = words(&mut all[place]);
        words(&mut y).fill(0.0);
        let counted = add(&runtime, x_lent, words(&mut y));
        assert_eq!(words(&mut y), x, "scope {scope}");
        // Each lend has frames in one run, so that its pages come before the launch.
        assert_eq!((counted.rounds, counted.faults), (1, 0), "scope {scope}");
    }
}

#[test]
fn two_runtimes_and_overlapping_lends_see_all_stores() {
    let Some(first) = keeping(copying()) else { return };
    let Some(second) = keeping(copying()) else { return };
    let (mut x, mut y) = (mapped(64), mapped(64));
    let (x, y) = (words(&mut x), words(&mut y));
    for step in 0..60usize {
        let runtime = if step % 3 == 0 { &second } else { &first };
        // All of it, a half, or a part that shares pages with both.
        let part = [0..64 * PAGE, 0..32 * PAGE, 16 * PAGE..48 * PAGE][step / 3 % 3].clone();
        x[step * PAGE + 5] += 1.0;
        y.fill(0.0);
        add(runtime, &x[part.clone()], &mut y[part.clone()]);
        assert_eq!(y[part.clone()], x[part], "step {step}");
    }
}

/// Threads lend the same memory at a time, and store to it when no scope has it.
#[test]
fn scopes_of_several_threads_lend_the_same_memory() {
    let Some(runtime) = keeping(copying()) else { return };
    let mut x = mapped(64);
    for round in 0..10usize {
        words(&mut x)[round * 3 * PAGE] += 1.0;
        let x: &[f32] = bytemuck::cast_slice(&x);
        thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    for _ in 0..3 {
                        let mut y = vec![0.0; x.len()];
                        add(&runtime, x, &mut y);
                        assert_eq!(y, x, "round {round}");
                    }
                });
            }
        });
    }
}

/// What happens between two scopes, or in one.
#[derive(Clone, Debug)]
enum Step {
    /// The host stores to a word.
    Store { array: usize, at: usize },
    /// The host stores to a range of words.
    Fill { array: usize, at: usize, len: usize },
    /// `to = from + to` on a part of both, in a scope.
    Add { from: usize, to: usize, at: usize, len: usize },
    /// `array = array + 1`, and a look at a part of it in the scope.
    Increment { array: usize, at: usize, len: usize },
    /// Memory that is mapped anew, of zeroes.
    Map { array: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let array = || 0usize..3;
    let words = 40 * PAGE;
    let part = move || (0..words, prop_oneof![Just(words), 1..words]);
    prop_oneof![
        3 => (array(), 0..words).prop_map(|(array, at)| Step::Store { array, at }),
        1 => (array(), part()).prop_map(|(array, (at, len))| Step::Fill { array, at, len }),
        6 => (array(), 1usize..3, prop_oneof![3 => Just((0, words)), 1 => part()])
            .prop_map(|(from, by, (at, len))| Step::Add { from, to: (from + by) % 3, at, len }),
        2 => (array(), part()).prop_map(|(array, (at, len))| Step::Increment { array, at, len }),
        1 => array().prop_map(|array| Step::Map { array }),
    ]
}

/// Takes the steps on real memory and on vectors, and compares after each.
fn take(runtime: &Runtime, steps: &[Step]) {
    let words_in_all = 40 * PAGE;
    let clip = |at: usize, len: usize| at..(at + len).min(words_in_all);
    let mut real: Vec<_> = (0..3).map(|_| mapped(40)).collect();
    let mut model = vec![vec![0.0f32; words_in_all]; 3];
    let increment = runtime.kernel::<affine::Kernel>().unwrap();
    for (number, step) in (1u16..).zip(steps) {
        let value = f32::from(number);
        match *step {
            Step::Store { array, at } => {
                words(&mut real[array])[at] = value;
                model[array][at] = value;
            }
            Step::Fill { array, at, len } => {
                words(&mut real[array])[clip(at, len)].fill(value);
                model[array][clip(at, len)].fill(value);
            }
            Step::Add { from, to, at, len } => {
                let part = clip(at, len);
                let [x, y] = real.get_disjoint_mut([from, to]).unwrap();
                add(runtime, &words(x)[part.clone()], &mut words(y)[part.clone()]);
                let [x, y] = model.get_disjoint_mut([from, to]).unwrap();
                y[part.clone()].iter_mut().zip(&x[part]).for_each(|(y, x)| *y += x);
            }
            Step::Increment { array, at, len } => {
                let seen = runtime.scope(|s| {
                    let y = s.lend_mut(words(&mut real[array]))?;
                    let n = u32::try_from(words_in_all)?;
                    let args = affine::Args { y: y.ptr(), n, a: 1.0, c: 1.0 };
                    s.launch(&increment, Grid::cover(words_in_all), args)?;
                    let seen = s.wait()?.read_range(&y, clip(at, len))?.to_vec();
                    Ok(seen)
                });
                model[array].iter_mut().for_each(|y| *y += 1.0);
                assert_eq!(seen.unwrap(), model[array][clip(at, len)]);
            }
            Step::Map { array } => {
                real[array] = mapped(40);
                model[array].fill(0.0);
            }
        }
        for (real, model) in real.iter_mut().zip(&model) {
            assert!(words(real) == model, "after step {number}, {step:?}");
        }
    }
}

#[test]
fn copies_agree_with_a_model() {
    let budgets = [None, Some(2 * PAGE_BYTES), Some(50 * PAGE_BYTES), Some(130 * PAGE_BYTES)];
    for budget in budgets {
        let builder = budget.into_iter().fold(copying(), RuntimeBuilder::device_budget);
        let Some(runtime) = keeping(builder) else { return };
        let config = ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() };
        proptest!(config, |(steps in prop::collection::vec(step(), 1..40))| {
            take(&runtime, &steps);
        });
        println!("{budget:?}: {} pages were kept", runtime.stats().pages_kept);
    }
}
