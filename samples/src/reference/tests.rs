use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::csr::{Csr, Triplet};
use crate::generate;
use crate::graph::Names;

fn graph(vertices: usize, edges: &[(u32, u32)]) -> Graph {
    Graph::from_edges(vertices, edges.to_vec(), false, Names::Numbered { first: 0 }).unwrap()
}

fn dense_product(size: usize, entries: &[Triplet], x: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (mut y, mut scale) = (vec![0.0; size], vec![0.0; size]);
    for row in 0..size {
        for (column, &factor) in x.iter().enumerate() {
            let here = |e: &&Triplet| (e.0 as usize, e.1 as usize) == (row, column);
            let cell: f64 = entries.iter().filter(here).map(|e| f64::from(e.2)).sum();
            y[row] += cell * f64::from(factor);
            scale[row] += (cell * f64::from(factor)).abs();
        }
    }
    (y, scale)
}

/// Levels by relaxing every edge until nothing changes.
fn relaxed_levels(graph: &Graph, start: u32) -> Vec<u32> {
    let mut levels = vec![UNREACHED; graph.vertices()];
    levels[start as usize] = 0;
    let mut queue = VecDeque::from([start]);
    while let Some(from) = queue.pop_front() {
        for &to in graph.neighbours(from) {
            let level = levels[from as usize] + 1;
            if level < levels[to as usize] {
                levels[to as usize] = level;
                queue.push_back(to);
            }
        }
    }
    levels
}

/// Ranks by solving the dense linear system of the surfer with Gaussian elimination.
fn solved_ranks(graph: &Graph, damping: f64) -> Vec<f64> {
    let n = graph.vertices();
    let mut system = vec![vec![0.0; n + 1]; n];
    for from in 0..n {
        let targets = graph.neighbours(u32::try_from(from).unwrap());
        for (to, row) in system.iter_mut().enumerate() {
            let share = if targets.is_empty() {
                1.0 / real(n)
            } else if targets.contains(&u32::try_from(to).unwrap()) {
                1.0 / real(targets.len())
            } else {
                0.0
            };
            row[from] = f64::from(u8::from(from == to)) - damping * share;
            row[n] = (1.0 - damping) / real(n);
        }
    }
    for pivot in 0..n {
        let lead = system[pivot].clone();
        for row in (0..n).filter(|&row| row != pivot) {
            let factor = system[row][pivot] / lead[pivot];
            for (cell, above) in system[row].iter_mut().zip(&lead) {
                *cell -= factor * above;
            }
        }
    }
    (0..n).map(|i| system[i][n] / system[i][i]).collect()
}

fn edges() -> impl Strategy<Value = Vec<(u32, u32)>> {
    prop::collection::vec((0u32..12, 0u32..12), 1..40)
}

