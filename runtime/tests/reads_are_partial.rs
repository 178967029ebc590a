//! The host brings home what it looks at, and nothing else, counted in bytes.
//!
//! The test `lends_agree_with_a_model` compares what the host sees.
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

use common::{always_in_rounds, build, skip};
use farptr::shaders::affine;
use farptr::test_hooks::TestHooks;
use farptr::{
    AccessMode, Backing, Error, Grid, Kernel, LaunchError, LaunchOptions, LentMut, Runtime,
    RuntimeBuilder, Scope, Stats,
};
use ways::ways;

const PAGE: u64 = 4096;
/// Elements of an array: no whole number of pages.
const N: usize = 50_001;
const BYTES: u64 = 4 * N as u64;

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

/// `y = y + 1`.
fn add_one<'s>(
    s: &mut Scope<'s, '_>,
    kernel: &Kernel<affine::Kernel>,
    y: &LentMut<'s, f32>,
) -> Result<(), LaunchError> {
    let n = u32::try_from(y.len()).unwrap();
    s.launch(kernel, Grid::cover(y.len()), affine::Args { y: y.ptr(), n, a: 1.0, c: 1.0 })
}

/// The lent bytes on the pages that some elements touch.
fn page_bytes(y: &LentMut<'_, f32>, first: u64, len: u64) -> u64 {
    let (start, end) = (y.ptr().address(), y.ptr().address() + 4 * y.len() as u64);
    let low = (start + 4 * first) / PAGE * PAGE;
    let high = (start + 4 * (first + len)).next_multiple_of(PAGE);
    high.min(end) - low.max(start)
}

/// Counts the bytes that came home since the last time.
fn homeward(runtime: &Runtime, since: &mut Stats) -> u64 {
    let now = runtime.stats();
    let came = now.since(since).bytes_home;
    *since = now;
    came
}

#[test]
fn a_look_at_one_of_three_arrays_copies_one() {
    for builder in [copying(), copying().staged_copies(true)] {
        let Some(runtime) = build(builder) else { return };
        if always_in_rounds(&runtime) {
            return skip("the three arrays do not fit into the device's memory together");
        }
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let [mut x, mut y, mut z] = [1.0f32, 2.0, 3.0].map(|number| vec![number; N]);
        let mut since = runtime.stats();
        runtime
            .scope(|s| {
                let (x, y, z) = (s.lend_mut(&mut x)?, s.lend_mut(&mut y)?, s.lend_mut(&mut z)?);
                for lent in [&x, &y, &z] {
                    add_one(s, &kernel, lent)?;
                }
                // A launch in rounds that may have to be undone begins by writing home what it may
                // write and is newer: nothing. The next three need no rounds.
                assert_eq!(homeward(&runtime, &mut since), 0);
                for lent in [&x, &y, &z] {
                    add_one(s, &kernel, lent)?;
                }
                let idle = s.wait()?;
                assert_eq!(homeward(&runtime, &mut since), 0, "a wait copies nothing");
                assert_eq!(idle.read(&y)?, [4.0; N]);
                assert_eq!(homeward(&runtime, &mut since), BYTES);
                assert_eq!((idle.read(&y)?[7], idle.read_range(&y, 9..)?[0]), (4.0, 4.0));
                assert_eq!(homeward(&runtime, &mut since), 0, "it is home");
                drop(idle);
                assert_eq!(s.wait()?.read(&y)?[3], 4.0);
                assert_eq!(homeward(&runtime, &mut since), 0, "and nothing was launched");

                add_one(s, &kernel, &y)?;
                let mut idle = s.wait()?;
                assert_eq!(idle.read_range(&y, 5000..=5000)?, [5.0]);
                let part = page_bytes(&y, 5000, 1);
                assert_eq!(homeward(&runtime, &mut since), part);
                assert_eq!(idle.read(&y.slice(5000..20_000)?)?, [5.0; 15_000]);
                let more = page_bytes(&y, 5000, 15_000);
                assert_eq!(homeward(&runtime, &mut since), more - part, "a part of a lend is one");
                assert_eq!(idle.read(&y)?, [5.0; N]);
                assert_eq!(homeward(&runtime, &mut since), BYTES - more);
                // The host writes a part: the pages of that part come home, and leave the device.
                idle.write(&z.slice(100..200)?)?.fill(9.0);
                assert_eq!(homeward(&runtime, &mut since), page_bytes(&z, 100, 100));
                add_one(s, &kernel, &z)?;
                assert_eq!(s.wait()?.read_range(&z, 99..101)?, [6.0, 10.0]);
                Ok(())
            })
            .unwrap();
        // All is home once: nothing that came home before comes again unless it was launched on.
        assert!(x.iter().all(|&x| x == 3.0) && y.iter().all(|&y| y == 5.0));
        let right = |(i, &z): (usize, &f32)| z == if (100..200).contains(&i) { 10.0 } else { 6.0 };
        assert!(z.iter().enumerate().all(right));
    }
}

