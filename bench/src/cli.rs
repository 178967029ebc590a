//! The arguments of `farptr-bench`.

use crate::{amd, cases, failure, suite};
use clap::{Parser, Subcommand};
use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

/// Bad usage, as clap's own exit code has it.
const USAGE: u8 = 2;

/// Measures farptr against hand-written Vulkan and raw system calls, side by side in one run
#[derive(Debug, Parser)]
#[command(name = "farptr-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile every form of the shipped kernels for AMD's GPUs, without one, and compare
    /// registers, spills and code: no figure is a time
    AmdCompile(amd::Options),
    /// List the cases and their variants
    List,
    /// Run cases, all of them unless some are named
    Run {
        /// Names of cases
        #[arg(value_name = "NAME")]
        names: Vec<String>,

        /// Take fewer samples: under 20 s for a case on two idle cores
        #[arg(long)]
        quick: bool,

        /// Write the results to a file, or to stdout for `-`; the table then goes to stderr
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,

        /// Time for each size of a case
        #[arg(long, value_name = "MS", hide = true)]
        budget_ms: Option<u64>,

        /// Leave out larger sizes
        #[arg(long, value_name = "BYTES", hide = true)]
        max_size: Option<u64>,

        /// Leave glibc's allocator as it is, to see what its fastbins cost a software device
        #[arg(long, hide = true)]
        fastbins: bool,
    },
}

/// Runs `farptr-bench` with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::AmdCompile(options) => finish(amd::run(&options)),
        Command::List => finish(suite::list()),
        Command::Run { names, quick, json, budget_ms, max_size, fastbins } => {
            match cases::select(&names) {
                Ok(cases) => finish(suite::run(&suite::Options {
                    cases,
                    quick,
                    json,
                    budget: budget_ms.map(Duration::from_millis),
                    max_size_bytes: max_size,
                    fastbins,
                })),
                Err(unknown) => complain(&unknown.to_string(), USAGE),
            }
        }
    }
}

fn finish(result: Result<(), failure::Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(&failure::chain(&failure), 1),
    }
}

fn complain(line: &str, code: u8) -> ExitCode {
    // When stderr is gone the exit code still tells.
    let _ = writeln!(std::io::stderr(), "farptr-bench: {line}");
    ExitCode::from(code)
}
