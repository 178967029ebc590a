//! Checked launches: what they stop, what they say about it, and what is left afterwards.
//!
//! # Safety
//!
//! The launch that is not checked is one that does not run; it would keep to what is lent.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "common/checked.rs"]
mod checked;
mod common;

use checked::{add_one, assert_usable, fault, follow};
use common::{ramp, runtimes};
use farptr::shaders::abi::{Link, Node, Walker};
use farptr::shaders::{affine, bfs, probe, saxpy, walk};
use farptr::{AccessKind, FaultReason, Grid, LaunchError, LaunchOptions, PtrMut, Scope, VirtAddr};

const CANARY: f32 = -7.25;
const N: u32 = 1000;

/// Memory with canaries around what is lent of it.
struct Guarded(Vec<f32>);

impl Guarded {
    const AROUND: usize = 100;

    fn new(len: u32) -> Self {
        let mut all = vec![CANARY; len as usize + 2 * Self::AROUND];
        all[Self::AROUND..][..len as usize].fill(1.0);
        Self(all)
    }

    fn lent(&mut self) -> &mut [f32] {
        let end = self.0.len() - Self::AROUND;
        &mut self.0[Self::AROUND..end]
    }

    fn assert_intact(&self) {
        let end = self.0.len() - Self::AROUND;
        assert!(self.0[..Self::AROUND].iter().chain(&self.0[end..]).all(|&c| c == CANARY));
    }
}

#[test]
fn one_element_beyond_either_end_is_a_fault() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        // (first element, elements, offset of the fault in bytes)
        for (from, n, offset) in [(0, N + 1, 4 * i64::from(N)), (-1, 1, -4), (N.into(), 1, 4000)] {
            let mut memory = Guarded::new(N);
            let lent = memory.lent();
            let start = VirtAddr::of_slice(lent).get();
            let ended = runtime.scope(|s| {
                let y = s.lend_mut(lent)?;
                let y = PtrMut::from_address(y.ptr().address().wrapping_add_signed(from * 4));
                Ok(add_one(s, &kernel, y, n)?)
            });
            let fault = fault(ended);
            assert_eq!(fault.address, start.wrapping_add_signed(offset), "{fault}");
            assert_eq!((fault.reason, fault.size_bytes), (FaultReason::OutOfBounds, 4));
            assert_eq!((fault.kernel, fault.access), ("affine", AccessKind::Read));
            assert!(fault.instruction.starts_with("OpLoad"), "{fault}");
            let nearest = fault.nearest.unwrap();
            assert_eq!((nearest.range.start().get(), nearest.offset_bytes), (start, offset));
            memory.assert_intact();
            assert_usable(&runtime);
        }
    }
}

#[test]
fn the_workgroup_of_the_first_fault_is_named() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let mut y = vec![0.0; 64 * 5 + 7];
        let ended = runtime.scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr();
            Ok(add_one(s, &kernel, y, 64 * 5 + 8)?)
        });
        let fault = fault(ended);
        assert_eq!((fault.workgroup, fault.invocation), ([5, 0, 0], 7), "{fault}");
    }
}

#[test]
fn pointers_that_lead_nowhere_are_faults() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let freed = {
            let gone = vec![0.0f32; 1 << 20];
            VirtAddr::of_slice(&gone).get()
        };
        let not_lent = vec![1.0f32; 8];
        let on_stack = 0.0f32;
        let elsewhere = [
            0,
            8,
            freed,
            VirtAddr::of_slice(&not_lent).get(),
            VirtAddr::of(&on_stack).get(),
            u64::MAX - 3,
            1 << 63,
        ];
        for address in elsewhere {
            let mut memory = Guarded::new(N);
            let lent = memory.lent();
            let ended = runtime.scope(|s| {
                s.lend_mut(lent)?;
                Ok(add_one(s, &kernel, PtrMut::from_address(address), 8)?)
            });
            let fault = fault(ended);
            assert_eq!((fault.address, fault.reason), (address, FaultReason::OutOfBounds));
            assert!(fault.nearest.is_some());
            assert_eq!(memory.lent(), [1.0; N as usize]);
            memory.assert_intact();
        }
        assert_eq!(not_lent, [1.0; 8]);
        assert_usable(&runtime);
    }
}

