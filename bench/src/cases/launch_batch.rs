//! The cost of a launch among many that the device gets together: 100 in one scope, each of them
//! y = x + b * y over 64 elements in pages of their own.
//!
//! # Safety
//!
//! The rival's launches are unchecked, and so are those of a variant of farptr. Each touches as
//! many elements of two arrays as there are, and the arrays that are written are not the same for
//! two launches without an order.

use crate::{
    case::{Case, Context, Devices, open},
    failure::Failure,
    line::Line,
    measure::Variant,
    page::{Page, elements_of, pages_of},
    rival::RawArrays,
    vulkan,
};
use farptr::{
    AccessMode, Error, Grid, Kernel, KernelDesc, Ptr, PtrMut, Runtime, Scope, shaders::axpby,
};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// Launches of a batch.
const LAUNCHES: u32 = 100;
/// Elements of an array, one workgroup of the kernel.
const ELEMENTS: u32 = 64;

/// A batch of launches that conflict in one way.
pub(super) struct LaunchBatch {
    name: &'static str,
    about: &'static str,
    form: Form,
}

/// How the launches of a batch depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Each has two arrays of its own and adds one to the other: after `n` batches each sum has the
    /// summand `n` times.
    Independent,
    /// Each copies what the one before has written; the first adds 1. After `n` batches all arrays
    /// are the first one plus `n`.
    Chain,
}

/// One launch: `y = x + b * y`, with arrays by their places in the list.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    x: usize,
    y: usize,
    b: f32,
}

impl LaunchBatch {
    pub(super) const INDEPENDENT: Self = Self {
        name: "launch-batch",
        about: "a launch among 100 in one scope, each on arrays of its own",
        form: Form::Independent,
    };
    pub(super) const CHAIN: Self = Self {
        name: "launch-batch-chain",
        about: "a launch among 100 in one scope, each reading what the one before wrote",
        form: Form::Chain,
    };
}

impl Case for LaunchBatch {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn variants(&self) -> &'static [&'static str] {
        &["ash", "mirrored", "checked-direct", "unchecked-direct"]
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        _size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let Devices { rival, .. } = context.devices();
        let (form, mirrored, direct) = (self.form, AccessMode::Mirrored, AccessMode::Direct);
        Ok(vec![
            Box::new(Ash::new(rival, form)?),
            Box::new(Farptr::new("mirrored", mirrored, Launches::Checked, form)?),
            Box::new(Farptr::new("checked-direct", direct, Launches::Checked, form)?),
            Box::new(Farptr::new("unchecked-direct", direct, Launches::Unchecked, form)?),
        ])
    }
}

impl Form {
    fn steps(self) -> impl Iterator<Item = Step> {
        (0..LAUNCHES as usize).map(move |launch| match self {
            Self::Independent => Step { x: 2 * launch, y: 2 * launch + 1, b: 1.0 },
            Self::Chain => Step { x: launch, y: launch + 1, b: f32::from(launch == 0) },
        })
    }

    /// The arrays before the first batch, with small integers, so that all values are exact.
    fn arrays(self) -> Vec<Vec<Page>> {
        let count = self.steps().map(|step| step.y + 1).max().unwrap_or(0);
        (0..count).map(|array| pages_of(&self.elements(array))).collect()
    }

    fn elements(self, array: usize) -> Vec<f32> {
        let shift = match self {
            Self::Chain if array == 0 => return vec![1.0; ELEMENTS as usize],
            Self::Chain => 0,
            Self::Independent => array / 2,
        };
        pattern().skip(shift).take(ELEMENTS as usize).collect()
    }

    /// Whether launches write an array.
    fn writes(self, array: usize) -> bool {
        match self {
            Self::Independent => array % 2 == 1,
            Self::Chain => array > 0,
        }
    }

    /// Whether an array is what so many batches make of it.
    fn is_right(self, array: usize, found: &[f32], batches: u32) -> bool {
        let expected = |first: f32| match self {
            _ if !self.writes(array) => first,
            Self::Independent => first + real(batches) * first,
            Self::Chain => first + real(batches),
        };
        batches > 0 && self.elements(array).into_iter().map(expected).eq(found.iter().copied())
    }

    /// Whether all arrays are right.
    fn are_right<'p>(self, arrays: impl Iterator<Item = &'p [f32]>, batches: u32) -> bool {
        arrays.enumerate().all(|(array, found)| self.is_right(array, found, batches))
    }
}

impl Step {
    fn args<'s>(self, addresses: &[u64]) -> axpby::Args<'s> {
        let (x, y) = (addresses[self.x], addresses[self.y]);
        let (x, y) = (Ptr::from_address(x), PtrMut::from_address(y));
        axpby::Args { x, y, n: ELEMENTS, a: 1.0, b: self.b }
    }
}

/// Small integers, over and over.
fn pattern() -> impl Iterator<Item = f32> {
    [1.0, 2.0, 3.0].into_iter().cycle()
}

#[allow(clippy::cast_precision_loss, reason = "an episode has far fewer than 2^24 batches")]
fn real(count: u32) -> f32 {
    count as f32
}

/// Hand-written: one command buffer, with a barrier where a launch needs what the one before wrote.
struct Ash {
    form: Form,
    arrays: RawArrays<axpby::Kernel>,
    addresses: Vec<u64>,
    batches: u32,
    right: bool,
}

impl Ash {
    fn new(rival: &Rc<vulkan::Device>, form: Form) -> Result<Self, Failure> {
        let lines = |array: &Vec<Page>| bytemuck::cast_slice::<_, Line>(array).to_vec();
        let arrays: Vec<_> = form.arrays().iter().map(lines).collect();
        let arrays = RawArrays::new(rival, &arrays, ELEMENTS)?;
        Ok(Self { form, addresses: arrays.addresses(), arrays, batches: 0, right: true })
    }

