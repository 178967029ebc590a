//! Whether what kernels compute through farptr is right, in each mode.

mod counts;
mod samples;

use super::{
    child::Answer,
    modes,
    probe::{Probe, Situation, Subject},
};
use crate::failure::Failure;
use farptr::Runtime;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(300);
/// Bytes of device memory where there is little: a few pages.
const LITTLE: u64 = 64 * 4096;
/// The end of the name of a probe with little device memory.
const IN_LITTLE: &str = ", in little device memory";

/// Every mode, and copies again with little device memory.
pub(super) fn probes(situation: &Situation<'_>) -> Vec<Probe> {
    let mut probes = Vec::new();
    for mode in situation.proved() {
        let endings: &[&str] = if mode == "copy" { &["", IN_LITTLE] } else { &[""] };
        for ending in endings {
            probes.extend(samples::NAMES.map(|name| Probe {
                mode: Some(mode.to_owned()),
                ..Probe::new(format!("{name}{ending}"), LIMIT)
            }));
        }
    }
    probes
}

pub(super) fn ask(subject: &mut Subject, name: &str) -> Result<Answer, Failure> {
    let (what, runtime) = open(subject, name)?;
    let found = match samples::run(subject, &runtime, what)? {
        Some(found) => found,
        None => return Err(Failure::NoSuchProbe { name: name.to_owned() }),
    };
    Ok(Answer::Finding(found))
}

/// The runtime of a probe, and the rest of its name.
fn open<'n>(subject: &mut Subject, name: &'n str) -> Result<(&'n str, Runtime), Failure> {
    let mode = subject.mode.clone().unwrap_or_default();
    let builder = modes::builder(subject, &mode);
    let (what, builder) = match name.strip_suffix(IN_LITTLE) {
        Some(what) => (what, builder.device_budget(LITTLE)),
        None => (name, builder),
    };
    subject.at("opening the device");
    Ok((what, builder.build()?))
}