#[test]
fn without_any_lend_everything_is_a_fault() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let ended = runtime.scope(|s| Ok(add_one(s, &kernel, PtrMut::from_address(4096), 1)?));
        let fault = fault(ended);
        assert_eq!((fault.address, fault.nearest), (4096, None));
        assert!(fault.to_string().ends_with("; nothing was lent"), "{fault}");
    }
}

#[test]
fn misaligned_pointers_are_faults() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        for shift in 1..4 {
            let mut memory = Guarded::new(N);
            let lent = memory.lent();
            let ended = runtime.scope(|s| {
                let y = s.lend_mut(lent)?.ptr().address() + shift;
                Ok(add_one(s, &kernel, PtrMut::from_address(y), 8)?)
            });
            let fault = fault(ended);
            assert_eq!(fault.reason, FaultReason::Misaligned, "{fault}");
            assert_eq!(memory.lent(), [1.0; N as usize]);
            memory.assert_intact();
        }
    }
}

#[test]
fn what_is_lent_for_reading_is_not_written() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let x = vec![2.0; N as usize];
        let ended = runtime.scope(|s| {
            let x = s.lend(&x)?.ptr().address();
            Ok(add_one(s, &kernel, PtrMut::from_address(x), N)?)
        });
        let fault = fault(ended);
        assert_eq!((fault.reason, fault.access), (FaultReason::ReadOnly, AccessKind::Write));
        assert!(fault.instruction.starts_with("OpStore"), "{fault}");
        assert_eq!(x, vec![2.0; N as usize]);
        assert_usable(&runtime);
    }
}

#[test]
fn an_atomic_needs_memory_that_was_lent_for_writing() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<walk::Kernel>().unwrap();
        let blank = Node { neighbours: 0, degree: 1, level: 0, visits: 0, id: 0 };
        let mut nodes = vec![blank; 2];
        let link = [VirtAddr::of(&nodes[1]).get()];
        nodes[0].neighbours = VirtAddr::of(&link).get();
        let start = VirtAddr::of(&nodes[0]).get();
        let mut walkers = [Walker { node: start, random: 1, unused: 7 }];
        let ended = runtime.scope(|s| {
            s.lend(&link)?;
            s.lend(&nodes)?;
            let walkers = s.lend_mut(&mut walkers)?.ptr();
            let start = PtrMut::from_address(start);
            let args = walk::Args { walkers, start, count: 1, steps: 1 };
            Ok(s.launch(&kernel, Grid::cover(1), args)?)
        });
        let fault = fault(ended);
        assert_eq!((fault.reason, fault.access), (FaultReason::ReadOnly, AccessKind::Atomic));
        assert_eq!(fault.address, VirtAddr::of(&nodes[1].visits).get(), "{fault}");
        assert_eq!(nodes[1].visits, 0);
    }
}

/// A chain of links of which the last leads to `end`.
fn chain(len: usize, end: u64) -> Vec<Link> {
    let mut links = vec![Link { next: end, payload: 1, unused: 0 }; len];
    for at in 1..len {
        links[at - 1].next = VirtAddr::of(&links[at]).get();
    }
    links
}

#[test]
fn pointers_from_memory_may_lead_into_what_was_lent_and_nowhere_else() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<probe::Kernel>().unwrap();
        let other = chain(8, 0);
        let beyond = VirtAddr::of_slice(&other).get() + 8 * 16;
        // The link that starts 8 bytes before the end has its payload outside.
        for (end, fails_at) in [
            (VirtAddr::of_slice(&other).get(), None),
            (beyond, Some(beyond + 8)),
            (beyond - 8, Some(beyond)),
            (VirtAddr::of_slice(&other).get() - 16, Some(VirtAddr::of_slice(&other).get() - 8)),
            (1 << 40, Some((1 << 40) + 8)),
            (u64::MAX - 7, Some(0)),
        ] {
            let links = chain(10, end);
            let mut result = [0u32; 2];
            let ended = runtime.scope(|s| {
                let head = s.lend(&links)?.ptr().address();
                s.lend(&other)?;
                let result = s.lend_mut(&mut result)?.ptr();
                Ok(follow(s, &kernel, head, result, (100, LaunchOptions::new()))?)
            });
            match fails_at {
                None => {
                    ended.unwrap();
                    assert_eq!(result, [18, 0]);
                }
                Some(address) => {
                    let fault = fault(ended);
                    assert_eq!(fault.address, address, "{fault}");
                    assert_eq!(fault.reason, FaultReason::OutOfBounds);
                }
            }
        }
    }
}

