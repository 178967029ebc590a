//! The device memory that scopes take for frames, and leave to those after them.

use super::common;
use crate::{
    AccessMode, Backing, Grid, Runtime, RuntimeBuilder,
    vk::frames::{FrameRun, FrameStore},
};
use farptr_kernels::affine;
use std::{collections::BTreeMap, sync::Arc, thread};

const PAGE_BYTES: u64 = 4096;
const MIB: u64 = 1 << 20;

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

/// A runtime with so much memory for copies, on a device that has more.
fn with_budget(bytes: u64) -> Option<Runtime> {
    common::copying_whole_lends(|builder| builder)?;
    common::build(copying().device_budget(bytes))
}

fn store_of(runtime: &Runtime) -> Arc<FrameStore> {
    runtime.scope(|s| Ok(Arc::clone(s.stream.launcher().frames()))).unwrap()
}

/// `y = y + 1` in a scope of its own.
fn add_one(runtime: &Runtime, y: &mut [f32]) {
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let n = u32::try_from(y.len()).unwrap();
    let launched = runtime.scope(|s| {
        let y = s.lend_mut(y)?;
        s.launch(&kernel, Grid::cover(n as usize), affine::Args { y: y.ptr(), n, a: 1.0, c: 1.0 })?;
        Ok(())
    });
    launched.unwrap();
}

#[test]
fn scopes_use_the_memory_of_those_before() {
    let Some(runtime) = common::copying_whole_lends(|builder| builder) else { return };
    let store = store_of(&runtime);
    let mut after_first = None;
    for scope in 1..=20u8 {
        let length = (1 << 20) / usize::from(scope);
        let mut y = vec![f32::from(scope); length];
        add_one(&runtime, &mut y);
        assert!(y.iter().all(|&y| y == f32::from(scope) + 1.0), "scope {scope}");
        let taken = (store.allocated_bytes(), store.left_bytes());
        assert_eq!(taken, *after_first.get_or_insert(taken), "scope {scope} of {length} elements");
    }
}

/// The table of a lend does not hold on to a block that would have to give way to its frames.
#[test]
fn a_larger_lend_has_its_frames_in_one_run() {
    let Some(runtime) = with_budget(12 * MIB) else { return };
    for mib in [4, 9] {
        let mut y = vec![1.0f32; mib << 18];
        let before = runtime.stats();
        add_one(&runtime, &mut y);
        let counted = runtime.stats().since(&before);
        assert_eq!((counted.rounds, counted.faults), (1, 0), "{mib} MiB");
        assert!(y.iter().all(|&y| y == 2.0));
    }
}

#[test]
fn blocks_that_nobody_uses_make_room_for_larger_ones() {
    let Some(runtime) = with_budget(3 * MIB) else { return };
    let store = store_of(&runtime);
    let take = |bytes| store.take(bytes);
    let (page, large) = (take(PAGE_BYTES), take(3 * MIB / 2));
    assert!(page.is_some() && large.is_some());
    // A block of 1 MiB and one of half as much again leave less than 1 MiB.
    assert!(take(MIB).is_none(), "what nobody has is in two blocks");
    drop(large);
    assert!(take(3 * MIB).is_none(), "a page is in use");
    assert!(take(2 * MIB).is_some(), "the unused block gave way");
    drop(page);
    assert_eq!(store.left_bytes(), 3 * MIB);
    assert!(take(3 * MIB).is_some());
}

#[test]
fn a_run_gets_fewer_pages_where_there_are_no_more() {
    let Some(runtime) = with_budget(7 * PAGE_BYTES) else { return };
    let store = store_of(&runtime);
    let take = |least, most| {
        let run = store.take_up_to(least * PAGE_BYTES, most * PAGE_BYTES);
        run.map(|run| (run.bytes() / PAGE_BYTES, run))
    };
    let (all, first) = take(1, 16).unwrap();
    let (some, second) = take(1, 16).unwrap();
    assert!((4..=7).contains(&all) && all + some <= 7, "{all} and {some}");
    assert!(take(8 - all - some, 16).is_none(), "there are {} left", 7 - all - some);
    drop((first, second));
    assert!(take(7, 7).is_some());
}

/// Runs are taken, filled and given back at random, by several threads.
#[test]
fn runs_are_apart_and_keep_their_bytes() {
    let Some(runtime) = with_budget(8 * MIB) else { return };
    let store = store_of(&runtime);
    thread::scope(|threads| {
        for thread in 0..4u64 {
            let store = Arc::clone(&store);
            threads.spawn(move || fill_at_random(&store, thread + 1));
        }
    });
    assert_eq!(store.left_bytes(), 8 * MIB, "all was given back");
}

/// Takes runs, fills each with a number of its own, and finds it there before it gives them back.
fn fill_at_random(store: &Arc<FrameStore>, seed: u64) {
    let mut held: BTreeMap<u64, (u8, FrameRun)> = BTreeMap::new();
    let mut state = seed;
    let mut below = move |bound: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for step in 0..400u64 {
        if step % 3 == 2 || held.len() > 20 {
            let from = below(1 << 40);
            let next = held.range(from..).chain(&held).next();
            if let Some(&address) = next.map(|(address, _)| address) {
                check(&held.remove(&address).unwrap());
            }
            continue;
        }
        let pages = 1 + below(64);
        let Some(mut run) = store.take(pages * PAGE_BYTES) else { continue };
        assert_eq!((run.bytes(), run.address() % PAGE_BYTES), (pages * PAGE_BYTES, 0));
        let number = u8::try_from(seed * 50 + step % 50).unwrap();
        if let Some(bytes) = run.host_mut() {
            bytes.fill(number);
        }
        assert!(held.insert(run.address(), (number, run)).is_none(), "an address is given twice");
    }
    held.values().for_each(check);
}

fn check((number, run): &(u8, FrameRun)) {
    // A card may have no memory that the host sees.
    let bytes = run.host().unwrap_or_default();
    assert!(bytes.iter().all(|byte| byte == number), "the bytes at {:#x}", run.address());
}
