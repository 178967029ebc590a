//! Copies take a part of the device's memory, and lie in memory of the host beyond that.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/masked.rs"]
mod masked;

use common::build;
use farptr::shaders::saxpy;
use farptr::{AccessMode, Backing, Grid, Runtime, RuntimeBuilder};

const MIB: u64 = 1 << 20;
/// 8 MiB.
const N: usize = 2 << 20;

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

/// `y = x + y` on 8 MiB each, twice: once in rounds, once on what is there.
fn add(runtime: &Runtime) {
    let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
    let (x, mut y) = (vec![1.0f32; N], vec![2.0f32; N]);
    runtime
        .scope(|s| {
            let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
            let n = u32::try_from(N)?;
            for _ in 0..2 {
                s.launch(&kernel, Grid::cover(N), saxpy::Args { x, y, n, a: 1.0 })?;
            }
            Ok(())
        })
        .unwrap();
    assert!(y.iter().all(|&y| y == 4.0));
}

#[test]
fn a_device_with_too_little_memory_reads_the_rest_from_the_host() {
    let test = "a_device_with_too_little_memory_reads_the_rest_from_the_host";
    let Some(ended) = masked::again("tiny", test) else {
        for asked in [None, Some(0), Some(100 * 4096)] {
            let builder = asked.into_iter().fold(copying(), RuntimeBuilder::device_budget);
            let Some(runtime) = build(builder) else { return };
            let four_fifths = MIB / 5 * 4;
            assert_eq!(runtime.explain().device_budget(), asked.unwrap_or(four_fifths));
            add(&runtime);
        }
        return;
    };
    ended.assert_passed();
    assert_eq!(ended.left(), []);
}

#[test]
fn the_budget_is_four_fifths_of_what_is_free() {
    let test = "the_budget_is_four_fifths_of_what_is_free";
    let Some(ended) = masked::again("nvidia,vram=1000,budget=100", test) else {
        let Some(runtime) = build(copying()) else { return };
        let explanation = runtime.explain();
        println!("{explanation}");
        // The driver under the layer may not say what is free.
        let said = explanation.to_string().contains("that the driver says are free");
        let free = if said { 100 * MIB } else { 1000 * MIB };
        assert_eq!(explanation.device_budget(), free / 5 * 4);
        return add(&runtime);
    };
    ended.assert_passed();
}
