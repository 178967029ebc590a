//! PageRank by power iteration, with matrix and ranks in host memory.

use farptr::{Error, Runtime};
use rayon::prelude::*;

use crate::csr::CsrView;
use crate::error::SampleError;
use crate::graph::Graph;
use crate::linalg::{Linalg, Matrix, partials, sum};
use crate::progress::Stage;
use crate::reference::{PageRank, empty_columns, pagerank_f64};

/// The change per round, over all ranks, at which the iteration ends.
const TOLERANCE: f64 = 1e-6;
/// The most rounds; the change shrinks by the damping factor with each.
const ROUNDS: u32 = 200;
/// How far the ranks may be from the reference, over all ranks: ten times what sums in single
/// precision lose on the packages of Debian 12.
const BOUND: f64 = 5e-4;

/// The outcome of a power iteration.
#[derive(Clone, Debug)]
pub struct Ranks {
    /// The rank of each vertex.
    pub rank: Vec<f32>,
    /// The rounds it took.
    pub rounds: u32,
}

/// Ranks the vertices of a link matrix (Page, Brin, Motwani and Winograd, "The PageRank Citation
/// Ranking", 1999): each round is `rank = d A rank + (1 - d + d lost) / n`, where `lost` is the
/// rank of the vertices without links.
///
/// # Errors
/// [`Error::Lend`] or [`Error::Launch`] when the device refuses.
///
/// # Panics
/// When the matrix is not square.
pub fn rank(
    runtime: &Runtime,
    linalg: &Linalg,
    links: CsrView<'_>,
    stage: &mut Stage,
) -> Result<Ranks, Error> {
    let n = links.rows;
    let damping = PageRank::default().damping;
    let mut without_links = vec![0.0f32; n];
    empty_columns(links).into_iter().for_each(|vertex| without_links[vertex as usize] = 1.0);
    let (mut one, mut other) = (vec![single(1.0 / real(n)); n], vec![0.0f32; n]);
    let mut lost = vec![0.0; partials(n)];
    let rounds = runtime.scope(|s| {
        let (links, without_links) = (Matrix::lend(s, links)?, s.lend(&without_links)?);
        let (mut rank, mut next) = (s.lend_mut(&mut one)?, s.lend_mut(&mut other)?);
        let lost = s.lend_mut(&mut lost)?;
        for round in 1.. {
            linalg.dot(s, rank, without_links, lost)?;
            linalg.multiply(s, &links, rank, next)?;
            let lost = sum(s.wait()?.read(&lost)?);
            let everywhere = (1.0 - damping + damping * lost) / real(n);
            linalg.affine(s, single(damping), next, single(everywhere))?;
            let idle = s.wait()?;
            let change = distance(idle.read(&rank)?, idle.read(&next)?);
            std::mem::swap(&mut rank, &mut next);
            stage.advance(1);
            if change <= TOLERANCE || round == ROUNDS {
                return Ok(round);
            }
        }
        Ok(ROUNDS)
    })?;
    // The ranks swap places every round.
    Ok(Ranks { rank: if rounds % 2 == 1 { other } else { one }, rounds })
}

impl Ranks {
    /// Compares with the reference; gives the distance, and a line for a person.
    ///
    /// # Errors
    /// [`SampleError::Differs`] when the distance is too large.
    pub fn check(
        &self,
        links: CsrView<'_>,
        graph: Option<&Graph>,
    ) -> Result<(f64, String), SampleError> {
        let expected = pagerank_f64(links, PageRank::default());
        let pairs = self.rank.iter().zip(&expected.rank);
        let error: f64 = pairs.map(|(&found, &right)| (f64::from(found) - right).abs()).sum();
        if error.is_nan() || error > BOUND {
            return Err(SampleError::Differs { what: "PageRank".into(), error, bound: BOUND });
        }
        let mut order: Vec<u32> = (0u32..).take(self.rank.len()).collect();
        order.sort_by(|&a, &b| self.rank[b as usize].total_cmp(&self.rank[a as usize]));
        let name = |&vertex: &u32| graph.map(|graph| graph.name(vertex).into_owned());
        let top: Vec<String> = order.iter().take(5).filter_map(name).collect();
        let rounds = self.rounds;
        Ok((error, format!("rank     {rounds} rounds of PageRank; highest: {}", top.join(", "))))
    }
}

/// The sum of absolute differences.
fn distance(one: &[f32], other: &[f32]) -> f64 {
    let pairs = one.par_iter().zip(other);
    pairs.map(|(&one, &other)| (f64::from(one) - f64::from(other)).abs()).sum()
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the kernels' precision")]
fn single(number: f64) -> f32 {
    number as f32
}

#[expect(clippy::cast_precision_loss, reason = "a count of vertices, below 2^53")]
fn real(count: usize) -> f64 {
    count as f64
}
