//! The cost of host pointers to a kernel: y = a * x + y, once over each size.
//!
//! # Safety
//!
//! In direct access launches are unchecked; the kernel touches as many elements as both lent slices
//! have. To an unchecked kernel in mirrored access a host pointer is a wild one, so that launches
//! are checked there.

use crate::{
    case::{Case, Context, Devices},
    failure::Failure,
    measure::Variant,
    rival::{RawSaxpy, StagedSaxpy},
};
use farptr::{Error, Grid, Kernel, Lent, LentMut, ProvedAccess, Runtime, Scope, shaders::saxpy};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::{Duration, Instant};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The factor, the range of the elements and the most applications: y stays a multiple of 1/2 below
/// 2^23, so 32-bit floats hold every intermediate value exactly, fused or not.
pub(super) const A: f32 = 0.5;
const ELEMENT_MAX: i8 = 4;
const APPLIED_MAX: u32 = 1 << 21;
/// The data repeats after this many elements, a prime: no power of two maps it onto itself.
const PERIOD: usize = 4099;

pub(super) struct Saxpy;

impl Case for Saxpy {
    fn name(&self) -> &'static str {
        "saxpy"
    }

    fn about(&self) -> &'static str {
        "y = a * x + y over two arrays of each size, launched and waited for"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["raw-address", "farptr", "farptr-scope", "ash-staged"]
    }

    fn sizes_bytes(&self) -> &'static [u64] {
        &[64 * KIB, MIB, 16 * MIB, 64 * MIB, 256 * MIB]
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let count = u32::try_from(size_bytes / 4).expect("the sizes above have fewer elements");
        let Devices { runtime, rival } = context.devices();
        let (x, y) = (elements(0, count), elements(1, count));
        let kernel = runtime.kernel::<saxpy::Kernel>().map_err(Error::from)?;
        Ok(vec![
            Box::new(Raw { saxpy: RawSaxpy::new(rival, &x, &y)?, applied: 0 }),
            Box::new(Farptr { runtime, kernel: kernel.clone(), arrays: Arrays::new(&x, &y) }),
            Box::new(FarptrScope { runtime, kernel, arrays: Arrays::new(&x, &y) }),
            Box::new(Staged {
                saxpy: StagedSaxpy::new(rival, count)?,
                arrays: Arrays { x, y, applied: 0 },
            }),
        ])
    }
}

/// The elements that an array begins with, the same in every run.
pub(super) fn elements(seed: u64, count: u32) -> Vec<f32> {
    pattern(seed).into_iter().cycle().take(count as usize).collect()
}

fn pattern(seed: u64) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(seed);
    let element = |_| f32::from(random.random_range(-ELEMENT_MAX..=ELEMENT_MAX));
    (0..PERIOD).map(element).collect()
}

/// Whether `y` is what `applied` applications make of the first elements, calculated on the CPU.
///
/// All values are exact, so `applied` additions of `a * x` are one addition of the product.
pub(super) fn is_right(y: &[f32], applied: u32) -> bool {
    let steps = f64::from(applied) * f64::from(A);
    let after = |(x, y): (f32, f32)| f64::from(y) + steps * f64::from(x);
    let expected: Vec<f64> = pattern(0).into_iter().zip(pattern(1)).map(after).collect();
    let is_expected = |(&y, &expected): (&f32, &f64)| f64::from(y) == expected;
    (1..=APPLIED_MAX).contains(&applied)
        && y.chunks(PERIOD).all(|chunk| chunk.iter().zip(&expected).all(is_expected))
}

/// Host memory as a program has it.
pub(super) struct Arrays {
    pub(super) x: Vec<f32>,
    pub(super) y: Vec<f32>,
    /// How often saxpy was applied to `y`.
    pub(super) applied: u32,
}

impl Arrays {
    pub(super) fn new(x: &[f32], y: &[f32]) -> Self {
        Self { x: x.to_vec(), y: y.to_vec(), applied: 0 }
    }
}

/// Hand-written: buffers in host-visible memory, addressed by the kernel as farptr's are.
struct Raw {
    saxpy: RawSaxpy,
    applied: u32,
}

