//! The runtimes that cases run on.

use crate::common::or_skip;
use farptr::{AccessMode, Backing, Runtime, RuntimeBuilder, Stats};
use std::sync::{Arc, Mutex, OnceLock};

/// Bytes of device memory for copied pages: a few pages, fewer than most cases touch.
const BUDGET: u64 = 8 * 4096;

/// How a rig launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The original kernel in direct access, unchecked and unchanged.
    Original,
    /// Safely, where the device works on host memory itself.
    Resident,
    /// Safely, where the device imports the pages that it can, and gets copies of others: those
    /// that several lends share, and parts of what can be imported as a whole alone.
    Mixed,
    /// A safe launch with copies: no page is on the device at first. The seed decides on the order
    /// in which faults are served, and so many pages are after a round at most.
    FromNothing { seed: u64, most: usize },
    /// As that, but what is known before the launch is brought before it.
    Brought,
}

/// The use that a rig makes of proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proofs {
    /// Nothing is proved, so that everything is checked.
    Off,
    /// What is proved is not checked.
    On,
    /// A random part of it is, for each kernel another one.
    Withheld,
}

/// A runtime and how it launches.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) label: String,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) way: Way,
    pub(crate) proofs: Proofs,
    /// Held during a run, so that what is counted meanwhile is the run's.
    pub(crate) turn: Arc<Mutex<()>>,
}

impl Rig {
    fn new(label: &str, runtime: Runtime, way: Way) -> Self {
        let (runtime, turn) = (Arc::new(runtime), Arc::default());
        Self { label: label.to_owned(), runtime, way, proofs: Proofs::Off, turn }
    }

    /// The same runtime, launching in another way.
    fn launching(&self, label: &str, way: Way, proofs: Proofs) -> Self {
        let (runtime, turn) = (Arc::clone(&self.runtime), Arc::clone(&self.turn));
        Self { label: label.to_owned(), runtime, way, proofs, turn }
    }

    /// Checks that a launch took the way that it was meant to take.
    pub(crate) fn assert_worked(&self, name: &str, done: &Stats) {
        let what = format!("{name}, {}: {done:?}", self.label);
        assert_eq!(done.launches, 1, "{what}");
        assert!(self.proofs != Proofs::Off || done.proved_launches == 0, "{what}");
        match self.way {
            Way::Original | Way::Resident => {
                assert_eq!((done.rounds, done.faults), (1, 0), "{what}");
            }
            Way::Mixed | Way::Brought => assert_eq!(done.rounds == 1, done.faults == 0, "{what}"),
            Way::FromNothing { .. } => assert!(done.rounds > 1 && done.faults > 0, "{what}"),
        }
    }
}

/// All rigs with validation on, whose errors abort, the original first where the device has direct
/// access; or nothing where there is no device.
pub(crate) fn rigs() -> Option<&'static [Rig]> {
    static RIGS: OnceLock<Option<Vec<Rig>>> = OnceLock::new();
    RIGS.get_or_init(|| build(true, &[(1, 1), (2, 3), (3, 1000)])).as_deref()
}

/// New rigs for many programs: without validation, which takes twenty times as long as the runs
/// themselves.
pub(crate) fn quick_rigs() -> Option<Vec<Rig>> {
    build(false, &[(4, 2)])
}

/// Makes the rigs; `orders` are seeds of the order in which faults are served, and the most pages
/// that are served after a round.
fn build(validation: bool, orders: &[(u64, usize)]) -> Option<Vec<Rig>> {
    let builder = || Runtime::builder().validation(validation).no_pipeline_cache();
    let built =
        |label: &str, builder: RuntimeBuilder, way| Some(Rig::new(label, or_skip(builder)?, way));
    let mut rigs = Vec::new();
    if let Some(original) = built("original", builder().access(AccessMode::Direct), Way::Original) {
        let launching = |label, proofs| original.launching(label, Way::Resident, proofs);
        let checked = launching("checked, direct", Proofs::Off);
        let proved = launching("proved, direct", Proofs::On);
        let withheld = launching("proofs withheld, direct", Proofs::Withheld);
        rigs.extend([original, checked, proved, withheld]);
    }
    let is_alone = rigs.is_empty();
    if validation || is_alone {
        let imported = builder().access(AccessMode::Mirrored).backing(Backing::Import);
        let way = if is_alone { Way::Mixed } else { Way::Resident };
        if let Some(imported) = built("mirrored, imported", imported, way) {
            let launching = |label, proofs| imported.launching(label, way, proofs);
            let proved = launching("proved, imported", Proofs::On);
            let withheld = launching("proofs withheld, imported", Proofs::Withheld);
            rigs.extend([imported, proved, withheld]);
        }
    }
    // Without an original, another order is what a program is compared with.
    let more = if is_alone { &[(5, 1000)][..] } else { &[] };
    let copying = || builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    // One runtime for all orders, so that each form is compiled once.
    let few = copying().device_budget(BUDGET);
    if let Some(few) = built("mirrored, copied to a few pages", few, Way::Brought) {
        rigs.extend(orders.iter().chain(more).map(|&(seed, most)| {
            let label = format!("mirrored, copied, order {seed}, {most} pages a round at most");
            few.launching(&label, Way::FromNothing { seed, most }, Proofs::Off)
        }));
    }
    if let Some(brought) = built("mirrored, copied", copying(), Way::Brought) {
        let launching = |label, proofs| brought.launching(label, Way::Brought, proofs);
        rigs.push(launching("mirrored, copied, arguments first", Proofs::On));
        if validation || is_alone {
            let label = "proofs withheld, copied, arguments first";
            rigs.push(launching(label, Proofs::Withheld));
        }
    }
    (!rigs.is_empty()).then_some(rigs)
}
