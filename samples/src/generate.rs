//! Generated inputs, the same for the same arguments on every machine.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_pcg::{Pcg32, Pcg64};
use rayon::prelude::*;

use crate::csr::{Csr, Triplet, check_limits};
use crate::error::Problem;
use crate::graph::{Graph, Names};

/// Edges for each vertex that the Graph500 specification asks for.
pub const EDGE_FACTOR: usize = 16;

/// The largest scale that [`kronecker`] accepts: beyond it the edges of factor 16 alone take more
/// than 64 GiB while they are sorted.
pub const MAX_SCALE: u32 = 28;

/// Edges from one random stream.
const BATCH: usize = 1 << 14;

/// The five-point Laplacian on a square grid of `grid * grid` points: 4 on the diagonal, -1 for
/// each neighbour. Symmetric and positive definite.
///
/// # Errors
/// - [`Problem::NoEntries`] for a grid of 0
/// - [`Problem::TooLarge`] for a grid whose entries 32 bits do not number
pub fn poisson_2d(grid: usize) -> Result<Csr, Problem> {
    let rows = grid.saturating_mul(grid);
    let entries = rows.saturating_mul(5).saturating_sub(grid.saturating_mul(4));
    if grid == 0 {
        return Err(Problem::NoEntries { rows, cols: rows, entries });
    }
    check_limits(rows, rows, entries)?;
    let mut matrix = Csr { rows, cols: rows, row_ptr: vec![0], ..Csr::default() };
    matrix.col.reserve_exact(entries);
    matrix.val.reserve_exact(entries);
    for row in 0..rows {
        for (column, value) in stencil(row, grid) {
            matrix.col.push(index(column));
            matrix.val.push(value);
        }
        matrix.row_ptr.push(index(matrix.col.len()));
    }
    Ok(matrix)
}

/// A vector of numbers between -1 and 1, the same for the same seed.
#[must_use]
pub fn vector(len: usize, seed: u64) -> Vec<f32> {
    let mut random = Pcg64::seed_from_u64(seed);
    (0..len).map(|_| random.random_range(-1.0..=1.0)).collect()
}

/// A graph with the structure that the Graph500 benchmark searches, made as its specification asks
/// (<https://graph500.org/?page_id=12>): a Kronecker product of `scale` quadrant choices with the
/// probabilities A = 0.57, B = 0.19, C = 0.19 and the rest, `edge_factor` edges for each of the
/// `2^scale` vertices, vertices renumbered at random, each edge leading both ways.
///
/// # Errors
/// - [`Problem::TooLarge`] for a scale beyond [`MAX_SCALE`]
/// - [`Problem::EmptyGraph`] for an edge factor of 0
pub fn kronecker(scale: u32, edge_factor: usize, seed: u64) -> Result<Graph, Problem> {
    if scale > MAX_SCALE {
        let count = 1u64.checked_shl(scale).unwrap_or(u64::MAX);
        return Err(Problem::TooLarge { what: "vertices", count, limit: 1 << MAX_SCALE });
    }
    let vertices = 1usize << scale;
    let names = shuffled(vertices, seed);
    let edges = vertices * edge_factor;
    let batches = edges.div_ceil(BATCH);
    let edges = (0..batches).into_par_iter().flat_map_iter(|batch| {
        let count = BATCH.min(edges - batch * BATCH);
        let mut rng = Pcg32::new(seed, batch as u64);
        let names = &names;
        (0..count).map(move |_| {
            let (from, to) = kronecker_edge(scale, &mut rng);
            (names[from], names[to])
        })
    });
    Graph::from_edges(vertices, edges.collect(), true, Names::Numbered { first: 0 })
}

/// A path: an edge from each vertex to the next, and none from the last. A search from vertex 0
/// has as many levels as there are vertices.
///
/// # Errors
/// - [`Problem::EmptyGraph`] for fewer than two vertices
/// - [`Problem::TooLarge`] for more than 32 bits number
pub fn path(vertices: usize) -> Result<Graph, Problem> {
    check_limits(vertices, 0, 0)?;
    let edges = (1..vertices).map(|to| (index(to - 1), index(to))).collect();
    Graph::from_edges(vertices, edges, false, Names::Numbered { first: 0 })
}

/// A matrix whose row 0 has an entry in every column, 1 / column counted from 1, and whose other
/// rows have their diagonal: one long row among short ones.
///
/// # Errors
/// - [`Problem::NoEntries`] for a size of 0
/// - [`Problem::TooLarge`] for a size that 32 bits do not number
pub fn long_row(size: usize) -> Result<Csr, Problem> {
    if size == 0 {
        return Err(Problem::NoEntries { rows: 0, cols: 0, entries: 0 });
    }
    check_limits(size, size, size.saturating_mul(2))?;
    let long = (0..size).map(|column| (0, index(column), reciprocal(column + 1)));
    let short = (1..size).map(|row| (index(row), index(row), 1.0));
    let triplets: Vec<Triplet> = long.chain(short).collect();
    Csr::from_triplets(size, size, triplets)
}

