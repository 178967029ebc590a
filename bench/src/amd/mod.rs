//! The command `amd-compile`: what the forms of a kernel cost on AMD's GPUs, as their compiler
//! counts it. There is no GPU, and nothing runs: no figure is a time.
//!
//! The driver learns the family of the GPU from the environment, so that each family has a process
//! of its own, which is this program again.

mod form;
mod inside;
mod record;
mod report;

use crate::{failure::Failure, machine, output};
use farptr_radv::{NoDriver, Target};
use inside::Compiled;
use record::{Driver, NotCompiled, Record};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What to compile, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Show this form kernel by kernel, too
    #[arg(long, value_name = "FORM", value_parser = known_form)]
    form: Option<String>,

    /// Write the figures to a file, or to stdout for `-`; the tables then go to stderr
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Compile for the target of the environment, and write what was compiled to stdout
    #[arg(long, hide = true)]
    inside: bool,
}

/// Compiles every form for every target, prints a table for each and writes the record.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if options.inside {
        return Ok(serde_json::to_writer(std::io::stdout(), &inside::compile()?)?);
    }
    let mut out = output::tables(options.json.as_deref());
    let (drivers, results, not_compiled) = (Vec::new(), Vec::new(), Vec::new());
    let mut record = Record { commit: machine::commit(), drivers, results, not_compiled };
    report::print_legend(&mut out, &record.commit)?;
    let mut missing = None;
    for target in Target::ALL {
        match compile(target) {
            Ok(compiled) => {
                let (device, driver) = (compiled.device.clone(), compiled.driver.clone());
                let driver = Driver { target: target.to_string(), device, driver };
                let rows = record::rows(target, &compiled);
                report::print_target(&mut out, &driver, &rows)?;
                if let Some(form) = &options.form {
                    report::print_form(&mut out, form, &rows)?;
                }
                record.drivers.push(driver);
                record.results.extend(rows);
            }
            Err(Failure::NoDriver(reason)) => {
                let lacking =
                    NotCompiled { target: target.to_string(), reason: reason.to_string() };
                report::print_missing(&mut out, &lacking)?;
                record.not_compiled.push(lacking);
                missing = Some(reason);
            }
            Err(failure) => return Err(failure),
        }
    }
    if let Some(path) = &options.json {
        output::write_json(&record, path)?;
    }
    match missing {
        Some(reason) if record.results.is_empty() => Err(reason.into()),
        _ => Ok(()),
    }
}

/// Has a process compile for a target.
fn compile(target: Target) -> Result<Compiled, Failure> {
    let started = |source| Failure::Process { target: target.to_string(), source };
    let mut process = Command::new(std::env::current_exe().map_err(started)?);
    process.args(["amd-compile", "--inside"]).stderr(Stdio::piped());
    let applied: Result<&mut Command, NoDriver> = target.apply(&mut process);
    let output = applied?.output().map_err(started)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::Ended { target: target.to_string(), ended: output.status, said });
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn known_form(name: &str) -> Result<String, String> {
    let names: Vec<&str> = form::FORMS.iter().map(|form| form.name).collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("the forms are: {}", names.join(", ")))
}
