//! Both samples, at two sizes, with their own references.

use super::counts::counted;
use crate::{
    doctor::{finding::Finding, probe::Subject},
    failure::{self, Failure},
};
use farptr::Runtime;
use farptr_samples::{
    SampleError, generate,
    linalg::{Linalg, Matrix},
    linked::{Linked, Walkers},
    matrix_input::MatrixInput,
    progress::Progress,
    reference::{bfs_levels, random_walks, spmv_f64},
    solve::solve,
};

/// The probes.
pub(super) const NAMES: [&str; 4] =
    ["spmv, grid of 32", "spmv, grid of 128", "graph-walk, scale 8", "graph-walk, scale 12"];

/// The most iterations of the solver.
const ITERATIONS: u32 = 5000;

/// Runs a sample of this name, if there is one.
pub(super) fn run(
    subject: &mut Subject,
    runtime: &Runtime,
    name: &str,
) -> Result<Option<Finding>, Failure> {
    let ran = match name {
        "spmv, grid of 32" => spmv(subject, runtime, 32),
        "spmv, grid of 128" => spmv(subject, runtime, 128),
        "graph-walk, scale 8" => graph_walk(subject, runtime, 8),
        "graph-walk, scale 12" => graph_walk(subject, runtime, 12),
        _ => return Ok(None),
    };
    Ok(Some(match ran {
        Ok(detail) => counted(Finding::right(detail), runtime),
        Err(differs @ SampleError::Differs { .. }) => Finding::wrong(failure::chain(&differs)),
        Err(other) => return Err(other.into()),
    }))
}

/// A product and a solution, each compared with the reference in double precision.
fn spmv(subject: &mut Subject, runtime: &Runtime, grid: usize) -> Result<String, SampleError> {
    let mut stage = Progress::new(true).stage("", None);
    let input = MatrixInput::poisson(grid)?;
    let matrix = input.view();
    let linalg = Linalg::new(runtime).map_err(SampleError::runtime)?;
    let (x, mut y) = (generate::vector(matrix.cols, 1), vec![0.0; matrix.rows]);
    subject.at("multiplying");
    let multiplied = runtime.scope(|s| {
        let (a, x, y) = (Matrix::lend(s, matrix)?, s.lend(&x)?, s.lend_mut(&mut y)?);
        linalg.multiply(s, &a, x, y)
    });
    multiplied.map_err(SampleError::runtime)?;
    let error = spmv_f64(matrix, &x).check(matrix, &y)?;
    let jacobi = input.jacobi().unwrap_or_default();
    subject.at("solving");
    let solution = solve(runtime, &linalg, matrix, &jacobi, &y, ITERATIONS, &mut stage);
    let solution = solution.map_err(SampleError::runtime)?;
    let (residual, _) = solution.check(&input, &y)?;
    let iterations = solution.iterations;
    Ok(format!("largest error {:.0e}, {iterations} iterations", error.max(residual)))
}

/// A breadth-first search and random walks, which must equal the reference's.
fn graph_walk(subject: &mut Subject, runtime: &Runtime, scale: u32) -> Result<String, SampleError> {
    let mut stage = Progress::new(true).stage("", None);
    let graph = generate::kronecker(scale, generate::EDGE_FACTOR, 1)
        .map_err(|problem| problem.in_input("kronecker"))?;
    let start = graph.busiest();
    let mut linked = Linked::new(&graph);
    subject.at("searching");
    let levels = linked.search(runtime, start, &mut stage).map_err(SampleError::runtime)?;
    let walkers = Walkers { count: 1000, steps: 200, seed: 1 };
    subject.at("walking");
    let last = linked.walk(runtime, start, walkers, &mut stage).map_err(SampleError::runtime)?;
    let expected = random_walks(&graph, start, walkers.count, walkers.steps, walkers.seed);
    let same = [
        ("levels", linked.levels() == bfs_levels(&graph, start)),
        ("visits", linked.visits() == expected.visits),
        ("ends of walks", last == expected.last),
    ];
    match same.iter().find(|(_, same)| !same) {
        None => Ok(format!("{} vertices, {levels} levels", graph.vertices())),
        Some((what, _)) => {
            let what = (*what).to_owned();
            Err(SampleError::Differs { what, error: f64::INFINITY, bound: 0.0 })
        }
    }
}
