//! References for the samples' results: the same mathematics on the CPU, in double precision where
//! there is rounding, bit for bit where there is none.

use std::cmp::Ordering as CmpOrdering;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::csr::CsrView;
use crate::error::SampleError;
use crate::graph::Graph;

/// The level of a vertex that the search does not reach.
pub const UNREACHED: u32 = u32::MAX;

/// A product with what its error is measured by.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// `y = A x`.
    pub y: Vec<f64>,
    /// The sum of `|a_ij| |x_j|` over each row `i`, which [`rounding_bound`] multiplies.
    pub scale: Vec<f64>,
}

impl Product {
    /// Compares a product computed in 32 bits, in any order of summation; returns its largest
    /// error relative to `scale`.
    ///
    /// # Errors
    /// [`SampleError::Differs`] for the first row beyond its [`rounding_bound`], or not a number.
    ///
    /// # Panics
    /// When `y` has not as many elements as the matrix has rows.
    pub fn check(&self, matrix: CsrView<'_>, y: &[f32]) -> Result<f64, SampleError> {
        assert_eq!(y.len(), self.y.len(), "one element for each row");
        let mut worst: f64 = 0.0;
        for (row, &found) in y.iter().enumerate() {
            let error = (f64::from(found) - self.y[row]).abs();
            let bound = rounding_bound(matrix.row(row).0.len(), self.scale[row]);
            // Not "error > bound", which lets a NaN through.
            if !matches!(error.partial_cmp(&bound), Some(CmpOrdering::Less | CmpOrdering::Equal)) {
                return Err(SampleError::Differs { what: format!("row {row}"), error, bound });
            }
            worst = worst.max(error / self.scale[row].max(f64::MIN_POSITIVE));
        }
        Ok(worst)
    }
}

/// How far a sum of `terms` products can be from the exact one when products and sums are rounded
/// to 32 bits, in any order, fused or not: n u / (1 - n u) of the sum of absolute values, with the
/// unit u = 2^-24 (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1), and for
/// each term the smallest normal number, since a device may flush what is below it to zero.
#[must_use]
pub fn rounding_bound(terms: usize, scale: f64) -> f64 {
    const UNIT: f64 = 1.0 / 16_777_216.0;
    let lost = real(terms) * UNIT;
    if lost >= 1.0 {
        return f64::INFINITY;
    }
    // Each product and each of the sums after it may be flushed.
    lost / (1.0 - lost) * scale + 2.0 * real(terms) * f64::from(f32::MIN_POSITIVE)
}

/// Multiplies in double precision.
///
/// # Panics
/// When `x` has not as many elements as the matrix has columns.
#[must_use]
pub fn spmv_f64(matrix: CsrView<'_>, x: &[f32]) -> Product {
    assert_eq!(x.len(), matrix.cols, "one element for each column");
    let row = |row| {
        let (columns, values) = matrix.row(row);
        let terms =
            columns.iter().zip(values).map(|(&c, &v)| f64::from(v) * f64::from(x[c as usize]));
        terms.fold((0.0, 0.0), |(sum, scale), term| (sum + term, scale + term.abs()))
    };
    let (y, scale) = (0..matrix.rows).into_par_iter().map(row).unzip();
    Product { y, scale }
}

/// How far a vector is from solving `A x = b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// The norm of `b - A x` relative to the norm of `b`. In 32 bits it stagnates far above the
    /// rounding unit where `x` is much larger than `b`.
    pub relative: f64,
    /// The norm of `b - A x` relative to the norm of `|A| |x| + |b|`: about the relative change of
    /// `A` and `b` for which `x` is exact. This one reaches the rounding unit whatever the matrix.
    pub backward: f64,
}

/// Computes in double precision how far `x` is from solving `A x = b`.
///
/// # Panics
/// When `x` or `b` do not fit the matrix.
#[must_use]
pub fn residual_f64(matrix: CsrView<'_>, x: &[f32], b: &[f32]) -> Residual {
    assert_eq!(b.len(), matrix.rows, "one element for each row");
    let product = spmv_f64(matrix, x);
    let rows = || b.iter().map(|&b| f64::from(b)).zip(&product.y).zip(&product.scale);
    let residual = norm(rows().map(|((b, y), _)| b - y));
    let terms = norm(rows().map(|((b, _), scale)| b.abs() + scale));
    let right_side = norm(rows().map(|((b, _), _)| b));
    Residual { relative: share(residual, right_side), backward: share(residual, terms) }
}

fn norm(elements: impl Iterator<Item = f64>) -> f64 {
    elements.map(|element| element * element).sum::<f64>().sqrt()
}

/// A part of a whole; a part of nothing counts in full.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { part }
}

/// When the power iteration ends, and how likely the surfer follows a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PageRank {
    /// The probability to follow a link rather than to start anywhere.
    pub damping: f64,
    /// The iteration ends when the ranks together change by no more than this.
    pub tolerance: f64,
    /// The iteration ends after so many rounds in any case.
    pub max_rounds: u32,
}

impl Default for PageRank {
    fn default() -> Self {
        Self { damping: 0.85, tolerance: 1e-9, max_rounds: 1000 }
    }
}

/// The outcome of a power iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranks {
    /// The rank of each vertex; they add up to 1.
    pub rank: Vec<f64>,
    /// How many rounds it took.
    pub rounds: u32,
    /// The sum of absolute changes in the last round.
    pub change: f64,
}

