//! Cells as a table for a person.

use std::io::{self, Write};

/// Prints rows of cells, the first column to the left and all others to the right.
pub(crate) fn print<const N: usize>(out: &mut dyn Write, cells: &[[String; N]]) -> io::Result<()> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    for row in cells {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            match column {
                0 => write!(out, "{cell:<width$}")?,
                _ => write!(out, "  {cell:>width$}")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
