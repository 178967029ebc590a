//! Mirrored access by copies: whatever is missing, in whatever order it is served, the bytes are
//! those of direct access.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;

use common::{build, ramp};
use farptr::test_hooks::TestHooks;
use farptr::{
    AccessMode, Backing, FaultReason, Grid, LaunchError, LaunchOptions, Runtime, RuntimeBuilder,
    Stats,
    shaders::{
        abi::{Node, Walker},
        saxpy, spmv, walk,
    },
};

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

/// Copies on demand in every way: plenty of memory, a few pages, copies by the device, faults
/// served out of order and a few at a time; and, last, what is known before a launch comes first.
fn variations() -> Vec<(&'static str, RuntimeBuilder)> {
    let demand = || copying().proofs(false);
    vec![
        ("plain", demand()),
        ("a few pages", demand().device_budget(5 * 4096)),
        ("staged", demand().staged_copies(true)),
        ("shuffled", demand().device_budget(3 * 4096).serve_faults(7, 40)),
        ("staged, shuffled", demand().staged_copies(true).serve_faults(8, 25)),
        (FIRST, copying()),
        ("arguments first, a few pages", copying().device_budget(5 * 4096)),
    ]
}

/// The way in which the arguments of launches come before them.
const FIRST: &str = "arguments first";

/// Runs a case in direct access and with copies in every way, and compares the results. Returns
/// what the plain way cost.
fn same<R: PartialEq>(case: impl Fn(&Runtime) -> Option<R>) -> Option<Stats> {
    let direct = build(Runtime::builder().access(AccessMode::Direct))?;
    let expected = case(&direct)?;
    drop(direct);
    let mut cost = None;
    for (name, builder) in variations() {
        let runtime = build(builder)?;
        let before = runtime.stats();
        assert!(case(&runtime)? == expected, "{name} differs from direct access");
        let spent = runtime.stats().since(&before);
        println!("{name}: {spent:?}");
        let missed = spent.faults > 0 && spent.undone_rounds > 0;
        assert!(missed || name.starts_with(FIRST), "nothing was missing in {name}");
        cost.get_or_insert(spent);
    }
    cost
}

fn numbers(len: usize) -> Vec<u32> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32).collect()
}