#[test]
fn a_misaligned_pointer_in_memory_is_a_fault() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<probe::Kernel>().unwrap();
        let mut links = chain(3, 0);
        links[0].next += 4;
        let mut result = [0u32; 2];
        let ended = runtime.scope(|s| {
            let head = s.lend(&links)?.ptr().address();
            let result = s.lend_mut(&mut result)?.ptr();
            Ok(follow(s, &kernel, head, result, (100, LaunchOptions::new()))?)
        });
        assert_eq!(fault(ended).reason, FaultReason::Misaligned);
    }
}

#[test]
fn any_number_of_lends_are_told_apart() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<probe::Kernel>().unwrap();
        for count in [1, 2, 7, 8, 9, 17, 300] {
            // Each link is a lend of its own, with links that are not lent between.
            let mut links = vec![Link { next: 0, payload: 3, unused: 0 }; 2 * count];
            let at = |links: &[Link], i: usize| VirtAddr::of(&links[2 * i]).get();
            // 11 divides none of the counts, so that its multiples visit every link.
            for i in 0..count - 1 {
                links[2 * (i * 11 % count)].next = at(&links, (i + 1) * 11 % count);
            }
            let mut result = [0u32; 2];
            let run = |links: &[Link], result: &mut [u32]| {
                runtime.scope(|s| {
                    for i in 0..count {
                        s.lend(&links[2 * i..=2 * i])?;
                    }
                    let head = at(links, 0);
                    let result = s.lend_mut(result)?.ptr();
                    Ok(follow(s, &kernel, head, result, (1000, LaunchOptions::new()))?)
                })
            };
            run(&links, &mut result).unwrap();
            let mixed = if count % 2 == 0 { 0 } else { 3 };
            assert_eq!(result, [u32::try_from(count).unwrap(), mixed], "{count} lends");
            let last = (count - 1) * 11 % count;
            links[2 * last].next = VirtAddr::of(&links[2 * last + 1]).get();
            let fault = fault(run(&links, &mut result));
            assert_eq!(fault.address, links[2 * last].next + 8, "{count} lends");
        }
    }
}

#[test]
fn overlapping_lends_for_reading_are_one() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let x = ramp(20_000);
        let mut y = vec![0.0; 20_000];
        runtime
            .scope(|s| {
                let (left, right) = (s.lend(&x[..12_000])?, s.lend(&x[8_000..])?);
                let y = s.lend_mut(&mut y)?.ptr();
                // The left pointer reaches all, the right one lies inside.
                let args = saxpy::Args { x: left.ptr(), y, n: 20_000, a: 1.0 };
                s.launch(&kernel, Grid::cover(20_000), args)?;
                let args = saxpy::Args { x: right.ptr(), y, n: 12_000, a: 1.0 };
                s.launch(&kernel, Grid::cover(12_000), args)?;
                Ok(())
            })
            .unwrap();
        let second = |i: usize| if i < 12_000 { x[i + 8_000] } else { 0.0 };
        assert!(y.iter().enumerate().all(|(i, &y)| y == x[i] + second(i)));
    }
}

#[test]
fn launches_after_a_failed_one_do_nothing_and_the_scope_lives_on() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let mut memory = Guarded::new(N);
        let lent = memory.lent();
        let before = runtime.stats();
        runtime
            .scope(|s| {
                let y = s.lend_mut(lent)?;
                let beyond = y.ptr().add(N.into());
                for _ in 0..3 {
                    add_one(s, &kernel, y.ptr(), N)?;
                }
                // In rounds, a launch reports its own failure.
                if let Err(error) = add_one(s, &kernel, beyond, 1) {
                    assert!(matches!(error, LaunchError::Fault(_)), "{error}");
                    assert_eq!(s.wait()?.read(&y)?, [4.0; N as usize]);
                    return Ok(());
                }
                for _ in 0..200 {
                    // Some of these may report the failure; then they are not recorded.
                    if let Err(error) = add_one(s, &kernel, y.ptr(), N) {
                        assert!(matches!(error, LaunchError::Fault(_)), "{error}");
                        assert_eq!(s.wait()?.read(&y)?, [4.0; N as usize]);
                        return Ok(());
                    }
                }
                let error = s.wait().map(|_| ()).unwrap_err();
                assert!(matches!(error, LaunchError::Fault(_)), "{error}");
                assert_eq!(s.wait()?.read(&y)?, [4.0; N as usize], "reported once");
                add_one(s, &kernel, y.ptr(), N)?;
                assert_eq!(s.wait()?.read(&y)?, [5.0; N as usize]);
                add_one(s, &kernel, beyond, 1)?;
                s.wait().map(|_| ()).unwrap_err();
                Ok(())
            })
            .unwrap();
        memory.assert_intact();
        assert!(runtime.stats().since(&before).faults >= 1);
        assert_usable(&runtime);
    }
}