/// Ranks the vertices of a [link matrix](Graph::link_matrix). A vertex without links passes its
/// rank to all vertices alike.
///
/// # Panics
/// When the matrix is not square.
#[must_use]
pub fn pagerank_f64(links: CsrView<'_>, parameters: PageRank) -> Ranks {
    assert_eq!(links.rows, links.cols, "a link matrix is square");
    let dangling = empty_columns(links);
    let start = 1.0 / real(links.rows);
    let mut ranks = Ranks { rank: vec![start; links.rows], rounds: 0, change: f64::INFINITY };
    while ranks.change > parameters.tolerance && ranks.rounds < parameters.max_rounds {
        let next = surf(links, &ranks.rank, &dangling, parameters.damping);
        let changes = next.iter().zip(&ranks.rank).map(|(new, old)| (new - old).abs());
        ranks = Ranks { change: changes.sum(), rank: next, rounds: ranks.rounds + 1 };
    }
    ranks
}

/// One round of the power iteration.
fn surf(links: CsrView<'_>, rank: &[f64], dangling: &[u32], damping: f64) -> Vec<f64> {
    let lost: f64 = dangling.iter().map(|&vertex| rank[vertex as usize]).sum();
    let everywhere = (1.0 - damping + damping * lost) / real(links.rows);
    let row = |row| {
        let (columns, values) = links.row(row);
        let terms = columns.iter().zip(values).map(|(&c, &v)| f64::from(v) * rank[c as usize]);
        everywhere + damping * terms.sum::<f64>()
    };
    (0..links.rows).into_par_iter().map(row).collect()
}

/// The vertices without links, ascending.
#[must_use]
pub fn empty_columns(links: CsrView<'_>) -> Vec<u32> {
    let mut used = vec![false; links.cols];
    for &column in links.col {
        used[column as usize] = true;
    }
    (0u32..).zip(used).filter_map(|(column, used)| (!used).then_some(column)).collect()
}

/// The number of edges on a shortest way from `start` to each vertex, [`UNREACHED`] where there is
/// no way.
///
/// # Panics
/// When there is no vertex `start`.
#[must_use]
pub fn bfs_levels(graph: &Graph, start: u32) -> Vec<u32> {
    let levels: Vec<AtomicU32> = (0..graph.vertices()).map(|_| AtomicU32::new(UNREACHED)).collect();
    levels[start as usize].store(0, Ordering::Relaxed);
    let mut frontier = vec![start];
    let mut level = 0;
    while !frontier.is_empty() {
        level += 1;
        // Relaxed suffices: the exchange alone decides which thread adds a vertex, and rayon's join
        // orders one level before the next.
        let claim = |vertex: &u32| {
            let slot = &levels[*vertex as usize];
            slot.compare_exchange(UNREACHED, level, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let reached = |&from: &u32| graph.neighbours(from).iter().copied().filter(claim);
        frontier = frontier.par_iter().flat_map_iter(reached).collect();
    }
    levels.into_iter().map(AtomicU32::into_inner).collect()
}

/// A generator of 32 random bits from 32 bits of state, small enough for a kernel: PCG-RXS-M-XS-32
/// (O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for
/// Random Number Generation", Harvey Mudd College technical report HMC-CS-2014-0905).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkRng {
    state: u32,
}

impl WalkRng {
    /// The generator of one walker: its state is the hash of `seed + walker`.
    #[must_use]
    pub fn new(seed: u32, walker: u32) -> Self {
        Self { state: Self::output(Self::advance(seed.wrapping_add(walker))) }
    }

    /// The state, from which a kernel goes on.
    #[must_use]
    pub fn state(&self) -> u32 {
        self.state
    }

    /// The next 32 bits, made from the state before it advances.
    #[must_use = "the state advances"]
    pub fn bits(&mut self) -> u32 {
        let bits = Self::output(self.state);
        self.state = Self::advance(self.state);
        bits
    }

    /// A number below `count`, or 0 for a count of 0.
    #[must_use = "the state advances"]
    pub fn below(&mut self, count: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(count)) >> 32) as u32
    }

    fn advance(state: u32) -> u32 {
        state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453)
    }

    fn output(state: u32) -> u32 {
        let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
        (word >> 22) ^ word
    }
}

/// The vertices that random walkers visited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walks {
    /// How often any walker arrived at each vertex, modulo 2^32.
    pub visits: Vec<u32>,
    /// The last vertex of each walker.
    pub last: Vec<u32>,
}

/// Lets each walker take `steps` steps from `start`: to a random neighbour, or back to `start` from
/// a vertex without one. Every step draws from the walker's [`WalkRng`].
///
/// # Panics
/// When there is no vertex `start`.
#[must_use]
pub fn random_walks(graph: &Graph, start: u32, walkers: u32, steps: u32, seed: u32) -> Walks {
    let visits: Vec<AtomicU32> = (0..graph.vertices()).map(|_| AtomicU32::new(0)).collect();
    let walk = |walker| {
        let mut rng = WalkRng::new(seed, walker);
        (0..steps).fold(start, |from, _| {
            let arrived = step(graph, start, from, &mut rng);
            // Relaxed suffices: only the sums are read, after rayon's join.
            visits[arrived as usize].fetch_add(1, Ordering::Relaxed);
            arrived
        })
    };
    let last = (0..walkers).into_par_iter().map(walk).collect();
    Walks { visits: visits.into_iter().map(AtomicU32::into_inner).collect(), last }
}

fn step(graph: &Graph, start: u32, from: u32, rng: &mut WalkRng) -> u32 {
    let neighbours = graph.neighbours(from);
    let degree = u32::try_from(neighbours.len()).expect("neighbours are distinct 32-bit numbers");
    let choice = rng.below(degree);
    neighbours.get(choice as usize).copied().unwrap_or(start)
}

#[expect(clippy::cast_precision_loss, reason = "a count of vertices, below 2^53")]
fn real(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
