//! The commands: list the cases, or run some and report.

use crate::{
    case::{Case, Unit},
    cases,
    episode::{self, Effort, Outcome},
    failure::{self, Failure},
    machine::{self, Machine},
    output::{self, UntilClosed},
    progress::Progress,
    record::{NotRun, Record, Row},
    report,
    rival::SmallPieces,
    stats,
};
use farptr::Runtime;
use std::{io::Write, path::PathBuf, time::Duration};

/// The effort for each size, unless another time is asked for.
const USUAL: Effort = Effort { budget: Duration::from_secs(20), rounds_min: 9 };
/// The quick effort for a whole case, which its sizes share: a case of one size gets all of it.
/// Large sizes overrun their share, since they take one round in any case.
const QUICK: Effort = Effort { budget: Duration::from_secs(8), rounds_min: 1 };

/// The cases to run, and how.
pub(crate) struct Options {
    pub(crate) cases: Vec<&'static dyn Case>,
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    /// Time for each size.
    pub(crate) budget: Option<Duration>,
    /// Sizes above it are left out.
    pub(crate) max_size_bytes: Option<u64>,
    /// Leave the C library's allocator as it is.
    pub(crate) fastbins: bool,
}

impl Options {
    fn effort(&self, sizes: u32) -> Effort {
        let usual = match self.quick {
            true => Effort { budget: QUICK.budget / sizes.max(1), ..QUICK },
            false => USUAL,
        };
        Effort { budget: self.budget.unwrap_or(usual.budget), ..usual }
    }

    fn wants_size(&self, size_bytes: u64) -> bool {
        self.max_size_bytes.is_none_or(|max| size_bytes <= max)
    }
}

/// Prints the cases and their variants.
pub(crate) fn list() -> Result<(), Failure> {
    let mut out = UntilClosed(std::io::stdout());
    for case in cases::all() {
        writeln!(out, "{:<16} {}", case.name(), case.about())?;
        writeln!(out, "{:<16} variants: {}", "", case.variants().join(", "))?;
        let size = |&bytes: &u64| report::size(bytes, case.unit());
        let sizes: Vec<_> = case.sizes_bytes().iter().map(size).collect();
        if case.sizes_bytes() != [0] {
            writeln!(out, "{:<16} sizes: {}", "", sizes.join(", "))?;
        }
    }
    Ok(())
}

/// Runs cases, prints a table for each and writes the record.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let load = machine::load();
    // Before the first driver is loaded.
    let malloc = if options.fastbins { SmallPieces::AsUsual } else { SmallPieces::merge() };
    // Opened once to learn what farptr chooses, or why it cannot; episodes open it again.
    let needs_device = options.cases.iter().any(|case| case.needs_device());
    let runtime = needs_device.then(|| Runtime::builder().build()).transpose()?;
    let machine = Machine::describe(runtime.as_ref());
    drop(runtime);
    let mut out = output::tables(options.json.as_deref());
    let (results, not_run) = (Vec::new(), Vec::new());
    let mut record = Record { machine, malloc, commit: machine::commit(), results, not_run };
    report::print_machine(&mut out, &record, load)?;
    let mut missing = None;
    for &case in &options.cases {
        match run_case(case, &record.machine.device, options) {
            Ok(rows) => {
                report::print_case(&mut out, case, &rows)?;
                record.results.extend(rows);
            }
            Err(failure) if failure.is_of_this_machine() => {
                let not_run = NotRun { case: case.name(), reason: failure::chain(&failure) };
                report::print_not_run(&mut out, &not_run)?;
                record.not_run.push(not_run);
                missing = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    if let Some(path) = &options.json {
        output::write_json(&record, path)?;
    }
    match missing {
        Some(failure) if record.results.is_empty() => Err(failure),
        _ => refuse_wrong_answers(&record.results),
    }
}

fn run_case(case: &dyn Case, device: &str, options: &Options) -> Result<Vec<Row>, Failure> {
    let sizes = || case.sizes_bytes().iter().filter(|&&size| options.wants_size(size));
    let effort = options.effort(u32::try_from(sizes().count()).unwrap_or(u32::MAX));
    let mut rows = Vec::new();
    for &size_bytes in sizes() {
        rows.extend(run_size(case, device, size_bytes, effort)?);
    }
    if case.grows() {
        note_growth(&mut rows);
    }
    Ok(rows)
}

/// Notes for each row how the ratio has grown since the size before. The baseline does the same
/// work at each size, so that a ratio grows as the time does, but for what slows the machine.
fn note_growth(rows: &mut [Row]) {
    #[allow(clippy::cast_precision_loss, reason = "sizes are below 2^53")]
    let point = |row: &Row| (row.size_bytes as f64, row.ratio);
    for index in 0..rows.len() {
        let (before, rest) = rows.split_at_mut(index);
        let row = &mut rest[0];
        let grows = |last: &&Row| last.variant == row.variant && row.variant != row.ratio_to;
        let last = before.iter().rev().find(grows);
        row.exponent = last.map(|last| stats::exponent(point(last), point(row)));
    }
}

fn run_size(
    case: &dyn Case,
    device: &str,
    size_bytes: u64,
    effort: Effort,
) -> Result<Vec<Row>, Failure> {
    let what = format!("{} {}", case.name(), report::size(size_bytes, case.unit()));
    let progress = Progress::start(what.trim_end_matches(" -"), effort.budget);
    let outcomes = episode::measure(case, device, size_bytes, effort, || progress.tick())?;
    let base = &outcomes[0];
    let row = |outcome: &Outcome| {
        let ratio = stats::paired_ratio(&outcome.samples, &base.samples);
        let time = stats::estimate(&outcome.samples);
        Row {
            case: case.name(),
            variant: outcome.variant,
            size_bytes,
            median_ns: time.median,
            mad_ns: time.mad,
            samples: outcome.samples.len(),
            ratio_to: base.variant,
            ratio: ratio.median,
            verified: outcome.verified,
            exponent: None,
            ratio_mad: ratio.mad,
        }
    };
    Ok(outcomes.iter().map(row).collect())
}

fn refuse_wrong_answers(rows: &[Row]) -> Result<(), Failure> {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|row| !row.verified)
        .map(|row| {
            format!("{} {} {}", row.case, row.variant, report::size(row.size_bytes, Unit::Bytes))
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::Wrong { which: wrong.join(", ") })
}
