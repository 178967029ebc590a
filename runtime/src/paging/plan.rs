//! The plan of a launch in rounds, its costs, and the ways in which it ends without a result.

use super::{reach::Reach, report::Denial, together::Access};
use crate::{launch::log::FaultRecord, stats::Counters, test_hooks::ServeFaults};
use farptr_rewrite::{Analysis, Effects};
use std::fmt;

/// How a round with faults is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The kernel writes nothing.
    ReadOnly,
    /// A second run writes the same places, and its result does not depend on what was there.
    Overwrite,
    /// All pages that the kernel could write are copied from home again.
    Undo,
}

impl Replay {
    /// The cheapest way that is exact for a kernel.
    pub(crate) fn of(effects: &Effects) -> Self {
        if !effects.writes && !effects.atomics {
            Self::ReadOnly
        } else if effects.overwrites {
            Self::Overwrite
        } else {
            Self::Undo
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "reads only: a round with faults leaves nothing to undo",
            Self::Overwrite => "a second round overwrites the first: nothing is undone",
            Self::Undo => "a round with faults is undone from host memory",
        })
    }
}

/// How a launch is run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How a round with faults is undone.
    pub(crate) replay: Replay,
    /// A launch that fails leaves no trace.
    pub(crate) transactional: bool,
    /// The kernel follows pointers that it loaded from memory.
    pub(crate) follows: bool,
    /// The positions of the lends that the kernel is known to write to: their pages come for
    /// writing at once.
    pub(crate) written: Vec<usize>,
    /// The lends that the kernel may write to. The others stay as they are.
    pub(crate) writes: Reach,
    /// The accesses whose index comes from memory and is common to several arguments, a list for
    /// each index.
    pub(crate) together: Vec<Vec<Access>>,
    /// The most rounds.
    pub(crate) max_rounds: u32,
    /// The most faults.
    pub(crate) max_faults: u64,
    /// Serves few pages at a time and in another order, for tests.
    pub(crate) serve_faults: Option<ServeFaults>,
}

impl Plan {
    /// The plan for a kernel, with limits that no launch reaches.
    pub(crate) fn of(analysis: &Analysis) -> Self {
        Self {
            follows: !analysis.is_roots_only(),
            ..Self::unlimited(Replay::of(&analysis.effects))
        }
    }

    /// A plan with limits that no test reaches, for a kernel that follows pointers.
    pub(crate) const fn unlimited(replay: Replay) -> Self {
        Self {
            replay,
            transactional: false,
            follows: true,
            written: Vec::new(),
            writes: Reach::All,
            together: Vec::new(),
            max_rounds: u32::MAX,
            max_faults: u64::MAX,
            serve_faults: None,
        }
    }

    /// Whether home has to keep the bytes from before the launch.
    pub(crate) fn needs_home(&self) -> bool {
        self.replay == Replay::Undo || self.transactional
    }
}

/// The costs of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Costs {
    /// How often it was run.
    pub(crate) rounds: u64,
    /// The rounds that did not count.
    pub(crate) undone: u64,
    /// Faults that were reported.
    pub(crate) faults: u64,
    /// Pages brought to the device, and pages that it may write now.
    pub(crate) served: u64,
    /// Bytes copied in, those of undone rounds included.
    pub(crate) bytes_in: u64,
    /// Bytes copied home.
    pub(crate) bytes_home: u64,
}

impl Costs {
    /// Counts a launch that had these costs.
    pub(crate) fn add_to(&self, counters: &Counters) {
        Counters::add(&counters.launches, 1);
        Counters::add(&counters.rounds, self.rounds);
        Counters::add(&counters.undone_rounds, self.undone);
        Counters::add(&counters.faults, self.faults);
        Counters::add(&counters.bytes_in, self.bytes_in);
        Counters::add(&counters.bytes_home, self.bytes_home);
    }
}

/// Why a launch ended without a result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended<E> {
    /// A fault that cannot be served, with the reason if its page cannot be brought in.
    Fault(FaultRecord, Option<Denial>),
    /// The driver cut a loop short.
    Cut,
    /// An invocation reached the loop limit.
    Exhausted,
    /// The limit of rounds.
    TooManyRounds,
    /// The limit of faults.
    TooManyFaults,
    /// The limit of time.
    Deadline,
    /// A round reported faults, but no page that was missing.
    NoProgress,
    /// Memory of the process changed, at this address, while results were written there.
    Raced(u64),
    /// Results cannot be written to memory of the process, at this address.
    Unwritable(u64, Denial),
    /// The device failed.
    Device(E),
}
