//! The host's work for a launch, counted in steps: pages, lends and rows that it looks at. It must
//! not grow with what the launch does not reach.

use super::{Scope, checked, common};
use crate::{
    AccessMode, Backing, Error, Grid, Kernel, LaunchOptions, LentMut, PtrMut, Runtime,
    RuntimeBuilder, VirtAddr, stats::steps, test_hooks::TestHooks,
};
use farptr_kernels::{abi::Link, affine, chase, probe};
use memmap2::MmapMut;

const PAGE: usize = 4096;
/// Elements that launches touch, on one page.
const TOUCHED: u32 = 16;

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

/// The steps of the first launch on a lend, of a later one, of one after a look at what it wrote,
/// of that look, and of the end of the scope.
fn steps_of(runtime: &Runtime, others: usize, pages: usize) -> [usize; 5] {
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let other: Vec<Box<[u32; 4]>> = (0..others).map(|_| Box::new([7; 4])).collect();
    let mut memory = MmapMut::map_anon(pages * PAGE).unwrap();
    let mut counts = [0; 5];
    let words = bytemuck::cast_slice_mut::<u8, f32>(&mut memory);
    let launch = |s: &mut Scope<'_, '_>, y: &LentMut<'_, f32>| {
        steps::take();
        let address = y.ptr().address();
        checked::add_one(s, &kernel, PtrMut::from_address(address), TOUCHED)?;
        Ok::<usize, Error>(steps::take())
    };
    runtime
        .scope(|s| {
            let (low, high) = other.split_at(others / 2);
            low.iter().try_for_each(|one| s.lend(&one[..]).map(drop))?;
            let y = s.lend_mut(words)?;
            high.iter().try_for_each(|one| s.lend(&one[..]).map(drop))?;
            counts[0] = launch(s, &y)?;
            counts[1] = launch(s, &y)?;
            let idle = s.wait()?;
            steps::take();
            assert_eq!(idle.read_range(&y, 0..16)?, [2.0; 16]);
            counts[2] = steps::take();
            drop(idle);
            counts[3] = launch(s, &y)?;
            Ok(())
        })
        .unwrap();
    counts[4] = steps::take();
    assert_eq!(
        bytemuck::cast_slice::<u8, f32>(&memory)[..17],
        [[3.0; 16].as_slice(), &[0.0]].concat()
    );
    counts
}

#[test]
fn steps_do_not_grow_with_lends_that_are_not_reached() {
    for builder in [copying(), copying().staged_copies(true), copying().device_budget(3 * 4096)] {
        let Some(runtime) = common::build(builder) else { return };
        let few = steps_of(&runtime, 10, 16);
        println!("{few:?}");
        assert!(few[1..].iter().all(|&steps| steps < 100), "{few:?}");
        assert_eq!(steps_of(&runtime, 2000, 16), few);
    }
}

#[test]
fn steps_do_not_grow_with_imported_lends_once_they_are_known() {
    let some_of_each = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Import);
    let Some(runtime) = common::build(some_of_each.refuse_imports_above(8 * 1024)) else { return };
    let few = steps_of(&runtime, 10, 16);
    let many = steps_of(&runtime, 1000, 16);
    println!("{few:?}, {many:?}");
    assert_eq!(many[1..], few[1..]);
    assert!(many[0] <= few[0] + 990, "the areas of each lend are looked up once");
}

#[test]
fn steps_do_not_grow_with_pages_that_were_not_touched() {
    let Some(runtime) = common::build(copying()) else { return };
    let [_, small @ ..] = steps_of(&runtime, 0, 16);
    let [_, large @ ..] = steps_of(&runtime, 0, 64 * 64 + 1);
    println!("{small:?}, {large:?}");
    // Three levels of bits in place of one.
    for (small, large) in small.into_iter().zip(large) {
        assert!(large <= 3 * small, "{small}, {large}");
    }
}

/// The steps of launches of two kernels in turn, which follow pointers, after the first of each;
/// and of those after a wait.
fn steps_of_pointers(runtime: &Runtime, others: usize, pages: usize) -> [usize; 2] {
    let probe: Kernel<probe::Kernel> = runtime.kernel().unwrap();
    let chase: Kernel<chase::Kernel> = runtime.kernel().unwrap();
    let other: Vec<Box<[u32; 4]>> = (0..others).map(|_| Box::new([7; 4])).collect();
    let memory = MmapMut::map_anon(pages * PAGE).unwrap();
    let mut link = Box::new(Link { next: 0, payload: 3, unused: 0 });
    link.next = VirtAddr::of(&*link).get();
    let heads = [link.next];
    let (mut seen, mut sums) = ([0u32; 2], [0u32]);
    let mut counts = [0; 2];
    let scoped = runtime.scope(|s| {
        other.iter().try_for_each(|one| s.lend(&one[..]).map(drop))?;
        s.lend(&memory[..])?;
        let head = s.lend(std::slice::from_ref(&*link))?.ptr().address();
        let heads = s.lend(&heads)?.ptr();
        let (seen, sums) = (s.lend_mut(&mut seen)?.ptr(), s.lend_mut(&mut sums)?.ptr());
        for round in 0..5 {
            if round == 4 {
                s.wait()?;
            }
            steps::take();
            let result = PtrMut::from_address(seen.address());
            checked::follow(s, &probe, head, result, (5, LaunchOptions::new()))?;
            let args = chase::Args { heads, sums, count: 1, hops: 4 };
            s.launch(&chase, Grid::cover(1), args)?;
            counts[usize::from(round == 4)] = steps::take();
        }
        Ok(())
    });
    scoped.unwrap();
    assert_eq!((seen, sums), ([5, 3], [12]));
    counts
}

#[test]
fn kernels_in_turn_use_their_tables_again() {
    let imported = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Import);
    for builder in [Runtime::builder().access(AccessMode::Direct), imported] {
        let Some(runtime) = common::build(builder) else { continue };
        for others in [20, 1000] {
            let before = runtime.stats();
            let steps = steps_of_pointers(&runtime, others, 1);
            if runtime.stats().since(&before).bytes_in > 0 {
                common::skip("the device imports larger pieces than these lends");
                break;
            }
            assert_eq!(steps, [0, 0], "{others}");
        }
    }
}

#[test]
fn kernels_in_turn_use_their_lists_again_in_rounds() {
    // With less memory, fewer of a thousand lends have their pages before a launch than of twenty.
    let Some(runtime) = common::copying_whole_lends(|builder| builder) else { return };
    let few = steps_of_pointers(&runtime, 20, 100);
    assert!(few.iter().all(|&steps| 0 < steps && steps < 100), "{few:?}");
    assert_eq!(steps_of_pointers(&runtime, 1000, 100), few);
}
