//! `farptr-doctor` tries what farptr needs of a device and its driver.
//!
//! Each thing is tried in a process of its own (`child`), in the order of a table (`steps`).
//! What comes of it is plain data (`report`), which is judged by a function of that data
//! (`verdict`) and printed as text (`text`) or as JSON.

mod behaviour;
mod child;
mod correctness;
mod costs;
mod examination;
mod finding;
mod imports;
mod inventory;
mod kernels;
mod memory;
mod modes;
mod probe;
mod report;
mod screen;
mod steps;
mod system;
mod text;
mod trial;
mod verdict;

use crate::{
    failure::{self, Failure},
    output::UntilClosed,
};
use child::{Answer, Channel};
use clap::Parser;
use examination::{DEVICE, DEVICES, NotExamined, Order};
use finding::{Finding, Outcome};
use inventory::Inventory;
use probe::Subject;
use screen::Screen;
use std::{
    io::{self, Write},
    process::ExitCode,
};
use steps::{STEPS, TRIALS};

/// The exit code for bad usage, as sysexits.h has it; 0, 1 and 2 are verdicts.
const USAGE: u8 = 64;

/// Tries what farptr needs of a device, each thing in a process of its own, and says what came of
/// it
///
/// The exit code is 0 if the device is certified, 1 if it is degraded, 2 if it failed, and 64 for
/// bad usage. `bench/README.md` says what makes each. Attach the output of --json to an issue.
#[derive(Debug, Parser)]
#[command(name = "farptr doctor", version)]
struct Cli {
    /// The device, by its index in Vulkan's list or by a part of its name; else by `FARPTR_DEVICE`;
    /// else the one that farptr tries first
    #[arg(long, value_name = "N|NAME")]
    device: Option<String>,

    /// Print one JSON document; what is shown meanwhile goes to standard error
    #[arg(long)]
    json: bool,

    /// Also look for the longest kernel that the system lets run: the device may be lost, and a
    /// screen that it draws may freeze or go black for a while
    #[arg(long)]
    long: bool,

    /// Run only this step and the modes; may be given several times
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,

    /// Answer one question, as a child of this program
    #[arg(long, hide = true)]
    probe: Option<String>,

    /// The mode that the question is about
    #[arg(long, hide = true)]
    mode: Option<String>,
}

/// Runs `farptr-doctor` with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // When the stream is gone the exit code still tells.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    if let Some(probe) = &cli.probe {
        return answer(probe, cli.device.as_deref(), cli.mode.as_deref());
    }
    let device = cli.device.or_else(|| std::env::var("FARPTR_DEVICE").ok()).unwrap_or_default();
    examine(&Order { device, long: cli.long, only: cli.only }, cli.json)
}

fn examine(order: &Order, json: bool) -> ExitCode {
    let mut screen = Screen::open(json);
    let report = match examination::examine(order, &mut screen) {
        Ok(report) => report,
        Err(NotExamined::NoSuchDevice(why) | NotExamined::NoSuchStep(why)) => {
            drop(screen);
            return complain(&why, USAGE);
        }
    };
    screen.section("verdict");
    text::verdict(&report.verdict).iter().for_each(|line| screen.line(line));
    drop(screen);
    if json {
        let printed = serde_json::to_vec_pretty(&report).map_err(Failure::from);
        let printed = printed.and_then(|mut text| {
            text.push(b'\n');
            Ok(UntilClosed(io::stdout()).write_all(&text)?)
        });
        if let Err(failure) = printed {
            return complain(&failure::chain(&failure), verdict::Grade::Failed.exit_code());
        }
    }
    ExitCode::from(report.verdict.exit_code)
}

/// The child's part: answers one question.
fn answer(probe: &str, device: Option<&str>, mode: Option<&str>) -> ExitCode {
    child::leave_no_core();
    let channel = match Channel::open() {
        Ok(channel) => channel,
        Err(error) => return complain(&format!("no pipe for the answer: {error}"), USAGE),
    };
    let device = device.and_then(|device| device.parse().ok());
    let mode = mode.map(str::to_owned);
    let mut subject = Subject { device: device.unwrap_or(0), mode, channel };
    let answer = find_answer(probe, &mut subject).unwrap_or_else(|failure| {
        Answer::Finding(Finding::new(Outcome::Failed, failure::chain(&failure)))
    });
    match subject.channel.answer(answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("the answer cannot be given: {error}"), USAGE),
    }
}

fn find_answer(probe: &str, subject: &mut Subject) -> Result<Answer, Failure> {
    match probe {
        DEVICES => return Ok(Answer::Devices(inventory::list()?)),
        DEVICE => return Ok(Answer::Inventory(Box::new(Inventory::of(subject.device)?))),
        _ => {}
    }
    let (step, name) = probe.split_once('/').unwrap_or((probe, ""));
    match STEPS.iter().chain([&TRIALS]).find(|known| known.name == step) {
        Some(step) => (step.ask)(subject, name),
        None => Err(Failure::NoSuchProbe { name: probe.to_owned() }),
    }
}

fn complain(line: &str, code: u8) -> ExitCode {
    // When stderr is gone the exit code still tells.
    let _ = writeln!(io::stderr(), "farptr doctor: {line}");
    ExitCode::from(code)
}
