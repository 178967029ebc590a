//! Loops of checked launches end, and one that did not run whole is an error.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "common/checked.rs"]
mod checked;
mod common;

use checked::{assert_usable, endless, follow, launch_failure};
use common::runtimes;
use farptr::shaders::probe;
use farptr::{LaunchError, LaunchOptions};
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
