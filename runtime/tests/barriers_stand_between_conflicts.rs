//! A barrier stands between two launches of a scope if one writes what the other touches, or if
//! that is not known, and none stands between others.
//!
//! # Safety
//!
//! A file without a name is mapped twice; nobody else writes it. The kernel that is launched
//! unchecked gets the address of lent memory, of as many elements as it is told.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use bytemuck::Pod;
use common::{batches_are_filled, build, ramp, skip};
use farptr::shaders::{affine, axpby, gather};
use farptr::{
    AccessMode, Backing, Error, Grid, Kernel, LaunchError, LaunchOptions, ProvedAccess, Ptr,
    PtrMut, Runtime, Scope, Stats,
};
use farptr_hmm::{Maps, MapsSource};
use memmap2::MmapMut;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

const N: u32 = 1000;

/// Devices that work on host memory, in batches.
fn runtimes() -> Vec<Runtime> {
    let modes = [AccessMode::Direct, AccessMode::Mirrored];
    let built = modes.map(|mode| build(Runtime::builder().access(mode).backing(Backing::Import)));
    built.into_iter().flatten().filter(batches_are_filled).collect()
}

/// An array with pages of its own: arrays that share one are copied where the device has other
/// addresses.
struct Apart<T>(MmapMut, PhantomData<T>);

fn apart<T: Pod>(values: &[T]) -> Apart<T> {
    let mut map = MmapMut::map_anon(size_of_val(values)).unwrap();
    bytemuck::cast_slice_mut(&mut map).copy_from_slice(values);
    Apart(map, PhantomData)
}

impl<T: Pod> Deref for Apart<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.0)
    }
}

impl<T: Pod> DerefMut for Apart<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// Whether the kernel says of an address what memory it is in; else everything counts as shared.
fn areas_are_known() -> bool {
    let known = Maps::open_with(MapsSource::Query).is_ok();
    if !known {
        skip("the kernel has no PROCMAP_QUERY, so any two lends may be one memory");
    }
    known
}

/// `y = y + 1`.
fn add_one<'s>(
    s: &mut Scope<'s, '_>,
    kernel: &Kernel<affine::Kernel>,
    y: PtrMut<'s, f32>,
) -> Result<(), LaunchError> {
    s.launch(kernel, Grid::cover(N as usize), affine::Args { y, n: N, a: 1.0, c: 1.0 })
}

/// `y = x + y`.
fn add<'s>(
    s: &mut Scope<'s, '_>,
    kernel: &Kernel<axpby::Kernel>,
    x: Ptr<'s, f32>,
    y: PtrMut<'s, f32>,
) -> Result<(), LaunchError> {
    s.launch(kernel, Grid::cover(N as usize), axpby::Args { x, y, n: N, a: 1.0, b: 1.0 })
}

/// The barriers of a program, which ends with a wait.
fn barriers<'env>(
    runtime: &Runtime,
    program: impl for<'s> FnOnce(&mut Scope<'s, 'env>) -> Result<(), Error>,
) -> u64 {
    let before = runtime.stats();
    runtime.scope(program).unwrap();
    let Stats { barriers, faults, .. } = runtime.stats().since(&before);
    assert_eq!(faults, 0);
    barriers
}

#[test]
fn launches_on_memory_of_their_own_do_not_wait_for_each_other() {
    if !areas_are_known() {
        return;
    }
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let mut arrays = [0; 10].map(|_| apart(&ramp(N as usize)));
        let counted = barriers(&runtime, |s| {
            let all: Result<Vec<_>, _> = arrays.iter_mut().map(|y| s.lend_mut(y)).collect();
            let all = all?;
            for _ in 0..3 {
                for y in &all {
                    add_one(s, &kernel, y.ptr())?;
                }
            }
            Ok(())
        });
        assert_eq!(counted, 2, "between the first ten and the second, and behind those");
        assert!(arrays.iter().all(|y| y.iter().zip(ramp(N as usize)).all(|(y, x)| *y == x + 3.0)));
    }
}

#[test]
fn two_parts_of_a_lend_are_memory_of_their_own_and_readers_share() {
    if !areas_are_known() {
        return;
    }
    for runtime in runtimes() {
        let kernel = runtime.kernel::<axpby::Kernel>().unwrap();
        let (x, mut y) = (apart(&ramp(N as usize)), apart(&[0.0f32; 4 * N as usize]));
        let counted = barriers(&runtime, |s| {
            let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
            for part in 0..4 {
                add(s, &kernel, x.ptr(), y.ptr().add(part * u64::from(N)))?;
            }
            Ok(())
        });
        assert_eq!(counted, 0);
        assert!(y.chunks(N as usize).all(|part| *part == *x));
        let counted = barriers(&runtime, |s| {
            let y = s.lend_mut(&mut y)?;
            for part in 0..3 {
                let at = |part: u64| y.ptr().add(part * (u64::from(N) - 1));
                add(s, &kernel, at(part).into(), at(part + 1))?;
            }
            Ok(())
        });
        assert_eq!(counted, 2, "an element is in two parts");
    }
}

