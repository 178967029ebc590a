//! Compressed sparse rows: owned ([`Csr`]) and borrowed ([`CsrView`]).
//!
//! Row `i` has the columns `col[row_ptr[i]..row_ptr[i + 1]]` and the values at the same positions.
//! Kernels read the arrays where they lie, so a view over a mapped file serves as well as vectors.

mod check;
mod triplet;

use rayon::prelude::*;

use crate::error::Problem;
use check::{check_columns, check_finite, check_indices, check_length, check_row_pointers};
pub(crate) use check::{check_limits, check_plausible};
pub use triplet::Triplet;

/// A sparse matrix that owns its arrays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Csr {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// The index in `col` and `val` of each row's first entry; `rows + 1` elements.
    pub row_ptr: Vec<u32>,
    /// The column of each entry.
    pub col: Vec<u32>,
    /// The value of each entry.
    pub val: Vec<f32>,
}

/// A sparse matrix whose arrays lie elsewhere, in vectors or in a mapped file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CsrView<'a> {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// The index in `col` and `val` of each row's first entry; `rows + 1` elements.
    pub row_ptr: &'a [u32],
    /// The column of each entry.
    pub col: &'a [u32],
    /// The value of each entry.
    pub val: &'a [f32],
}

impl Csr {
    /// Builds a matrix from entries in any order. Entries at the same place are added up, as the
    /// Matrix Market format asks; each row ends up in ascending order of columns.
    ///
    /// # Errors
    /// - [`Problem::TooLarge`] beyond `u32::MAX` rows, columns or entries
    /// - [`Problem::OutOfRange`] for an entry outside the matrix
    /// - [`Problem::NotFinite`] for a value, or a sum of values, that is NaN or infinite
    pub fn from_triplets(
        rows: usize,
        cols: usize,
        mut triplets: Vec<Triplet>,
    ) -> Result<Self, Problem> {
        check_limits(rows, cols, triplets.len())?;
        check_indices(rows, cols, &triplets)?;
        triplets.par_sort_by_key(|&(row, col, _)| (row, col));
        triplets.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            if same {
                kept.2 += next.2;
            }
            same
        });
        let matrix = Self {
            rows,
            cols,
            row_ptr: row_pointers(rows, &triplets),
            col: triplets.iter().map(|entry| entry.1).collect(),
            val: triplets.iter().map(|entry| entry.2).collect(),
        };
        check_finite(&matrix.val)?;
        Ok(matrix)
    }

    /// Borrows the arrays.
    #[must_use]
    pub fn view(&self) -> CsrView<'_> {
        CsrView {
            rows: self.rows,
            cols: self.cols,
            row_ptr: &self.row_ptr,
            col: &self.col,
            val: &self.val,
        }
    }
}

impl<'a> CsrView<'a> {
    /// Number of stored entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.col.len()
    }

    /// The columns and values of one row.
    ///
    /// # Panics
    /// When `row` is out of range or the matrix does not [`validate`](Self::validate).
    #[must_use]
    pub fn row(&self, row: usize) -> (&'a [u32], &'a [f32]) {
        let range = self.row_ptr[row] as usize..self.row_ptr[row + 1] as usize;
        (&self.col[range.clone()], &self.val[range])
    }

    /// Checks every property that a kernel relies on.
    ///
    /// # Errors
    /// - [`Problem::ArrayLength`] for arrays that do not fit each other
    /// - [`Problem::RowPointer`] for pointers that do not rise from 0 to the number of entries
    /// - [`Problem::OutOfRange`] for a column outside the matrix
    /// - [`Problem::NotFinite`] for a value that is NaN or infinite
    pub fn validate(&self) -> Result<(), Problem> {
        check_limits(self.rows, self.cols, self.entries())?;
        check_length("row_ptr", self.row_ptr.len(), self.rows + 1)?;
        check_length("val", self.val.len(), self.col.len())?;
        check_row_pointers(self.row_ptr, self.entries())?;
        check_columns(self.col, self.cols)?;
        check_finite(self.val)
    }

    /// The number of entries of the longest row, 0 for a matrix without rows.
    #[must_use]
    pub fn longest_row(&self) -> usize {
        let lengths = self.row_ptr.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
        lengths.max().unwrap_or(0)
    }

    /// Whether the matrix equals its transpose, in pattern and in values.
    #[must_use]
    pub fn is_symmetric(&self) -> bool {
        if self.rows != self.cols {
            return false;
        }
        let transposed = self.transpose();
        // Transposing twice brings the columns of each row into the same ascending order.
        transposed == transposed.view().transpose()
    }

    /// The transpose, each row in ascending order of columns.
    #[must_use]
    pub fn transpose(&self) -> Csr {
        let mut next = column_starts(self.col, self.cols);
        let row_ptr = next.clone();
        let mut col = vec![0; self.entries()];
        let mut val = vec![0.0; self.entries()];
        for (row, number) in (0..self.rows).zip(0u32..) {
            let (columns, values) = self.row(row);
            for (&column, &value) in columns.iter().zip(values) {
                let slot = &mut next[column as usize];
                col[*slot as usize] = number;
                val[*slot as usize] = value;
                *slot += 1;
            }
        }
        Csr { rows: self.cols, cols: self.rows, row_ptr, col, val }
    }

    /// Copies the arrays into vectors.
    #[must_use]
    pub fn to_owned(&self) -> Csr {
        Csr {
            rows: self.rows,
            cols: self.cols,
            row_ptr: self.row_ptr.to_vec(),
            col: self.col.to_vec(),
            val: self.val.to_vec(),
        }
    }
}

fn row_pointers(rows: usize, sorted: &[Triplet]) -> Vec<u32> {
    let mut row_ptr = vec![0; rows + 1];
    for entry in sorted {
        row_ptr[entry.0 as usize + 1] += 1;
    }
    accumulate(&mut row_ptr);
    row_ptr
}

fn column_starts(col: &[u32], cols: usize) -> Vec<u32> {
    let mut starts = vec![0; cols + 1];
    for &column in col {
        starts[column as usize + 1] += 1;
    }
    accumulate(&mut starts);
    starts
}

fn accumulate(counts: &mut [u32]) {
    let mut sum = 0;
    for count in counts {
        sum += *count;
        *count = sum;
    }
}

#[cfg(test)]
mod tests;
