//! Functions, structures and error types of yours around scopes.
//!
//! # Functions that lend and launch
//!
//! A [`Scope`](crate::Scope) has two lifetimes. `'env` is how long memory is borrowed: until the
//! scope has ended. `'scope` ties pointers to their scope. A function that lends names `'env`,
//! since its memory has to live that long. A function that launches names `'scope`, since pointers
//! come with it:
//!
//! ```
//! use farptr::{Error, Grid, Kernel, LendError, Lent, LentMut, Runtime, Scope, shaders::axpby};
//!
//! /// `y = a * x + b * y`, on memory that was lent.
//! fn combine<'scope>(
//!     s: &mut Scope<'scope, '_>,
//!     kernel: &Kernel<axpby::Kernel>,
//!     x: Lent<'scope, f32>,
//!     y: LentMut<'scope, f32>,
//!     [a, b]: [f32; 2],
//! ) -> Result<(), Error> {
//!     let n = u32::try_from(y.len())?;
//!     let args = axpby::Args { x: x.ptr(), y: y.ptr(), n, a, b };
//!     Ok(s.launch(kernel, Grid::cover(y.len()), args)?)
//! }
//!
//! /// Lends both halves of a pair of arrays.
//! fn lend_pair<'scope, 'env>(
//!     s: &mut Scope<'scope, 'env>,
//!     x: &'env [f32],
//!     y: &'env mut [f32],
//! ) -> Result<(Lent<'scope, f32>, LentMut<'scope, f32>), LendError> {
//!     Ok((s.lend(x)?, s.lend_mut(y)?))
//! }
//!
//! fn main() -> Result<(), Error> {
//!     let runtime = Runtime::builder().build()?;
//!     let kernel = runtime.kernel::<axpby::Kernel>()?;
//!     let (x, mut y) = (vec![1.0; 100], vec![2.0; 100]);
//!     runtime.scope(|s| {
//!         let (x, y) = lend_pair(s, &x, &mut y)?;
//!         combine(s, &kernel, x, y, [1.0, 1.0])?;
//!         combine(s, &kernel, x, y, [1.0, 1.0])?;
//!         Ok(())
//!     })?;
//!     assert_eq!(y, [4.0; 100]);
//!     Ok(())
//! }
//! ```
//!
//! Memory has to be made outside the closure, and before it: a vector that the closure makes is
//! gone when the closure returns, while a kernel may still run. The compiler says that it `does not
//! live long enough`.
//!
//! # Structures
//!
//! A program keeps its runtime and kernels for as long as it likes: neither has a lifetime. What
//! was lent belongs to its scope, and so does a structure that holds it:
//!
//! ```
//! use farptr::{Error, Grid, Kernel, LentMut, Runtime, Scope, shaders::axpby};
//!
//! struct Solver {
//!     runtime: Runtime,
//!     axpby: Kernel<axpby::Kernel>,
//! }
//!
//! /// The vectors of one solution, lent.
//! struct Vectors<'scope> {
//!     x: LentMut<'scope, f32>,
//!     residual: LentMut<'scope, f32>,
//! }
//!
//! impl Solver {
//!     fn new() -> Result<Self, Error> {
//!         let runtime = Runtime::builder().build()?;
//!         let axpby = runtime.kernel()?;
//!         Ok(Self { runtime, axpby })
//!     }
//!
//!     fn step<'s>(&self, s: &mut Scope<'s, '_>, on: &Vectors<'s>) -> Result<(), Error> {
//!         let n = u32::try_from(on.x.len())?;
//!         let (x, y) = (on.residual.ptr().into(), on.x.ptr());
//!         let args = axpby::Args { x, y, n, a: 0.5, b: 1.0 };
//!         Ok(s.launch(&self.axpby, Grid::cover(on.x.len()), args)?)
//!     }
//!
//!     fn solve(&self, x: &mut [f32], residual: &mut [f32]) -> Result<(), Error> {
//!         self.runtime.scope(|s| {
//!             let on = Vectors { x: s.lend_mut(x)?, residual: s.lend_mut(residual)? };
//!             for _ in 0..4 {
//!                 self.step(s, &on)?;
//!             }
//!             Ok(())
//!         })
//!     }
//! }
//!
//! let (mut x, mut residual) = ([0.0; 64], [1.0; 64]);
//! Solver::new()?.solve(&mut x, &mut residual)?;
//! assert_eq!(x, [2.0; 64]);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Errors of your own
//!
//! The closure returns [`Error`](crate::Error), which all errors of the library turn into by `?`.
//! An error of yours leaves a scope inside [`Error::other`](crate::Error::other):
//!
//! ```
//! use farptr::{Error, Runtime};
//!
//! #[derive(Debug)]
//! enum Failure {
//!     Diverged { step: u32 },
//!     Device(Error),
//! }
//!
//! impl std::fmt::Display for Failure {
//!     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
//!         match self {
//!             Self::Diverged { step } => write!(f, "the solution diverged in step {step}"),
//!             Self::Device(error) => error.fmt(f),
//!         }
//!     }
//! }
//!
//! impl std::error::Error for Failure {}
//!
//! /// What came out of a scope is a failure of ours, or the device's.
//! impl From<Error> for Failure {
//!     fn from(error: Error) -> Self {
//!         match error {
//!             Error::Other(ours) => match ours.downcast::<Self>() {
//!                 Ok(ours) => *ours,
//!                 Err(other) => Self::Device(Error::Other(other)),
//!             },
//!             error => Self::Device(error),
//!         }
//!     }
//! }
//!
//! fn solve(runtime: &Runtime) -> Result<(), Failure> {
//!     runtime.scope(|_| Err(Error::other(Failure::Diverged { step: 7 })))?;
//!     Ok(())
//! }
//!
//! let runtime = Runtime::builder().build()?;
//! assert!(matches!(solve(&runtime), Err(Failure::Diverged { step: 7 })));
//! # Ok::<(), Error>(())
//! ```
//!
//! When the closure returns an error, launches that were not yet handed to the device do not run,
//! and the scope waits for those that were.
