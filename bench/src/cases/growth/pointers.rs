//! Two kernels that follow pointers, launched in turn in a scope with many lends.
//!
//! # Safety
//!
//! The rival's launches are unchecked. The kernels follow a closed chain whose links are in one of
//! the arrays, from the heads in another, and write results to two more.

use super::{Apart, LENDS, VARIANTS, runtimes};
use crate::{
    case::{Case, Context, Devices, Unit},
    failure::Failure,
    line::{Line, elements_of as elements_in_lines, lines_of, unwritten},
    measure::Variant,
    page::{Page, elements_mut_of},
    rival::RawArrays,
    vulkan,
};
use farptr::{
    Error, Grid, Kernel, KernelDesc, Ptr, PtrMut, Runtime, Scope, VirtAddr,
    shaders::{abi::Link, chase, probe},
};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// Launches of both kernels between two waits.
const PAIRS: u32 = 50;
/// The links of the chain, spread over all lends.
const LINKS: usize = 8;
/// Heads that `chase` begins with, a workgroup of the kernel, and the links that both follow.
const HEADS: u32 = 64;
const HOPS: u32 = 5;

/// Launches in turn, with lends of a page each.
pub(in crate::cases) struct Pointers;

impl Case for Pointers {
    fn name(&self) -> &'static str {
        "growth-pointers"
    }

    fn about(&self) -> &'static str {
        "a launch among 100 of two kernels in turn, which follow 5 of the pointers in many lends"
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
        let mut variants: Vec<Box<dyn Variant>> = vec![Box::new(Raw::new(rival)?)];
        for (name, runtime) in runtimes()? {
            variants.push(Box::new(Farptr::new(name, runtime, size_bytes)?));
        }
        Ok(variants)
    }
}

/// The arguments of both kernels, for arrays at these addresses.
#[derive(Clone, Copy)]
struct Addresses {
    /// The first link.
    link: u64,
    heads: u64,
    sums: u64,
    result: u64,
}

impl Addresses {
    fn chase<'s>(self) -> chase::Args<'s> {
        let (heads, sums) = (Ptr::from_address(self.heads), PtrMut::from_address(self.sums));
        chase::Args { heads, sums, count: HEADS, hops: HOPS }
    }

    fn probe<'s>(self) -> probe::Args<'s> {
        let (head, result) = (Ptr::from_address(self.link), PtrMut::from_address(self.result));
        probe::Args { head, result, limit: HOPS }
    }
}

/// The links, at these addresses.
fn chain(addresses: [u64; LINKS]) -> [Link; LINKS] {
    std::array::from_fn(|at| Link {
        next: addresses[(at + 1) % LINKS],
        payload: payload(at),
        unused: 0,
    })
}

/// The links with which `chase` begins.
fn heads(addresses: [u64; LINKS]) -> Vec<u64> {
    addresses.into_iter().cycle().take(HEADS as usize).collect()
}

/// The number in a link: no sums or exclusive ors of neighbours are the same.
fn payload(at: usize) -> u32 {
    1 << (2 * at)
}

/// Payloads from a link on, as far as kernels follow them.
fn payloads(head: usize) -> impl Iterator<Item = u32> {
    (head..head + HOPS as usize).map(|at| payload(at % LINKS))
}

/// Whether both kernels have written what they should.
fn are_right(sums: &[u32], result: &[u32]) -> bool {
    let expected = (0..HEADS as usize).map(|head| payloads(head % LINKS).sum::<u32>());
    let mix = payloads(0).fold(0, |mix, payload| mix ^ payload);
    sums.iter().copied().eq(expected) && result == [HOPS, mix]
}

/// Hand-written: 100 launches in one command buffer, with a barrier where results are written
/// again.
struct Raw {
    arrays: RawArrays<chase::Kernel>,
    probe: vulkan::Kernel<probe::Kernel>,
    addresses: Addresses,
    right: bool,
}

impl Raw {
    fn new(rival: &Rc<vulkan::Device>) -> Result<Self, Failure> {
        let blank = Link { next: 0, payload: 0, unused: 0 };
        let results = [unwritten::<u32>(HEADS as usize), unwritten::<u32>(2)];
        let [sums, result] = results;
        let lines = [lines_of(&[blank; LINKS]), lines_of(&[0u64; HEADS as usize]), sums, result];
        let mut arrays = RawArrays::new(rival, &lines, HEADS)?;
        let all = arrays.addresses();
        let links = std::array::from_fn(|at| all[0] + (at * size_of::<Link>()) as u64);
        bytemuck::cast_slice_mut(arrays.array_mut(0))[..LINKS].copy_from_slice(&chain(links));
        bytemuck::cast_slice_mut(arrays.array_mut(1))[..HEADS as usize]
            .copy_from_slice(&heads(links));
        let addresses = Addresses { link: all[0], heads: all[1], sums: all[2], result: all[3] };
        Ok(Self { arrays, probe: vulkan::Kernel::new(rival)?, addresses, right: true })
    }

