//! The times of kernels: each launch is timed once, whatever its form, and nothing else is.
//!
//! # Safety
//!
//! A kernel without checks gets lent memory of the length that it is told.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "common/checked.rs"]
mod checked;
mod common;
#[path = "common/ways.rs"]
mod ways;

use checked::{add_one, fault};
use common::{build, skip};
use farptr::shaders::{affine, saxpy};
use farptr::{
    AccessMode, Backing, Error, Grid, Kernel, KernelTime, LaunchOptions, PtrMut, Runtime, Stats,
};
use std::time::Duration;
use ways::ways_of;

const N: u32 = 4096;

/// Every way in which a device reaches host memory, with kernels timed; none where the device has
/// no timestamps.
fn timed() -> Vec<(&'static str, Runtime)> {
    let ways = ways_of(|builder| builder.time_kernels(true));
    ways.into_iter().filter(|(_, runtime)| is_timed(runtime)).collect()
}

/// Whether times are taken. If not, `Stats` says so, as does the explanation.
fn is_timed(runtime: &Runtime) -> bool {
    let timed = runtime.explain().times_kernels();
    assert_eq!(runtime.stats().kernel_times.is_some(), timed);
    if !timed {
        assert!(runtime.explain().to_string().contains("the device has no timestamps"));
        skip("the device has no timestamps");
    }
    timed
}

fn affine(runtime: &Runtime) -> Kernel<affine::Kernel> {
    runtime.kernel().unwrap()
}

/// The counts of `body`, and the times that were taken.
fn counted(runtime: &Runtime, body: impl FnOnce()) -> (Stats, Vec<KernelTime>) {
    let before = runtime.stats();
    body();
    let stats = runtime.stats().since(&before);
    let times = stats.kernel_times.clone().unwrap();
    for time in &times {
        assert!(time.undone <= time.total, "{time:?}");
        assert!(time.longest <= runtime_total(runtime, time.kernel), "{time:?}");
    }
    (stats, times)
}

fn runtime_total(runtime: &Runtime, kernel: &str) -> Duration {
    let times = runtime.stats().kernel_times.unwrap();
    times.iter().find(|time| time.kernel == kernel).unwrap().total
}

fn launches(times: &[KernelTime]) -> Vec<(&str, u64)> {
    times.iter().map(|time| (time.kernel, time.launches)).collect()
}

/// Launches `affine` so often, and `saxpy` once, in one scope.
fn launch_some(runtime: &Runtime, affine_launches: u32) -> Result<(), Error> {
    let (affine, saxpy) = (affine(runtime), runtime.kernel::<saxpy::Kernel>()?);
    let (x, mut y) = (vec![1.0f32; N as usize], vec![1.0f32; N as usize]);
    runtime.scope(|s| {
        let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
        for _ in 0..affine_launches {
            add_one(s, &affine, y, N)?;
        }
        s.launch(&saxpy, Grid::cover(N as usize), saxpy::Args { x, y, n: N, a: 1.0 })?;
        Ok(())
    })
}

#[test]
fn every_launch_is_timed_once() {
    for (way, runtime) in timed() {
        assert_eq!(runtime.stats().kernel_times, Some(Vec::new()), "the proof is not timed");
        // More than a batch has.
        let (stats, times) = counted(&runtime, || launch_some(&runtime, 150).unwrap());
        assert_eq!(launches(&times), [("affine", 150), ("saxpy", 1)], "{way}");
        assert_eq!(stats.launches, 151, "{way}");
        // Command buffers are used again.
        let (_, times) = counted(&runtime, || launch_some(&runtime, 3).unwrap());
        assert_eq!(launches(&times), [("affine", 3), ("saxpy", 1)], "{way}");
        assert_eq!(stats.kernel_times.unwrap().len(), 2);
        let (_, times) = counted(&runtime, || ());
        assert_eq!(times, [], "{way}: nothing was launched since");
    }
}

