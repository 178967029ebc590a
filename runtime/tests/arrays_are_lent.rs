//! Arrays are lent as slices are, however the device reaches memory, wherever they live, and for
//! longer and shorter than a runtime.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/ways.rs"]
mod ways;

use common::always_in_rounds;
use farptr::shaders::saxpy;
use farptr::{Array, ArrayError, Error, Grid, Runtime};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{process::Command, sync::Arc, thread};
use ways::ways;

/// Set in a process that has too little memory: the case.
const CASE: &str = "FARPTR_TEST_CASE";

/// Elements, the last two of them alone on a page; more than some ways import.
const LEN: usize = 3 * 1024 + 2;

/// y = 2 x + y in a scope of its own.
fn add_twice(runtime: &Runtime, x: &Array<f32>, y: &mut Array<f32>) -> Result<(), Error> {
    let kernel = runtime.kernel::<saxpy::Kernel>()?;
    runtime.scope(|s| {
        let n = u32::try_from(x.len())?;
        let args = saxpy::Args { x: s.lend(x)?.ptr(), y: s.lend_mut(y)?.ptr(), n, a: 2.0 };
        Ok(s.launch(&kernel, Grid::cover(x.len().max(1)), args)?)
    })
}

fn ramp(len: usize) -> Array<f32> {
    common::ramp(len).into()
}

#[test]
fn an_array_is_lent_in_scope_after_scope() {
    for (way, runtime) in ways() {
        let (x, mut y) = (ramp(LEN), Array::zeroed(LEN).unwrap());
        for times in [2.0, 4.0] {
            add_twice(&runtime, &x, &mut y).unwrap();
            let expected: Vec<f32> = x.iter().map(|x| times * x).collect();
            assert_eq!(y, expected, "{way}");
        }
        // The host writes between scopes, and kernels see it.
        y.fill(1.0);
        add_twice(&runtime, &x, &mut y).unwrap();
        assert!(x.iter().zip(&y).all(|(x, y)| *y == 2.0 * x + 1.0), "{way}");
        assert_eq!(x, ramp(LEN), "{way}");
    }
}

#[test]
fn an_array_is_looked_at_within_a_scope() {
    for (way, runtime) in ways() {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let (x, mut y) = (ramp(LEN), ramp(LEN));
        let looked = runtime.scope(|s| {
            let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
            let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: u32::try_from(LEN)?, a: 2.0 };
            s.launch(&kernel, Grid::cover(LEN), args)?;
            let mut idle = s.wait()?;
            let last = idle.read(&y)?[LEN - 1];
            idle.write(&y)?.fill(5.0);
            s.launch(&kernel, Grid::cover(LEN), args)?;
            Ok(last)
        });
        assert_eq!(looked.unwrap(), 3.0 * x[LEN - 1], "{way}");
        assert!(x.iter().zip(&y).all(|(x, y)| *y == 2.0 * x + 5.0), "{way}");
    }
}

/// A value of a program, with arrays among its fields.
struct Model {
    weights: Array<f32>,
    sums: Array<f32>,
}

#[test]
fn arrays_live_in_structures_and_go_to_other_threads() {
    for (way, runtime) in ways() {
        let runtime = Arc::new(runtime);
        let model = Model { weights: ramp(LEN), sums: ramp(LEN) };
        let there = thread::spawn({
            let runtime = Arc::clone(&runtime);
            move || {
                let mut model = model;
                add_twice(&runtime, &model.weights, &mut model.sums).unwrap();
                model
            }
        });
        let mut model = there.join().unwrap();
        add_twice(&runtime, &model.weights, &mut model.sums).unwrap();
        assert!(model.weights.iter().zip(&model.sums).all(|(x, y)| *y == 5.0 * x), "{way}");
    }
}

#[test]
fn two_scopes_share_an_array() {
    for (way, runtime) in ways() {
        let x = ramp(LEN);
        let sums = thread::scope(|threads| {
            let sum = || {
                let mut y = ramp(LEN);
                add_twice(&runtime, &x, &mut y).map(|()| y)
            };
            let both = [threads.spawn(sum), threads.spawn(sum)];
            both.map(|thread| thread.join().unwrap().unwrap())
        });
        let expected: Vec<f32> = x.iter().map(|x| 3.0 * x).collect();
        assert!(sums.iter().all(|sum| *sum == expected), "{way}");
    }
}

#[test]
fn an_array_outlives_runtimes_and_runtimes_outlive_arrays() {
    let (x, mut y) = (ramp(LEN), Array::zeroed(LEN).unwrap());
    let mut lends = 0u16;
    for (way, runtime) in ways() {
        // This one is gone when the next array may lie in its place.
        let mut short = ramp(LEN);
        add_twice(&runtime, &x, &mut short).unwrap();
        drop(short);
        let mut next = Array::zeroed(LEN).unwrap();
        add_twice(&runtime, &x, &mut next).unwrap();
        assert!(x.iter().zip(&next).all(|(x, next)| *next == 2.0 * x), "{way}");

        add_twice(&runtime, &x, &mut y).unwrap();
        lends += 1;
        drop(runtime);
        let factor = f32::from(2 * lends);
        assert!(x.iter().zip(&y).all(|(x, y)| *y == factor * x), "{way}");
    }
}

#[test]
fn large_and_empty_arrays_are_lent() {
    const LARGE: usize = (5 << 20) / 4;
    for (way, runtime) in ways() {
        // These bring a few pages in a round: a large array would take them thousands.
        let few_at_once = ["copied to a few pages", "copied out of order"].contains(&way);
        let large = if few_at_once || always_in_rounds(&runtime) { LEN } else { LARGE };
        for len in [large, 0] {
            let (x, mut y) = (ramp(len), ramp(len));
            add_twice(&runtime, &x, &mut y).unwrap();
            assert!(x.iter().zip(&y).all(|(x, y)| *y == 3.0 * x), "{way}");
        }
    }
}

/// Not a test of its own: what a process with too little memory does.
#[test]
fn with_too_little_memory() {
    let Ok(case) = std::env::var(CASE) else { return };
    let len = 16 << 20;
    let mut vec = vec![7u32; len];
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let limit = pages * rustix::param::page_size() as u64 + (16 << 20);
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current: Some(limit), maximum }).unwrap();

    let refused = |made: Result<Array<u32>, ArrayError>| match made {
        Err(ArrayError::NoMemory { len: wanted, .. }) => wanted == len,
        _ => false,
    };
    assert!(refused(Array::zeroed(len)));
    assert!(refused(Array::try_from_slice(&vec)));
    assert!(refused(Array::try_from_iter(vec.iter().copied())));
    assert!(Array::try_from_iter(vec.iter().copied().filter(|&word| word == 7)).is_err());
    assert!(refused(Array::try_from_vec(&mut vec)));
    assert!(vec.len() == len && vec.iter().all(|&word| word == 7));
    assert_eq!(Array::<u32>::zeroed(1000).unwrap().len(), 1000, "there is room for less");
    if case == "ends" {
        let _ = Array::from(vec);
    }
}

#[test]
fn without_memory_an_array_is_an_error_or_the_end_as_of_a_vector() {
    let run = |case| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "with_too_little_memory", "--nocapture", "--test-threads=1"]);
        command.env(CASE, case).output().unwrap()
    };
    let fails = run("fails");
    assert!(fails.status.success(), "{fails:?}");
    let ends = run("ends");
    let said = String::from_utf8_lossy(&ends.stderr).into_owned();
    assert!(!ends.status.success(), "{said}");
    assert!(said.contains("memory allocation of 67108864 bytes failed"), "{said}");
}
