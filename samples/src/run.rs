//! One run of a sample: opens the device, keeps time and counts, reports, and ends the process.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use farptr::{AccessMode, Runtime, Stats};

use crate::args::{Access, Backing, CommonArgs};
use crate::error::SampleError;
use crate::progress::Progress;
use crate::report::{self, Bytes, Faults, Input, KernelTime, Pages, Report};

/// A run in progress.
#[derive(Debug)]
pub struct Run {
    /// The runtime that the sample launches on.
    pub runtime: Runtime,
    /// How the sample shows progress.
    pub progress: Progress,
    begin: Instant,
    launching: Instant,
    before: Stats,
    report: Report,
}

/// The outcome of a run: its report, and lines for a person above it.
#[derive(Debug)]
pub struct Outcome {
    report: Report,
    lines: Vec<String>,
    differs: Option<SampleError>,
}

impl Run {
    /// Loads the input with `load`, then opens a device. Bad input is thus found first.
    ///
    /// # Errors
    /// Those of `load`, or [`SampleError::Runtime`] when no device can be used.
    pub fn begin<T>(
        sample: &str,
        args: &CommonArgs,
        load: impl FnOnce(Progress) -> Result<(T, Input), SampleError>,
    ) -> Result<(Self, T), SampleError> {
        let begin = Instant::now();
        let progress = Progress::new(args.quiet);
        let (loaded, input) = load(progress)?;
        let load_seconds = begin.elapsed().as_secs_f64();
        let runtime = open(args)?;
        let mut report = Report {
            sample: sample.to_owned(),
            device: runtime.device_name().to_owned(),
            driver: runtime.driver().to_owned(),
            access: runtime.access().to_string(),
            tier: runtime.tier().to_string(),
            input,
            ..Report::default()
        };
        if args.times && !runtime.explain().times_kernels() {
            let note = "the device has no timestamps, so there are no times of kernels";
            say_notes(sample, runtime.device_name(), &[note.to_owned()]);
        }
        report.seconds.load = load_seconds;
        let (launching, before) = (Instant::now(), runtime.stats());
        Ok((Self { runtime, progress, begin, launching, before, report }, loaded))
    }

    /// Says that the device's part is over; what follows is checking.
    pub fn launched(&mut self) {
        let stats = self.runtime.stats().since(&self.before);
        self.report.seconds.launch = self.launching.elapsed().as_secs_f64();
        self.report.launches = stats.launches;
        self.report.rounds = stats.rounds;
        self.report.faults = Faults { device: stats.faults, host: stats.host_faults };
        self.report.pages = Pages { imported: stats.pages_imported, ..Pages::default() };
        self.report.bytes = Bytes { to_device: stats.bytes_in, to_host: stats.bytes_home };
        self.report.kernel_times =
            stats.kernel_times.map(|times| times.into_iter().map(kernel_time).collect());
    }

    /// Ends the run with the largest error that the checks found, or the first check that failed.
    ///
    /// # Errors
    /// Those of the checks. A result that differs is no error but an outcome.
    pub fn end(
        mut self,
        checked: Result<f64, SampleError>,
        lines: Vec<String>,
    ) -> Result<Outcome, SampleError> {
        self.report.seconds.total = self.begin.elapsed().as_secs_f64();
        let differs = match checked {
            Ok(error) => {
                (self.report.verified, self.report.max_rel_error) = (true, error);
                None
            }
            Err(differs @ SampleError::Differs { error, .. }) => {
                self.report.max_rel_error = if error.is_finite() { error } else { f64::MAX };
                Some(differs)
            }
            Err(other) => return Err(other),
        };
        Ok(Outcome { report: self.report, lines, differs })
    }
}

fn kernel_time(time: farptr::KernelTime) -> KernelTime {
    KernelTime {
        kernel: time.kernel.to_owned(),
        launches: time.launches,
        seconds: time.total.as_secs_f64(),
        longest_seconds: time.longest.as_secs_f64(),
        undone_seconds: time.undone.as_secs_f64(),
    }
}

fn open(args: &CommonArgs) -> Result<Runtime, SampleError> {
    let mut builder = Runtime::builder().time_kernels(args.times);
    if let Some(access) = args.access {
        builder = builder.access(match access {
            Access::Auto => AccessMode::Auto,
            Access::Direct => AccessMode::Direct,
            Access::Mirrored => AccessMode::Mirrored,
        });
    }
    if let Some(backing) = args.backing {
        builder = builder.backing(match backing {
            Backing::Auto => farptr::Backing::Auto,
            Backing::Import => farptr::Backing::Import,
            Backing::Copy => farptr::Backing::Copy,
        });
    }
    if let Some(device) = &args.device {
        builder = builder.device(device);
    }
    let runtime = builder.build().map_err(SampleError::runtime)?;
    if args.explain {
        // A report that cannot be written is no reason to stop.
        let _ = writeln!(io::stderr(), "{}", runtime.explain());
    }
    Ok(runtime)
}

/// Prints the outcome of a run and gives the process's exit status: 0 for a verified run, 1 for a
/// failure, 2 for bad usage. A closed output changes none of them.
#[must_use]
pub fn conclude(sample: &str, json: bool, run: Result<Outcome, SampleError>) -> ExitCode {
    let printed = run.and_then(|outcome| {
        print(&outcome, json)
            .map_err(|error| SampleError::write("standard output".as_ref(), error))?;
        outcome.differs.map_or(Ok(()), Err)
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // When standard error is closed there is nowhere left to write to.
            let _ = writeln!(io::stderr(), "{sample}: {}", error.one_line());
            ExitCode::from(error.exit_code())
        }
    }
}

fn print(outcome: &Outcome, json: bool) -> io::Result<()> {
    let mut text = String::new();
    if json {
        text += &serde_json::to_string(&outcome.report)?;
        text += "\n";
    } else {
        outcome.lines.iter().for_each(|line| text += &format!("{line}\n"));
        text += &report::table(std::slice::from_ref(&outcome.report));
    }
    print_text(&text)
}

/// Writes to standard output. If the reader has closed the pipe, as `head` does, it has read what
/// it wanted: that is no failure.
///
/// # Errors
/// Whatever else the write reports.
pub fn print_text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Says on standard error what was assumed about an input.
pub fn say_notes(sample: &str, input: &str, notes: &[String]) {
    for note in notes {
        // A note that cannot be written is no reason to stop.
        let _ = writeln!(io::stderr(), "{sample}: {input}: {note}");
    }
}
