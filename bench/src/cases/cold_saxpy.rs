//! The time until a device has worked on memory that it has never seen: y = a * x + y.

use super::saxpy::{A, Arrays, Staged, elements, is_right};
use crate::{
    case::{Case, Context, Devices, open_backed},
    failure::Failure,
    measure::Variant,
    rival::StagedSaxpy,
};
use farptr::{AccessMode, Backing, Error, Grid, Kernel, Runtime, shaders::saxpy};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

pub(super) struct ColdSaxpy;

impl Case for ColdSaxpy {
    fn name(&self) -> &'static str {
        "cold-saxpy"
    }

    fn about(&self) -> &'static str {
        "nothing resident: y = a * x + y over two arrays of each size, from and to host memory"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["ash-staged", "mirrored-import", "mirrored-copy"]
    }

    fn sizes_bytes(&self) -> &'static [u64] {
        &[MIB, 64 * MIB]
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let count = u32::try_from(size_bytes / 4).expect("the sizes above have fewer elements");
        let Devices { rival, .. } = context.devices();
        let (x, y) = (elements(0, count), elements(1, count));
        Ok(vec![
            Box::new(Staged {
                saxpy: StagedSaxpy::new(rival, count)?,
                arrays: Arrays::new(&x, &y),
            }),
            Box::new(Mirrored::new("mirrored-import", Backing::Import, &x, &y)?),
            Box::new(Mirrored::new("mirrored-copy", Backing::Copy, &x, &y)?),
        ])
    }
}

/// farptr: a scope that lends both arrays, launches and ends.
struct Mirrored {
    name: &'static str,
    runtime: Runtime,
    kernel: Kernel<saxpy::Kernel>,
    arrays: Arrays,
}

impl Mirrored {
    fn new(name: &'static str, backing: Backing, x: &[f32], y: &[f32]) -> Result<Self, Failure> {
        let runtime = open_backed(AccessMode::Mirrored, backing)?;
        let kernel = runtime.kernel::<saxpy::Kernel>().map_err(Error::from)?;
        Ok(Self { name, runtime, kernel, arrays: Arrays::new(x, y) })
    }

    fn scope(&mut self) -> Result<(), Error> {
        let Arrays { x, y, applied } = &mut self.arrays;
        *applied += 1;
        self.runtime.scope(|s| {
            let (x, y) = (s.lend(x)?, s.lend_mut(y)?);
            let n = u32::try_from(x.len()).expect("the sizes have fewer elements");
            let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n, a: A };
            Ok(s.launch(&self.kernel, Grid::cover(x.len()), args)?)
        })
    }
}

impl Variant for Mirrored {
    fn name(&self) -> &'static str {
        self.name
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