impl Variant for Raw {
    fn name(&self) -> &'static str {
        "raw-address"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let start = Instant::now();
        for _ in 0..calls {
            self.saxpy.apply(A)?;
        }
        self.applied += calls;
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(is_right(self.saxpy.y(), self.applied))
    }
}

/// farptr, with the arrays lent before the clock starts.
struct Farptr<'c> {
    runtime: &'c Runtime,
    kernel: Kernel<saxpy::Kernel>,
    arrays: Arrays,
}

impl Variant for Farptr<'_> {
    fn name(&self) -> &'static str {
        "farptr"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let Arrays { x, y, applied } = &mut self.arrays;
        *applied += calls;
        Ok(self.runtime.scope(|s| {
            let (x, y) = (s.lend(x)?, s.lend_mut(y)?);
            let start = Instant::now();
            for _ in 0..calls {
                launch(s, self.runtime, &self.kernel, x, y)?;
                let _ = s.wait()?;
            }
            Ok(start.elapsed())
        })?)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(is_right(&self.arrays.y, self.arrays.applied))
    }
}

/// farptr, with everything that a program does inside the timed part.
struct FarptrScope<'c> {
    runtime: &'c Runtime,
    kernel: Kernel<saxpy::Kernel>,
    arrays: Arrays,
}

impl FarptrScope<'_> {
    fn scope(&mut self) -> Result<(), Error> {
        let Arrays { x, y, applied } = &mut self.arrays;
        *applied += 1;
        self.runtime.scope(|s| {
            let (x, y) = (s.lend(x)?, s.lend_mut(y)?);
            launch(s, self.runtime, &self.kernel, x, y)
        })
    }
}

impl Variant for FarptrScope<'_> {
    fn name(&self) -> &'static str {
        "farptr-scope"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let start = Instant::now();
        for _ in 0..calls {
            self.scope()?;
        }
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(is_right(&self.arrays.y, self.arrays.applied))
    }
}

#[allow(unsafe_code, reason = "an unchecked launch; the proof is at the block")]
fn launch<'scope>(
    scope: &mut Scope<'scope, '_>,
    runtime: &Runtime,
    kernel: &Kernel<saxpy::Kernel>,
    x: Lent<'scope, f32>,
    y: LentMut<'scope, f32>,
) -> Result<(), Error> {
    let count = x.len().min(y.len());
    let n = u32::try_from(count).expect("the sizes have fewer elements");
    let (x, y) = (x.ptr(), y.ptr());
    let args = saxpy::Args { x, y, n, a: A };
    if runtime.access() != ProvedAccess::Direct {
        scope.launch(kernel, Grid::cover(count), args)?;
        return Ok(());
    }
    // SAFETY: host addresses are device addresses; 1. and 2. the kernel reads and writes elements
    // below n, which is within both lent slices; 3. it writes nothing else; 4. each invocation has
    // its own element and no loop.
    unsafe { scope.launch_unchecked(kernel, Grid::cover(count), args) }?;
    Ok(())
}

/// Hand-written: copies in through a staging buffer, the kernel, copies out.
pub(super) struct Staged {
    pub(super) saxpy: StagedSaxpy,
    pub(super) arrays: Arrays,
}

impl Variant for Staged {
    fn name(&self) -> &'static str {
        "ash-staged"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let start = Instant::now();
        for _ in 0..calls {
            self.saxpy.apply(A, &self.arrays.x, &mut self.arrays.y)?;
        }
        self.arrays.applied += calls;
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(is_right(&self.arrays.y, self.arrays.applied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_tells_right_from_wrong() {
        let (x, mut y) = (elements(0, 10_000), elements(1, 10_000));
        for applied in 1..=3 {
            for (x, y) in x.iter().zip(&mut y) {
                *y = A.mul_add(*x, *y);
            }
            assert!(is_right(&y, applied));
            assert!(!is_right(&y, applied + 1));
        }
        y[9_999] += 0.5;
        assert!(!is_right(&y, 3));
    }

    #[test]
    fn nothing_applied_is_not_right() {
        assert!(!is_right(&elements(1, 100), 0));
    }

    #[test]
    fn the_largest_value_is_exact() {
        let largest = f64::from(APPLIED_MAX) * f64::from(A) * f64::from(ELEMENT_MAX);
        assert!(largest + f64::from(ELEMENT_MAX) < f64::from(1u32 << 23));
    }
}
