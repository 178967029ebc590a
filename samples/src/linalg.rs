//! Vector and matrix kernels behind functions that check their arguments.
//!
//! Launches check which memory a kernel touches. The functions here check lengths, and that a
//! result is not also an argument, so that the results are right too.

use farptr::shaders::abi::{DOT_ELEMENTS_PER_INVOCATION, DOT_ELEMENTS_PER_PARTIAL, LOOP_WINDOW};
use farptr::shaders::{affine, axpby, dot, hadamard, spmv};
use farptr::{Error, Grid, Kernel, Lent, LentMut, Ptr, Runtime, Scope};

use crate::csr::CsrView;

/// The kernels of linear algebra, compiled for a runtime.
#[derive(Debug)]
pub struct Linalg {
    spmv: Kernel<spmv::Kernel>,
    dot: Kernel<dot::Kernel>,
    axpby: Kernel<axpby::Kernel>,
    affine: Kernel<affine::Kernel>,
    hadamard: Kernel<hadamard::Kernel>,
}

/// A lent vector, whether kernels may write it or not.
#[derive(Clone, Copy, Debug)]
pub struct Vector<'s> {
    ptr: Ptr<'s, f32>,
    len: usize,
}

impl<'s> From<Lent<'s, f32>> for Vector<'s> {
    fn from(lent: Lent<'s, f32>) -> Self {
        Self { ptr: lent.ptr(), len: lent.len() }
    }
}

impl<'s> From<LentMut<'s, f32>> for Vector<'s> {
    fn from(lent: LentMut<'s, f32>) -> Self {
        Self { ptr: lent.ptr().into(), len: lent.len() }
    }
}

/// A lent matrix.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'s> {
    // Invariant: the arrays of a valid matrix of this size.
    row_ptr: Lent<'s, u32>,
    col: Lent<'s, u32>,
    val: Lent<'s, f32>,
    rows: usize,
    cols: usize,
    longest_row: usize,
}

impl<'s> Matrix<'s> {
    /// Lends a matrix's arrays, after checking that they are a matrix.
    ///
    /// # Errors
    /// - [`Error::Other`] with a [`Problem`](crate::Problem) when they are not
    /// - [`Error::Lend`] when the memory cannot be lent
    pub fn lend<'env>(scope: &mut Scope<'s, 'env>, matrix: CsrView<'env>) -> Result<Self, Error> {
        matrix.validate().map_err(Error::other)?;
        Ok(Self {
            row_ptr: scope.lend(matrix.row_ptr)?,
            col: scope.lend(matrix.col)?,
            val: scope.lend(matrix.val)?,
            rows: matrix.rows,
            cols: matrix.cols,
            longest_row: matrix.longest_row(),
        })
    }
}

impl Linalg {
    /// Compiles the kernels.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the device cannot run one of them.
    pub fn new(runtime: &Runtime) -> Result<Self, Error> {
        Ok(Self {
            spmv: runtime.kernel()?,
            dot: runtime.kernel()?,
            axpby: runtime.kernel()?,
            affine: runtime.kernel()?,
            hadamard: runtime.kernel()?,
        })
    }