proptest! {
    #[test]
    fn the_product_equals_a_dense_one(
        entries in prop::collection::vec((0u32..6, 0u32..6, -4i8..4), 0..30),
        x in prop::collection::vec(-9i8..9, 6)
    ) {
        let entries: Vec<Triplet> = entries.iter().map(|e| (e.0, e.1, f32::from(e.2))).collect();
        let x: Vec<f32> = x.into_iter().map(f32::from).collect();
        let matrix = Csr::from_triplets(6, 6, entries.clone()).unwrap();
        let product = spmv_f64(matrix.view(), &x);
        prop_assert_eq!((product.y, product.scale), dense_product(6, &entries, &x));
    }

    #[test]
    fn levels_equal_relaxation(edges in edges(), start in 0u32..12) {
        let graph = graph(12, &edges);
        prop_assert_eq!(bfs_levels(&graph, start), relaxed_levels(&graph, start));
    }

    #[test]
    fn ranks_solve_the_linear_system(edges in edges()) {
        let graph = graph(12, &edges);
        let links = graph.link_matrix().unwrap();
        let found = pagerank_f64(links.view(), PageRank { tolerance: 1e-13, ..Default::default() });
        prop_assert!((found.rank.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        for (found, solved) in found.rank.iter().zip(solved_ranks(&graph, 0.85)) {
            prop_assert!((found - solved).abs() < 1e-6, "{} {}", found, solved);
        }
    }

    #[test]
    fn walks_follow_edges(edges in edges(), seed: u32) {
        let graph = graph(12, &edges);
        let start = edges[0].0;
        let walks = random_walks(&graph, start, 5, 20, seed);
        prop_assert_eq!(walks.visits.iter().sum::<u32>(), 100);
        let levels = relaxed_levels(&graph, start);
        for (visits, level) in walks.visits.iter().zip(&levels) {
            prop_assert!(*visits == 0 || *level != UNREACHED);
        }
        prop_assert!(walks.last.iter().all(|&last| walks.visits[last as usize] > 0));
    }
}

#[test]
fn rounded_sums_stay_within_the_bound_and_wrong_ones_do_not() {
    let matrix = generate::long_row(200_000).unwrap();
    let x: Vec<f32> = (0..200_000u32)
        .map(|i| f32::from(u16::try_from(i * 7919 % 65_521).unwrap()) / 65_521.0 - 0.5)
        .collect();
    let product = spmv_f64(matrix.view(), &x);
    let row = |row| {
        let (columns, values) = matrix.view().row(row);
        columns.iter().zip(values).fold(0.0, |sum, (&c, &v)| sum + v * x[c as usize])
    };
    let mut y: Vec<f32> = (0..matrix.rows).map(row).collect();
    let error = product.check(matrix.view(), &y).unwrap();
    assert!(error > 0.0 && error < 1e-4, "{error}");
    for wrong in [f32::NAN, f32::INFINITY, y[7] * 1.000_001] {
        y[7] = wrong;
        let error = product.check(matrix.view(), &y).unwrap_err().to_string();
        assert!(error.starts_with("row 7: the result differs from the reference by"), "{error}");
    }
    assert_eq!(rounding_bound(1 << 24, 1.0), f64::INFINITY);
}

#[test]
fn the_residual_of_a_solution_is_zero() {
    let matrix = generate::poisson_2d(5).unwrap();
    let ones = vec![1.0; 25];
    let b: Vec<f32> = (0..25).map(|row| matrix.view().row(row).1.iter().sum()).collect();
    let residual = |x: &[f32], b: &[f32]| residual_f64(matrix.view(), x, b);
    assert_eq!(residual(&ones, &b), Residual { relative: 0.0, backward: 0.0 });
    assert_eq!(residual(&[0.0; 25], &b), Residual { relative: 1.0, backward: 1.0 });
    assert_eq!(residual(&[0.0; 25], &[0.0; 25]), Residual { relative: 0.0, backward: 0.0 });
    let twice = residual(&[2.0; 25], &b);
    assert!(twice.relative == 1.0 && twice.backward < 0.2, "{twice:?}");
}

#[test]
fn a_long_path_has_as_many_levels() {
    let levels = bfs_levels(&generate::path(100_000).unwrap(), 1);
    assert_eq!((levels[0], levels[1], levels[99_999]), (UNREACHED, 0, 99_998));
}

/// The generator with its wrapping written out in wider numbers.
fn wide_output(state: u64) -> u64 {
    let word = ((state >> ((state >> 28) + 4)) ^ state) * 277_803_737 % (1 << 32);
    (word >> 22) ^ word
}

#[test]
fn the_generator_is_the_published_recurrence() {
    let wide_advance = |state: u64| (state * 747_796_405 + 2_891_336_453) % (1 << 32);
    let mut rng = WalkRng::new(u32::MAX, 12);
    let mut state = wide_output(wide_advance(11));
    for _ in 0..1000 {
        assert_eq!(u64::from(rng.bits()), wide_output(state));
        state = wide_advance(state);
    }
}

#[test]
fn a_number_below_covers_its_range() {
    let mut rng = WalkRng::new(1, 1);
    let mut seen = [0u32; 5];
    for _ in 0..5000 {
        seen[rng.below(5) as usize] += 1;
    }
    assert!(seen.iter().all(|&count| (850..1150).contains(&count)), "{seen:?}");
    assert_eq!(rng.below(0), 0);
}

#[test]
fn a_walk_returns_from_a_dead_end() {
    let walks = random_walks(&graph(3, &[(0, 1), (1, 2)]), 0, 4, 7, 3);
    assert_eq!(walks.visits, [8, 12, 8]);
    assert_eq!(walks.last, [1, 1, 1, 1]);
}

#[test]
fn walks_do_not_depend_on_the_threads() {
    let graph = generate::kronecker(8, 8, 3).unwrap();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let alone = one.install(|| random_walks(&graph, 5, 100, 50, 9));
    assert_eq!(random_walks(&graph, 5, 100, 50, 9), alone);
    assert_ne!(random_walks(&graph, 5, 100, 50, 10), alone);
}
