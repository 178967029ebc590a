//! The cost of checks and translation to a kernel once everything that it touches is resident.
//!
//! # Safety
//!
//! The rival launches unchecked kernels. With the arguments of a [`Workload`], its kernel touches
//! only the workload's arrays: otherwise farptr's checked launches with the same arguments would
//! fail.

mod chase;
mod gather;
mod saxpy;
mod spmv;

pub(super) use self::{
    chase::Chase,
    gather::Gather,
    saxpy::{Saxpy, Saxpy4},
    spmv::Spmv,
};

use crate::{
    case::{Case, Context, Devices, open},
    failure::Failure,
    line::Line,
    measure::Variant,
    rival::RawArrays,
};
use farptr::{AccessMode, Error, Grid, Kernel, KernelDesc, Runtime, Scope};
use std::{
    marker::PhantomData,
    rc::Rc,
    time::{Duration, Instant},
};

const MIB: u64 = 1 << 20;

/// A kernel with data, which farptr and the rival lay out alike: in arrays of lines, the last of
/// which the kernel writes.
pub(super) trait Workload: Sized + 'static {
    type Kernel: KernelDesc;

    /// The case's name.
    const NAME: &'static str;
    /// The kernel's work, in one line.
    const ABOUT: &'static str;

    /// Makes the data. The size is that of the largest array.
    fn new(size_bytes: u64) -> Self;

    /// The arrays before the first launch.
    fn arrays(&self) -> Vec<Vec<Line>>;

    /// Writes addresses into an array, if the kernel follows any, once the arrays have some.
    fn link(&self, _index: usize, _array: &mut [Line], _addresses: &[u64]) {}

    /// Invocations of a launch.
    fn invocations(&self) -> u32;

    /// The arguments, for arrays at these addresses.
    fn args<'s>(&self, addresses: &[u64]) -> <Self::Kernel as KernelDesc>::Args<'s>;

    /// Whether the last array is what so many launches make of it.
    fn is_right(&self, output: &[Line], launches: u32) -> bool;
}

/// The case of a workload.
pub(super) struct Warm<W>(PhantomData<fn() -> W>);

impl<W> Warm<W> {
    pub(super) const CASE: Self = Self(PhantomData);
}

impl<W: Workload> Case for Warm<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn about(&self) -> &'static str {
        W::ABOUT
    }

    fn variants(&self) -> &'static [&'static str] {
        &["raw-address", "mirrored", "checked-direct"]
    }

    fn sizes_bytes(&self) -> &'static [u64] {
        &[MIB, 64 * MIB]
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let Devices { rival, .. } = context.devices();
        let workload = Rc::new(W::new(size_bytes));
        let mirrored = open(AccessMode::Mirrored)?;
        let direct = open(AccessMode::Direct)?;
        Ok(vec![
            Box::new(Raw::new(rival, &workload)?),
            Box::new(Checked::new("mirrored", mirrored, &workload)?),
            Box::new(Checked::new("checked-direct", direct, &workload)?),
        ])
    }
}

/// Hand-written: buffers in host-visible memory, and the kernel's own words. As with farptr, a
/// launch comes before the clock starts.
struct Raw<W: Workload> {
    workload: Rc<W>,
    arrays: RawArrays<W::Kernel>,
    addresses: Vec<u64>,
    launches: u32,
}

impl<W: Workload> Raw<W> {
    fn new(rival: &Rc<crate::vulkan::Device>, workload: &Rc<W>) -> Result<Self, Failure> {
        let mut arrays = RawArrays::new(rival, &workload.arrays(), workload.invocations())?;
        let addresses = arrays.addresses();
        for index in 0..addresses.len() {
            workload.link(index, arrays.array_mut(index), &addresses);
        }
        Ok(Self { workload: Rc::clone(workload), arrays, addresses, launches: 0 })
    }
}