    /// `y = A x`, in as many launches as the longest row needs.
    ///
    /// # Errors
    /// [`Error::Launch`] when a launch is refused.
    ///
    /// # Panics
    /// When the lengths do not fit, or `x` is `y`.
    pub fn multiply<'s>(
        &self,
        scope: &mut Scope<'s, '_>,
        matrix: &Matrix<'s>,
        x: impl Into<Vector<'s>>,
        y: LentMut<'s, f32>,
    ) -> Result<(), Error> {
        let x = x.into();
        assert!(x.len == matrix.cols && y.len() == matrix.rows, "vectors that fit the matrix");
        assert_ne!(x.ptr.address(), y.ptr().address(), "a product in place");
        for first in (0..matrix.longest_row.max(1)).step_by(LOOP_WINDOW as usize) {
            let args = spmv::Args {
                row_ptr: matrix.row_ptr.ptr(),
                col: matrix.col.ptr(),
                val: matrix.val.ptr(),
                x: x.ptr,
                y: y.ptr(),
                rows: count(matrix.rows),
                first: count(first),
                window: LOOP_WINDOW,
            };
            scope.launch(&self.spmv, Grid::cover(matrix.rows), args)?;
        }
        Ok(())
    }

    /// `y = a x + b y`.
    ///
    /// # Errors
    /// [`Error::Launch`] when the launch is refused.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn axpby<'s>(
        &self,
        scope: &mut Scope<'s, '_>,
        a: f32,
        x: impl Into<Vector<'s>>,
        b: f32,
        y: LentMut<'s, f32>,
    ) -> Result<(), Error> {
        let x = same_length(x, y.len());
        let args = axpby::Args { x: x.ptr, y: y.ptr(), n: count(x.len), a, b };
        Ok(scope.launch(&self.axpby, Grid::cover(x.len), args)?)
    }

    /// `y = a y + c`.
    ///
    /// # Errors
    /// [`Error::Launch`] when the launch is refused.
    pub fn affine<'s>(
        &self,
        scope: &mut Scope<'s, '_>,
        a: f32,
        y: LentMut<'s, f32>,
        c: f32,
    ) -> Result<(), Error> {
        let args = affine::Args { y: y.ptr(), n: count(y.len()), a, c };
        Ok(scope.launch(&self.affine, Grid::cover(y.len()), args)?)
    }

    /// `z = x y`, element by element.
    ///
    /// # Errors
    /// [`Error::Launch`] when the launch is refused.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn hadamard<'s>(
        &self,
        scope: &mut Scope<'s, '_>,
        x: impl Into<Vector<'s>>,
        y: impl Into<Vector<'s>>,
        z: LentMut<'s, f32>,
    ) -> Result<(), Error> {
        let (x, y) = (same_length(x, z.len()), same_length(y, z.len()));
        let args = hadamard::Args { x: x.ptr, y: y.ptr, z: z.ptr(), n: count(x.len) };
        Ok(scope.launch(&self.hadamard, Grid::cover(x.len), args)?)
    }

    /// Partial sums of `x . y`; [`sum`] adds them up once the device is idle.
    ///
    /// # Errors
    /// [`Error::Launch`] when the launch is refused.
    ///
    /// # Panics
    /// When the lengths differ, `partial` is not [`partials`] long, or is `x` or `y`.
    pub fn dot<'s>(
        &self,
        scope: &mut Scope<'s, '_>,
        x: impl Into<Vector<'s>>,
        y: impl Into<Vector<'s>>,
        partial: LentMut<'s, f32>,
    ) -> Result<(), Error> {
        let x = x.into();
        let y = same_length(y, x.len);
        assert_eq!(partial.len(), partials(x.len), "one partial sum per workgroup");
        let apart = [x.ptr.address(), y.ptr.address()].map(|a| a != partial.ptr().address());
        assert_eq!(apart, [true, true], "partial sums apart from what is summed");
        let args = dot::Args { x: x.ptr, y: y.ptr, partial: partial.ptr(), n: count(x.len) };
        let invocations = x.len.div_ceil(DOT_ELEMENTS_PER_INVOCATION as usize);
        Ok(scope.launch(&self.dot, Grid::cover(invocations), args)?)
    }
}

/// How many partial sums a dot product of `len` elements has.
#[must_use]
pub fn partials(len: usize) -> usize {
    len.div_ceil(DOT_ELEMENTS_PER_PARTIAL as usize)
}

/// Adds partial sums in double precision.
#[must_use]
pub fn sum(partial: &[f32]) -> f64 {
    partial.iter().copied().map(f64::from).sum()
}

fn same_length<'s>(vector: impl Into<Vector<'s>>, len: usize) -> Vector<'s> {
    let vector = vector.into();
    assert_eq!(vector.len, len, "vectors of one length");
    vector
}

/// A length for a kernel; matrices are limited to 32-bit sizes when they are read.
fn count(len: usize) -> u32 {
    u32::try_from(len).expect("vectors have at most 2^32 - 1 elements")
}
