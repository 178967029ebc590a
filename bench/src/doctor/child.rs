//! A process for each thing that is tried, so that a driver that crashes, hangs or loses its device
//! costs one answer.
//!
//! Protocol: the program runs itself with the name of a probe. The child writes its answer as JSON
//! to a pipe that it finds in place of its standard input, one line each: what it is about to do,
//! and at the end the answer. The parent reads until the pipe is closed or the time is over; then
//! the child is killed. The output of a child goes to a second pipe, of which the last line is kept
//! for the report of its death.
//!
//! *Rejected:* answers on standard output, to which drivers print; a time limit inside the child,
//! which a hung system call ignores; threads in place of processes, which share the driver and its
//! crash.

use super::{
    finding::{Finding, Mode, Outcome},
    inventory::{Inventory, Listed},
};
use crate::vulkan::EXIT_LOST;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, PipeReader, Write},
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Variables by which a user changes what farptr chooses: an examination tries all choices.
const LEFT_OUT: [&str; 4] =
    ["FARPTR_DEVICE", "FARPTR_ACCESS", "FARPTR_BACKING", "FARPTR_VALIDATION"];
/// How long a killed child may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answer of a child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Devices(Vec<Listed>),
    Inventory(Box<Inventory>),
    Mode(Mode),
    Finding(Finding),
}

/// A line that a child writes.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    At(String),
    Answer(Answer),
}

/// The child's end: what it does now, and its answer.
pub(super) struct Channel(File);

impl Channel {
    /// The pipe that stands in place of standard input.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(File::from(io::stdin().as_fd().try_clone_to_owned()?)))
    }

    /// Says what is about to be done, for the report if the process dies of it.
    pub(super) fn at(&mut self, what: &str) -> io::Result<()> {
        self.write(&Line::At(what.to_owned()))
    }

    /// Gives the answer.
    pub(super) fn answer(mut self, answer: Answer) -> io::Result<()> {
        self.write(&Line::Answer(answer))
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.write_all(&text)
    }
}

/// Makes a core file of a dying child impossible: children die on purpose here.
pub(super) fn leave_no_core() {
    let limit = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    // A core file more is no reason to stop.
    let _ = setrlimit(Resource::Core, limit);
}

/// A question to a child.
pub(super) struct Question<'q> {
    pub(super) probe: &'q str,
    pub(super) device: Option<usize>,
    pub(super) mode: Option<&'q str>,
    pub(super) limit: Duration,
}

/// Runs a probe in a child and waits for its answer; a finding, if there is none.
pub(super) fn ask(question: &Question<'_>) -> Answer {
    match run(question) {
        Ok(answer) => answer,
        Err(error) => {
            let detail = format!("no process could be started for it: {error}");
            Answer::Finding(Finding::new(Outcome::Failed, detail))
        }
    }
}

fn run(question: &Question<'_>) -> io::Result<Answer> {
    let (lines, child_lines) = io::pipe()?;
    let (noise, child_noise) = io::pipe()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--probe", question.probe]);
    command.args(question.device.map(|device| format!("--device={device}")));
    command.args(question.mode.map(|mode| format!("--mode={mode}")));
    for variable in LEFT_OUT {
        command.env_remove(variable);
    }
    command.stdin(Stdio::from(child_lines)).stdout(child_noise.try_clone()?).stderr(child_noise);
    let child = command.spawn()?;
    // The parent's ends of the child's pipes.
    drop(command);
    let noise = thread::spawn(move || last_line(noise));
    Ok(attend(child, lines, noise, question.limit))
}

/// Reads what a child writes until it is done or its time is over.
fn attend(
    mut child: Child,
    lines: PipeReader,
    noise: JoinHandle<String>,
    limit: Duration,
) -> Answer {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || read_lines(lines, &send));
    let end = Instant::now() + limit;
    let mut at = None;
    loop {
        match receive.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Line::At(what)) => at = Some(what),
            Ok(Line::Answer(answer)) => {
                // A driver that does not come down after its answer is no news.
                end_child(&mut child, Duration::from_secs(1));
                return answer;
            }
            Err(RecvTimeoutError::Timeout) => {
                end_child(&mut child, Duration::ZERO);
                let detail =
                    format!("killed after {} s{}", limit.as_secs(), while_at(at.as_deref()));
                return Answer::Finding(Finding::new(Outcome::DidNotEnd, detail));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = end_child(&mut child, PATIENCE);
                let said = noise.join().unwrap_or_default();
                return Answer::Finding(death(status, at.as_deref(), &said));
            }
        }
    }
}

fn read_lines(lines: PipeReader, send: &mpsc::Sender<Line>) {
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        let Ok(line) = serde_json::from_str(&line) else { return };
        if send.send(line).is_err() {
            return;
        }
    }
}

/// The last line that is not empty.
fn last_line(noise: PipeReader) -> String {
    let mut last = String::new();
    for line in BufReader::new(noise).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if !line.is_empty() {
            last = line;
        }
    }
    last
}

/// Waits a while for a child to end, then kills it. A child that cannot be killed is left alone.
fn end_child(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let ended = wait(child, patience);
    if ended.is_some() {
        return ended;
    }
    // It may have ended meanwhile.
    let _ = child.kill();
    wait(child, PATIENCE)
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

/// The finding about a process that ended without an answer.
fn death(status: Option<ExitStatus>, at: Option<&str>, said: &str) -> Finding {
    let how = match status {
        None => "the process cannot be killed".to_owned(),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}{}", signal_name(signal)),
            (None, code) => format!("exit code {}", code.unwrap_or(-1)),
        },
    };
    let is_lost = status.is_some_and(|status| status.code() == Some(EXIT_LOST.into()));
    let outcome = if is_lost { Outcome::Failed } else { Outcome::Died };
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Finding::new(outcome, format!("{how}{}{said}", while_at(at)))
}

fn while_at(at: Option<&str>) -> String {
    at.map_or_else(String::new, |at| format!(", at: {at}"))
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        _ => "",
    }
}