impl<W: Workload> Variant for Raw<W> {
    fn name(&self) -> &'static str {
        "raw-address"
    }

    #[allow(unsafe_code, reason = "an unchecked launch; the proof is at the block")]
    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        self.launches += calls + 1;
        let mut launch = || {
            let args = self.workload.args(&self.addresses);
            // SAFETY: the module's; the addresses are those of the arrays.
            unsafe { self.arrays.launch(args) }
        };
        launch()?;
        let start = Instant::now();
        for _ in 0..calls {
            launch()?;
        }
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        let output = self.arrays.array(self.addresses.len() - 1);
        Ok(self.workload.is_right(output, self.launches))
    }
}

/// farptr, with checks in the kernel. The arrays are lent, and a launch has touched what the kernel
/// touches, before the clock starts.
struct Checked<W: Workload> {
    name: &'static str,
    workload: Rc<W>,
    runtime: Runtime,
    kernel: Kernel<W::Kernel>,
    arrays: Vec<Vec<Line>>,
    launches: u32,
}

impl<W: Workload> Checked<W> {
    fn new(name: &'static str, runtime: Runtime, workload: &Rc<W>) -> Result<Self, Failure> {
        let mut arrays = workload.arrays();
        let addresses: Vec<u64> = arrays.iter().map(|array| address(array)).collect();
        for (index, array) in arrays.iter_mut().enumerate() {
            workload.link(index, array, &addresses);
        }
        let kernel = runtime.kernel::<W::Kernel>().map_err(Error::from)?;
        Ok(Self { name, workload: Rc::clone(workload), runtime, kernel, arrays, launches: 0 })
    }
}

impl<W: Workload> Variant for Checked<W> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let Self { workload, kernel, arrays, launches, .. } = self;
        *launches += calls + 1;
        Ok(self.runtime.scope(|s| {
            let addresses = lend(s, arrays)?;
            let grid = Grid::cover(workload.invocations() as usize);
            let mut launch = || {
                s.launch(kernel, grid, workload.args(&addresses))?;
                s.wait().map(drop).map_err(Error::from)
            };
            launch()?;
            let start = Instant::now();
            for _ in 0..calls {
                launch()?;
            }
            Ok(start.elapsed())
        })?)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        let output = self.arrays.last().expect("a workload has an output");
        Ok(self.workload.is_right(output, self.launches))
    }
}

/// Lends the arrays, the last for writing, and returns their addresses.
pub(super) fn lend<'env>(
    scope: &mut Scope<'_, 'env>,
    arrays: &'env mut [Vec<Line>],
) -> Result<Vec<u64>, Error> {
    let (output, inputs) = arrays.split_last_mut().expect("a workload has an output");
    let inputs = inputs.iter().map(|input| Ok(scope.lend(input)?.ptr().address()));
    let mut addresses: Vec<u64> = inputs.collect::<Result<_, Error>>()?;
    addresses.push(scope.lend_mut(output)?.ptr().address());
    Ok(addresses)
}

fn address(array: &[Line]) -> u64 {
    farptr::VirtAddr::of_slice(array).get()
}

/// How many elements of so many bytes an array of a size has.
fn count(size_bytes: u64, element_bytes: u64) -> u32 {
    u32::try_from(size_bytes / element_bytes).expect("the sizes have fewer elements")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The work of a launch, on the CPU.
    pub(super) fn nothing_written_is_wrong<W: Workload>() {
        let workload = W::new(1 << 12);
        let arrays = workload.arrays();
        assert!(!workload.is_right(arrays.last().unwrap(), 0));
        assert!(!workload.is_right(arrays.last().unwrap(), 1));
    }

    #[test]
    fn an_untouched_output_is_not_right() {
        nothing_written_is_wrong::<Saxpy>();
        nothing_written_is_wrong::<Saxpy4>();
        nothing_written_is_wrong::<Spmv>();
        nothing_written_is_wrong::<Chase>();
        nothing_written_is_wrong::<Gather>();
    }
}
