//! The runtimes that cases run on.

use crate::common::or_skip;
use farptr::test_hooks::TestHooks;
use farptr::{AccessMode, Backing, Runtime, RuntimeBuilder, Stats};
use std::sync::{Arc, Mutex, OnceLock};

/// Bytes of device memory for copied pages: a few pages, fewer than most cases touch.
const BUDGET: u64 = 8 * 4096;

/// How a rig launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The original kernel in direct access, unchecked and unchanged.
    Original,
    /// Safely and checked, where the device works on host memory itself.
    Resident,
    /// Safely, and without checks where it is proved that none would fail.
    Proved,
    /// Safely, where the device imports the pages that it can, and gets copies of others: those
    /// that several lends share, and parts of what can be imported as a whole alone.
    Mixed,
    /// A safe launch with copies: no page is on the device at first.
    FromNothing,
    /// As that, but what is known before the launch is brought before it.
    Brought,
}

/// A runtime and how it launches.
pub(crate) struct Rig {
    pub(crate) label: String,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) way: Way,
    /// Held during a run, so that what is counted meanwhile is the run's.
    pub(crate) turn: Arc<Mutex<()>>,
}

impl Rig {
    fn new(label: &str, runtime: Runtime, way: Way) -> Self {
        let (runtime, turn) = (Arc::new(runtime), Arc::default());
        Self { label: label.to_owned(), runtime, way, turn }
    }

    /// The same runtime, launching in another way.
    fn launching(&self, label: &str, way: Way) -> Self {
        let (runtime, turn) = (Arc::clone(&self.runtime), Arc::clone(&self.turn));
        Self { label: label.to_owned(), runtime, way, turn }
    }

    /// Checks that a launch took the way that it was meant to take.
    pub(crate) fn assert_worked(&self, name: &str, done: &Stats) {
        let what = format!("{name}, {}: {done:?}", self.label);
        assert_eq!(done.launches, 1, "{what}");
        let proofs = matches!(self.way, Way::Proved | Way::Brought);
        assert!(proofs || done.proved_launches == 0, "{what}");
        match self.way {
            Way::Original | Way::Resident | Way::Proved => {
                assert_eq!((done.rounds, done.faults), (1, 0), "{what}");
            }
            Way::Mixed | Way::Brought => assert_eq!(done.rounds == 1, done.faults == 0, "{what}"),
            Way::FromNothing => assert!(done.rounds > 1 && done.faults > 0, "{what}"),
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
        let direct = original.launching("checked, direct", Way::Resident);
        let proved = original.launching("proved, direct", Way::Proved);
        rigs.extend([original, direct, proved]);
    }
    let is_alone = rigs.is_empty();
    if validation || is_alone {
        let imported = builder().access(AccessMode::Mirrored).backing(Backing::Import);
        let way = if is_alone { Way::Mixed } else { Way::Resident };
        if let Some(imported) = built("mirrored, imported", imported, way) {
            // Alone, some of what is lent may be copied, so that there are rounds.
            let proved = imported.launching("proved, imported", Way::Proved);
            rigs.extend([Some(imported), (!is_alone).then_some(proved)].into_iter().flatten());
        }
    }
    // Without an original, another order is what a program is compared with.
    let more = if is_alone { &[(5, 1000)][..] } else { &[] };
    for &(seed, most) in orders.iter().chain(more) {
        let label = format!("mirrored, copied, order {seed}, {most} pages a round at most");
        let copied = builder().access(AccessMode::Mirrored).backing(Backing::Copy);
        let copied = copied.device_budget(BUDGET).serve_faults(seed, most);
        rigs.extend(built(&label, copied, Way::FromNothing));
    }
    let copied = builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    rigs.extend(built("mirrored, copied, arguments first", copied, Way::Brought));
    (!rigs.is_empty()).then_some(rigs)
}
