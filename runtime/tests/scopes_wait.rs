//! `Runtime::scope` waits before it returns, whatever its closure does.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "../../hmm/tests/processors/mod.rs"]
mod processors;

use common::runtime;
use farptr::shaders::affine;
use farptr::{Error, Grid, Kernel, Runtime, Scope};
use processors::pin;
use std::panic::{AssertUnwindSafe, catch_unwind};

const N: usize = 1 << 20;

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

#[test]
fn a_panic_waits_for_what_was_submitted() {
    let Some(runtime) = runtime() else { return };
    let kernel = kernel(&runtime);
    let mut y = vec![0.0f32; N];
    let before = runtime.stats();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = runtime.scope(|s| -> Result<(), Error> {
            count_up(s, &kernel, &mut y, 64)?; // one full submission
            panic!("on purpose");
        });
    }));
    assert!(panicked.is_err());
    // `scope` has waited, so all 64 launches are visible and none is still running.
    assert!(y.iter().all(|&y| y == 64.0));
    assert_eq!(runtime.stats().since(&before).launches, 64);
}

#[test]
fn an_error_drops_what_was_not_submitted() {
    let Some(runtime) = runtime() else { return };
    let kernel = kernel(&runtime);
    let mut y = vec![0.0f32; 1000];
    let before = runtime.stats();
    let left: Result<(), Error> = runtime.scope(|s| {
        count_up(s, &kernel, &mut y, 65)?; // one submission, and one launch more
        Err(Error::other("enough"))
    });
    assert_eq!(left.unwrap_err().to_string(), "enough");
    assert_eq!(y, vec![64.0; 1000]);
    assert_eq!(runtime.stats().since(&before).launches, 64);
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
    let mut slices = vec![vec![0.0f32; 10_000]; 8];
    std::thread::scope(|threads| {
        for (number, y) in slices.iter_mut().enumerate() {
            let (runtime, kernel) = (&runtime, &kernel);
            threads.spawn(move || {
                let _pinned = pin(number);
                for _ in 0..20 {
                    runtime.scope(|s| count_up(s, kernel, y, 5)).unwrap();
                }
            });
        }
    });
    assert!(slices.iter().flatten().all(|&y| y == 100.0));
    let done = runtime.stats().since(&before);
    assert_eq!((done.launches, done.submissions, done.lends), (800, 160, 160));
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
    assert_eq!((done.lends, done.pages_imported), (3, 5 + 3));
}
