//! The table of what is tried.

use super::{
    behaviour,
    child::Answer,
    correctness, costs,
    finding::IMPORTS,
    imports, modes,
    probe::{Probe, Situation, Subject},
    trial,
};
use crate::failure::Failure;

/// A step: a name, and the probes that it consists of.
pub(super) struct Step {
    pub(super) name: &'static str,
    /// The probes that make sense here.
    pub(super) probes: fn(&Situation<'_>) -> Vec<Probe>,
    /// Runs one, in a process of its own.
    pub(super) ask: fn(&mut Subject, &str) -> Result<Answer, Failure>,
}

/// Every step behind the inventory, in order.
pub(super) const STEPS: [Step; 5] = [
    Step { name: "modes", probes: modes::probes, ask: modes::ask },
    Step { name: IMPORTS, probes: imports::probes, ask: imports::ask },
    Step { name: "behaviour", probes: behaviour::probes, ask: behaviour::ask },
    Step { name: "correctness", probes: correctness::probes, ask: correctness::ask },
    Step { name: "costs", probes: costs::probes, ask: costs::ask },
];

/// Steps that fail in known ways, for the tests of this program.
pub(super) const TRIALS: Step = Step { name: "trial", probes: trial::probes, ask: trial::ask };
