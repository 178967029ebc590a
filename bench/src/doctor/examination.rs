//! One examination: asks every probe, shows what comes of it, and judges.

use super::{
    child::{self, Answer, Question},
    finding::{Check, Finding, Mode, Outcome},
    inventory::{self, Inventory, Listed},
    modes,
    probe::{Probe, Situation},
    report::{FORMAT, Report},
    screen::Screen,
    steps::{STEPS, Step, TRIALS},
    system::System,
    text, verdict,
};
use crate::machine;
use std::time::{Duration, Instant};

/// The name of the probe that lists devices, and of the one that looks at one.
pub(super) const DEVICES: &str = "devices";
pub(super) const DEVICE: &str = "device";

/// How long a driver may take to say what it is.
const LOOK: Duration = Duration::from_secs(60);

/// The examination that is asked for.
pub(super) struct Order {
    /// An index or a part of a name; empty for the device that farptr would try first.
    pub(super) device: String,
    /// Whether probes may try to lose the device.
    pub(super) long: bool,
    /// The names of the steps; all of them if there is none.
    pub(super) only: Vec<String>,
}

/// Why nothing is examined.
pub(super) enum NotExamined {
    /// No device has the name.
    NoSuchDevice(String),
    /// A step was named that does not exist.
    NoSuchStep(String),
}

/// Examines a device.
pub(super) fn examine(order: &Order, screen: &mut Screen) -> Result<Report, NotExamined> {
    let steps = select(&order.only)?;
    let system = System::describe();
    let inventory = match find(order, screen)? {
        Ok(inventory) => inventory,
        Err(why) => return Ok(report(system, None, Vec::new(), Vec::new(), Some(why))),
    };
    screen.section("device");
    text::device(&inventory, &system).iter().for_each(|line| screen.line(line));
    let (mut found, mut checks) = (Vec::new(), Vec::new());
    for step in steps {
        let situation = Situation { device: &inventory, modes: &found, long: order.long };
        let probes = (step.probes)(&situation);
        if !probes.is_empty() {
            screen.section(step.name);
        }
        for probe in probes {
            screen.now(&format!("{}: {}", step.name, probe.name));
            match try_probe(step, &probe, inventory.index) {
                Found::Mode(mode) => {
                    text::mode(&mode).iter().for_each(|line| screen.line(line));
                    found.push(mode);
                }
                Found::Check(check) => {
                    screen.line(&text::check(&check));
                    checks.push(check);
                }
            }
        }
    }
    Ok(report(system, Some(inventory), found, checks, None))
}

fn report(
    system: System,
    device: Option<Inventory>,
    modes: Vec<Mode>,
    checks: Vec<Check>,
    no_device: Option<String>,
) -> Report {
    let title = device.as_ref().map_or_else(String::new, Inventory::title);
    let verdict = match no_device {
        Some(why) => verdict::no_device(why),
        None => verdict::judge(&title, &modes, &checks),
    };
    let (format, version) = (FORMAT, env!("CARGO_PKG_VERSION").to_owned());
    let commit = machine::commit();
    Report { format, version, commit, system, device, modes, checks, verdict }
}

/// The steps with these names. Modes are always tried, since other steps depend on them.
fn select(only: &[String]) -> Result<Vec<&'static Step>, NotExamined> {
    const ALL: [&[Step]; 2] = [&STEPS, &[TRIALS]];
    if let Some(unknown) = only.iter().find(|name| all(ALL).all(|step| step.name != **name)) {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        let why = format!("there is no step `{unknown}`; the steps are: {}", names.join(", "));
        return Err(NotExamined::NoSuchStep(why));
    }
    let wanted = |step: &&Step| match only {
        [] => step.name != TRIALS.name,
        only => step.name == STEPS[0].name || only.iter().any(|name| name == step.name),
    };
    Ok(all(ALL).filter(wanted).collect())
}

fn all(lists: [&'static [Step]; 2]) -> impl Iterator<Item = &'static Step> {
    lists.into_iter().flatten()
}

/// The device that was asked for, or why none can be looked at.
fn find(order: &Order, screen: &mut Screen) -> Result<Result<Inventory, String>, NotExamined> {
    screen.now("listing devices");
    let devices = match look(DEVICES, None) {
        Answer::Devices(devices) => devices,
        other => return Ok(Err(format!("devices cannot be listed: {}", said(other)))),
    };
    if devices.is_empty() {
        return Ok(Err("Vulkan lists no device; install a driver for yours".to_owned()));
    }
    let Some(device) = inventory::choose(&devices, &order.device) else {
        let name = |device: &Listed| format!("{} ({})", device.index, device.name);
        let names: Vec<_> = devices.iter().map(name).collect();
        let why = format!("no device is `{}`; there are: {}", order.device, names.join(", "));
        return Err(NotExamined::NoSuchDevice(why));
    };
    Ok(match look(DEVICE, Some(device.index)) {
        Answer::Inventory(inventory) => Ok(*inventory),
        other => Err(format!("device {} cannot be looked at: {}", device.index, said(other))),
    })
}

/// Asks what there is.
fn look(probe: &str, device: Option<usize>) -> Answer {
    child::ask(&Question { probe, device, mode: None, limit: LOOK })
}

/// The words of a child that did not answer its question.
fn said(answer: Answer) -> String {
    match answer {
        Answer::Finding(finding) => format!("{}: {}", finding.outcome, finding.detail),
        _ => "the answer is one to another question".to_owned(),
    }
}

/// The result of a probe.
enum Found {
    Mode(Mode),
    Check(Check),
}

fn try_probe(step: &Step, probe: &Probe, device: usize) -> Found {
    let began = Instant::now();
    let answer = match &probe.skip {
        Some(why) => Answer::Finding(Finding::not_tried(why.clone())),
        None => child::ask(&Question {
            probe: &format!("{}/{}", step.name, probe.name),
            device: Some(device),
            mode: probe.mode.as_deref(),
            limit: probe.limit,
        }),
    };
    let finding = match answer {
        Answer::Mode(mode) => return Found::Mode(mode),
        Answer::Finding(finding) if step.name == STEPS[0].name => {
            let why = format!("{}: {}", finding.outcome, finding.detail);
            return Found::Mode(modes::not_proved(&probe.name, why));
        }
        Answer::Finding(finding) => finding,
        other => Finding::new(Outcome::Failed, said(other)),
    };
    let seconds = began.elapsed().as_secs_f64();
    let (step, name, mode) = (step.name.to_owned(), probe.name.clone(), probe.mode.clone());
    Found::Check(Check { step, name, mode, seconds, finding })
}
