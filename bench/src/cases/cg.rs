//! Conjugate gradients: launches in turn, most of them on what the one before wrote, with sums that
//! the host reads between them.

use crate::{
    case::{Case, Context, Devices, open, open_backed},
    failure::Failure,
    measure::Variant,
    page::{Page, elements_mut_of, elements_of, pages_of},
    rival::{ConjugateGradients, ImportedCg, iterate, single},
};
use farptr::{
    AccessMode, Backing, Error, Grid, Kernel, Lent, LentMut, Ptr, Runtime, Scope,
    shaders::{
        abi::{DOT_ELEMENTS_PER_INVOCATION, LOOP_WINDOW},
        axpby, dot, hadamard, spmv,
    },
};
use farptr_samples::{
    Csr, CsrView, generate,
    linalg::{partials, sum},
};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// Points of the grid in each direction.
const GRID: usize = 256;
const ITERATIONS: u32 = 20;
/// How far a solution may be from the one in double precision, relative to its norm. Another
/// iteration moves it a hundred times as far.
const BOUND: f64 = 1e-5;

pub(super) struct Cg;

impl Case for Cg {
    fn name(&self) -> &'static str {
        "cg"
    }

    fn about(&self) -> &'static str {
        "20 iterations of conjugate gradients, 2-D Poisson problem of 256 x 256 points"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["ash-imported", "mirrored-import", "mirrored-copy", "checked-direct"]
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        _size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let Devices { rival, .. } = context.devices();
        let system = Rc::new(System::new(GRID)?);
        let mirrored = |backing| open_backed(AccessMode::Mirrored, backing);
        let (import, copy) = (mirrored(Backing::Import)?, mirrored(Backing::Copy)?);
        Ok(vec![
            Box::new(Imported {
                cg: ImportedCg::new(rival, system.matrix.view(), &system.jacobi)?,
                system: Rc::clone(&system),
                right: true,
            }),
            Box::new(Farptr::new("mirrored-import", import, &system)?),
            Box::new(Farptr::new("mirrored-copy", copy, &system)?),
            Box::new(Farptr::new("checked-direct", open(AccessMode::Direct)?, &system)?),
        ])
    }
}

/// The equations, and their approximate solution after [`ITERATIONS`].
struct System {
    matrix: Csr,
    /// Reciprocals of the diagonal.
    jacobi: Vec<f32>,
    b: Vec<f32>,
    x: Vec<f64>,
}

impl System {
    fn new(grid: usize) -> Result<Self, Failure> {
        let matrix = generate::poisson_2d(grid);
        let matrix = matrix.map_err(|problem| problem.in_input("poisson"))?;
        let (jacobi, b) = (vec![0.25; matrix.rows], generate::vector(matrix.rows, 6));
        let x = Reference::solve(matrix.view(), &b, ITERATIONS);
        Ok(Self { matrix, jacobi, b, x })
    }

    fn is_right(&self, x: &[f32]) -> bool {
        let square = |number: f64| number * number;
        let differences = x.iter().zip(&self.x).map(|(&x, expected)| f64::from(x) - expected);
        let norms =
            [differences.map(square).sum::<f64>(), self.x.iter().copied().map(square).sum()];
        x.len() == self.x.len() && norms[0].sqrt() <= BOUND * norms[1].sqrt()
    }
}

/// The same steps on the CPU, in double precision.
struct Reference<'m> {
    matrix: CsrView<'m>,
    x: Vec<f64>,
    r: Vec<f64>,
    z: Vec<f64>,
    p: Vec<f64>,
    q: Vec<f64>,
}

impl<'m> Reference<'m> {
    fn solve(matrix: CsrView<'m>, b: &[f32], iterations: u32) -> Vec<f64> {
        let [x, z, p, q] = [const { Vec::new() }; 4].map(|_: Vec<f64>| vec![0.0; b.len()]);
        let r = b.iter().copied().map(f64::from).collect();
        let mut steps = Self { matrix, x, r, z, p, q };
        let Ok(_) = iterate(&mut steps, iterations);
        steps.x
    }
}

