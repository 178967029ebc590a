//! Launches that touch a page of a lend that is larger and larger.
//!
//! # Safety
//!
//! The rival's launches are unchecked; the kernel touches as many elements as its array has.

use super::{VARIANTS, lent, runtimes};
use crate::{
    case::{Case, Context, Devices},
    failure::Failure,
    line::{elements_of, lines_of},
    measure::Variant,
    rival::RawArrays,
};
use farptr::{Error, Grid, Kernel, PtrMut, Runtime, shaders::affine};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const SIZES: [u64; 5] = [lent(1), MIB, 64 * MIB, 1024 * MIB, 4096 * MIB];
/// Elements that a launch touches, those of a page.
const ELEMENTS: u32 = 1024;

/// `y = y + 1` over a page in the middle of a lend, launched and waited for.
pub(in crate::cases) struct LendSize;

impl Case for LendSize {
    fn name(&self) -> &'static str {
        "growth-lend-size"
    }

    fn about(&self) -> &'static str {
        "a later launch that touches 4 KiB of a lend of each size, and the wait"
    }

    fn variants(&self) -> &'static [&'static str] {
        &VARIANTS
    }

    fn sizes_bytes(&self) -> &'static [u64] {
        &SIZES
    }

    fn grows(&self) -> bool {
        true
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let Devices { rival, .. } = context.devices();
        let page = lines_of(&[0f32; ELEMENTS as usize]);
        let arrays = RawArrays::new(rival, &[page], ELEMENTS)?;
        let mut variants: Vec<Box<dyn Variant>> = vec![Box::new(Raw { arrays, launches: 0 })];
        for (name, runtime) in runtimes()? {
            variants.push(Box::new(Farptr::new(name, runtime, size_bytes)?));
        }
        Ok(variants)
    }
}

fn args(y: PtrMut<'_, f32>) -> affine::Args<'_> {
    affine::Args { y, n: ELEMENTS, a: 1.0, c: 1.0 }
}

/// Whether so many launches have added to each element.
#[allow(clippy::cast_precision_loss, reason = "an episode has far fewer than 2^24 launches")]
fn is_right(y: &[f32], launches: u32) -> bool {
    launches > 0 && y.iter().all(|&y| y == launches as f32)
}

/// Hand-written: a launch on a page.
struct Raw {
    arrays: RawArrays<affine::Kernel>,
    launches: u32,
}

impl Variant for Raw {
    fn name(&self) -> &'static str {
        VARIANTS[0]
    }

    #[allow(unsafe_code, reason = "an unchecked launch; the proof is at the block")]
    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        self.launches += calls + 1;
        let y = self.arrays.addresses()[0];
        let mut launch = || {
            // SAFETY: the module's; the address is that of the array.
            unsafe { self.arrays.launch(args(PtrMut::from_address(y))) }
        };
        launch()?;
        let start = Instant::now();
        for _ in 0..calls {
            launch()?;
        }
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        let y = elements_of(self.arrays.array(0), ELEMENTS as usize);
        Ok(is_right(y, self.launches))
    }
}

/// farptr: the memory is lent, and the page was touched, before the clock starts.
struct Farptr {
    name: &'static str,
    runtime: Runtime,
    kernel: Kernel<affine::Kernel>,
    /// Of all pages but one, nothing was ever written.
    memory: Vec<f32>,
    launches: u32,
}

impl Farptr {
    fn new(name: &'static str, runtime: Runtime, size_bytes: u64) -> Result<Self, Failure> {
        let kernel = runtime.kernel::<affine::Kernel>().map_err(Error::from)?;
        let count = usize::try_from(size_bytes / 4).expect("the sizes fit");
        Ok(Self { name, runtime, kernel, memory: vec![0.0; count], launches: 0 })
    }

    /// The first element that launches touch.
    fn first(&self) -> usize {
        (self.memory.len() - ELEMENTS as usize) / 2
    }
}

impl Variant for Farptr {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        self.launches += calls + 1;
        let first = self.first() as u64;
        let Self { kernel, memory, .. } = self;
        Ok(self.runtime.scope(|s| {
            let y = s.lend_mut(memory)?.ptr().add(first);
            let mut launch = || {
                s.launch(kernel, Grid::cover(ELEMENTS as usize), args(y))?;
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
        Ok(is_right(&self.memory[self.first()..][..ELEMENTS as usize], self.launches))
    }
}
