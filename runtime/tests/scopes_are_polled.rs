//! Launches start when a program says so, and it learns of their end without waiting.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/ways.rs"]
mod ways;

use common::{batches_are_filled, build, memory_is_shadowed, skip};
use farptr::shaders::affine;
use farptr::{
    AccessMode, Backing, Error, Grid, Kernel, LaunchError, LaunchOptions, PtrMut, Runtime, Scope,
};
use std::time::Duration;
use ways::ways;

const N: u32 = 100_000;

/// `y = y + 1`.
fn add_one<'s>(
    s: &mut Scope<'s, '_>,
    kernel: &Kernel<affine::Kernel>,
    y: PtrMut<'s, f32>,
    n: u32,
) -> Result<(), LaunchError> {
    s.launch(kernel, Grid::cover(n as usize), affine::Args { y, n, a: 1.0, c: 1.0 })
}

/// Asks until everything is done, and works on other memory meanwhile; returns how often it asked.
fn poll(s: &mut Scope<'_, '_>, own: &mut [u64]) -> Result<u64, LaunchError> {
    let mut asked = 0;
    while !s.is_done()? {
        own.iter_mut().for_each(|number| *number += 1);
        asked += 1;
        std::thread::yield_now();
    }
    Ok(asked)
}

#[test]
fn launches_that_were_handed_over_end_without_a_wait() {
    for (name, runtime) in ways() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let (mut y, mut own) = (vec![0.0f32; N as usize], [0u64; 100]);
        let asked = runtime.scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr();
            // The first launch brings pages in, if there are pages to bring in.
            add_one(s, &kernel, y, N)?;
            assert!(s.submit().is_ok() && s.submit().is_ok(), "nothing is left to hand over");
            let mut asked = poll(s, &mut own)?;
            let before = runtime.stats();
            for _ in 0..3 {
                add_one(s, &kernel, y, N)?;
            }
            s.submit()?;
            let submitted = runtime.stats().since(&before);
            assert_eq!(submitted.launches, 3, "{name}");
            asked += poll(s, &mut own)?;
            // Nothing is left to a wait.
            drop(s.wait()?);
            assert_eq!(runtime.stats().since(&before).submissions, submitted.submissions, "{name}");
            Ok(asked)
        });
        assert_eq!(own, [asked.unwrap(); 100], "{name}: the host worked as often as it asked");
        assert!(y.iter().all(|&y| y == 4.0), "{name}");
    }
}

#[test]
fn asking_hands_over_what_is_recorded() {
    for access in [AccessMode::Direct, AccessMode::Mirrored] {
        let Some(runtime) = build(Runtime::builder().access(access).backing(Backing::Import))
        else {
            continue;
        };
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let (mut y, mut own) = (vec![0.0f32; N as usize], [0]);
        runtime
            .scope(|s| {
                assert!(s.is_done()?, "nothing was launched");
                let y = s.lend_mut(&mut y)?.ptr();
                let before = runtime.stats();
                add_one(s, &kernel, y, N)?;
                if batches_are_filled(&runtime) {
                    assert_eq!(runtime.stats().since(&before).submissions, 0, "recorded alone");
                }
                poll(s, &mut own)?;
                let done = runtime.stats().since(&before);
                assert_eq!((done.launches, done.submissions), (1, done.rounds));
                assert!(s.is_done()? && s.is_done()?);
                // More batches than may be in flight: asking goes on when there is room.
                for _ in 0..40 {
                    add_one(s, &kernel, y, N)?;
                    s.is_done()?;
                }
                poll(s, &mut own)?;
                assert_eq!(runtime.stats().since(&before).launches, 41);
                Ok(())
            })
            .unwrap();
        assert!(y.iter().all(|&y| y == 41.0), "{access}");
    }
}

#[test]
fn a_failure_is_done_and_is_reported_once_by_what_comes_next() {
    for (name, runtime) in ways() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let (mut y, mut own) = (vec![0.0f32; 1000], [0]);
        runtime
            .scope(|s| {
                let y = s.lend_mut(&mut y)?.ptr();
                add_one(s, &kernel, y, 1000)?;
                drop(s.wait()?);
                for by_submit in [false, true] {
                    let before = runtime.stats();
                    // One more element than there is. In rounds, the launch itself says so.
                    if add_one(s, &kernel, y, 1001).is_err() {
                        assert!(s.is_done()?, "{name}");
                        continue;
                    }
                    poll(s, &mut own)?;
                    assert_eq!(
                        runtime.stats().since(&before).faults,
                        1,
                        "{name}: the log was read"
                    );
                    assert!(s.is_done()?, "{name}: asking reports nothing");
                    let reported = if by_submit { s.submit() } else { s.wait().map(drop) };
                    assert!(matches!(reported, Err(LaunchError::Fault(_))), "{name}: {reported:?}");
                    s.submit()?;
                    drop(s.wait()?);
                }
                add_one(s, &kernel, y, 1000)?;
                Ok(())
            })
            .unwrap();
        assert!(y.iter().all(|&y| y == 4.0 || y == 2.0), "{name}: {}", y[0]);
    }
}

/// Invocations are short, and so many that all together take minutes.
const LONG: &str = "layout(local_size_x = 8) in;
    layout(buffer_reference, scalar, buffer_reference_align = 4)
        volatile buffer U { uint at[]; };
    layout(push_constant) uniform Push { uvec2 y; uint k; };
    void main() {
        uint sum = 0u;
        for (uint pass = 0u; pass < 50000u; pass++) sum += U(y).at[(pass + sum) & 127u] + k;
        U(y).at[k] = sum;
    }";

#[test]
#[allow(unsafe_code, reason = "the words come from a compiler")]
fn a_program_that_asks_and_never_waits_stops_a_kernel_without_an_end() {
    if memory_is_shadowed() {
        return skip("invocations are short, and none that has not begun is told to stay away");
    }
    let words = glsl::glsl("long", LONG, glsl::Level::Performance);
    for (name, runtime) in ways() {
        // SAFETY: shaderc's output is a valid module.
        let kernel = unsafe { runtime.raw_kernel("long", &words) }.unwrap();
        let (mut y, mut own) = ([0u32; 256], [0]);
        let launch = |s: &mut Scope<'_, '_>, y: u64, groups, options: &LaunchOptions| {
            let push: Vec<u8> = y.to_le_bytes().into_iter().chain(200u32.to_le_bytes()).collect();
            s.launch_raw(&kernel, Grid::groups(groups, 1, 1), &push, options)
        };
        runtime
            .scope(|s| {
                let y = s.lend_mut(&mut y)?.ptr().address();
                // The next launch finds the pages there, if they are copied.
                launch(s, y, 1, &LaunchOptions::new())?;
                let limited = LaunchOptions::new().deadline(Duration::from_millis(30));
                let stopped = |ended| {
                    let as_expected =
                        matches!(ended, Err(LaunchError::Deadline { kernel: "long", .. }));
                    assert!(as_expected, "{name}: {ended:?}");
                };
                match launch(s, y, 65_535, &limited) {
                    // In rounds the launch has ended.
                    Err(ended) => stopped(Err(ended)),
                    Ok(()) => {
                        launch(s, y, 65_535, &LaunchOptions::new())?;
                        poll(s, &mut own)?;
                        stopped(s.wait().map(drop));
                    }
                }
                assert!(s.is_done()?);
                launch(s, y, 1, &LaunchOptions::new())?;
                poll(s, &mut own)?;
                Ok::<(), Error>(())
            })
            .unwrap();
    }
}