#[test]
fn the_end_of_a_scope_brings_home_the_rest() {
    let Some(runtime) = build(copying()) else { return };
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    for fails in [false, true] {
        let [mut x, mut y] = [0.0f32; 2].map(|number| vec![number; N]);
        let mut since = runtime.stats();
        let mut rest = 0;
        let ended = runtime.scope(|s| {
            let (x, y) = (s.lend_mut(&mut x)?, s.lend_mut(&mut y)?);
            add_one(s, &kernel, &x)?;
            add_one(s, &kernel, &y)?;
            // Without rounds: to the host, any lend may have been written.
            add_one(s, &kernel, &y)?;
            homeward(&runtime, &mut since);
            assert_eq!(s.wait()?.read_range(&y, ..1)?, [2.0]);
            let part = page_bytes(&y, 0, 1);
            assert_eq!(homeward(&runtime, &mut since), part);
            rest = 2 * BYTES - part;
            if fails { Err(Error::Launch(LaunchError::Forked)) } else { Ok(()) }
        });
        assert_eq!((ended.is_err(), homeward(&runtime, &mut since)), (fails, rest));
        assert!(x.iter().all(|&x| x == 1.0) && y.iter().all(|&y| y == 2.0), "failed: {fails}");
    }
}

#[test]
fn lends_that_share_pages_come_home_apart_in_either_order() {
    for (name, runtime) in ways() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        for turned in [false, true] {
            let mut all = vec![1.0f32; 5000];
            let mut parts: Vec<&mut [f32]> = all.chunks_mut(300).collect();
            // The owner goes on using what is not lent, on the same pages.
            let own = parts.remove(3);
            runtime
                .scope(|s| {
                    let lent: Result<Vec<_>, _> =
                        parts.into_iter().map(|part| s.lend_mut(part)).collect();
                    let mut lent = lent?;
                    if turned {
                        lent.reverse();
                    }
                    for time in 0..3u8 {
                        for part in &lent {
                            add_one(s, &kernel, part)?;
                        }
                        own.fill(f32::from(time));
                        let idle = s.wait()?;
                        let mut seen: Vec<&[f32]> = Vec::new();
                        for part in &lent {
                            seen.push(idle.read_range(part, 150..)?);
                            seen.push(idle.read_range(part, ..150)?);
                            seen.push(idle.read(part)?);
                            let expected = f32::from(time) + 2.0;
                            let same = |&number: &f32| number == expected;
                            assert!(seen.iter().all(|seen| seen.iter().all(same)), "{name}");
                        }
                    }
                    Ok(())
                })
                .unwrap();
            let own = 900..1200;
            for (i, &number) in all.iter().enumerate() {
                assert_eq!(number, if own.contains(&i) { 2.0 } else { 4.0 }, "{name}: {i}");
            }
        }
    }
}

#[test]
fn ranges_that_a_lend_does_not_have_are_errors() {
    for (name, runtime) in ways() {
        let mut y = [1.0f32; 10];
        runtime
            .scope(|s| {
                let y = s.lend_mut(&mut y)?;
                let idle = s.wait()?;
                let outside = |start, end| Err(LaunchError::OutOfRange { start, end, len: 10 });
                assert_eq!(idle.read_range(&y, 5..11), outside(5, 11), "{name}");
                assert_eq!(idle.read_range(&y, 11..), outside(11, 10));
                assert_eq!(idle.read_range(&y, ..=usize::MAX), outside(0, usize::MAX));
                assert_eq!(idle.read_range(&y, 10..), Ok(&[][..]));
                assert_eq!(idle.read_range(&y, 2..4), Ok(&[1.0; 2][..]));
                let error = idle.read_range(&y, 5..11).unwrap_err().to_string();
                assert_eq!(error, "elements 5..11 are not within the 10 that were lent");
                Ok(())
            })
            .unwrap();
        let mut none: [f32; 0] = [];
        runtime
            .scope(|s| {
                let none = s.lend_mut(&mut none)?;
                let mut idle = s.wait()?;
                assert!(idle.read(&none)?.is_empty() && idle.write(&none)?.is_empty());
                Ok(())
            })
            .unwrap();
    }
}

/// A launch in rounds that writes nothing comes between a copy home and a launch without rounds.
#[test]
#[allow(unsafe_code, reason = "the words come from a compiler")]
fn results_after_a_kernel_that_only_looks_are_kept() {
    let source = "layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            volatile buffer F { float at[]; };
        layout(push_constant) uniform Push { uvec2 x; uint n; };
        void main() { if (ID < n) { float seen = F(x).at[ID]; } }";
    let words = glsl::glsl("look", source, glsl::Level::Zero);
    for (name, runtime) in ways() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        // SAFETY: shaderc's output is a valid module.
        let look = unsafe { runtime.raw_kernel("look", &words) }.unwrap();
        let (x, mut y) = (vec![0.0f32; N], vec![0.0f32; N]);
        runtime
            .scope(|s| {
                let y = s.lend_mut(&mut y)?;
                add_one(s, &kernel, &y)?;
                assert_eq!(s.wait()?.read(&y)?[0], 1.0);
                let x = s.lend(&x)?.ptr().address().to_le_bytes();
                let n = u32::try_from(N).unwrap().to_le_bytes();
                let push: Vec<u8> = x.into_iter().chain(n).collect();
                s.launch_raw(&look, Grid::cover(N), &push, &LaunchOptions::new())?;
                add_one(s, &kernel, &y)?;
                Ok(())
            })
            .unwrap();
        assert!(y.iter().all(|&y| y == 2.0), "{name}: {}", y[0]);
    }
}
