//! `Runtime::scope` waits before it returns, whatever its closure does.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "../../hmm/tests/processors/mod.rs"]
mod processors;

use common::{always_in_rounds, batches_are_filled, copies, runtime};
use farptr::shaders::affine;
use farptr::{Error, Grid, Kernel, ProvedAccess, Runtime, Scope, Stats};
use processors::pin;
use std::panic::{AssertUnwindSafe, catch_unwind};

const N: usize = 1 << 20;
/// Elements of ten pages.
const SLICE: usize = 10 * 1024;

/// Adds 1 to each element `launches` times, through `s`.
fn count_up<'env>(
    s: &mut Scope<'_, 'env>,
    kernel: &Kernel<affine::Kernel>,
    y: &'env mut [f32],
    launches: u32,
) -> Result<(), Error> {
    let n = u32::try_from(y.len()).unwrap();
    let y = s.lend_mut(y)?;
    for _ in 0..launches {
        let args = affine::Args { y: y.ptr(), n, a: 1.0, c: 1.0 };
        s.launch(kernel, Grid::cover(n as usize), args)?;
    }
    Ok(())
}

/// Forgets a value, whatever it is.
fn leak<T>(value: T) {
    std::mem::forget(value);
}

fn kernel(runtime: &Runtime) -> Kernel<affine::Kernel> {
    runtime.kernel().unwrap()
}

/// Two launches more than a batch without checks has.
const LAUNCHES: u32 = 130;

/// How many of [`LAUNCHES`] are submitted by the last of them: those of a batch. A launch that
/// misses pages is submitted by itself, which the first one is then.
fn submitted(runtime: &Runtime, undone: u64) -> u16 {
    if always_in_rounds(runtime) { 130 } else { 128 + u16::from(undone > 0) }
}

/// Checks that every launch that was submitted has run, and that those were as many as expected.
fn assert_submitted(runtime: &Runtime, before: &Stats, y: &[f32]) {
    let Stats { launches, undone_rounds, .. } = runtime.stats().since(before);
    let launched = u16::try_from(launches).unwrap();
    assert!(y.iter().all(|&y| y == f32::from(launched)), "{launched}, but {}", y[0]);
    if batches_are_filled(runtime) {
        assert_eq!(launched, submitted(runtime, undone_rounds));
    } else {
        assert!((1..=LAUNCHES).contains(&launched.into()), "{launched}");
    }
}

#[test]
fn a_panic_waits_for_what_was_submitted() {
    let Some(runtime) = runtime() else { return };
    let kernel = kernel(&runtime);
    let mut y = vec![0.0f32; N];
    let before = runtime.stats();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = runtime.scope(|s| -> Result<(), Error> {
            count_up(s, &kernel, &mut y, LAUNCHES)?;
            panic!("on purpose");
        });
    }));
    assert!(panicked.is_err());
    // `scope` has waited, so all these launches are visible and none is still running.
    assert_submitted(&runtime, &before, &y);
}

#[test]
fn an_error_drops_what_was_not_submitted() {
    let Some(runtime) = runtime() else { return };
    let kernel = kernel(&runtime);
    let mut y = vec![0.0f32; 1000];
    let before = runtime.stats();
    let left: Result<(), Error> = runtime.scope(|s| {
        count_up(s, &kernel, &mut y, LAUNCHES)?;
        Err(Error::other("enough"))
    });
    assert_eq!(left.unwrap_err().to_string(), "enough");
    assert_submitted(&runtime, &before, &y);
}

#[test]
fn forgetting_everything_changes_nothing() {
    let Some(runtime) = runtime() else { return };
    let kernel = kernel(&runtime);
    let (x, mut y) = (vec![1u32; 10], vec![0.0f32; N]);
    runtime
        .scope(|s| {
            leak(s.lend(&x)?);
            leak(s.wait()?);
            let y = s.lend_mut(&mut y)?;
            let args = affine::Args { y: y.ptr(), n: 1 << 20, a: 1.0, c: 3.0 };
            s.launch(&kernel, Grid::cover(N), args)?;
            leak((y, kernel.clone(), Box::new(args)));
            Ok(())
        })
        .unwrap();
    assert!(y.iter().all(|&y| y == 3.0));
}

#[test]
fn a_kernel_may_be_dropped_before_its_launch_has_run() {
    let Some(runtime) = runtime() else { return };
    let mut y = vec![0.0f32; N];
    runtime
        .scope(|s| {
            let kernel = kernel(&runtime);
            count_up(s, &kernel, &mut y, 3)?;
            drop(kernel);
            Ok(())
        })
        .unwrap();
    assert!(y.iter().all(|&y| y == 3.0));
}

#[test]
fn scopes_nest() {
    let Some(runtime) = runtime() else { return };
    let kernel = kernel(&runtime);
    let (mut outer, mut inner) = (vec![0.0f32; 1000], vec![0.0f32; 1000]);
    runtime
        .scope(|s| {
            count_up(s, &kernel, &mut outer, 2)?;
            runtime.scope(|s| count_up(s, &kernel, &mut inner, 3))
        })
        .unwrap();
    assert_eq!((outer, inner), (vec![2.0; 1000], vec![3.0; 1000]));
}

#[test]
fn a_value_leaves_the_scope() {
    let Some(runtime) = runtime() else { return };
    assert_eq!(runtime.scope(|_| Ok(42)).unwrap(), 42);
}

#[test]
fn threads_launch_side_by_side() {
    let Some(runtime) = runtime() else { return };
    let kernel = kernel(&runtime);
    let before = runtime.stats();
    // No two of them share a page, of which one scope would have a copy.
    let mut memory = memmap2::MmapMut::map_anon(8 * SLICE * 4).unwrap();
    let memory: &mut [f32] = bytemuck::cast_slice_mut(&mut memory);
    std::thread::scope(|threads| {
        for (number, y) in memory.chunks_exact_mut(SLICE).enumerate() {
            let (runtime, kernel) = (&runtime, &kernel);
            threads.spawn(move || {
                let _pinned = pin(number);
                for _ in 0..20 {
                    runtime.scope(|s| count_up(s, kernel, y, 5)).unwrap();
                }
            });
        }
    });
    assert!(memory.iter().all(|&y| y == 100.0));
    let done = runtime.stats().since(&before);
    // Each round of a launch that takes some is submitted by itself.
    let undone = done.undone_rounds;
    assert_eq!((done.launches, done.lends, done.rounds), (800, 160, 800 + undone));
    if batches_are_filled(&runtime) && !always_in_rounds(&runtime) {
        assert_eq!(done.submissions, 160 + undone);
    } else {
        assert!((160 + undone..=done.rounds).contains(&done.submissions), "{done:?}");
    }
}

#[test]
fn pages_are_imported_once_per_scope() {
    let Some(runtime) = runtime() else { return };
    let pages = memmap2::MmapMut::map_anon(8 * 4096).unwrap();
    let before = runtime.stats();
    runtime
        .scope(|s| {
            s.lend(&pages[100..20_000])?; // pages 0 to 4
            s.lend(&pages[4096..8192])?; // page 1 again
            s.lend(&pages[20_000..])?; // pages 4 to 7, of which the first has page 4
            Ok(())
        })
        .unwrap();
    let done = runtime.stats().since(&before);
    let imported = match runtime.explain().access() {
        _ if copies(&runtime) => 0,
        ProvedAccess::Direct => 5 + 3,
        // The third lend shares a page with the first and reaches further: it is copied.
        _ => 5,
    };
    assert_eq!((done.lends, done.pages_imported), (3, imported));
}
