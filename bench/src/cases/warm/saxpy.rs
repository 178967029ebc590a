//! Streaming: y = a * x + y, an element or a vector of four at a time.

use super::{Workload, count};
use crate::{
    cases::saxpy::{A, elements, is_right},
    line::{Line, elements_of, lines_of},
};
use farptr::{
    Ptr, PtrMut,
    shaders::{saxpy, saxpy4},
};

/// One element per invocation.
pub(in crate::cases) struct Saxpy {
    count: u32,
}

/// One vector per invocation.
pub(in crate::cases) struct Saxpy4 {
    vectors: u32,
}

impl Workload for Saxpy {
    type Kernel = saxpy::Kernel;
    const NAME: &'static str = "warm-saxpy";
    const ABOUT: &'static str = "resident: y = a * x + y over two arrays of each size";

    fn new(size_bytes: u64) -> Self {
        Self { count: count(size_bytes, 4) }
    }

    fn arrays(&self) -> Vec<Vec<Line>> {
        x_and_y(self.count)
    }

    fn invocations(&self) -> u32 {
        self.count
    }

    fn args<'s>(&self, addresses: &[u64]) -> saxpy::Args<'s> {
        let (x, y) = (Ptr::from_address(addresses[0]), PtrMut::from_address(addresses[1]));
        saxpy::Args { x, y, n: self.count, a: A }
    }

    fn is_right(&self, output: &[Line], launches: u32) -> bool {
        is_right(elements_of(output, self.count as usize), launches)
    }
}

impl Workload for Saxpy4 {
    type Kernel = saxpy4::Kernel;
    const NAME: &'static str = "warm-saxpy4";
    const ABOUT: &'static str = "resident: y = a * x + y over two arrays of each size, by vectors";

    fn new(size_bytes: u64) -> Self {
        Self { vectors: count(size_bytes, 16) }
    }

    fn arrays(&self) -> Vec<Vec<Line>> {
        x_and_y(4 * self.vectors)
    }

    fn invocations(&self) -> u32 {
        self.vectors
    }

    fn args<'s>(&self, addresses: &[u64]) -> saxpy4::Args<'s> {
        let (x, y) = (Ptr::from_address(addresses[0]), PtrMut::from_address(addresses[1]));
        saxpy4::Args { x, y, n: self.vectors, a: A }
    }

    fn is_right(&self, output: &[Line], launches: u32) -> bool {
        is_right(elements_of(output, 4 * self.vectors as usize), launches)
    }
}

fn x_and_y(count: u32) -> Vec<Vec<Line>> {
    vec![lines_of(&elements(0, count)), lines_of(&elements(1, count))]
}
