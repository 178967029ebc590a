//! Every kernel that farptr ships gives the same bytes checked, in each access mode, as it does
//! in an unchecked launch.
//!
//! # Safety
//!
//! Each unchecked launch is of a shipped kernel in direct access, on arguments that are lent with
//! all elements that it touches.
#![allow(unsafe_code, reason = "unchecked launches are the oracle; each says what it touches")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::{direct, ramp, runtimes};
use farptr::shaders::abi::{Link, Node, UNREACHED, Walker};
use farptr::shaders::{affine, axpby, bfs, dot, empty, hadamard, probe, saxpy, spmv, walk};
use farptr::{Error, Grid, KernelDesc, Ptr, PtrMut, Runtime, Scope, VirtAddr};

/// Launches checked or unchecked.
fn launch<'s, K: KernelDesc>(
    s: &mut Scope<'s, '_>,
    runtime: &Runtime,
    checked: bool,
    grid: Grid,
    args: K::Args<'s>,
) -> Result<(), Error> {
    let kernel = runtime.kernel::<K>()?;
    if checked {
        s.launch(&kernel, grid, args)?;
    } else {
        // SAFETY: the callers lend all that the kernels touch, and run this in direct access.
        unsafe { s.launch_unchecked(&kernel, grid, args) }?;
    }
    Ok(())
}

/// Runs a case on the oracle, unchecked, and in each access mode, checked.
fn compare<R: PartialEq + std::fmt::Debug>(case: impl Fn(&Runtime, bool) -> Result<R, Error>) {
    let Some(oracle) = direct() else { return };
    let expected = case(&oracle, false).unwrap();
    for runtime in runtimes() {
        let found = case(&runtime, true).unwrap();
        assert!(found == expected, "{} access differs", runtime.access());
    }
}

const N: usize = 10_007;
const COUNT: u32 = 10_007;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn vector_kernels() {
    compare(|runtime, checked| {
        let x: Vec<f32> = ramp(N).iter().map(|x| x * 0.37 - 11.0).collect();
        let (mut y, mut z, mut partial) = (ramp(N), vec![0.0; N], vec![0.0; N.div_ceil(4096)]);
        runtime.scope(|s| {
            let x = s.lend(&x)?.ptr();
            let (y, z) = (s.lend_mut(&mut y)?.ptr(), s.lend_mut(&mut z)?.ptr());
            let partial = s.lend_mut(&mut partial)?.ptr();
            let grid = Grid::cover(N);
            let args = saxpy::Args { x, y, n: COUNT, a: 1.7 };
            launch::<saxpy::Kernel>(s, runtime, checked, grid, args)?;
            let args = axpby::Args { x, y, n: COUNT, a: 0.3, b: -1.1 };
            launch::<axpby::Kernel>(s, runtime, checked, grid, args)?;
            let args = affine::Args { y, n: COUNT, a: 0.9, c: 0.2 };
            launch::<affine::Kernel>(s, runtime, checked, grid, args)?;
            let args = hadamard::Args { x, y: y.into(), z, n: COUNT };
            launch::<hadamard::Kernel>(s, runtime, checked, grid, args)?;
            let args = dot::Args { x, y: z.into(), partial, n: COUNT };
            launch::<dot::Kernel>(s, runtime, checked, Grid::cover(N.div_ceil(64)), args)?;
            launch::<empty::Kernel>(s, runtime, checked, Grid::groups(3, 1, 1), ())
        })?;
        Ok([bits(&y), bits(&z), bits(&partial)])
    });
}

#[test]
fn pointers_into_the_middle_of_a_lend() {
    compare(|runtime, checked| {
        let (x, mut y) = (ramp(N), ramp(N));
        runtime.scope(|s| {
            let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
            let args = saxpy::Args { x: x.add(3), y: y.add(7), n: 10_000, a: 1.7 };
            launch::<saxpy::Kernel>(s, runtime, checked, Grid::cover(10_000), args)
        })?;
        Ok(bits(&y))
    });
}

#[test]
fn a_sparse_matrix() {
    compare(|runtime, checked| {
        let rows = 501u32;
        let mut row_ptr = vec![0u32];
        let (mut col, mut val) = (Vec::new(), Vec::new());
        for row in 0..rows {
            for entry in 0..(row * 7) % 300 {
                col.push((row * 31 + entry * 17) % rows);
                val.push(f32::from(u16::try_from(entry % 100).unwrap()) * 0.01);
            }
            row_ptr.push(u32::try_from(col.len()).unwrap());
        }
        let x = ramp(rows as usize);
        let mut y = vec![0.0; rows as usize];
        runtime.scope(|s| {
            let (row_ptr, col) = (s.lend(&row_ptr)?.ptr(), s.lend(&col)?.ptr());
            let (val, x) = (s.lend(&val)?.ptr(), s.lend(&x)?.ptr());
            let y = s.lend_mut(&mut y)?.ptr();
            for first in (0..300).step_by(128) {
                let args = spmv::Args { row_ptr, col, val, x, y, rows, first, window: 128 };
                launch::<spmv::Kernel>(s, runtime, checked, Grid::cover(rows as usize), args)?;
            }
            Ok(())
        })?;
        Ok(bits(&y))
    });
}

/// Nodes of which each leads to some others, by host address.
fn graph(len: u32) -> (Vec<Node>, Vec<u64>) {
    let blank = Node { neighbours: 0, degree: 3, level: UNREACHED, visits: 0, id: 0 };
    let mut nodes = vec![blank; len as usize];
    let base = VirtAddr::of_slice(&nodes).get();
    let address = |i: u32| base + u64::from(i % len) * size_of::<Node>() as u64;
    let links: Vec<u64> =
        (0..len).flat_map(|i| [address(i * 2 + 1), address(i * 3 + 2), address(i + 1)]).collect();
    for (id, node) in (0u32..).zip(&mut nodes) {
        node.id = id;
        node.neighbours = VirtAddr::of(&links[id as usize * 3]).get();
    }
    (nodes, links)
}

