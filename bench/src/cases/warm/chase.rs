//! Pointers loaded from memory: chains of links all over an array.

use super::{Workload, count};
use crate::line::{Line, elements_of, lines_of, unwritten};
use farptr::{
    Ptr, PtrMut,
    shaders::{abi::Link, chase},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Chains that are followed side by side, and how far.
const HEADS: u32 = 4096;
const HOPS: u32 = 256;
/// The arrays' places in the list.
const LINKS: usize = 0;
const FIRST: usize = 1;

/// One cycle through all the links of an array of the size, in random order.
pub(in crate::cases) struct Chase {
    /// The link after each.
    next: Vec<u32>,
    /// The link that each head begins with.
    heads: Vec<u32>,
    sums: Vec<u32>,
}

impl Workload for Chase {
    type Kernel = chase::Kernel;
    const NAME: &'static str = "warm-chase";
    const ABOUT: &'static str = "resident: 4096 chains of 256 links all over an array of each size";

    fn new(size_bytes: u64) -> Self {
        let links = count(size_bytes, size_of::<Link>() as u64);
        let mut random = StdRng::seed_from_u64(3);
        let next = cycle(links, &mut random);
        let heads: Vec<u32> = (0..HEADS).map(|_| random.random_range(0..links)).collect();
        let sums = heads.iter().map(|&head| sum(&next, head)).collect();
        Self { next, heads, sums }
    }

    fn arrays(&self) -> Vec<Vec<Line>> {
        let links: Vec<Link> = (0u32..)
            .take(self.next.len())
            .map(|number| Link { next: 0, payload: payload(number), unused: 0 })
            .collect();
        vec![lines_of(&links), lines_of(&[0u64; HEADS as usize]), unwritten::<u32>(HEADS as usize)]
    }

    fn link(&self, index: usize, array: &mut [Line], addresses: &[u64]) {
        let at = |&number: &u32| addresses[LINKS] + u64::from(number) * size_of::<Link>() as u64;
        match index {
            LINKS => {
                let links: &mut [Link] = bytemuck::cast_slice_mut(array);
                links.iter_mut().zip(&self.next).for_each(|(link, next)| link.next = at(next));
            }
            FIRST => {
                let heads: &mut [u64] = bytemuck::cast_slice_mut(array);
                heads.iter_mut().zip(&self.heads).for_each(|(head, first)| *head = at(first));
            }
            _ => {}
        }
    }

    fn invocations(&self) -> u32 {
        HEADS
    }

    fn args<'s>(&self, addresses: &[u64]) -> chase::Args<'s> {
        chase::Args {
            heads: Ptr::from_address(addresses[FIRST]),
            sums: PtrMut::from_address(addresses[2]),
            count: HEADS,
            hops: HOPS,
        }
    }

    fn is_right(&self, output: &[Line], launches: u32) -> bool {
        launches > 0 && elements_of::<u32>(output, HEADS as usize) == self.sums
    }
}

/// A permutation that is one cycle: S. Sattolo, "An algorithm to generate a random cyclic
/// permutation", Information Processing Letters 22, 1986.
fn cycle(links: u32, random: &mut StdRng) -> Vec<u32> {
    let mut next: Vec<u32> = (0..links).collect();
    for last in (1..next.len()).rev() {
        next.swap(last, random.random_range(0..last));
    }
    next
}

/// The number in a link: no two neighbours hold the same.
fn payload(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1)
}

fn sum(next: &[u32], head: u32) -> u32 {
    let chain = std::iter::successors(Some(head), |&link| Some(next[link as usize]));
    chain.take(HOPS as usize).map(payload).fold(0, u32::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_links_are_one_cycle() {
        let next = cycle(1000, &mut StdRng::seed_from_u64(0));
        let mut seen = vec![false; next.len()];
        let mut link = 0;
        for _ in 0..next.len() {
            assert!(!std::mem::replace(&mut seen[link], true));
            link = next[link] as usize;
        }
        assert_eq!(link, 0);
    }
}