impl ConjugateGradients for Reference<'_> {
    type Error = std::convert::Infallible;

    fn residual(&mut self, step: Option<f64>) -> Result<[f64; 2], Self::Error> {
        if let Some(step) = step {
            add(step, &self.p, &mut self.x);
            add(-step, &self.q, &mut self.r);
        }
        // The diagonal of the problem is 4.
        self.z.iter_mut().zip(&self.r).for_each(|(z, r)| *z = r / 4.0);
        Ok([product(&self.r, &self.z), product(&self.r, &self.r)])
    }

    fn direction(&mut self, turn: f64) -> Result<f64, Self::Error> {
        self.p.iter_mut().zip(&self.z).for_each(|(p, z)| *p = z + turn * *p);
        for (row, q) in self.q.iter_mut().enumerate() {
            let (columns, values) = self.matrix.row(row);
            let terms = columns.iter().zip(values);
            *q = terms.map(|(&column, &value)| f64::from(value) * self.p[column as usize]).sum();
        }
        Ok(product(&self.p, &self.q))
    }
}

fn add(factor: f64, from: &[f64], to: &mut [f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

fn product(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

/// Hand-written: all arrays imported once, before the clock.
struct Imported {
    cg: ImportedCg,
    system: Rc<System>,
    right: bool,
}

impl Variant for Imported {
    fn name(&self) -> &'static str {
        "ash-imported"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let mut elapsed = Duration::ZERO;
        for _ in 0..calls {
            self.cg.reset(&self.system.b);
            let start = Instant::now();
            iterate(&mut self.cg, ITERATIONS)?;
            elapsed += start.elapsed();
            self.right &= self.system.is_right(self.cg.x());
        }
        Ok(elapsed)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

/// farptr: a scope that lends everything, iterates and ends.
struct Farptr {
    name: &'static str,
    runtime: Runtime,
    kernels: Kernels,
    system: Rc<System>,
    arrays: Arrays,
    right: bool,
}

struct Kernels {
    spmv: Kernel<spmv::Kernel>,
    dot: Kernel<dot::Kernel>,
    axpby: Kernel<axpby::Kernel>,
    hadamard: Kernel<hadamard::Kernel>,
}

/// Host memory as the rival has it, in pages.
struct Arrays {
    row_ptr: Vec<Page>,
    col: Vec<Page>,
    val: Vec<Page>,
    jacobi: Vec<Page>,
    /// x, r, z, p and q.
    vectors: [Vec<Page>; 5],
    partial: [Vec<Page>; 2],
}

impl Farptr {
    fn new(name: &'static str, runtime: Runtime, system: &Rc<System>) -> Result<Self, Failure> {
        let kernels = Kernels::new(&runtime)?;
        let arrays = Arrays::new(system);
        Ok(Self { name, runtime, kernels, system: Rc::clone(system), arrays, right: true })
    }

    fn solve(&mut self) -> Result<(), Error> {
        let Self { kernels, system, arrays, .. } = self;
        let (rows, entries) = (system.b.len(), system.matrix.col.len());
        self.runtime.scope(|s| {
            let mut lends = Lends {
                row_ptr: s.lend(elements_of(&arrays.row_ptr, rows + 1))?,
                col: s.lend(elements_of(&arrays.col, entries))?,
                val: s.lend(elements_of(&arrays.val, entries))?,
                jacobi: s.lend(elements_of(&arrays.jacobi, rows))?,
                vectors: lend_all(s, &mut arrays.vectors, rows)?,
                partial: lend_all(s, &mut arrays.partial, partials(rows))?,
                kernels,
                scope: s,
            };
            iterate(&mut lends, ITERATIONS).map(drop)
        })
    }
}

impl Kernels {
    fn new(runtime: &Runtime) -> Result<Self, Error> {
        Ok(Self {
            spmv: runtime.kernel()?,
            dot: runtime.kernel()?,
            axpby: runtime.kernel()?,
            hadamard: runtime.kernel()?,
        })
    }
}

impl Arrays {
    fn new(system: &System) -> Self {
        let Csr { row_ptr, col, val, rows, .. } = &system.matrix;
        Self {
            row_ptr: pages_of(row_ptr),
            col: pages_of(col),
            val: pages_of(val),
            jacobi: pages_of(&system.jacobi),
            vectors: [(); 5].map(|()| pages_of(&vec![0f32; *rows])),
            partial: [(); 2].map(|()| pages_of(&vec![0f32; partials(*rows)])),
        }
    }

    /// Makes `x` zero and `r` the right-hand side.
    fn reset(&mut self, b: &[f32]) {
        let [x, r, ..] = &mut self.vectors;
        elements_mut_of::<f32>(x, b.len()).fill(0.0);
        elements_mut_of(r, b.len()).copy_from_slice(b);
    }
}

/// Lends as many elements of each of some arrays.
fn lend_all<'scope, 'env, const N: usize>(
    scope: &mut Scope<'scope, 'env>,
    arrays: &'env mut [Vec<Page>; N],
    count: usize,
) -> Result<[LentMut<'scope, f32>; N], Error> {
    let lends = arrays.iter_mut().map(|array| scope.lend_mut(elements_mut_of(array, count)));
    let lends: Vec<_> = lends.collect::<Result<_, _>>()?;
    Ok(lends.try_into().expect("as many lends as arrays"))
}

/// Everything of one scope.
struct Lends<'a, 'scope, 'env> {
    scope: &'a mut Scope<'scope, 'env>,
    kernels: &'a Kernels,
    row_ptr: Lent<'scope, u32>,
    col: Lent<'scope, u32>,
    val: Lent<'scope, f32>,
    jacobi: Lent<'scope, f32>,
    vectors: [LentMut<'scope, f32>; 5],
    partial: [LentMut<'scope, f32>; 2],
}

impl<'scope> Lends<'_, 'scope, '_> {
    /// `y = a * x + b * y`.
    fn axpby(
        &mut self,
        (a, x): (f64, LentMut<'scope, f32>),
        (b, y): (f64, LentMut<'scope, f32>),
    ) -> Result<(), Error> {
        let (n, a, b) = (count(y.len()), single(a), single(b));
        let args = axpby::Args { x: x.ptr().into(), y: y.ptr(), n, a, b };
        Ok(self.scope.launch(&self.kernels.axpby, Grid::cover(y.len()), args)?)
    }

    fn dot(
        &mut self,
        x: LentMut<'scope, f32>,
        y: LentMut<'scope, f32>,
        partial: LentMut<'scope, f32>,
    ) -> Result<(), Error> {
        let (x, y, n): (Ptr<'_, f32>, Ptr<'_, f32>, _) =
            (x.ptr().into(), y.ptr().into(), count(x.len()));
        let args = dot::Args { x, y, partial: partial.ptr(), n };
        let grid = Grid::cover(n.div_ceil(DOT_ELEMENTS_PER_INVOCATION) as usize);
        Ok(self.scope.launch(&self.kernels.dot, grid, args)?)
    }
}

impl ConjugateGradients for Lends<'_, '_, '_> {
    type Error = Error;

    fn residual(&mut self, step: Option<f64>) -> Result<[f64; 2], Error> {
        let ([x, r, z, p, q], [one, two]) = (self.vectors, self.partial);
        if let Some(step) = step {
            self.axpby((step, p), (1.0, x))?;
            self.axpby((-step, q), (1.0, r))?;
        }
        let (jacobi, n) = (self.jacobi.ptr(), count(z.len()));
        let args = hadamard::Args { x: jacobi, y: r.ptr().into(), z: z.ptr(), n };
        self.scope.launch(&self.kernels.hadamard, Grid::cover(z.len()), args)?;
        self.dot(r, z, one)?;
        self.dot(r, r, two)?;
        let idle = self.scope.wait()?;
        Ok([sum(idle.read(&one)?), sum(idle.read(&two)?)])
    }

    fn direction(&mut self, turn: f64) -> Result<f64, Error> {
        let ([_, _, z, p, q], [one, _]) = (self.vectors, self.partial);
        self.axpby((1.0, z), (turn, p))?;
        let args = spmv::Args {
            row_ptr: self.row_ptr.ptr(),
            col: self.col.ptr(),
            val: self.val.ptr(),
            x: p.ptr().into(),
            y: q.ptr(),
            rows: count(q.len()),
            first: 0,
            window: LOOP_WINDOW,
        };
        self.scope.launch(&self.kernels.spmv, Grid::cover(q.len()), args)?;
        self.dot(p, q, one)?;
        Ok(sum(self.scope.wait()?.read(&one)?))
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a valid matrix has 32-bit sizes")
}

impl Variant for Farptr {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let mut elapsed = Duration::ZERO;
        for _ in 0..calls {
            self.arrays.reset(&self.system.b);
            let start = Instant::now();
            self.solve()?;
            elapsed += start.elapsed();
            let x = elements_of(&self.arrays.vectors[0], self.system.b.len());
            self.right &= self.system.is_right(x);
        }
        Ok(elapsed)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iteration_more_or_less_is_not_right() {
        let system = System::new(64).unwrap();
        let after = |iterations| {
            let x = Reference::solve(system.matrix.view(), &system.b, iterations);
            x.into_iter().map(single).collect::<Vec<f32>>()
        };
        assert!(system.is_right(&after(ITERATIONS)));
        assert!(!system.is_right(&after(ITERATIONS - 1)));
        assert!(!system.is_right(&after(ITERATIONS + 1)));
        assert!(!system.is_right(&[]));
    }
}
