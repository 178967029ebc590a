//! The ways in which farptr can use the device, as farptr itself proves them.

use super::{
    child::Answer,
    finding::Mode,
    probe::{Probe, Situation, Subject},
};
use crate::failure::{self, Failure};
use farptr::{AccessMode, Backing, ChosenBacking, ProvedAccess, Runtime, RuntimeBuilder};
use std::time::Duration;

/// Every mode.
pub(super) const ALL: [&str; 3] = ["direct", "import", "copy"];

pub(super) fn probes(_: &Situation<'_>) -> Vec<Probe> {
    ALL.map(|mode| Probe::new(mode, Duration::from_secs(120))).into()
}

/// Options for a runtime on this device in one mode.
pub(super) fn builder(subject: &Subject, mode: &str) -> RuntimeBuilder {
    let builder = Runtime::builder().device(subject.device.to_string()).no_pipeline_cache();
    match mode {
        "direct" => builder.access(AccessMode::Direct),
        "import" => builder.access(AccessMode::Mirrored).backing(Backing::Import),
        _ => builder.access(AccessMode::Mirrored).backing(Backing::Copy),
    }
}

/// Tries one mode.
pub(super) fn ask(subject: &mut Subject, name: &str) -> Result<Answer, Failure> {
    let (mut mode, wanted) = match builder(subject, name).build() {
        Ok(runtime) => {
            let explained = runtime.explain();
            let mode = Mode {
                name: name.to_owned(),
                proved: true,
                automatic: false,
                cuts_loops: explained.cuts_loops(),
                narrow_offsets: explained.narrow_offsets(),
                words: explained.to_string().lines().map(str::to_owned).collect(),
            };
            (mode, Some((explained.access(), explained.backing())))
        }
        Err(error) => (not_proved(name, failure::chain(&error)), None),
    };
    if wanted.is_some() {
        subject.at("the mode that farptr takes by itself");
        mode.automatic = automatic(subject) == wanted;
    }
    Ok(Answer::Mode(mode))
}

/// A mode that the device has not.
pub(super) fn not_proved(name: &str, why: String) -> Mode {
    Mode {
        name: name.to_owned(),
        proved: false,
        automatic: false,
        cuts_loops: false,
        narrow_offsets: false,
        words: vec![why],
    }
}

/// What farptr takes by itself.
fn automatic(subject: &Subject) -> Option<(ProvedAccess, ChosenBacking)> {
    let builder = Runtime::builder().device(subject.device.to_string()).no_pipeline_cache();
    let runtime = builder.build().ok()?;
    let explained = runtime.explain();
    Some((explained.access(), explained.backing()))
}
