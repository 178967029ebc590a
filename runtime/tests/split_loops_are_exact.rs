//! Work that is longer than a driver's loop limit is right, because it is split over launches.

mod common;

use common::runtime;
use farptr::shaders::abi::{LOOP_WINDOW, Node, UNREACHED, Walker};
use farptr::shaders::{bfs, spmv, walk};
use farptr::test_hooks::LaunchHooks;
use farptr::{Grid, LaunchOptions, VirtAddr};

/// The options of a launch, by its number: proofs are used, switched off, and withheld in part.
fn options(number: u64) -> LaunchOptions {
    let options = LaunchOptions::new();
    match number % 3 {
        0 => options,
        1 => options.proofs(false),
        // Few parts, since each is another form.
        _ => options.withhold_proofs(number % 12),
    }
}

#[test]
fn a_row_of_a_million_entries_is_summed_whole() {
    let Some(runtime) = runtime() else { return };
    let kernel = runtime.kernel::<spmv::Kernel>().unwrap();
    // Three rows: an empty one, a million ones, and one entry. All sums are exact in f32.
    let long = 1_000_000u32;
    let row_ptr = [0, 0, long, long + 1];
    let col: Vec<u32> = (0..=long).map(|k| k % 5).collect();
    let val = vec![1.0f32; col.len()];
    let x = [1.0f32, 2.0, 0.0, 3.0, 4.0];
    let mut y = [f32::NAN; 3];
    runtime
        .scope(|s| {
            let (row_ptr, col, val) = (s.lend(&row_ptr)?, s.lend(&col)?, s.lend(&val)?);
            let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
            for (number, first) in (0..).zip((0..long).step_by(LOOP_WINDOW as usize)) {
                let args = spmv::Args {
                    row_ptr: row_ptr.ptr(),
                    col: col.ptr(),
                    val: val.ptr(),
                    x: x.ptr(),
                    y: y.ptr(),
                    rows: 3,
                    first,
                    window: LOOP_WINDOW,
                };
                s.launch_with(&kernel, Grid::cover(3), args, &options(number))?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(y, [0.0, 2_000_000.0, 1.0]);
}

/// Nodes in a ring, each with one neighbour, and the array of links they point into.
fn ring(len: u32) -> (Vec<Node>, Vec<u64>) {
    let blank = Node { neighbours: 0, degree: 1, level: UNREACHED, visits: 0, id: 0 };
    let mut nodes = vec![blank; len as usize];
    let base = VirtAddr::of_slice(&nodes).get();
    let size = size_of::<Node>() as u64;
    let links: Vec<u64> =
        (0..u64::from(len)).map(|i| base + (i + 1) % u64::from(len) * size).collect();
    for ((id, node), link) in (0u32..).zip(&mut nodes).zip(&links) {
        (node.id, node.neighbours) = (id, VirtAddr::of(link).get());
    }
    (nodes, links)
}

#[test]
fn a_walk_of_ten_million_steps_arrives_where_it_must() {
    let Some(runtime) = runtime() else { return };
    let kernel = runtime.kernel::<walk::Kernel>().unwrap();
    let (len, steps) = (1009u32, 10_000_000u32);
    let (mut nodes, links) = ring(len);
    let start = VirtAddr::of(&nodes[0]).get();
    let mut walkers = [Walker { node: start, random: 1, unused: 7 }];
    runtime
        .scope(|s| {
            s.lend(&links)?;
            let (nodes, walkers) = (s.lend_mut(&mut nodes)?, s.lend_mut(&mut walkers)?);
            let (mut left, mut number) = (steps, 0);
            while left > 0 {
                let steps = left.min(LOOP_WINDOW);
                let args =
                    walk::Args { walkers: walkers.ptr(), start: nodes.ptr(), count: 1, steps };
                s.launch_with(&kernel, Grid::cover(1), args, &options(number))?;
                (left, number) = (left - steps, number + 1);
            }
            Ok(())
        })
        .unwrap();
    // On a ring a walk has no choice: after k steps it is at k modulo the length.
    let end = (walkers[0].node - start) / size_of::<Node>() as u64;
    assert_eq!(end, u64::from(steps % len));
    assert_eq!(walkers[0].unused, 7);
    for node in &nodes {
        // Node i is visited at steps i, i + len, ...; step 0 is the start and not a visit.
        let first = if node.id == 0 { len } else { node.id };
        assert_eq!(node.visits, (steps - first) / len + 1, "node {}", node.id);
    }
}

#[test]
fn a_node_of_a_hundred_thousand_neighbours_reaches_them_all() {
    let Some(runtime) = runtime() else { return };
    let kernel = runtime.kernel::<bfs::Kernel>().unwrap();
    let degree = 100_000u32;
    let blank = Node { neighbours: 0, degree: 0, level: UNREACHED, visits: 0, id: 0 };
    let mut nodes = vec![blank; degree as usize + 1];
    let links: Vec<u64> = nodes[1..].iter().map(|node| VirtAddr::of(node).get()).collect();
    let hub = Node { neighbours: VirtAddr::of_slice(&links).get(), degree, level: 0, ..blank };
    nodes[0] = hub;
    let frontier = [VirtAddr::of(&nodes[0]).get()];
    let mut next = vec![0u64; degree as usize];
    let mut next_count = [0u32];
    runtime
        .scope(|s| {
            s.lend(&links)?;
            s.lend_mut(&mut nodes)?;
            let (frontier, next) = (s.lend(&frontier)?, s.lend_mut(&mut next)?);
            let next_count = s.lend_mut(&mut next_count)?;
            for (number, first) in (0..).zip((0..degree).step_by(LOOP_WINDOW as usize)) {
                let args = bfs::Args {
                    frontier: frontier.ptr(),
                    next: next.ptr(),
                    next_count: next_count.ptr(),
                    count: 1,
                    level: 1,
                    first,
                    window: LOOP_WINDOW,
                };
                s.launch_with(&kernel, Grid::cover(1), args, &options(number))?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(next_count, [degree]);
    assert!(nodes[1..].iter().all(|node| node.level == 1));
    next.sort_unstable();
    assert_eq!(next, links);
}
