//! The time until a device has worked on a few pages of memory that it has never seen.
//!
//! # Safety
//!
//! The rival launches an unchecked kernel; the page numbers are those of pages.

use crate::{
    case::{Case, Context, Devices, open_backed},
    failure::Failure,
    line::{Line, elements_of, lines_of, unwritten},
    measure::Variant,
    rival::StagedSparse,
    vulkan,
};
use farptr::{AccessMode, Backing, Error, Grid, Kernel, Ptr, PtrMut, Runtime, shaders::sparse};
use rand::{SeedableRng, rngs::StdRng};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

const MIB: u64 = 1 << 20;
/// The size of a page in the kernel.
const PAGE_WORDS: u32 = 1024;
/// One page in so many is touched.
const PART: usize = 100;
/// Sums for each page, and words of each sum.
const SUMS: u32 = 64;

pub(super) struct ColdSparse;

impl Case for ColdSparse {
    fn name(&self) -> &'static str {
        "cold-sparse"
    }

    fn about(&self) -> &'static str {
        "nothing resident: sums of 1 % of the pages of an array of each size, at random"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["ash-staged", "ash-gathered", "mirrored-import", "mirrored-copy"]
    }

    fn sizes_bytes(&self) -> &'static [u64] {
        &[16 * MIB, 1024 * MIB]
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let Devices { rival, .. } = context.devices();
        let data = Rc::new(Data::new(size_bytes));
        Ok(vec![
            Box::new(Staged::new(rival, &data)?),
            Box::new(Gathered::new(rival, &data)?),
            Box::new(Mirrored::new("mirrored-import", Backing::Import, &data)?),
            Box::new(Mirrored::new("mirrored-copy", Backing::Copy, &data)?),
        ])
    }
}

/// The memory that all variants read.
struct Data {
    words: Vec<Line>,
    /// The numbers of the pages that are touched.
    pages: Vec<Line>,
    invocations: u32,
    sums: Vec<u32>,
}

impl Data {
    fn new(size_bytes: u64) -> Self {
        let words = usize::try_from(size_bytes / 4).expect("the sizes fit");
        let mut lines = unwritten::<u32>(words);
        let all: &mut [u32] = bytemuck::cast_slice_mut(&mut lines);
        all.iter_mut().zip(0u32..).for_each(|(word, index)| *word = value(index));
        let count = words / PAGE_WORDS as usize;
        let mut random = StdRng::seed_from_u64(5);
        let chosen = rand::seq::index::sample(&mut random, count, (count / PART).max(1));
        let pages: Vec<u32> =
            chosen.iter().map(|page| u32::try_from(page).expect("fewer pages")).collect();
        let sums: Vec<u32> = pages.iter().flat_map(|&page| sums_of(page)).collect();
        let invocations = u32::try_from(sums.len()).expect("fewer sums");
        Self { words: lines, pages: lines_of(&pages), invocations, sums }
    }

    /// The numbers of the pages that are touched.
    fn touched(&self) -> &[u32] {
        elements_of(&self.pages, self.sums.len() / SUMS as usize)
    }

    fn is_right(&self, sums: &[Line]) -> bool {
        elements_of::<u32>(sums, self.sums.len()) == self.sums
    }
}

/// A word of memory.
fn value(index: u32) -> u32 {
    index.wrapping_mul(0x9e37_79b1)
}

/// The kernel's result for a page.
fn sums_of(page: u32) -> impl Iterator<Item = u32> {
    (0..SUMS).map(move |first| {
        let words = (first..PAGE_WORDS).step_by(SUMS as usize);
        let of_first = words.map(|word| value(page * PAGE_WORDS + word));
        of_first.fold(0, u32::wrapping_add)
    })
}

/// Hand-written: everything to the device, the kernel, the sums back.
struct Staged {
    sparse: StagedSparse,
    data: Rc<Data>,
    sums: Vec<Line>,
}

