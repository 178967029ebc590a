//! On copies, a page that a launch misses brings the pages of the same elements behind other
//! arguments along, so that they are not missed one round later.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::{copying_whole_lends, ramp};
use farptr::shaders::spmv;
use farptr::{Grid, Kernel, Runtime, Stats};

/// Elements of a page.
const PAGE: usize = 1024;
const PAGES: usize = 64;
const N: usize = PAGES * PAGE;

/// A matrix with one entry in each row, from the last column to the first, some rows of which are
/// multiplied.
struct Matrix {
    rows: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Matrix {
    fn new() -> Self {
        let n = u32::try_from(N).unwrap();
        Self { rows: (0..=n).collect(), columns: (0..n).rev().collect(), values: ramp(N) }
    }

    /// Multiplies `count` rows from `first` on in a scope of its own, and says what it cost.
    fn multiply(
        &self,
        runtime: &Runtime,
        kernel: &Kernel<spmv::Kernel>,
        first: usize,
        count: usize,
    ) -> Stats {
        let (x, mut y) = (ramp(N), vec![0.0f32; count]);
        let before = runtime.stats();
        runtime
            .scope(|s| {
                let rows = s.lend(&self.rows[first..=first + count])?.ptr();
                let (col, val) = (s.lend(&self.columns)?.ptr(), s.lend(&self.values)?.ptr());
                let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
                let args = spmv::Args {
                    row_ptr: rows,
                    col,
                    val,
                    x,
                    y,
                    rows: count.try_into().unwrap(),
                    first: 0,
                    window: u32::MAX,
                };
                Ok(s.launch(kernel, Grid::cover(count), args)?)
            })
            .unwrap();
        let product = |row: usize| self.values[row] * x[self.columns[row] as usize];
        assert!((first..first + count).map(product).eq(y));
        runtime.stats().since(&before)
    }
}

#[test]
fn columns_and_values_of_a_sparse_matrix_are_missed_in_one_round() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let kernel = runtime.kernel::<spmv::Kernel>().unwrap();
    let matrix = Matrix::new();
    // Few enough rows, that no argument comes whole later.
    for (first, pages) in [(3 * PAGE, 2), (20 * PAGE, 1), (40 * PAGE + 5, 1)] {
        let stats = matrix.multiply(&runtime, &kernel, first, pages * PAGE);
        // Entries are missed in the first round, elements of `x` in the second.
        assert_eq!((stats.rounds, stats.undone_rounds), (3, 2), "{stats:?}");
        // Rows, entries twice and `y`; and the elements of `x`, on a page more where they start
        // within one. Lends are brought by the page, and neighbours may come along.
        let most = (5 * pages + 4) * PAGE * 4 + 4096;
        assert!(stats.bytes_in <= 4 * most as u64, "{stats:?}");
    }
}
