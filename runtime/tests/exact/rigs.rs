//! The runtimes that each case runs on.

use crate::common::runtime;
use farptr::{Runtime, Stats};
use std::sync::{Mutex, OnceLock};

/// How a rig launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The original kernel, which nobody checks or changes.
    Original,
}

/// A runtime and how it launches.
pub(crate) struct Rig {
    pub(crate) label: String,
    pub(crate) runtime: Runtime,
    pub(crate) way: Way,
    /// Held during a run, so that what is counted meanwhile is the run's.
    pub(crate) turn: Mutex<()>,
}

impl Rig {
    /// Checks that a launch took the way that it was meant to take.
    pub(crate) fn assert_worked(&self, done: &Stats, pages: usize) {
        assert_eq!(done.launches, 1, "{}", self.label);
        let _ = pages;
    }
}

/// All rigs, the original first; or nothing where there is no device.
pub(crate) fn rigs() -> Option<&'static [Rig]> {
    static RIGS: OnceLock<Option<Vec<Rig>>> = OnceLock::new();
    RIGS.get_or_init(build).as_deref()
}

fn build() -> Option<Vec<Rig>> {
    let original = runtime()?;
    let rig = |label: &str, runtime, way| Rig {
        label: label.to_owned(),
        runtime,
        way,
        turn: Mutex::new(()),
    };
    Some(vec![rig("original", original, Way::Original)])
}
