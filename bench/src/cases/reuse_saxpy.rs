//! Scopes on the same memory, one after the other, where the device works on copies.

use super::saxpy::{A, Arrays, elements, is_right};
use crate::{
    case::{Case, Context},
    failure::Failure,
    measure::Variant,
};
use farptr::{AccessMode, Backing, Error, Grid, Kernel, Reuse, Runtime, shaders::saxpy};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const MODE: AccessMode = AccessMode::Mirrored;

pub(super) struct ReuseSaxpy;

impl Case for ReuseSaxpy {
    fn name(&self) -> &'static str {
        "reuse-saxpy"
    }

    fn about(&self) -> &'static str {
        "y = a * x + y by copies: launches on the same arrays, in one scope or in one each"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["one-scope", "scopes-kept", "scopes"]
    }

    fn sizes_bytes(&self) -> &'static [u64] {
        &[MIB, 64 * MIB]
    }

    fn prepare<'c>(
        &self,
        _context: &'c Context,
        size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let count = u32::try_from(size_bytes / 4).expect("the sizes above have fewer elements");
        let (x, y) = (elements(0, count), elements(1, count));
        let each = |name, reuse, alone| Scopes::new(name, reuse, alone, &x, &y);
        Ok(vec![
            Box::new(each("one-scope", Reuse::Never, false)?),
            Box::new(each("scopes-kept", Reuse::Anonymous, true)?),
            Box::new(each("scopes", Reuse::Never, true)?),
        ])
    }
}

/// Launches on the same arrays, each waited for.
struct Scopes {
    name: &'static str,
    runtime: Runtime,
    kernel: Kernel<saxpy::Kernel>,
    arrays: Arrays,
    /// Each launch has a scope of its own.
    alone: bool,
}

impl Scopes {
    fn new(
        name: &'static str,
        reuse: Reuse,
        alone: bool,
        x: &[f32],
        y: &[f32],
    ) -> Result<Self, Failure> {
        let runtime = Runtime::builder().access(MODE).backing(Backing::Copy).reuse(reuse).build();
        let runtime = runtime.map_err(|source| Failure::NoAccess { mode: MODE, source })?;
        let kernel = runtime.kernel::<saxpy::Kernel>().map_err(Error::from)?;
        Ok(Self { name, runtime, kernel, arrays: Arrays::new(x, y), alone })
    }

    /// A scope with so many launches.
    fn scope(&mut self, launches: u32) -> Result<(), Error> {
        let Arrays { x, y, applied } = &mut self.arrays;
        *applied += launches;
        self.runtime.scope(|s| {
            let (x, y) = (s.lend(x)?, s.lend_mut(y)?);
            let n = u32::try_from(x.len()).expect("the sizes have fewer elements");
            for _ in 0..launches {
                let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n, a: A };
                s.launch(&self.kernel, Grid::cover(x.len()), args)?;
                s.wait()?;
            }
            Ok(())
        })
    }
}

impl Variant for Scopes {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let start = Instant::now();
        if self.alone {
            for _ in 0..calls {
                self.scope(1)?;
            }
        } else {
            self.scope(calls)?;
        }
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(is_right(&self.arrays.y, self.arrays.applied))
    }
}