    #[allow(unsafe_code, reason = "unchecked launches; the proof is at the block")]
    fn batch(&mut self) -> Result<(), Failure> {
        self.batches += 1;
        let args = self.form.steps().map(|step| step.args(&self.addresses));
        let pushes: Vec<_> = args.map(axpby::Kernel::push).collect();
        // SAFETY: the module's; the addresses are those of the arrays. A chain has an order.
        unsafe { self.arrays.launch_all(&pushes, self.form == Form::Chain) }
    }
}

impl Variant for Ash {
    fn name(&self) -> &'static str {
        "ash"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        self.batch()?;
        let start = Instant::now();
        for _ in 0..calls {
            self.batch()?;
        }
        let elapsed = start.elapsed();
        let arrays = (0..self.addresses.len()).map(|index| floats(self.arrays.array(index)));
        self.right &= self.form.are_right(arrays, self.batches);
        Ok(elapsed)
    }

    fn operations_per_call(&self) -> u32 {
        LAUNCHES
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

fn floats(lines: &[Line]) -> &[f32] {
    &bytemuck::cast_slice(lines)[..ELEMENTS as usize]
}

/// The kind of farptr's launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Launches {
    Checked,
    Unchecked,
}

/// farptr: the arrays are lent, and a batch has run, before the clock starts.
struct Farptr {
    name: &'static str,
    runtime: Runtime,
    kernel: Kernel<axpby::Kernel>,
    launches: Launches,
    form: Form,
    arrays: Vec<Vec<Page>>,
    batches: u32,
    right: bool,
}

impl Farptr {
    fn new(
        name: &'static str,
        access: AccessMode,
        launches: Launches,
        form: Form,
    ) -> Result<Self, Failure> {
        let runtime = open(access)?;
        let kernel = runtime.kernel::<axpby::Kernel>().map_err(Error::from)?;
        let arrays = form.arrays();
        Ok(Self { name, runtime, kernel, launches, form, arrays, batches: 0, right: true })
    }
}

impl Variant for Farptr {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let Self { kernel, launches, form, arrays, batches, .. } = self;
        *batches += calls + 1;
        let elapsed = self.runtime.scope(|s| {
            let addresses = lend(s, *form, arrays)?;
            let mut batch = || {
                launch_all(s, kernel, *launches, form.steps().map(|step| step.args(&addresses)))?;
                s.wait().map(drop).map_err(Error::from)
            };
            batch()?;
            let start = Instant::now();
            for _ in 0..calls {
                batch()?;
            }
            Ok(start.elapsed())
        })?;
        let arrays = self.arrays.iter().map(|array| elements_of(array, ELEMENTS as usize));
        self.right &= self.form.are_right(arrays, self.batches);
        Ok(elapsed)
    }

    fn operations_per_call(&self) -> u32 {
        LAUNCHES
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

/// Lends all arrays, those for writing that are written, and returns their addresses.
fn lend<'env>(
    scope: &mut Scope<'_, 'env>,
    form: Form,
    arrays: &'env mut [Vec<Page>],
) -> Result<Vec<u64>, Error> {
    let lends = arrays.iter_mut().enumerate().map(|(index, array)| match form.writes(index) {
        true => Ok(scope.lend_mut(array)?.ptr().address()),
        false => Ok(scope.lend(array)?.ptr().address()),
    });
    lends.collect()
}

#[allow(unsafe_code, reason = "unchecked launches; the proof is at the block")]
fn launch_all<'scope>(
    scope: &mut Scope<'scope, '_>,
    kernel: &Kernel<axpby::Kernel>,
    launches: Launches,
    all: impl Iterator<Item = axpby::Args<'scope>>,
) -> Result<(), Error> {
    for args in all {
        let grid = Grid::cover(ELEMENTS as usize);
        match launches {
            Launches::Checked => scope.launch(kernel, grid, args)?,
            Launches::Unchecked => {
                // SAFETY: access is direct, so host addresses are device addresses; 1. to 3. the
                // module's: the kernel touches `ELEMENTS` elements of two lent arrays and writes
                // those of one that is lent for writing; 4. it has no loop.
                unsafe { scope.launch_unchecked(kernel, grid, args) }?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batches on the CPU, with launches in another order if `stale`.
    fn after(form: Form, batches: u32, stale: bool) -> Vec<Vec<f32>> {
        let arrays = form.arrays();
        let mut arrays: Vec<Vec<f32>> =
            arrays.iter().map(|array| elements_of(array, ELEMENTS as usize).to_vec()).collect();
        for _ in 0..batches {
            let mut steps: Vec<Step> = form.steps().collect();
            if stale {
                steps.swap(7, 8);
            }
            for Step { x, y, b } in steps {
                let x = arrays[x].clone();
                x.iter().zip(&mut arrays[y]).for_each(|(x, y)| *y = x + b * *y);
            }
        }
        arrays
    }

    fn are_right(form: Form, arrays: &[Vec<f32>], batches: u32) -> bool {
        form.are_right(arrays.iter().map(Vec::as_slice), batches)
    }

    #[test]
    fn the_check_tells_right_from_wrong() {
        for form in [Form::Independent, Form::Chain] {
            assert!(!are_right(form, &after(form, 0, false), 0));
            for batches in 1..4 {
                assert!(are_right(form, &after(form, batches, false), batches));
                assert!(!are_right(form, &after(form, batches, false), batches + 1));
            }
        }
    }

    #[test]
    fn order_matters_to_a_chain_alone() {
        assert!(are_right(Form::Independent, &after(Form::Independent, 2, true), 2));
        assert!(!are_right(Form::Chain, &after(Form::Chain, 2, true), 2));
    }
}
