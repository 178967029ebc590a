//! The figures as tables for a person.

use super::form::{FORMS, ORIGINAL};
use super::record::{Driver, NotCompiled, Row};
use crate::{stats, table};
use std::io::{self, Write};

const HEADINGS: [&str; 8] =
    ["form", "VGPRs", "SGPRs", "code", "instructions", "subgroups", "spills", "scratch"];

/// Says what the columns are.
pub(super) fn print_legend(out: &mut dyn Write, commit: &str) -> io::Result<()> {
    writeln!(out, "commit   {commit}")?;
    writeln!(
        out,
        "ratios to the original: the median of all kernels, and the largest; subgroups per SIMD: \
         those of the kernel that has\nlost most, and what its original has; kernels that spill \
         registers, or use scratch memory, and whose original does not"
    )
}

/// Prints the forms of one target, each over all kernels.
pub(super) fn print_target(out: &mut dyn Write, driver: &Driver, rows: &[Row]) -> io::Result<()> {
    let Driver { target, device, driver } = driver;
    writeln!(out, "\n{target}: {device}, {driver}")?;
    let mut cells = vec![HEADINGS.map(str::to_owned)];
    cells.extend(FORMS.iter().map(|form| line(form.name, rows)));
    table::print(out, &cells)
}

/// Prints the figures of one form of each kernel.
pub(super) fn print_form(out: &mut dyn Write, form: &str, rows: &[Row]) -> io::Result<()> {
    writeln!(out, "\n{form}, kernel by kernel; behind the slash, the original")?;
    let mut headings = HEADINGS.map(str::to_owned);
    "kernel".clone_into(&mut headings[0]);
    let mut cells = vec![headings];
    for row in rows.iter().filter(|row| row.form == form) {
        let (it, was) = (row.figures, original(row, rows).figures);
        let pair = |of: u64, was: u64| format!("{of}/{was}");
        cells.push([
            row.kernel.to_owned(),
            pair(it.vgprs, was.vgprs),
            pair(it.sgprs, was.sgprs),
            pair(it.code_bytes, was.code_bytes),
            pair(it.instructions, was.instructions),
            pair(it.subgroups_per_simd, was.subgroups_per_simd),
            pair(spills(row), spills(original(row, rows))),
            pair(it.scratch_bytes, was.scratch_bytes),
        ]);
    }
    table::print(out, &cells)
}

/// Says why there is no table for a target.
pub(super) fn print_missing(out: &mut dyn Write, missing: &NotCompiled) -> io::Result<()> {
    writeln!(out, "\n{}: not compiled: {}", missing.target, missing.reason)
}

fn line(form: &'static str, rows: &[Row]) -> [String; 8] {
    let of: Vec<&Row> = rows.iter().filter(|row| row.form == form).collect();
    let spread = |ratio: fn(&Row) -> Option<f64>| {
        let ratios: Vec<f64> = of.iter().copied().filter_map(ratio).collect();
        let most = ratios.iter().copied().fold(0.0, f64::max);
        format!("{:.2} to {most:.2}", stats::median(&ratios))
    };
    let count = |figure: fn(&Row) -> u64| {
        let more = |row: &&&Row| figure(row) > figure(original(row, rows));
        of.iter().filter(more).count().to_string()
    };
    let subgroups = |row: &Row| row.figures.subgroups_per_simd;
    let lost = |row: &&&Row| subgroups(original(row, rows)).saturating_sub(subgroups(row));
    let worst = of.iter().max_by_key(lost).map_or_else(String::new, |row| {
        format!("{}/{}", subgroups(row), subgroups(original(row, rows)))
    });
    [
        form.to_owned(),
        spread(|row| row.vgprs_ratio),
        spread(|row| row.sgprs_ratio),
        spread(|row| row.code_ratio),
        spread(|row| row.instructions_ratio),
        worst,
        count(spills),
        count(|row| row.figures.scratch_bytes),
    ]
}

fn spills(row: &Row) -> u64 {
    row.figures.spilled_vgprs + row.figures.spilled_sgprs
}

/// The original of a row's kernel.
fn original<'r>(row: &Row, rows: &'r [Row]) -> &'r Row {
    let is_original = |other: &&Row| other.kernel == row.kernel && other.form == ORIGINAL;
    rows.iter().find(is_original).expect("every kernel has its original")
}