impl Staged {
    fn new(rival: &Rc<vulkan::Device>, data: &Rc<Data>) -> Result<Self, Failure> {
        let sums = unwritten::<u32>(data.sums.len());
        let sizes = [&data.words, &data.pages, &sums].map(|array| array.len() * Line::BYTES);
        Ok(Self { sparse: StagedSparse::new(rival, sizes)?, data: Rc::clone(data), sums })
    }
}

impl Variant for Staged {
    fn name(&self) -> &'static str {
        "ash-staged"
    }

    #[allow(unsafe_code, reason = "an unchecked launch; the proof is at the block")]
    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let Data { words, pages, invocations, .. } = self.data.as_ref();
        let start = Instant::now();
        for _ in 0..calls {
            // SAFETY: there are 64 sums for each page, and one invocation for each sum; the pages
            // were chosen from those of `words`.
            unsafe { self.sparse.apply(words, pages, &mut self.sums, *invocations) }?;
        }
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.data.is_right(&self.sums))
    }
}

/// Hand-written, by somebody who knows which pages are touched: those to the device, the kernel,
/// the sums back.
struct Gathered {
    sparse: StagedSparse,
    data: Rc<Data>,
    sums: Vec<Line>,
}

impl Gathered {
    fn new(rival: &Rc<vulkan::Device>, data: &Rc<Data>) -> Result<Self, Failure> {
        let sums = unwritten::<u32>(data.sums.len());
        let gathered = data.touched().len() * 4 * PAGE_WORDS as usize;
        let sizes = [gathered, data.pages.len() * Line::BYTES, sums.len() * Line::BYTES];
        Ok(Self { sparse: StagedSparse::new(rival, sizes)?, data: Rc::clone(data), sums })
    }
}

impl Variant for Gathered {
    fn name(&self) -> &'static str {
        "ash-gathered"
    }

    #[allow(unsafe_code, reason = "an unchecked launch; the proof is at the block")]
    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let Data { words, invocations, .. } = self.data.as_ref();
        let (pages, sums) = (self.data.touched(), &mut self.sums);
        let start = Instant::now();
        for _ in 0..calls {
            // SAFETY: there are 64 sums for each page, and one invocation for each sum.
            unsafe { self.sparse.apply_gathered(words, pages, sums, *invocations) }?;
        }
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.data.is_right(&self.sums))
    }
}

/// farptr: a scope that lends everything, launches and ends.
struct Mirrored {
    name: &'static str,
    runtime: Runtime,
    kernel: Kernel<sparse::Kernel>,
    data: Rc<Data>,
    sums: Vec<Line>,
}

impl Mirrored {
    fn new(name: &'static str, backing: Backing, data: &Rc<Data>) -> Result<Self, Failure> {
        let runtime = open_backed(AccessMode::Mirrored, backing)?;
        let kernel = runtime.kernel::<sparse::Kernel>().map_err(Error::from)?;
        let sums = unwritten::<u32>(data.sums.len());
        Ok(Self { name, runtime, kernel, data: Rc::clone(data), sums })
    }

    fn scope(&mut self) -> Result<(), Error> {
        let Data { words, pages, invocations, .. } = self.data.as_ref();
        let (sums, kernel) = (&mut self.sums, &self.kernel);
        self.runtime.scope(|s| {
            let (words, pages) = (s.lend(words)?, s.lend(pages)?);
            let args = sparse::Args {
                words: Ptr::from_address(words.ptr().address()),
                pages: Ptr::from_address(pages.ptr().address()),
                sums: PtrMut::from_address(s.lend_mut(sums)?.ptr().address()),
                n: *invocations,
            };
            Ok(s.launch(kernel, Grid::cover(*invocations as usize), args)?)
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
        Ok(self.data.is_right(&self.sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_in_a_hundred_is_touched_once() {
        let data = Data::new(1 << 20);
        assert_eq!(data.sums.len(), 2 * SUMS as usize);
        let pages: &[u32] = elements_of(&data.pages, 2);
        assert!(pages[0] != pages[1] && pages.iter().all(|&page| page < 256));
        assert!(!data.is_right(&unwritten::<u32>(data.sums.len())));
    }
}
