//! The main job: both samples on the packages of this machine, ending in one table.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use farptr_samples::report::{Report, table};
use farptr_samples::run::print_text;

const SAMPLES: [&str; 2] = ["spmv", "graph-walk"];

fn main() -> ExitCode {
    match run() {
        Ok(verified) => ExitCode::from(u8::from(!verified)),
        Err(error) => {
            // When standard error is closed there is nowhere left to write to.
            let _ = writeln!(io::stderr(), "demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the samples and prints the table; tells whether every result was verified.
fn run() -> Result<bool, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find itself: {error}"))?;
    let folder = own.parent().unwrap_or(Path::new("."));
    let reports: Vec<Report> =
        SAMPLES.iter().map(|name| sample(&folder.join(name))).collect::<Result<_, _>>()?;
    let printed = print_text(&table(&reports));
    printed.map_err(|error| format!("standard output cannot be written: {error}"))?;
    Ok(reports.iter().all(|report| report.verified))
}

/// Runs one sample on the package graph; what it says on standard error goes straight through.
fn sample(program: &PathBuf) -> Result<Report, String> {
    let name = program.display();
    let mut command = Command::new(program);
    command.args(["--debian", "--json"]).args(std::env::args_os().skip(1));
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| {
        format!(
            "cannot run {name}: {error}; build it with `cargo build --release -p farptr-samples`"
        )
    })?;
    serde_json::from_slice(&output.stdout).map_err(|_| match output.status.code() {
        Some(status) => format!("{name} ended with status {status} and no report"),
        None => format!("{name} was ended by a signal"),
    })
}
