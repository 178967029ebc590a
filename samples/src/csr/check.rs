//! The properties that a matrix must have, one by one.

use rayon::prelude::*;

use super::triplet::Triplet;
use crate::error::Problem;

/// Refuses a declared size that the entries cannot justify, before anything is allocated for it:
/// more than 16 Mi rows or columns need at least one entry for every 64 of them.
pub(crate) fn check_plausible(rows: usize, cols: usize, entries: usize) -> Result<(), Problem> {
    let ceiling = (16 << 20).max(entries.saturating_mul(64));
    if rows == 0 || cols == 0 || entries == 0 {
        return Err(Problem::NoEntries { rows, cols, entries });
    }
    if rows > ceiling || cols > ceiling {
        return Err(Problem::Implausible { rows, cols, entries });
    }
    Ok(())
}

/// Refuses counts that a 32-bit index does not hold.
pub(crate) fn check_limits(rows: usize, cols: usize, entries: usize) -> Result<(), Problem> {
    let limit = u64::from(u32::MAX);
    for (what, count) in [("rows", rows), ("columns", cols), ("entries", entries)] {
        let count = count as u64;
        if count > limit {
            return Err(Problem::TooLarge { what, count, limit });
        }
    }
    Ok(())
}

pub(super) fn check_indices(rows: usize, cols: usize, triplets: &[Triplet]) -> Result<(), Problem> {
    let outside = |&&(row, col, _): &&Triplet| row as usize >= rows || col as usize >= cols;
    match triplets.par_iter().find_first(outside) {
        None => Ok(()),
        Some(&(row, _, _)) if row as usize >= rows => {
            Err(Problem::OutOfRange { axis: "row", index: row.into(), limit: rows })
        }
        Some(&(_, col, _)) => {
            Err(Problem::OutOfRange { axis: "column", index: col.into(), limit: cols })
        }
    }
}

pub(super) fn check_length(
    array: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), Problem> {
    if found == expected { Ok(()) } else { Err(Problem::ArrayLength { array, found, expected }) }
}

pub(super) fn check_row_pointers(row_ptr: &[u32], entries: usize) -> Result<(), Problem> {
    let wrong = |row: usize, expected: String| {
        Err(Problem::RowPointer { row, value: row_ptr[row].into(), expected })
    };
    if row_ptr[0] != 0 {
        return wrong(0, "0".into());
    }
    if let Some(row) = row_ptr.par_windows(2).position_first(|pair| pair[0] > pair[1]) {
        return wrong(row + 1, format!("{} or more", row_ptr[row]));
    }
    let last = row_ptr.len() - 1;
    if row_ptr[last] as usize == entries { Ok(()) } else { wrong(last, entries.to_string()) }
}

pub(super) fn check_columns(col: &[u32], cols: usize) -> Result<(), Problem> {
    match col.par_iter().find_first(|&&column| column as usize >= cols) {
        None => Ok(()),
        Some(&column) => {
            Err(Problem::OutOfRange { axis: "column", index: column.into(), limit: cols })
        }
    }
}

pub(super) fn check_finite(val: &[f32]) -> Result<(), Problem> {
    match val.par_iter().find_first(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Problem::NotFinite { text: value.to_string() }),
    }
}