    #[allow(unsafe_code, reason = "unchecked launches; the proof is at the block")]
    fn batch(&mut self) -> Result<(), Failure> {
        let (chase, probe) = (self.addresses.chase(), self.addresses.probe());
        let (chase, probe) = (chase::Kernel::push(chase), probe::Kernel::push(probe));
        // SAFETY: the module's; the addresses are those of the arrays.
        unsafe { self.arrays.launch_pairs(&chase, (&self.probe, &probe), PAIRS) }
    }
}

impl Variant for Raw {
    fn name(&self) -> &'static str {
        VARIANTS[0]
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        self.batch()?;
        self.arrays.array_mut(2).copy_from_slice(&unwritten::<u32>(HEADS as usize));
        self.arrays.array_mut(3).copy_from_slice(&unwritten::<u32>(2));
        let start = Instant::now();
        for _ in 0..calls {
            self.batch()?;
        }
        let elapsed = start.elapsed();
        let sums = elements_in_lines(self.arrays.array(2), HEADS as usize);
        self.right &= are_right(sums, elements_in_lines(self.arrays.array(3), 2));
        Ok(elapsed)
    }

    fn operations_per_call(&self) -> u32 {
        2 * PAIRS
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

/// farptr: everything is lent, and a batch has run, before the clock starts.
struct Farptr {
    name: &'static str,
    runtime: Runtime,
    kernels: Kernels,
    pages: Apart,
    first_link: u64,
    heads: Vec<Line>,
    sums: Vec<Line>,
    result: Vec<Line>,
    right: bool,
}

struct Kernels {
    chase: Kernel<chase::Kernel>,
    probe: Kernel<probe::Kernel>,
}

impl Farptr {
    fn new(name: &'static str, runtime: Runtime, size_bytes: u64) -> Result<Self, Failure> {
        let kernels = Kernels::new(&runtime)?;
        let mut pages = Apart::new(size_bytes);
        let addresses = spread(&mut pages);
        let mut links = chain(addresses).into_iter().zip(addresses).peekable();
        for page in pages.iter_mut() {
            let here = VirtAddr::of_slice(page).get();
            if let Some((link, _)) = links.next_if(|&(_, address)| address == here) {
                elements_mut_of(page, 1)[0] = link;
            }
        }
        Ok(Self {
            name,
            runtime,
            kernels,
            pages,
            first_link: addresses[0],
            heads: lines_of(&heads(addresses)),
            sums: unwritten::<u32>(HEADS as usize),
            result: unwritten::<u32>(2),
            right: true,
        })
    }
}

impl Kernels {
    fn new(runtime: &Runtime) -> Result<Self, Error> {
        Ok(Self { chase: runtime.kernel()?, probe: runtime.kernel()? })
    }

    /// Launches both kernels in turn, and waits.
    fn batch(&self, scope: &mut Scope<'_, '_>, addresses: Addresses) -> Result<(), Error> {
        for _ in 0..PAIRS {
            scope.launch(&self.chase, Grid::cover(HEADS as usize), addresses.chase())?;
            scope.launch(&self.probe, Grid::cover(1), addresses.probe())?;
        }
        scope.wait()?;
        Ok(())
    }
}

/// The addresses of pages that are as far apart as they can be, in order.
fn spread(pages: &mut Apart) -> [u64; LINKS] {
    let all: Vec<u64> = pages.iter_mut().map(|page| VirtAddr::of_slice(page).get()).collect();
    std::array::from_fn(|at| all[at * (all.len() - 1) / (LINKS - 1)])
}

impl Variant for Farptr {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let Self { kernels, pages, first_link, heads, sums, result, .. } = self;
        sums.copy_from_slice(&unwritten::<u32>(HEADS as usize));
        result.copy_from_slice(&unwritten::<u32>(2));
        let elapsed = self.runtime.scope(|s| {
            for page in pages.iter_mut() {
                s.lend(page)?;
            }
            let addresses = Addresses {
                link: *first_link,
                heads: s.lend(heads)?.ptr().address(),
                sums: s.lend_mut(sums)?.ptr().address(),
                result: s.lend_mut(result)?.ptr().address(),
            };
            kernels.batch(s, addresses)?;
            let start = Instant::now();
            for _ in 0..calls {
                kernels.batch(s, addresses)?;
            }
            Ok(start.elapsed())
        })?;
        let sums = elements_in_lines(&self.sums, HEADS as usize);
        self.right &= are_right(sums, elements_in_lines(&self.result, 2));
        Ok(elapsed)
    }

    fn operations_per_call(&self) -> u32 {
        2 * PAIRS
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_in_as_many_pages_however_few_there_are() {
        let mut addresses = spread(&mut Apart::new(LENDS[0])).to_vec();
        addresses.dedup();
        assert_eq!(addresses.len(), LINKS);
    }

    #[test]
    fn the_check_tells_right_from_wrong() {
        let sum = |head: usize| (head..head + 5).map(|at| 1u32 << (2 * (at % 8))).sum::<u32>();
        let mut sums: Vec<u32> = (0..64).map(|head| sum(head % 8)).collect();
        let mix = 0x155;
        assert!(are_right(&sums, &[5, mix]));
        assert!(!are_right(&sums, &[4, mix]) && !are_right(&sums[1..], &[5, mix]));
        sums.swap(0, 1);
        assert!(!are_right(&sums, &[5, mix]));
    }
}
