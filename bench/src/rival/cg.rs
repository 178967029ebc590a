//! Conjugate gradients by hand: every array is imported once, and each command buffer has the
//! barriers that its kernels need and no more.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. The kernels touch the elements of the arrays below their
//! lengths, and columns of a matrix that was validated; the arrays belong to the value, which a run
//! borrows mutably, so that nothing looks at an element while the device may change it.

use super::ImportedPages;
use crate::{
    failure::Failure,
    page::{Page, pages_of},
    vulkan::{Device, HOST, KERNEL, KERNEL_WRITES, Kernel, Lane, Recorder},
};
use farptr::{
    KernelDesc, Ptr, PtrMut,
    shaders::{
        abi::{DOT_ELEMENTS_PER_INVOCATION, LOOP_WINDOW},
        axpby, dot, hadamard, spmv,
    },
};
use farptr_samples::{
    CsrView,
    linalg::{partials, sum},
};
use std::rc::Rc;

/// The steps of conjugate gradients that a device makes; [`iterate`] puts them together.
pub(crate) trait ConjugateGradients {
    type Error;

    /// With a step length, moves x along p and r along -q first. Then `z = r / diagonal`; returns
    /// `r . z` and `r . r`.
    fn residual(&mut self, step: Option<f64>) -> Result<[f64; 2], Self::Error>;

    /// `p = z + turn * p` and `q = A p`; returns `p . q`.
    fn direction(&mut self, turn: f64) -> Result<f64, Self::Error>;
}

/// Makes so many iterations, from the x and the r that are there; returns the last `r . r`.
pub(crate) fn iterate<S: ConjugateGradients>(
    steps: &mut S,
    iterations: u32,
) -> Result<f64, S::Error> {
    let [mut rz, mut rr] = steps.residual(None)?;
    let mut turn = 0.0;
    for _ in 0..iterations {
        let curvature = steps.direction(turn)?;
        let [next_rz, next_rr] = steps.residual(Some(rz / curvature))?;
        (turn, rz, rr) = (next_rz / rz, next_rz, next_rr);
    }
    Ok(rr)
}

/// A system of equations in imported memory, and a command buffer.
pub(crate) struct ImportedCg {
    lane: Lane,
    system: System,
}

/// What the commands work on.
struct System {
    // Invariants: all belongs to one device. The arrays are those of a valid matrix with `rows`
    // columns, vectors of `rows` elements, and partial sums of those.
    device: Rc<Device>,
    spmv: Kernel<spmv::Kernel>,
    dot: Kernel<dot::Kernel>,
    axpby: Kernel<axpby::Kernel>,
    hadamard: Kernel<hadamard::Kernel>,
    matrix: [ImportedPages; 3],
    jacobi: ImportedPages,
    x: ImportedPages,
    r: ImportedPages,
    z: ImportedPages,
    p: ImportedPages,
    q: ImportedPages,
    partial: [ImportedPages; 2],
    rows: u32,
}

impl ImportedCg {
    /// Copies a matrix of short rows, and the reciprocals of its diagonal, into imported memory.
    ///
    /// # Panics
    ///
    /// When they are no valid square matrix with its diagonal.
    pub(crate) fn new(
        device: &Rc<Device>,
        matrix: CsrView<'_>,
        jacobi: &[f32],
    ) -> Result<Self, Failure> {
        assert_eq!(matrix.validate(), Ok(()), "a valid matrix");
        assert!(matrix.rows == matrix.cols && matrix.rows == jacobi.len(), "one of its diagonal");
        assert!(matrix.longest_row() <= LOOP_WINDOW as usize, "rows that one launch handles");
        let import = |pages: Vec<Page>| ImportedPages::new(device, pages);
        let vector = || import(pages_of(&vec![0f32; matrix.rows]));
        let partial = || import(pages_of(&vec![0f32; partials(matrix.rows)]));
        let system = System {
            device: Rc::clone(device),
            spmv: Kernel::new(device)?,
            dot: Kernel::new(device)?,
            axpby: Kernel::new(device)?,
            hadamard: Kernel::new(device)?,
            matrix: [
                import(pages_of(matrix.row_ptr))?,
                import(pages_of(matrix.col))?,
                import(pages_of(matrix.val))?,
            ],
            jacobi: import(pages_of(jacobi))?,
            x: vector()?,
            r: vector()?,
            z: vector()?,
            p: vector()?,
            q: vector()?,
            partial: [partial()?, partial()?],
            rows: u32::try_from(matrix.rows).expect("a valid matrix has 32-bit sizes"),
        };
        Ok(Self { lane: Lane::new(device)?, system })
    }

    /// Makes `x` zero and `r` the right-hand side.
    pub(crate) fn reset(&mut self, b: &[f32]) {
        // SAFETY: runs begin and end within functions that need `&mut self`.
        let x: &mut [f32] = unsafe { self.system.x.elements_mut(b.len()) };
        x.fill(0.0);
        // SAFETY: as above.
        let r = unsafe { self.system.r.elements_mut(b.len()) };
        r.copy_from_slice(b);
    }