#[test]
fn a_launch_of_which_too_little_is_known_waits_and_is_waited_for() {
    for runtime in runtimes() {
        let [kernel, unproved] = [0; 2].map(|_| runtime.kernel::<affine::Kernel>().unwrap());
        let gather = runtime.kernel::<gather::Kernel>().unwrap();
        let mut arrays = [0; 3].map(|_| apart(&ramp(N as usize)));
        let (x, index) = (apart(&ramp(8)), apart(&[7u32; N as usize]));
        let mut y = apart(&ramp(N as usize));
        let counted = barriers(&runtime, |s| {
            let all: Result<Vec<_>, _> = arrays.iter_mut().map(|y| s.lend_mut(y)).collect();
            let all = all?;
            let (x, index) = (s.lend(&x)?.ptr(), s.lend(&index)?.ptr());
            let y = s.lend_mut(&mut y)?.ptr();
            add_one(s, &kernel, all[0].ptr())?;
            s.launch(&gather, Grid::cover(N as usize), gather::Args { x, index, z: y, n: N })?;
            add_one(s, &kernel, all[1].ptr())?;
            drop(s.wait()?);
            let options = LaunchOptions::new().proofs(false);
            for y in &all {
                let args = affine::Args { y: y.ptr(), n: N, a: 1.0, c: 1.0 };
                s.launch_with(&unproved, Grid::cover(N as usize), args, &options)?;
            }
            Ok(())
        });
        // Own words and checked launches are in submissions of their own.
        assert_eq!(counted, 1 + 2);
        assert!(y.iter().all(|&y| y == 7.0));
    }
}

#[test]
#[allow(unsafe_code, reason = "unchecked launches; the proof is at the block")]
fn unchecked_launches_wait() {
    let runtimes = runtimes();
    for runtime in runtimes.into_iter().filter(|runtime| runtime.access() == ProvedAccess::Direct) {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let mut arrays = vec![ramp(N as usize); 3];
        let counted = barriers(&runtime, |s| {
            for y in &mut arrays {
                let args = affine::Args { y: s.lend_mut(y)?.ptr(), n: N, a: 1.0, c: 1.0 };
                // SAFETY: the module's.
                unsafe { s.launch_unchecked(&kernel, Grid::cover(N as usize), args) }?;
            }
            Ok(())
        });
        assert_eq!(counted, 2);
    }
}

#[test]
#[allow(unsafe_code, reason = "memmap2 asks for it; the proof is at the block")]
fn two_maps_of_a_file_are_one_memory() {
    if std::env::var("FARPTR_MASK").is_ok_and(|mask| mask.starts_with("shadow")) {
        skip("the layer has a second copy of each map, as if a file were no one memory");
        return;
    }
    for runtime in runtimes() {
        let kernel = runtime.kernel::<axpby::Kernel>().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        // SAFETY: the module's.
        let mut maps = [0; 2].map(|_| unsafe { MmapMut::map_mut(&file) }.unwrap());
        let [one, other] = &mut maps;
        let (one, other): (&mut [f32], &mut [f32]) =
            (bytemuck::cast_slice_mut(one), bytemuck::cast_slice_mut(other));
        one[..N as usize].fill(1.0);
        let counted = barriers(&runtime, |s| {
            let (one, other) = (s.lend_mut(one)?.ptr(), s.lend_mut(other)?.ptr());
            for _ in 0..3 {
                add(s, &kernel, one.into(), one)?;
                add(s, &kernel, other.into(), other)?;
            }
            Ok(())
        });
        assert_eq!(counted, 5);
        // A private map shows what others write until it is written.
        // SAFETY: the module's.
        let mut copy = unsafe { memmap2::MmapOptions::new().map_copy(&file) }.unwrap();
        let mut own = vec![0.0f32; N as usize];
        let counted = barriers(&runtime, |s| {
            let copy = s.lend_mut(bytemuck::cast_slice_mut::<_, f32>(&mut copy))?.ptr();
            let own = s.lend_mut(&mut own)?.ptr();
            add(s, &kernel, own.into(), own)?;
            add(s, &kernel, copy.into(), copy)?;
            Ok(())
        });
        assert_eq!(counted, 1);
        let doubled: &[f32] = bytemuck::cast_slice(&maps[0]);
        assert!(doubled[..N as usize].iter().all(|&y| y == 64.0), "{}", doubled[0]);
    }
}