#[test]
fn an_unchecked_launch_does_not_run_on_what_a_failed_one_left() {
    #![allow(unsafe_code, reason = "an unchecked launch is what is tested")]
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let mut y = vec![1.0; 8];
        let ended = runtime.scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr();
            add_one(s, &kernel, y, 9)?;
            let args = affine::Args { y, n: 8, a: 0.0, c: 0.0 };
            // SAFETY: 8 elements, one per invocation, at their device address: it does not run.
            unsafe { s.launch_unchecked(&kernel, Grid::cover(8), args) }?;
            Ok(())
        });
        assert_eq!(fault(ended).reason, FaultReason::OutOfBounds);
        // A launch may have written what it was allowed to.
        assert_eq!(y, [2.0; 8]);
    }
}

#[test]
fn a_transactional_launch_leaves_no_trace_when_it_fails() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let mut memory = Guarded::new(N);
        let mut other = vec![3.0; 5000];
        let lent = memory.lent();
        let launch = |s: &mut Scope<'_, '_>, y: PtrMut<'_, f32>, n: u32| {
            let args = affine::Args { y: PtrMut::from_address(y.address()), n, a: 1.0, c: 1.0 };
            let options = LaunchOptions::new().transactional(true);
            s.launch_with(&kernel, Grid::cover(n as usize), args, &options)
        };
        runtime
            .scope(|s| {
                let (y, other) = (s.lend_mut(lent)?, s.lend_mut(&mut other)?);
                launch(s, other.ptr(), 5000)?;
                launch(s, y.ptr(), N)?;
                let error = launch(s, y.ptr(), N + 1).unwrap_err();
                assert!(matches!(error, LaunchError::Fault(_)), "{error}");
                let idle = s.wait()?;
                assert_eq!(idle.read(&y)?, [2.0; N as usize]);
                assert_eq!(idle.read(&other)?, [4.0; 5000]);
                launch(s, y.ptr(), N)?;
                Ok(())
            })
            .unwrap();
        assert_eq!(memory.lent(), [3.0; N as usize]);
        assert_eq!(other, [4.0; 5000]);
        memory.assert_intact();
    }
}

#[test]
fn a_store_beyond_the_room_for_results_is_a_fault_of_an_index() {
    for runtime in runtimes() {
        let kernel = runtime.kernel::<bfs::Kernel>().unwrap();
        let blank = Node { neighbours: 0, degree: 0, level: u32::MAX, visits: 0, id: 0 };
        let mut nodes = vec![blank; 65];
        let links: Vec<u64> = nodes[1..].iter().map(|node| VirtAddr::of(node).get()).collect();
        nodes[0].neighbours = VirtAddr::of_slice(&links).get();
        nodes[0].degree = 64;
        let frontier = [VirtAddr::of(&nodes[0]).get()];
        let mut next = vec![0u64; 64];
        let mut count = [0u32];
        let ended = runtime.scope(|s| {
            s.lend(&links)?;
            s.lend_mut(&mut nodes)?;
            let args = bfs::Args {
                frontier: s.lend(&frontier)?.ptr(),
                next: s.lend_mut(&mut next[..60])?.ptr(),
                next_count: s.lend_mut(&mut count)?.ptr(),
                count: 1,
                level: 1,
                first: 0,
                window: 100,
            };
            Ok(s.launch(&kernel, Grid::cover(1), args)?)
        });
        let fault = fault(ended);
        assert_eq!((fault.access, fault.reason), (AccessKind::Write, FaultReason::OutOfBounds));
        assert_eq!(fault.nearest.unwrap().offset_bytes, 480, "{fault}");
        assert_eq!(next[60..], [0; 4]);
    }
}
