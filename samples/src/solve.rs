//! Conjugate gradients whose matrix and vectors lie in host memory.

use farptr::{Error, Runtime};

use crate::csr::CsrView;
use crate::error::SampleError;
use crate::linalg::{Linalg, Matrix, partials, sum};
use crate::matrix_input::MatrixInput;
use crate::progress::Stage;
use crate::reference::residual_f64;

/// The recursive residual, relative to the first, at which the iteration ends.
const TOLERANCE: f64 = 1e-6;
/// How large the true residual of a solution may be, relative to the right-hand side ...
const RESIDUAL_BOUND: f64 = 1e-5;
/// ... or relative to the terms whose difference it is, see [`residual_f64`].
const BACKWARD_BOUND: f64 = 1e-6;

/// How an iteration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The residual is small enough.
    Converged,
    /// A direction without positive curvature was met.
    NotPositiveDefinite,
    /// The limit of iterations was reached first.
    OutOfIterations,
}

/// The result of an iteration.
#[derive(Clone, Debug)]
pub struct Solution {
    /// The last iterate.
    pub x: Vec<f32>,
    /// The iterations done.
    pub iterations: u32,
    /// How it ended.
    pub end: End,
    /// The recursive residual, relative to the first.
    pub residual: f64,
}

/// Solves `A x = b` by conjugate gradients, preconditioned with the reciprocals of the diagonal
/// (Saad, "Iterative Methods for Sparse Linear Systems", 2nd edition, algorithm 9.1).
///
/// Scalars are sums in double precision, made by the host from partial sums that it reads where
/// the kernel wrote them.
///
/// # Errors
/// [`Error::Lend`] or [`Error::Launch`] when the device refuses.
///
/// # Panics
/// When the lengths do not fit.
pub fn solve(
    runtime: &Runtime,
    linalg: &Linalg,
    matrix: CsrView<'_>,
    jacobi: &[f32],
    b: &[f32],
    limit: u32,
    stage: &mut Stage,
) -> Result<Solution, Error> {
    let n = b.len();
    let mut x = vec![0.0; n];
    let [mut z, mut p, mut q] = [const { Vec::new() }; 3].map(|_: Vec<f32>| vec![0.0; n]);
    let (mut r, mut one, mut two) = (b.to_vec(), vec![0.0; partials(n)], vec![0.0; partials(n)]);
    let (iterations, end, residual) = runtime.scope(|s| {
        let (a, jacobi) = (Matrix::lend(s, matrix)?, s.lend(jacobi)?);
        let (x, r, z) = (s.lend_mut(&mut x)?, s.lend_mut(&mut r)?, s.lend_mut(&mut z)?);
        let (p, q) = (s.lend_mut(&mut p)?, s.lend_mut(&mut q)?);
        let (one, two) = (s.lend_mut(&mut one)?, s.lend_mut(&mut two)?);
        let (mut rz, mut first_rr, mut iteration) = (0.0, 0.0, 0);
        loop {
            linalg.hadamard(s, jacobi, r, z)?;
            linalg.dot(s, r, z, one)?;
            linalg.dot(s, r, r, two)?;
            let idle = s.wait()?;
            let (next_rz, rr) = (sum(idle.read(&one)?), sum(idle.read(&two)?));
            if iteration == 0 {
                first_rr = rr;
            }
            let residual = if first_rr > 0.0 { (rr / first_rr).sqrt() } else { 0.0 };
            if residual <= TOLERANCE {
                return Ok((iteration, End::Converged, residual));
            }
            if iteration == limit {
                return Ok((iteration, End::OutOfIterations, residual));
            }
            let beta = if iteration == 0 { 0.0 } else { next_rz / rz };
            rz = next_rz;
            linalg.axpby(s, 1.0, z, single(beta), p)?;
            linalg.multiply(s, &a, p, q)?;
            linalg.dot(s, p, q, one)?;
            let curvature = sum(s.wait()?.read(&one)?);
            if !curvature.is_normal() || curvature < 0.0 {
                return Ok((iteration, End::NotPositiveDefinite, residual));
            }
            linalg.axpby(s, single(rz / curvature), p, 1.0, x)?;
            linalg.axpby(s, single(-rz / curvature), q, 1.0, r)?;
            iteration += 1;
            stage.advance(1);
        }
    })?;
    Ok(Solution { x, iterations, end, residual })
}

impl Solution {
    /// Checks a solution by its residual in double precision; gives the residual, and a line for a
    /// person. An iteration that did not converge proves nothing about the device, so it is an
    /// error only for a generated matrix, for which it must converge.
    ///
    /// # Errors
    /// [`SampleError::Differs`] when the residual is too large.
    pub fn check(&self, input: &MatrixInput, b: &[f32]) -> Result<(f64, String), SampleError> {
        let Self { iterations, end, .. } = *self;
        if end != End::Converged && !input.is_generated() {
            let why = match end {
                End::NotPositiveDefinite => "the matrix is not positive definite in 32 bits",
                End::Converged | End::OutOfIterations => "more --iterations may help",
            };
            let residual = self.residual;
            let line = format!(
                "solve    no convergence in {iterations} iterations, residual {residual:.1e}: {why}"
            );
            return Ok((0.0, line));
        }
        let residual = residual_f64(input.view(), &self.x, b);
        let small = residual.relative <= RESIDUAL_BOUND || residual.backward <= BACKWARD_BOUND;
        let error = residual.relative;
        if end != End::Converged || !small {
            let what = format!("solution after {iterations} iterations");
            return Err(SampleError::Differs { what, error, bound: RESIDUAL_BOUND });
        }
        let line = format!(
            "solve    A x = b: {iterations} iterations of conjugate gradients, residual {error:.1e}"
        );
        Ok((error, line))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the kernels' precision")]
fn single(number: f64) -> f32 {
    number as f32
}
