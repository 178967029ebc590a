//! Compressed sparse rows: y = A * x.

use super::{Workload, count};
use crate::line::{Line, elements_of, lines_of, unwritten};
use farptr::{
    Ptr, PtrMut,
    shaders::{abi::LOOP_WINDOW, spmv},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Entries of each row.
const ENTRIES: u32 = 16;
/// Columns for each row: x has the size, the entries and their columns half of it each.
const COLUMNS: u32 = 32;
/// Elements of x and entries are integers below this, so that sums are exact.
const VALUES: u32 = 251;

/// A matrix with columns at random.
pub(in crate::cases) struct Spmv {
    rows: u32,
    columns: u32,
    col: Vec<u32>,
    y: Vec<f32>,
}

impl Spmv {
    /// So many rows.
    pub(in crate::cases) fn with_rows(rows: u32) -> Self {
        let columns = COLUMNS * rows;
        let mut random = StdRng::seed_from_u64(4);
        let col: Vec<u32> = (0..rows * ENTRIES).map(|_| random.random_range(0..columns)).collect();
        let product = |(entry, &col): (u32, &u32)| value(entry) * value(col);
        let entries: Vec<f32> = (0u32..).zip(&col).map(product).collect();
        let y = entries.chunks(ENTRIES as usize).map(|row| row.iter().sum()).collect();
        Self { rows, columns, col, y }
    }
}

impl Workload for Spmv {
    type Kernel = spmv::Kernel;
    const NAME: &'static str = "warm-spmv";
    const ABOUT: &'static str = "resident: y = A * x, rows of 16 entries, x of each size";

    fn new(size_bytes: u64) -> Self {
        Self::with_rows(count(size_bytes, 4 * u64::from(COLUMNS)))
    }

    fn arrays(&self) -> Vec<Vec<Line>> {
        let row_ptr: Vec<u32> = (0..=self.rows).map(|row| row * ENTRIES).collect();
        let values = |count| (0..count).map(value).collect::<Vec<f32>>();
        vec![
            lines_of(&row_ptr),
            lines_of(&self.col),
            lines_of(&values(self.rows * ENTRIES)),
            lines_of(&values(self.columns)),
            unwritten::<f32>(self.y.len()),
        ]
    }

    fn invocations(&self) -> u32 {
        self.rows
    }

    fn args<'s>(&self, addresses: &[u64]) -> spmv::Args<'s> {
        spmv::Args {
            row_ptr: Ptr::from_address(addresses[0]),
            col: Ptr::from_address(addresses[1]),
            val: Ptr::from_address(addresses[2]),
            x: Ptr::from_address(addresses[3]),
            y: PtrMut::from_address(addresses[4]),
            rows: self.rows,
            first: 0,
            window: LOOP_WINDOW,
        }
    }

    fn is_right(&self, output: &[Line], launches: u32) -> bool {
        launches > 0 && elements_of::<f32>(output, self.y.len()) == self.y
    }
}

#[allow(clippy::cast_precision_loss, reason = "the values are below 2^8")]
fn value(index: u32) -> f32 {
    (index % VALUES) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sum_is_exact() {
        let largest = ENTRIES * (VALUES - 1) * (VALUES - 1);
        assert!(largest < 1 << 24);
    }
}
