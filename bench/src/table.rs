//! Cells as a table for a person.

use std::io::{self, Write};

/// Prints rows of as many cells each, the first column to the left and all others to the right.
pub(crate) fn print<R: AsRef<[String]>>(out: &mut dyn Write, rows: &[R]) -> io::Result<()> {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let lengths = |column| {
        let cells = rows.iter().filter_map(move |row| row.as_ref().get(column));
        cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(lengths).collect();
    for row in rows {
        for (column, (cell, &width)) in row.as_ref().iter().zip(&widths).enumerate() {
            match column {
                0 => write!(out, "{cell:<width$}")?,
                _ => write!(out, "  {cell:>width$}")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
