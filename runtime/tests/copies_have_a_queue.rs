//! Copies that the host waits for run in a queue of their own where the device has one, counted on
//! a masked device that hands them over as late as it may.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/masked.rs"]
mod masked;

use common::copying_whole_lends;
use farptr::shaders::saxpy;
use farptr::{Grid, Runtime};
use std::thread;

/// Elements of an array: two staging blocks of 4 MiB, and a page.
const ELEMENTS: usize = (2 << 20) + 1024;

fn saxpy(runtime: &Runtime, x: &[f32], y: &mut [f32]) {
    let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
    runtime
        .scope(|s| {
            let n = u32::try_from(x.len()).unwrap();
            let (x, y) = (s.lend(x)?, s.lend_mut(y)?);
            let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n, a: 2.0 };
            Ok(s.launch(&kernel, Grid::cover(n as usize), args)?)
        })
        .unwrap();
}

fn arrays(first: u8) -> (Vec<f32>, Vec<f32>) {
    let x = (0..ELEMENTS).map(|at| (at % 1000) as f32).collect();
    (x, vec![f32::from(first); ELEMENTS])
}

fn is_right(first: u8, y: &[f32]) -> bool {
    y.iter().enumerate().all(|(at, &y)| y == 2.0 * (at % 1000) as f32 + f32::from(first))
}

/// The number behind a word that a child wrote.
fn said(ended: &masked::Ended, name: &str) -> u64 {
    let mut words = ended.stdout.split_whitespace();
    words.find(|word| *word == name).and_then(|_| words.next()).unwrap().parse().unwrap()
}

#[test]
fn a_card_copies_arguments_and_results_in_its_other_queue() {
    let test = "a_card_copies_arguments_and_results_in_its_other_queue";
    for (mask, queues) in [("nvidia", 2), ("nvidia,transfer-queue=no", 1)] {
        let Some(ended) = masked::again(mask, test) else { return copy_both_ways() };
        ended.assert_passed();
        // The proof at start-up, which runtimes do not count, brings home what it computed.
        let apart = if queues == 2 { said(&ended, "transfers") + 1 } else { 0 };
        assert_eq!(ended.total("transfer_submissions"), apart, "{mask}");
        assert_eq!(ended.left(), []);
    }
}

fn copy_both_ways() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let (x, mut y) = arrays(1);
    let before = runtime.stats();
    saxpy(&runtime, &x, &mut y);
    assert!(is_right(1, &y));
    let stats = runtime.stats().since(&before);
    // Two arrays go in, and one comes home: for each way, staging blocks that are full, and the
    // pages that are left.
    println!("transfers {}", stats.transfers);
    assert_eq!(stats.transfers, 5 + 3, "{stats:?}");
}

/// Copies of one scope may be handed over when kernels of another one are running.
#[test]
fn scopes_side_by_side_copy_in_the_other_queue() {
    let test = "scopes_side_by_side_copy_in_the_other_queue";
    let Some(ended) = masked::again("nvidia", test) else {
        let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
        return thread::scope(|threads| {
            for first in 1..=3 {
                let runtime = &runtime;
                threads.spawn(move || {
                    for _ in 0..4 {
                        let (x, mut y) = arrays(first);
                        saxpy(runtime, &x, &mut y);
                        assert!(is_right(first, &y), "{first}");
                    }
                });
            }
        });
    };
    ended.assert_passed();
    assert!(ended.total("transfer_submissions") >= 12 * 6);
    assert_eq!(ended.left(), []);
}