#[test]
fn a_search_over_linked_nodes() {
    compare(|runtime, checked| {
        let len = 1000;
        let (mut nodes, links) = graph(len);
        let base = VirtAddr::of_slice(&nodes).get();
        nodes[0].level = 0;
        let mut frontier = vec![VirtAddr::of(&nodes[0]).get()];
        let mut level = 0;
        while !frontier.is_empty() {
            level += 1;
            let (mut next, mut count) = (vec![0u64; len as usize], [0u32]);
            let grid = Grid::cover(frontier.len());
            runtime.scope(|s| {
                s.lend(&links)?;
                s.lend_mut(&mut nodes)?;
                let args = bfs::Args {
                    frontier: s.lend(&frontier)?.ptr(),
                    next: s.lend_mut(&mut next)?.ptr(),
                    next_count: s.lend_mut(&mut count)?.ptr(),
                    count: u32::try_from(frontier.len()).unwrap(),
                    level,
                    first: 0,
                    window: 3,
                };
                launch::<bfs::Kernel>(s, runtime, checked, grid, args)
            })?;
            next.truncate(count[0] as usize);
            next.sort_unstable();
            frontier = next;
        }
        assert_eq!(base, VirtAddr::of_slice(&nodes).get());
        Ok(nodes.iter().map(|node| node.level).collect::<Vec<_>>())
    });
}

#[test]
fn walks_over_linked_nodes() {
    compare(|runtime, checked| {
        let (mut nodes, links) = graph(997);
        let base = VirtAddr::of_slice(&nodes).get();
        let node = |i: u64| base + i * size_of::<Node>() as u64;
        let mut walkers: Vec<Walker> = (0..100u32)
            .map(|i| Walker { node: node(u64::from(i)), random: i, unused: i })
            .collect();
        runtime.scope(|s| {
            s.lend(&links)?;
            let start = s.lend_mut(&mut nodes)?.ptr();
            let walkers = s.lend_mut(&mut walkers)?.ptr();
            let args = walk::Args { walkers, start, count: 100, steps: 500 };
            launch::<walk::Kernel>(s, runtime, checked, Grid::cover(100), args)
        })?;
        let places: Vec<u64> = walkers.iter().map(|walker| walker.node - base).collect();
        let states: Vec<u32> = walkers.iter().map(|walker| walker.random).collect();
        Ok((places, states, nodes.iter().map(|node| node.visits).collect::<Vec<_>>()))
    });
}

#[test]
fn a_chain_across_pages() {
    compare(|runtime, checked| {
        let len = 5000usize;
        let mut links = vec![Link { next: 0, payload: 0, unused: 0 }; len];
        let at = |i: usize, links: &[Link]| VirtAddr::of(&links[i * 1237 % len]).get();
        for i in 0..len {
            let next = if i + 1 == len { 0 } else { at(i + 1, &links) };
            let payload = u32::try_from(i).unwrap().wrapping_mul(0x9e37_79b9);
            links[i * 1237 % len] = Link { next, payload, unused: 0 };
        }
        let mut result = [0u32; 2];
        runtime.scope(|s| {
            s.lend(&links)?;
            let result: PtrMut<'_, u32> = s.lend_mut(&mut result)?.ptr();
            let head = Ptr::from_address(at(0, &links));
            let args = probe::Args { head, result, limit: 10_000 };
            launch::<probe::Kernel>(s, runtime, checked, Grid::groups(1, 1, 1), args)
        })?;
        Ok(result)
    });
}

#[test]
fn words_that_come_at_run_time() {
    let words = saxpy::Kernel::words();
    compare(|runtime, checked| {
        // SAFETY: shaderc made the words.
        let kernel = unsafe { runtime.raw_kernel("raw saxpy", words) }?;
        assert_eq!((kernel.push_bytes(), kernel.local_size()), (24, [64, 1, 1]));
        let (x, mut y) = (ramp(N), ramp(N));
        runtime.scope(|s| {
            let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
            let push = saxpy::Kernel::push(saxpy::Args { x, y, n: COUNT, a: 1.7 });
            let push = bytes_of(&push);
            if checked {
                let options = farptr::LaunchOptions::new();
                s.launch_raw(&kernel, Grid::cover(N), push, &options)?;
            } else {
                // SAFETY: N elements of each slice, one per invocation, in direct access.
                unsafe { s.launch_raw_unchecked(&kernel, Grid::cover(N), push) }?;
            }
            Ok(())
        })?;
        Ok(bits(&y))
    });
}

/// Push constants as bytes.
fn bytes_of<T: bytemuck::NoUninit>(push: &T) -> &[u8] {
    bytemuck::bytes_of(push)
}

#[test]
fn push_constants_of_another_length_are_refused() {
    for runtime in runtimes() {
        // SAFETY: shaderc made the words.
        let kernel = unsafe { runtime.raw_kernel("raw", saxpy::Kernel::words()) }.unwrap();
        let options = farptr::LaunchOptions::new();
        let ended =
            runtime.scope(|s| Ok(s.launch_raw(&kernel, Grid::cover(1), &[0; 20], &options)?));
        let Err(Error::Launch(farptr::LaunchError::PushSize { declared, given, .. })) = ended
        else {
            panic!("the length was wrong: {ended:?}");
        };
        assert_eq!((declared, given), (24, 20));
    }
}