#[test]
fn rounds_belong_to_their_launch() {
    let copies = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    let Some(runtime) = build(copies.time_kernels(true).proofs(false)) else { return };
    if !is_timed(&runtime) {
        return;
    }
    let (stats, times) = counted(&runtime, || launch_some(&runtime, 1).unwrap());
    assert!(stats.undone_rounds > 0 && stats.rounds > stats.launches, "{stats:?}");
    assert_eq!(launches(&times), [("affine", 1), ("saxpy", 1)]);
}

#[test]
fn launches_of_every_form_are_timed() {
    for (way, runtime) in timed() {
        let kernel = affine(&runtime);
        let mut y = vec![1.0f32; N as usize];
        // Folded: more workgroups than a dimension has.
        let grid = Grid::cover(65_536 * 64 + 1);
        let transaction = LaunchOptions::new().transactional(true);
        let alone = LaunchOptions::new().deadline(Duration::from_secs(60));
        let (stats, times) = counted(&runtime, || {
            let done = runtime.scope(|s| {
                let y = s.lend_mut(&mut y)?.ptr();
                let args = || affine::Args { y, n: N, a: 1.0, c: 1.0 };
                s.launch(&kernel, grid, args())?;
                s.launch_with(&kernel, Grid::cover(N as usize), args(), &transaction)?;
                s.launch_with(&kernel, Grid::cover(N as usize), args(), &alone)?;
                if way == "direct" {
                    for grid in [grid, Grid::cover(N as usize)] {
                        // SAFETY: 1. to 3. it reads and writes the lent elements; 4. each once.
                        #[allow(unsafe_code, reason = "the argument is above")]
                        unsafe { s.launch_unchecked(&kernel, grid, args()) }?;
                    }
                }
                Ok(())
            });
            done.unwrap();
        });
        let expected = if way == "direct" { 5 } else { 3 };
        assert_eq!(
            (stats.launches, &launches(&times)[..]),
            (expected, &[("affine", expected)][..])
        );
    }
}

#[test]
fn launches_that_fail_are_timed() {
    for (way, runtime) in timed() {
        let kernel = affine(&runtime);
        let mut y = vec![1.0f32; N as usize];
        let (stats, times) = counted(&runtime, || {
            let ended = runtime.scope(|s| {
                s.lend_mut(&mut y)?;
                Ok(add_one(s, &kernel, PtrMut::from_address(0), N)?)
            });
            fault(ended);
        });
        assert_eq!((stats.launches, &launches(&times)[..]), (1, &[("affine", 1)][..]), "{way}");
    }
}

#[test]
fn launches_that_do_not_run_are_not_timed() {
    for (_, runtime) in timed() {
        let (_, times) = counted(&runtime, || {
            let ended = runtime.scope(|s| {
                s.launch(
                    &affine(&runtime),
                    Grid::cover(0),
                    affine::Args { y: PtrMut::from_address(0), n: 0, a: 1.0, c: 1.0 },
                )
                .map_err(Error::from)
            });
            ended.unwrap_err();
        });
        assert_eq!(times, []);
    }
}

#[test]
fn threads_add_to_the_same_times() {
    for (way, runtime) in timed() {
        let (_, times) = counted(&runtime, || {
            std::thread::scope(|threads| {
                let runtime = &runtime;
                for _ in 0..4 {
                    threads.spawn(move || launch_some(runtime, 5).unwrap());
                }
            });
        });
        assert_eq!(launches(&times), [("affine", 20), ("saxpy", 4)], "{way}");
    }
}

#[test]
fn nothing_is_timed_unless_asked_for() {
    for runtime in common::runtimes() {
        launch_some(&runtime, 1).unwrap();
        assert_eq!(runtime.stats().kernel_times, None);
        assert!(!runtime.explain().times_kernels());
        assert!(runtime.explain().to_string().contains("times       not taken\n"));
    }
}
