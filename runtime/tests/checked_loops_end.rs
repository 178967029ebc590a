//! Loops of checked launches end, and one that did not run whole is an error.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "common/checked.rs"]
mod checked;
mod common;
#[path = "common/glsl.rs"]
mod glsl;

use checked::{assert_usable, endless, fault, follow, launch_failure};
use common::{or_skip, runtimes};
use farptr::shaders::probe;
use farptr::{AccessKind, AccessMode, Backing, Grid, LaunchError, LaunchOptions, Runtime};
use std::time::Duration;

#[test]
fn a_loop_ends_at_its_limit() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<probe::Kernel>().unwrap();
        let link = endless();
        for (limit, passes) in [(100, 99), (100, 100), (101, 100), (101, 102)] {
            let mut result = [0u32; 2];
            let ended = runtime.scope(|s| {
                let head = s.lend(std::slice::from_ref(&*link))?.ptr().address();
                let result = s.lend_mut(&mut result)?.ptr();
                let options = LaunchOptions::new().loop_limit(limit);
                Ok(follow(s, &kernel, head, result, (passes, options))?)
            });
            // A loop of so many passes goes through its header once more, to leave it.
            if passes < limit {
                ended.unwrap();
                assert_eq!(result[0], passes);
            } else {
                let error = launch_failure(ended);
                let expected = LaunchError::LoopLimit { kernel: "probe", limit, invocations: 1 };
                assert_eq!(error, expected);
                assert_eq!(result, [0, 0], "the invocation ended in its loop");
            }
        }
        assert_usable(&runtime);
    }
}

#[test]
fn a_loop_without_end_is_ended() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<probe::Kernel>().unwrap();
        let link = endless();
        let mut result = [0u32; 2];
        let ended = runtime.scope(|s| {
            let head = s.lend(std::slice::from_ref(&*link))?.ptr().address();
            let result = s.lend_mut(&mut result)?.ptr();
            let options = LaunchOptions::new().deadline(Duration::from_millis(100));
            Ok(follow(s, &kernel, head, result, (u32::MAX, options))?)
        });
        let error = launch_failure(ended);
        if runtime.explain().cuts_loops() {
            assert_eq!(
                error,
                LaunchError::LoopCut { kernel: "probe", limit: 65_535, invocations: 1 }
            );
        } else {
            let (deadline, queued) = (Duration::from_millis(100), Duration::ZERO);
            assert_eq!(error, LaunchError::Deadline { kernel: "probe", deadline, queued });
        }
        assert_usable(&runtime);
    }
}

#[test]
fn a_loop_that_the_driver_cuts_is_an_error() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<probe::Kernel>().unwrap();
        let link = endless();
        for passes in [60_000, 65_000, 66_000, 70_000, 131_072] {
            let mut result = [0u32; 2];
            let ended = runtime.scope(|s| {
                let head = s.lend(std::slice::from_ref(&*link))?.ptr().address();
                let result = s.lend_mut(&mut result)?.ptr();
                Ok(follow(s, &kernel, head, result, (passes, LaunchOptions::new()))?)
            });
            if runtime.explain().cuts_loops() && passes > 65_535 {
                let error = launch_failure(ended);
                assert_eq!(
                    error,
                    LaunchError::LoopCut { kernel: "probe", limit: 65_535, invocations: 1 }
                );
            } else {
                ended.unwrap();
                assert_eq!(result[0], passes);
            }
        }
    }
}

/// After a fault, invocations that others wait for run on, through loops that may be longer than
/// the driver allows. The fault is the cause of that, so the fault is reported and not the cut
/// loop.
#[test]
fn a_fault_is_named_though_a_loop_behind_it_is_too_long() {
    const FAR: u32 = 100_000_000;
    let copied = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    for runtime in runtimes().into_iter().chain(or_skip(copied)) {
        let kernel = glsl::kernel(&runtime, "lost.comp");
        // Either all invocations fault, or only as many as a driver may run together.
        let cases = [(10, 0, 32), (60_000, 0, 32), (65_530, 0, 32), (100_000, 0, 32)];
        let more = [(100_000, 1, 32), (100_000, 0, 8), (100_000, 1, 16)];
        for (passes, writes, lost) in cases.into_iter().chain(more) {
            let (y, mut z) = (vec![3u32; 1000], vec![4u32; 1000]);
            let mut start = 0;
            let ended = runtime.scope(|s| {
                let (y, z) = (s.lend(&y)?.ptr().address(), s.lend_mut(&mut z)?.ptr().address());
                start = if writes == 1 { z } else { y };
                let mut push = [z.to_le_bytes(), y.to_le_bytes()].concat();
                let words = [FAR, passes, writes, lost];
                push.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
                let options = LaunchOptions::new();
                Ok(s.launch_raw(&kernel, Grid::groups(1, 1, 1), &push, &options)?)
            });
            let what = format!("{} access, {passes} passes, {lost} lost", runtime.access());
            let fault = fault(ended);
            assert_eq!(fault.address, start + u64::from(FAR) * 4, "{what}");
            let access = if writes == 1 { AccessKind::Write } else { AccessKind::Read };
            assert_eq!(fault.access, access, "{what}");
        }
        assert_usable(&runtime);
    }
}
