//! The results as tables for a person.

use crate::{
    case::{Case, Unit},
    machine::Machine,
    record::{NotRun, Record, Row},
    table,
};
use std::io::{self, Write};

/// Figures are marked if other programs keep at least this share of the machine's cores busy.
const BUSY_PART: f64 = 0.5;

const HEADINGS: [&str; 7] = ["variant", "size", "median", "MAD", "samples", "ratio", "answer"];
/// The heading of one more column, for cases that ask how a cost grows.
const EXPONENT: &str = "k";

/// Says where the figures come from.
pub(crate) fn print_machine(
    out: &mut dyn Write,
    record: &Record,
    load: Option<f64>,
) -> io::Result<()> {
    let Record { machine, malloc, commit, .. } = record;
    let Machine { cpu, cores, kernel, device, driver } = machine;
    writeln!(out, "machine  {cpu}, {cores} cores, Linux {kernel}")?;
    if device.is_empty() {
        writeln!(out, "device   none needed")?;
    } else {
        writeln!(out, "device   {device}, {driver}")?;
    }
    writeln!(out, "malloc   {malloc}")?;
    writeln!(out, "commit   {commit}")?;
    #[allow(clippy::cast_precision_loss, reason = "machines have few cores")]
    let busy = load.filter(|&load| load > BUSY_PART * *cores as f64);
    if let Some(load) = busy {
        writeln!(
            out,
            "note     the machine was busy at the start (load {load}): trust ratios, not times"
        )?;
    }
    if cfg!(debug_assertions) {
        writeln!(out, "note     this is a debug build: cargo run --release measures the program")?;
    }
    Ok(())
}

/// Prints the rows of one case.
pub(crate) fn print_case(out: &mut dyn Write, case: &dyn Case, rows: &[Row]) -> io::Result<()> {
    let headings = HEADINGS.into_iter().chain(case.grows().then_some(EXPONENT));
    let headings: Vec<String> = headings.map(str::to_owned).collect();
    let rows = rows.iter().map(|row| cells(row, case));
    let cells: Vec<Vec<String>> = std::iter::once(headings).chain(rows).collect();
    let baseline = case.variants().first().copied().unwrap_or_default();
    writeln!(out, "\n{}: {}", case.name(), case.about())?;
    writeln!(
        out,
        "ratio = time / time of {baseline} in the same round, median ± MAD of the rounds"
    )?;
    if case.grows() {
        writeln!(out, "k = exponent of ratio ~ size^k since the size before")?;
    }
    table::print(out, &cells)
}

/// Says why a case has no rows.
pub(crate) fn print_not_run(out: &mut dyn Write, not_run: &NotRun) -> io::Result<()> {
    writeln!(out, "\n{}: not run: {}", not_run.case, not_run.reason)
}

fn cells(row: &Row, case: &dyn Case) -> Vec<String> {
    // One round has no spread.
    let ratio = match row.samples {
        _ if row.ratio_to == row.variant => "1 (baseline)".to_owned(),
        1 => format!("{:.3} ± ?    ", row.ratio),
        _ => format!("{:.3} ± {:.3}", row.ratio, row.ratio_mad),
    };
    let mut cells = vec![
        row.variant.to_owned(),
        size(row.size_bytes, case.unit()),
        time(row.median_ns),
        time(row.mad_ns),
        row.samples.to_string(),
        ratio,
        if row.verified { "right" } else { "WRONG" }.to_owned(),
    ];
    if case.grows() {
        cells.push(row.exponent.map_or_else(|| "-".to_owned(), |k| format!("{k:.2}")));
    }
    cells
}

/// A size in the largest unit that divides it, or in lends.
pub(crate) fn size(bytes: u64, unit: Unit) -> String {
    if let Unit::Lends { bytes: each } = unit {
        return format!("{} lends", bytes / each);
    }
    match bytes {
        0 => "-".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

/// A time with about four digits.
fn time(ns: f64) -> String {
    let (value, unit) = if ns < 1e3 {
        (ns, "ns")
    } else if ns < 1e6 {
        (ns / 1e3, "µs")
    } else if ns < 1e9 {
        (ns / 1e6, "ms")
    } else {
        (ns / 1e9, "s")
    };
    let decimals = match value {
        _ if value < 10.0 => 3,
        _ if value < 100.0 => 2,
        _ => 1,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let bytes = |bytes| size(bytes, Unit::Bytes);
        assert_eq!(bytes(0), "-");
        assert_eq!(bytes(64 << 10), "64 KiB");
        assert_eq!(bytes(256 << 20), "256 MiB");
        assert_eq!(bytes(1000), "1000 B");
        assert_eq!(size(40_960, Unit::Lends { bytes: 4096 }), "10 lends");
        assert_eq!(time(12.345), "12.35 ns");
        assert_eq!(time(1500.0), "1.500 µs");
        assert_eq!(time(2.5e8), "250.0 ms");
        assert_eq!(time(3e9), "3.000 s");
    }

    #[test]
    fn a_loss_and_a_wrong_answer_are_shown() {
        let row = Row {
            case: "launch",
            variant: "farptr",
            size_bytes: 0,
            median_ns: 3000.0,
            mad_ns: 10.0,
            samples: 7,
            ratio_to: "ash",
            ratio: 1.5,
            verified: false,
            exponent: Some(1.5),
            ratio_mad: 0.25,
        };
        let mut text = Vec::new();
        print_case(&mut text, crate::cases::all()[0], std::slice::from_ref(&row)).unwrap();
        let text = String::from_utf8(text).unwrap();
        let last = text.lines().last().unwrap();
        assert!(last.contains("1.500 ± 0.250") && last.ends_with("WRONG"), "{text}");
        let grows = crate::cases::all().iter().find(|case| case.grows()).unwrap();
        let mut text = Vec::new();
        print_case(&mut text, *grows, &[row]).unwrap();
        assert!(String::from_utf8(text).unwrap().ends_with("WRONG  1.50\n"));
    }
}
