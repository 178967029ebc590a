//! A subscriber of traces that panics within a launch loses nothing, and the scope can go on: it
//! panics at the first call that a launch makes to it, at the second, and so on.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::build;
use farptr::shaders::{gather, hadamard};
use farptr::test_hooks::TestHooks;
use farptr::{AccessMode, Backing, Error, Grid, LaunchError, Runtime, Scope};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Elements of some pages, not whole ones.
const N: usize = 5_003;
const COUNT: u32 = 5_003;

/// Panics when so many calls have come; 0 for never.
#[derive(Clone, Default)]
struct Panics(Arc<AtomicU64>);

impl Panics {
    fn count(&self) {
        if self.0.load(Relaxed) > 0 && self.0.fetch_sub(1, Relaxed) == 1 {
            // Without a message.
            resume_unwind(Box::new("as the test asked for"));
        }
    }
}

impl Subscriber for Panics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        self.count();
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        self.count();
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.count();
    }

    fn enter(&self, _: &Id) {
        self.count();
    }

    // It is called while a panic unwinds, too.
    fn exit(&self, _: &Id) {}
}

/// Each access mode and backing, and copies by the device's own commands.
fn runtimes() -> Vec<Runtime> {
    let staged = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    common::runtimes().into_iter().chain(build(staged.staged_copies(true))).collect()
}

/// Launches, with a panic at some call, and again after it if `again` is set. Returns whether there
/// was one.
fn launched(
    s: &mut Scope<'_, '_>,
    panics: &Panics,
    (at, again): (u64, bool),
    mut launch: impl FnMut(&mut Scope<'_, '_>) -> Result<(), LaunchError>,
) -> Result<bool, Error> {
    panics.0.store(at, Relaxed);
    let first = catch_unwind(AssertUnwindSafe(|| launch(s)));
    panics.0.store(0, Relaxed);
    let panicked = first.is_err();
    first.unwrap_or(Ok(()))?;
    if panicked && again {
        launch(s)?;
    }
    Ok(panicked)
}

/// Multiplies two arrays. Returns whether there was a panic, and the product, which was 9 before.
fn multiplied(runtime: &Runtime, panics: &Panics, how: (u64, bool)) -> (bool, Vec<f32>) {
    let kernel = runtime.kernel::<hadamard::Kernel>().unwrap();
    let (x, y, mut z) = (vec![2.0f32; N], vec![3.0f32; N], vec![9.0f32; N]);
    let panicked = runtime.scope(|s| {
        let (x, y, z) = (s.lend(&x)?.ptr(), s.lend(&y)?.ptr(), s.lend_mut(&mut z)?.ptr());
        let (x, y, z) = (x.address(), y.address(), z.address());
        launched(s, panics, how, |s| {
            let [x, y] = [x, y].map(farptr::Ptr::from_address);
            let args = hadamard::Args { x, y, z: farptr::PtrMut::from_address(z), n: COUNT };
            s.launch(&kernel, Grid::cover(N), args)
        })
    });
    (panicked.unwrap(), z)
}

/// The same for elements that are chosen by others: on copies a launch in rounds.
fn gathered(runtime: &Runtime, panics: &Panics, how: (u64, bool)) -> (bool, Vec<f32>) {
    let kernel = runtime.kernel::<gather::Kernel>().unwrap();
    let index: Vec<u32> = (0..COUNT).rev().collect();
    let (x, mut z) = (vec![6.0f32; N], vec![9.0f32; N]);
    let panicked = runtime.scope(|s| {
        let (x, index) = (s.lend(&x)?.ptr().address(), s.lend(&index)?.ptr().address());
        let z = s.lend_mut(&mut z)?.ptr().address();
        launched(s, panics, how, |s| {
            let (x, index) = (farptr::Ptr::from_address(x), farptr::Ptr::from_address(index));
            let args = gather::Args { x, index, z: farptr::PtrMut::from_address(z), n: COUNT };
            s.launch(&kernel, Grid::cover(N), args)
        })
    });
    (panicked.unwrap(), z)
}

/// A launch with a panic, and perhaps another: whether there was one, and the result.
type Run = fn(&Runtime, &Panics, (u64, bool)) -> (bool, Vec<f32>);

/// Panics at each call of a launch in turn: of the first launch of a runtime, and of a later one.
fn check(run: Run) {
    for again in [true, false] {
        let mut calls = 0;
        for at in 1.. {
            let panics = Panics::default();
            let ended = tracing::subscriber::with_default(panics.clone(), || {
                let results = runtimes().into_iter().map(|runtime| {
                    let first = run(&runtime, &panics, (at, again));
                    let later = run(&runtime, &panics, (at, again));
                    [first, later].map(|(panicked, z)| {
                        let is_written = z == [6.0; N];
                        let is_right = is_written || (panicked && !again && z == [9.0; N]);
                        assert!(
                            is_right,
                            "{}, call {at}, {again}: {:?}",
                            runtime.explain(),
                            &z[..4]
                        );
                        panicked
                    })
                });
                let panicked: Vec<bool> = results.flatten().collect();
                calls += panicked.iter().filter(|panicked| **panicked).count();
                !panicked.contains(&true)
            });
            if ended {
                break;
            }
        }
        // Without a device there are none.
        assert!(calls > 4 || runtimes().is_empty(), "{calls} panics");
    }
}

#[test]
fn a_panic_in_a_launch_loses_nothing() {
    check(multiplied);
}

#[test]
fn a_panic_in_rounds_loses_nothing() {
    check(gathered);
}

/// Waits for a launch that has an index out of range, with a panic at some call, and again after a
/// panic. Returns whether there was one; the failure is reported in any case.
fn failed(runtime: &Runtime, panics: &Panics, at: u64) -> bool {
    let kernel = runtime.kernel::<gather::Kernel>().unwrap();
    let (x, index, mut z) = (vec![6.0f32; N], vec![COUNT; N], vec![9.0f32; N]);
    let panicked = runtime.scope(|s| {
        let (x, index, z) = (s.lend(&x)?.ptr(), s.lend(&index)?.ptr(), s.lend_mut(&mut z)?.ptr());
        let launched = s.launch(&kernel, Grid::cover(N), gather::Args { x, index, z, n: COUNT });
        if launched.is_err() {
            // In rounds: the launch has waited.
            return Ok(false);
        }
        panics.0.store(at, Relaxed);
        let first = catch_unwind(AssertUnwindSafe(|| s.wait().map(drop)));
        panics.0.store(0, Relaxed);
        let panicked = first.is_err();
        let waited = first.unwrap_or_else(|_| s.wait().map(drop));
        assert!(matches!(waited, Err(LaunchError::Fault(_))), "call {at}: {waited:?}");
        Ok(panicked)
    });
    panicked.unwrap()
}

#[test]
fn a_panic_at_a_failure_does_not_lose_it() {
    for runtime in runtimes() {
        for at in 1.. {
            let panics = Panics::default();
            let run = || failed(&runtime, &panics, at);
            if !tracing::subscriber::with_default(panics.clone(), run) {
                // A launch that waits in rounds makes no call; the others make one at least.
                assert!(at > 1 || common::copies(&runtime), "{:?}", runtime.explain());
                break;
            }
        }
    }
}
