//! Scopes that lend many pages, of which the launch uses two.

use super::{Apart, LENDS, VARIANTS, runtimes};
use crate::{
    case::{Case, Context, Devices, Unit},
    cases::saxpy::{A, elements, is_right},
    failure::Failure,
    measure::Variant,
    page::{Page, elements_mut_of, elements_of},
    rival::RawSaxpy,
};
use farptr::{Error, Grid, Kernel, Runtime, shaders::saxpy};
use std::time::{Duration, Instant};

/// Elements of each of the two pages, a workgroup of the kernel.
const ELEMENTS: u32 = 64;

/// A scope with lends of a page each, a launch, and the scope's end.
pub(in crate::cases) struct Lends;

impl Case for Lends {
    fn name(&self) -> &'static str {
        "growth-lends"
    }

    fn about(&self) -> &'static str {
        "a scope with many lends of a page, and a launch that uses two of them"
    }

    fn variants(&self) -> &'static [&'static str] {
        &VARIANTS
    }

    fn sizes_bytes(&self) -> &'static [u64] {
        &LENDS
    }

    fn unit(&self) -> Unit {
        Unit::Lends { bytes: Page::BYTES as u64 }
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
        let (x, y) = (elements(0, ELEMENTS), elements(1, ELEMENTS));
        let raw = Raw { saxpy: RawSaxpy::new(rival, &x, &y)?, applied: 0 };
        let mut variants: Vec<Box<dyn Variant>> = vec![Box::new(raw)];
        for (name, runtime) in runtimes()? {
            variants.push(Box::new(Farptr::new(name, runtime, size_bytes)?));
        }
        Ok(variants)
    }
}

/// Hand-written: a launch on buffers that are there.
struct Raw {
    saxpy: RawSaxpy,
    applied: u32,
}

impl Variant for Raw {
    fn name(&self) -> &'static str {
        VARIANTS[0]
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

/// farptr, with everything that a program does inside the timed part.
struct Farptr {
    name: &'static str,
    runtime: Runtime,
    kernel: Kernel<saxpy::Kernel>,
    pages: Apart,
    applied: u32,
}

impl Farptr {
    fn new(name: &'static str, runtime: Runtime, size_bytes: u64) -> Result<Self, Failure> {
        let kernel = runtime.kernel::<saxpy::Kernel>().map_err(Error::from)?;
        let mut pages = Apart::new(size_bytes);
        let count = ELEMENTS as usize;
        let [first, last] = ends(&mut pages);
        elements_mut_of(first, count).copy_from_slice(&elements(0, ELEMENTS));
        elements_mut_of(last, count).copy_from_slice(&elements(1, ELEMENTS));
        Ok(Self { name, runtime, kernel, pages, applied: 0 })
    }

    fn scope(&mut self) -> Result<(), Error> {
        let Self { kernel, pages, applied, .. } = self;
        *applied += 1;
        self.runtime.scope(|s| {
            let mut lends = pages.iter_mut();
            let (Some(first), Some(last)) = (lends.next(), lends.next_back()) else {
                return Ok(());
            };
            let x = s.lend(elements_of::<f32>(first, ELEMENTS as usize))?;
            for page in lends {
                s.lend(page)?;
            }
            let y = s.lend_mut(elements_mut_of::<f32>(last, ELEMENTS as usize))?;
            let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: ELEMENTS, a: A };
            Ok(s.launch(kernel, Grid::cover(ELEMENTS as usize), args)?)
        })
    }
}

/// The first page and the last one.
fn ends(pages: &mut Apart) -> [&mut [Page]; 2] {
    let mut all = pages.iter_mut();
    let ends = all.next().zip(all.next_back());
    ends.map(|(first, last)| [first, last]).expect("at least ten pages")
}

impl Variant for Farptr {
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
        let [_, last] = ends(&mut self.pages);
        Ok(is_right(elements_of(last, ELEMENTS as usize), self.applied))
    }
}