/// The entries of one row of the Laplacian, in ascending order of columns.
fn stencil(row: usize, grid: usize) -> impl Iterator<Item = (usize, f32)> {
    let (y, x) = (row / grid, row % grid);
    let entries = [
        (y > 0).then(|| (row - grid, -1.0)),
        (x > 0).then(|| (row - 1, -1.0)),
        Some((row, 4.0)),
        (x + 1 < grid).then(|| (row + 1, -1.0)),
        (y + 1 < grid).then(|| (row + grid, -1.0)),
    ];
    entries.into_iter().flatten()
}

fn kronecker_edge(scale: u32, rng: &mut Pcg32) -> (usize, usize) {
    let (mut from, mut to) = (0, 0);
    for _ in 0..scale {
        let choice: f64 = rng.random();
        let (down, right) = match choice {
            c if c < 0.57 => (0, 0),
            c if c < 0.57 + 0.19 => (0, 1),
            c if c < 0.57 + 0.19 + 0.19 => (1, 0),
            _ => (1, 1),
        };
        (from, to) = (2 * from + down, 2 * to + right);
    }
    (from, to)
}

fn shuffled(vertices: usize, seed: u64) -> Vec<u32> {
    let mut names: Vec<u32> = (0..vertices).map(index).collect();
    names.shuffle(&mut Pcg64::seed_from_u64(seed));
    names
}

fn index(count: usize) -> u32 {
    u32::try_from(count).expect("sizes are checked against 32 bits first")
}

#[expect(clippy::cast_precision_loss, reason = "any values will do")]
fn reciprocal(count: usize) -> f32 {
    1.0 / count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_is_valid_symmetric_and_dominant() {
        for grid in [1, 2, 3, 17] {
            let matrix = poisson_2d(grid).unwrap();
            assert_eq!(matrix.view().validate(), Ok(()));
            assert_eq!(matrix.col.len(), 5 * grid * grid - 4 * grid);
            assert!(matrix.view().is_symmetric());
        }
        let corner = poisson_2d(3).unwrap();
        assert_eq!(
            corner.view().row(4),
            (&[1, 3, 4, 5, 7][..], &[-1.0, -1.0, 4.0, -1.0, -1.0][..])
        );
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert!(matches!(poisson_2d(0), Err(Problem::NoEntries { .. })));
        assert!(matches!(poisson_2d(30_000), Err(Problem::TooLarge { what: "entries", .. })));
        assert!(matches!(poisson_2d(usize::MAX), Err(Problem::TooLarge { .. })));
        assert!(matches!(kronecker(29, 16, 1), Err(Problem::TooLarge { .. })));
        assert!(matches!(kronecker(3, 0, 1), Err(Problem::EmptyGraph { vertices: 8 })));
        assert!(matches!(path(1), Err(Problem::EmptyGraph { vertices: 1 })));
    }

    #[test]
    fn kronecker_is_repeatable_symmetric_and_skewed() {
        let graph = kronecker(12, EDGE_FACTOR, 7).unwrap();
        assert_eq!(graph, kronecker(12, EDGE_FACTOR, 7).unwrap());
        assert_ne!(graph, kronecker(12, EDGE_FACTOR, 8).unwrap());
        for from in 0..4096 {
            for &to in graph.neighbours(from) {
                assert!(graph.neighbours(to).binary_search(&from).is_ok());
            }
        }
        // A uniform graph of this size has no vertex beyond some 70 edges.
        assert!(graph.degree(graph.busiest()) > 500);
        assert!((0..4096).any(|vertex| graph.degree(vertex) == 0));
    }

    #[test]
    fn quadrants_come_in_the_specified_shares() {
        let mut rng = Pcg32::new(1, 1);
        let mut counts = [[0.0f64; 2]; 2];
        for _ in 0..100_000 {
            let (from, to) = kronecker_edge(1, &mut rng);
            counts[from][to] += 1e-5;
        }
        for (share, expected) in counts.as_flattened().iter().zip([0.57, 0.19, 0.19, 0.05]) {
            assert!((share - expected).abs() < 0.01, "{counts:?}");
        }
    }

    #[test]
    fn paths_and_long_rows_have_their_shape() {
        let graph = path(4).unwrap();
        assert_eq!((graph.targets(), graph.degree(3)), (&[1, 2, 3][..], 0));
        let matrix = long_row(5).unwrap();
        assert_eq!((matrix.view().longest_row(), matrix.row_ptr[5]), (5, 9));
        assert_eq!(matrix.view().validate(), Ok(()));
    }
}
