//! Costs, to be compared with those of other machines. No cost is judged.

mod clock;
mod memory;

use super::{
    child::Answer,
    finding::Finding,
    modes,
    probe::{Probe, Situation, Subject},
};
use crate::{
    failure::Failure,
    rival::{EmptyLaunch, RawSaxpy},
    vulkan::Device,
};
use clock::{median, short};
use farptr::{
    Grid,
    shaders::{empty, saxpy},
};
use std::{rc::Rc, time::Duration};

const LIMIT: Duration = Duration::from_secs(120);
const LAUNCH: &str = "a launch and the wait";
const SCOPE: &str = "a scope over 16 MiB";
const MEMORY: &str = "memory type ";
/// Elements of each of two arrays of [`SCOPE`].
const ELEMENTS: usize = 2 << 20;

pub(super) fn probes(situation: &Situation<'_>) -> Vec<Probe> {
    let mut probes = Vec::new();
    for kind in situation.device.host_visible() {
        let usable = kind.has("host_coherent") && !kind.has("device_coherent");
        let skip = (!usable).then(|| "farptr does not use the type".to_owned());
        let name = format!("{MEMORY}{}", kind.index);
        probes.push(Probe { skip, ..Probe::new(name, LIMIT) });
    }
    for mode in situation.proved() {
        for what in [LAUNCH, SCOPE] {
            probes.push(Probe { mode: Some(mode.to_owned()), ..Probe::new(what, LIMIT) });
        }
    }
    probes
}

pub(super) fn ask(subject: &mut Subject, name: &str) -> Result<Answer, Failure> {
    let kind = name.strip_prefix(MEMORY).and_then(|index| index.parse().ok());
    let found = match (name, kind) {
        (LAUNCH, _) => launch(subject)?,
        (SCOPE, _) => scope(subject)?,
        (_, Some(kind)) => memory::rates(subject, kind)?,
        _ => return Err(Failure::NoSuchProbe { name: name.to_owned() }),
    };
    Ok(Answer::Finding(found))
}

/// A launch of nothing: by hand, by farptr, and by farptr among a hundred.
fn launch(subject: &mut Subject) -> Result<Finding, Failure> {
    let device = Rc::new(Device::open_at(subject.device)?);
    let mut by_hand = EmptyLaunch::new(&device)?;
    let mode = subject.mode.clone().unwrap_or_default();
    let runtime = modes::builder(subject, &mode).build()?;
    let kernel = runtime.kernel::<empty::Kernel>()?;
    subject.at("launching");
    let scope = |launches: usize| {
        runtime.scope(|s| {
            (0..launches).try_for_each(|_| s.launch(&kernel, Grid::cover(1), ()))?;
            Ok(())
        })
    };
    let raw = median(200, || by_hand.launch())?;
    let one = median(200, || Ok(scope(1)?))?;
    let each = median(20, || Ok(scope(100)?))? / 100.0;
    let detail = format!(
        "{:.1} us, {:.2} of the same by hand; {:.1} us among a hundred",
        one / 1e3,
        one / raw,
        each / 1e3
    );
    Ok(Finding::measured(detail)
        .figure("ns", short(one))
        .figure("ns_by_hand", short(raw))
        .figure("ns_of_100", short(each))
        .figure("ratio", short(one / raw)))
}

/// A whole scope on two arrays, and a checked launch on memory that is there already, in relation
/// to an unchecked one by hand.
fn scope(subject: &mut Subject) -> Result<Finding, Failure> {
    let mode = subject.mode.clone().unwrap_or_default();
    let runtime = modes::builder(subject, &mode).build()?;
    let kernel = runtime.kernel::<saxpy::Kernel>()?;
    let (x, mut y) = (vec![1f32; ELEMENTS], vec![0f32; ELEMENTS]);
    let n = u32::try_from(ELEMENTS).expect("few elements");
    subject.at("running scopes");
    let before = runtime.stats();
    let runs = 5;
    let whole = median(runs, || {
        Ok(runtime.scope(|s| {
            let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
            let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n, a: 1.0 };
            Ok(s.launch(&kernel, Grid::cover(ELEMENTS), args)?)
        })?)
    })?;
    let done = runtime.stats().since(&before);
    let scopes = runs as u64 + 1;
    let device = Rc::new(Device::open_at(subject.device)?);
    let mut raw = RawSaxpy::new(&device, &x, &y)?;
    subject.at("launching on memory that is there");
    let mut unchecked = 0.0;
    let mut checked = 0.0;
    runtime.scope(|s| {
        let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
        let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n, a: 0.0 };
        let mut launch = || -> Result<(), Failure> {
            s.launch(&kernel, Grid::cover(ELEMENTS), args).map_err(farptr::Error::from)?;
            s.wait().map_err(farptr::Error::from)?;
            Ok(())
        };
        checked = median(9, &mut launch).map_err(farptr::Error::other)?;
        unchecked = median(9, || raw.apply(0.0)).map_err(farptr::Error::other)?;
        Ok(())
    })?;
    let (ms, rounds) = (whole / 1e6, done.rounds / scopes);
    let detail = format!(
        "{ms:.1} ms, {rounds} rounds, {} KiB in, {} KiB home; warm {:.2} of unchecked by hand",
        done.bytes_in / scopes / 1024,
        done.bytes_home / scopes / 1024,
        checked / unchecked
    );
    let mut finding = Finding::measured(detail);
    if rounds > 1 {
        // The last round is a launch on memory that is there.
        finding = finding.figure("ns_per_round", short((whole - checked) / (rounds - 1) as f64));
    }
    Ok(finding
        .figure("ns", short(whole))
        .figure("rounds", rounds)
        .figure("faults", done.faults / scopes)
        .figure("bytes_in", done.bytes_in / scopes)
        .figure("bytes_home", done.bytes_home / scopes)
        .figure("checked_ratio", short(checked / unchecked)))
}