    /// The solution so far.
    pub(crate) fn x(&self) -> &[f32] {
        // SAFETY: as in `reset`.
        unsafe { self.system.x.elements(self.system.rows as usize) }
    }

    fn sums(&self) -> [f64; 2] {
        let count = partials(self.system.rows as usize);
        self.system.partial.each_ref().map(|partial| {
            // SAFETY: as in `reset`.
            sum(unsafe { partial.elements(count) })
        })
    }
}

impl ConjugateGradients for ImportedCg {
    type Error = Failure;

    fn residual(&mut self, step: Option<f64>) -> Result<[f64; 2], Failure> {
        let System { x, r, z, p, q, partial, .. } = &self.system;
        let (system, [one, two]) = (&self.system, partial);
        self.lane.run(|recorder| {
            if let Some(step) = step {
                system.axpby(recorder, (step, p), (1.0, x));
                system.axpby(recorder, (-step, q), (1.0, r));
                recorder.barrier(KERNEL_WRITES, KERNEL);
            }
            system.precondition(recorder);
            recorder.barrier(KERNEL_WRITES, KERNEL);
            system.dot(recorder, (r, z), one);
            system.dot(recorder, (r, r), two);
            recorder.barrier(KERNEL_WRITES, HOST);
        })?;
        Ok(self.sums())
    }

    fn direction(&mut self, turn: f64) -> Result<f64, Failure> {
        let System { z, p, q, partial: [one, _], .. } = &self.system;
        let system = &self.system;
        self.lane.run(|recorder| {
            system.axpby(recorder, (1.0, z), (turn, p));
            recorder.barrier(KERNEL_WRITES, KERNEL);
            system.multiply(recorder);
            recorder.barrier(KERNEL_WRITES, KERNEL);
            system.dot(recorder, (p, q), one);
            recorder.barrier(KERNEL_WRITES, HOST);
        })?;
        Ok(self.sums()[0])
    }
}

/// A factor and a vector.
type Term<'a> = (f64, &'a ImportedPages);

impl System {
    /// `y = a * x + b * y`.
    fn axpby(&self, recorder: &Recorder<'_>, (a, x): Term<'_>, (b, y): Term<'_>) {
        let (x, y) = (Ptr::from_address(x.address()), PtrMut::from_address(y.address()));
        let (a, b) = (single(a), single(b));
        self.launch(recorder, &self.axpby, axpby::Args { x, y, n: self.rows, a, b }, self.rows);
    }

    fn dot(
        &self,
        recorder: &Recorder<'_>,
        (x, y): (&ImportedPages, &ImportedPages),
        partial: &ImportedPages,
    ) {
        let args = dot::Args {
            x: Ptr::from_address(x.address()),
            y: Ptr::from_address(y.address()),
            partial: PtrMut::from_address(partial.address()),
            n: self.rows,
        };
        let invocations = self.rows.div_ceil(DOT_ELEMENTS_PER_INVOCATION);
        self.launch(recorder, &self.dot, args, invocations);
    }

    /// `q = A p`.
    fn multiply(&self, recorder: &Recorder<'_>) {
        let [row_ptr, col, val] = self.matrix.each_ref().map(ImportedPages::address);
        let args = spmv::Args {
            row_ptr: Ptr::from_address(row_ptr),
            col: Ptr::from_address(col),
            val: Ptr::from_address(val),
            x: Ptr::from_address(self.p.address()),
            y: PtrMut::from_address(self.q.address()),
            rows: self.rows,
            first: 0,
            window: LOOP_WINDOW,
        };
        self.launch(recorder, &self.spmv, args, self.rows);
    }

    /// `z = r / diagonal`.
    fn precondition(&self, recorder: &Recorder<'_>) {
        let args = hadamard::Args {
            x: Ptr::from_address(self.jacobi.address()),
            y: Ptr::from_address(self.r.address()),
            z: PtrMut::from_address(self.z.address()),
            n: self.rows,
        };
        self.launch(recorder, &self.hadamard, args, self.rows);
    }

    fn launch<K: KernelDesc>(
        &self,
        recorder: &Recorder<'_>,
        kernel: &Kernel<K>,
        args: K::Args<'_>,
        invocations: u32,
    ) {
        let groups = self.device.groups_for(invocations, kernel.width);
        // SAFETY: 1. all is of one device, within its limits (invariant); 2. the callers, all of
        // this type, name arrays of `self` with as many elements as the kernel touches
        // (invariants).
        unsafe { recorder.launch(kernel, &K::push(args), groups) };
    }
}

/// Rounds to the kernels' precision.
#[allow(clippy::cast_possible_truncation, reason = "rounding is meant")]
pub(crate) fn single(number: f64) -> f32 {
    number as f32
}
