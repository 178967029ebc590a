//! Whether what kernels compute through farptr is right, in each mode.

mod counts;

mod samples;
mod suite;

pub(super) use suite::trial;

use super::{
    child::Answer,
    modes,
    probe::{Probe, Situation, Subject},
};
use crate::failure::Failure;
use farptr::Runtime;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(300);
/// Bytes of device memory where there is little: fewer pages than the samples touch.
const LITTLE: u64 = 64 * 4096;
/// Fewer pages than most kernels touch.
const LITTLE_FOR_KERNELS: u64 = 8 * 4096;
/// The end of the name of a probe with little device memory.
const IN_LITTLE: &str = ", in little device memory";

/// Every mode, and copies again with little device memory.
pub(super) fn probes(situation: &Situation<'_>) -> Vec<Probe> {
    situation.proved().flat_map(of_mode).collect()
}

fn of_mode(mode: &str) -> Vec<Probe> {
    let endings: &[&str] = if mode == "copy" { &["", IN_LITTLE] } else { &[""] };
    let mut probes = Vec::new();
    for ending in endings {
        let samples = samples::NAMES.into_iter().map(str::to_owned);
        probes.extend(samples.chain(suite::names()).map(|name| Probe {
            mode: Some(mode.to_owned()),
            ..Probe::new(format!("{name}{ending}"), LIMIT)
        }));
    }
    probes
}

pub(super) fn ask(subject: &mut Subject, name: &str) -> Result<Answer, Failure> {
    let (what, runtime) = open(subject, name)?;
    let found = match samples::run(subject, &runtime, what)? {
        None => suite::run(subject, &runtime, what)?,
        found => found,
    };
    match found {
        Some(found) => Ok(Answer::Finding(found)),
        None => Err(Failure::NoSuchProbe { name: name.to_owned() }),
    }
}

/// The runtime of a probe, and the rest of its name.
fn open<'n>(subject: &mut Subject, name: &'n str) -> Result<(&'n str, Runtime), Failure> {
    let mode = subject.mode.clone().unwrap_or_default();
    let builder = modes::builder(subject, &mode);
    let (what, builder) = match name.strip_suffix(IN_LITTLE) {
        Some(what) => {
            let is_sample = samples::NAMES.contains(&what);
            let little = if is_sample { LITTLE } else { LITTLE_FOR_KERNELS };
            (what, builder.device_budget(little))
        }
        None => (name, builder),
    };
    subject.at("opening the device");
    Ok((what, builder.build()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_runs_samples_and_suite_and_copies_run_them_twice() {
        let names = |mode: &str| -> Vec<String> {
            let probes = of_mode(mode);
            assert!(probes.iter().all(|probe| probe.mode.as_deref() == Some(mode)));
            probes.into_iter().map(|probe| probe.name).collect()
        };
        let all = suite::names();
        for mode in ["direct", "import"] {
            assert_eq!(names(mode)[..4], samples::NAMES);
            assert_eq!(names(mode)[4..], all);
        }
        let copies = names("copy");
        let (plain, little) = copies.split_at(copies.len() / 2);
        assert_eq!(plain, names("direct"));
        let stripped: Vec<_> =
            little.iter().filter_map(|name| name.strip_suffix(IN_LITTLE)).collect();
        assert_eq!(stripped, plain);
    }
}