#[test]
fn saxpy_in_place_is_exact_and_touches_no_neighbour() {
    let n = 50_001;
    let cost = same(|runtime| {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let (x, mut y) = (ramp(n + 20), ramp(n + 30));
        let before = y.clone();
        let (head, rest) = y.split_at_mut(13);
        let (middle, tail) = rest.split_at_mut(n);
        runtime
            .scope(|s| {
                let (x, y) = (s.lend(&x[7..7 + n])?, s.lend_mut(middle)?);
                let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: 50_001, a: 3.0 };
                for round in 0..3u8 {
                    s.launch(&kernel, Grid::cover(n), args)?;
                    // The owner of the neighbours goes on using them.
                    head[12] = f32::from(round);
                    tail[0] = f32::from(round) + 0.5;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!((y[12], y[13 + n]), (2.0, 2.5));
        assert_eq!((&y[..12], &y[14 + n..]), (&before[..12], &before[14 + n..]));
        Some(y)
    });
    let Some(cost) = cost else { return };
    // x, then y, then a round that counts; after that everything is there.
    assert_eq!((cost.launches, cost.undone_rounds, cost.rounds), (3, 2, 5));
    assert_eq!(cost.bytes_home, 4 * n as u64, "one pass home at the end");
}

#[test]
fn the_host_looks_and_changes_memory_between_launches() {
    let n = 5000;
    let cost = same(|runtime| {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let (x, mut y) = (ramp(n), ramp(n));
        let sums = runtime.scope(|s| {
            let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
            let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: 5000, a: 2.0 };
            let mut sums = Vec::new();
            for at in [0, 2000, 4999] {
                s.launch(&kernel, Grid::cover(n), args)?;
                let mut idle = s.wait()?;
                sums.push(idle.read(&y)?.iter().sum::<f32>());
                idle.write(&y)?[at] = 1.0e6;
            }
            s.launch(&kernel, Grid::cover(n), args)?;
            Ok(sums)
        });
        Some((sums.unwrap(), y))
    });
    assert!(cost.is_none_or(|cost| cost.launches == 4));
}

#[test]
fn atomics_count_once_and_give_places_once() {
    let n = 40_000;
    same(|runtime| {
        let kernel = glsl::kernel(runtime, "histogram.comp");
        let x = numbers(n);
        let (mut bins, mut queue) = (vec![0u32; 5000], vec![0u32; n + 1]);
        runtime
            .scope(|s| {
                let (x, bins, queue) =
                    (s.lend(&x)?, s.lend_mut(&mut bins)?, s.lend_mut(&mut queue)?);
                let mut push = Vec::new();
                for address in [x.ptr().address(), bins.ptr().address(), queue.ptr().address()] {
                    push.extend(address.to_le_bytes());
                }
                push.extend(40_000u32.to_le_bytes());
                push.extend(5000u32.to_le_bytes());
                s.launch_raw(&kernel, Grid::cover(n), &push, &LaunchOptions::new())?;
                Ok(())
            })
            .unwrap();
        let taken = queue[0] as usize;
        queue[1..=taken].sort_unstable();
        Some((bins, queue))
    });
}

/// Items of a list in a scattered order: 64 KiB of them per 16 pages, one to a page of 4096 bytes.
fn list(pages: usize) -> (Vec<u64>, Vec<usize>) {
    let mut order: Vec<usize> = (0..pages).collect();
    let mut random = 11u64;
    for last in (1..pages).rev() {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        order.swap(last, (random >> 33) as usize % (last + 1));
    }
    let words = vec![0u64; pages * 512];
    (words, order.iter().map(|page| page * 512 + page % 200 * 2).collect())
}

fn link(words: &mut [u64], places: &[usize]) -> u64 {
    let start = words.as_ptr() as u64;
    for pair in places.windows(2) {
        words[pair[0]] = start + pair[1] as u64 * 8;
    }
    start + places[0] as u64 * 8
}

fn list_push(head: u64) -> [u8; 16] {
    let mut push = [0; 16];
    push[..8].copy_from_slice(&head.to_le_bytes());
    push[8..12].copy_from_slice(&60_000u32.to_le_bytes());
    push
}

/// The push constants of a list kernel, as many bytes as it declares.
fn pushed(kernel: &farptr::RawKernel, head: u64) -> Vec<u8> {
    list_push(head)[..kernel.push_bytes()].to_vec()
}

#[test]
fn a_cold_list_through_scattered_pages_takes_few_rounds() {
    let pages = 10_000;
    let Some(runtime) = build(copying()) else { return };
    let kernel = glsl::kernel(&runtime, "list.comp");
    let (mut words, places) = list(pages);
    let head = link(&mut words, &places);
    let push = pushed(&kernel, head);
    runtime
        .scope(|s| {
            s.lend_mut(&mut words)?;
            s.launch_raw(&kernel, Grid::cover(1), &push, &LaunchOptions::new())?;
            Ok(())
        })
        .unwrap();
    let stats = runtime.stats();
    println!("{stats:?}");
    assert!(places.iter().all(|&place| words[place + 1] == 1));
    assert!(stats.rounds <= pages as u64 / 64, "{stats:?}");
}

#[test]
fn a_list_is_the_same_in_every_order_of_service() {
    same(|runtime| {
        let kernel = glsl::kernel(runtime, "list.comp");
        let (mut words, places) = list(60);
        let head = link(&mut words, &places);
        let push = pushed(&kernel, head);
        runtime
            .scope(|s| {
                s.lend_mut(&mut words)?;
                s.launch_raw(&kernel, Grid::cover(1), &push, &LaunchOptions::new())?;
                s.launch_raw(&kernel, Grid::cover(1), &push, &LaunchOptions::new())?;
                Ok(())
            })
            .unwrap();
        Some(places.iter().map(|&place| words[place + 1]).collect::<Vec<u64>>())
    });
}

#[test]
fn spmv_is_exact() {
    let rows = 3000usize;
    same(|runtime| {
        let kernel = runtime.kernel::<spmv::Kernel>().unwrap();
        let row_ptr: Vec<u32> = (0..=rows as u32).map(|row| row * 9).collect();
        let col: Vec<u32> = numbers(rows * 9).iter().map(|c| c % rows as u32).collect();
        let (val, x, mut y) = (ramp(rows * 9), ramp(rows), vec![0.0f32; rows]);
        runtime
            .scope(|s| {
                let args = spmv::Args {
                    row_ptr: s.lend(&row_ptr)?.ptr(),
                    col: s.lend(&col)?.ptr(),
                    val: s.lend(&val)?.ptr(),
                    x: s.lend(&x)?.ptr(),
                    y: s.lend_mut(&mut y)?.ptr(),
                    rows: 3000,
                    first: 0,
                    window: 4096,
                };
                s.launch(&kernel, Grid::cover(rows), args)?;
                Ok(())
            })
            .unwrap();
        Some(y.iter().map(|y| y.to_bits()).collect::<Vec<u32>>())
    });
}

#[test]
fn random_walks_are_the_same() {
    let (count, walkers) = (4000usize, 300usize);
    same(|runtime| {
        let kernel = runtime.kernel::<walk::Kernel>().unwrap();
        let mut nodes: Vec<Node> = vec![bytemuck::Zeroable::zeroed(); count];
        let start = nodes.as_ptr() as u64;
        let address = |node: u32| start + u64::from(node) % count as u64 * size_of::<Node>() as u64;
        let neighbours: Vec<u64> = numbers(count * 4).into_iter().map(address).collect();
        for (id, node) in nodes.iter_mut().enumerate() {
            node.neighbours = neighbours[id * 4..].as_ptr() as u64;
            node.degree = (id % 5) as u32;
            node.degree = node.degree.min(4);
        }
        let walker = |seed: u32| Walker { node: address(seed * 7), random: seed, unused: 0 };
        let mut walking: Vec<Walker> = (0..walkers as u32).map(walker).collect();
        runtime
            .scope(|s| {
                s.lend(&neighbours)?;
                let args = walk::Args {
                    start: s.lend_mut(&mut nodes)?.ptr(),
                    walkers: s.lend_mut(&mut walking)?.ptr(),
                    count: 300,
                    steps: 20,
                };
                s.launch(&kernel, Grid::cover(walkers), args)?;
                s.launch(&kernel, Grid::cover(walkers), args)?;
                Ok(())
            })
            .unwrap();
        let visits: Vec<u32> = nodes.iter().map(|node| node.visits).collect();
        let ends: Vec<(u64, u32)> =
            walking.iter().map(|walker| (walker.node - start, walker.random)).collect();
        Some((visits, ends))
    });
}

#[test]
#[allow(unsafe_code, reason = "the words come from a compiler")]
fn two_arguments_for_the_same_memory_are_exact() {
    let source = "layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant, scalar) uniform Push { uvec2 from; uvec2 to; };
        void main() { U(to).at[ID] = U(from).at[ID] + 1; }";
    let words = glsl::glsl("next", source, glsl::Level::Performance);
    let n = 64 * 3000;
    same(|runtime| {
        // SAFETY: shaderc's output is a valid module.
        let kernel = unsafe { runtime.raw_kernel("next", &words) }.unwrap();
        assert!(!kernel.explain().undoes_rounds(), "{}", kernel.explain());
        let mut all = numbers(n);
        runtime
            .scope(|s| {
                let all = <[u32; 2]>::from(s.lend_mut(&mut all)?.ptr());
                let push: [[u32; 2]; 2] = [all, all];
                let push = bytemuck::bytes_of(&push);
                s.launch_raw(&kernel, Grid::cover(n), push, &LaunchOptions::new())?;
                Ok(())
            })
            .unwrap();
        Some(all)
    });
}

#[test]
fn a_launch_that_fails_leaves_memory_and_device_alone() {
    let n = 30_000;
    for (name, builder) in variations() {
        let Some(runtime) = build(builder) else { return };
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let (x, mut y) = (ramp(n), ramp(n));
        let transaction = LaunchOptions::new().transactional(true);
        runtime
            .scope(|s| {
                let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
                let args = |n| saxpy::Args { x: x.ptr(), y: y.ptr(), n, a: 2.0 };
                s.launch(&kernel, Grid::cover(n), args(30_000))?;
                // One more element than there is.
                let failed = s.launch_with(&kernel, Grid::cover(n + 1), args(30_001), &transaction);
                let Err(LaunchError::Fault(fault)) = failed else { panic!("{name}: {failed:?}") };
                assert_eq!(fault.reason, FaultReason::OutOfBounds, "{name}");
                assert_eq!(fault.nearest.as_ref().unwrap().offset_bytes, 4 * 30_000);
                s.launch(&kernel, Grid::cover(n), args(30_000))?;
                Ok(())
            })
            .unwrap();
        assert!(x.iter().zip(&y).all(|(&x, &y)| y == 5.0 * x), "{name}: twice, not thrice");
    }
}

#[test]
fn limits_of_rounds_and_faults_are_kept() {
    let Some(runtime) = build(copying().serve_faults(1, 1)) else { return };
    let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
    let (x, mut y) = (ramp(20_000), ramp(20_000));
    let before = y.clone();
    runtime
        .scope(|s| {
            let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
            let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: 20_000, a: 2.0 };
            let mut launch = |options| s.launch_with(&kernel, Grid::cover(20_000), args, &options);
            let few = launch(LaunchOptions::new().max_rounds(3));
            assert!(matches!(few, Err(LaunchError::TooManyRounds { limit: 3, .. })), "{few:?}");
            let few = launch(LaunchOptions::new().max_faults(5));
            assert!(matches!(few, Err(LaunchError::TooManyFaults { limit: 5, .. })), "{few:?}");
            Ok(())
        })
        .unwrap();
    assert_eq!(y, before);
}
