//! Random reads: `z = x[index]`.

use super::{Workload, count};
use crate::line::{Line, elements_of, lines_of, unwritten};
use farptr::{Ptr, PtrMut, shaders::gather};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Elements for each one that is read.
const PART: u32 = 4;
/// Element `i` of x is `i` modulo this, which single precision holds exactly.
const VALUES: u32 = 65_521;

/// Positions all over an array of the size, a quarter as many as it has elements.
pub(in crate::cases) struct Gather {
    index: Vec<u32>,
    elements: u32,
}

impl Workload for Gather {
    type Kernel = gather::Kernel;
    const NAME: &'static str = "warm-gather";
    const ABOUT: &'static str = "resident: elements at random positions of an array of each size";

    fn new(size_bytes: u64) -> Self {
        let elements = count(size_bytes, 4);
        let mut random = StdRng::seed_from_u64(2);
        let index = (0..elements / PART).map(|_| random.random_range(0..elements)).collect();
        Self { index, elements }
    }

    fn arrays(&self) -> Vec<Vec<Line>> {
        let x: Vec<f32> = (0..self.elements).map(value).collect();
        vec![lines_of(&x), lines_of(&self.index), unwritten::<f32>(self.index.len())]
    }

    fn invocations(&self) -> u32 {
        self.elements / PART
    }

    fn args<'s>(&self, addresses: &[u64]) -> gather::Args<'s> {
        gather::Args {
            x: Ptr::from_address(addresses[0]),
            index: Ptr::from_address(addresses[1]),
            z: PtrMut::from_address(addresses[2]),
            n: self.invocations(),
        }
    }

    fn is_right(&self, output: &[Line], launches: u32) -> bool {
        let z: &[f32] = elements_of(output, self.index.len());
        let expected = self.index.iter().map(|&index| value(index).to_bits());
        launches > 0 && z.iter().map(|z| z.to_bits()).eq(expected)
    }
}

#[allow(clippy::cast_precision_loss, reason = "the values are below 2^16")]
fn value(index: u32) -> f32 {
    (index % VALUES) as f32
}
