//! Launches from which a random part of what is proved is withheld: which parts there were.

use crate::rigs::{Proofs, Rig, Way, rigs};
use crate::run::check_case;
use farptr::rewrite::{Check, Program, Proved};
use farptr_kernel_cases::catalogue::find;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// How many parts are drawn for a kernel.
const DRAWS: u32 = 2;

/// The seed of the part that is withheld from a launch (FNV-1a, 64 bits).
pub(crate) fn seed(name: &str, label: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    name.bytes().chain(label.bytes()).fold(0xcbf2_9ce4_8422_2325, step)
}

/// The forms of a kernel before and after a launch, by what they leave out.
pub(crate) struct Forms {
    pub(crate) before: Vec<Proved>,
    pub(crate) after: Vec<Proved>,
    /// Whether the launch ran without any check.
    pub(crate) unchecked: bool,
}

impl Forms {
    /// Those that leave out something and were made for the launch.
    fn made(&self) -> impl Iterator<Item = Proved> {
        let is_new = |form: &Proved| *form != Proved::NOTHING && !self.before.contains(form);
        self.after.iter().copied().filter(is_new)
    }
}

/// A part of what is proved of a launch that is not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Some of the proved checks of single indices, not all.
    Checks,
    /// Something else than limits of loops, which are proved to end.
    Loops,
    /// Something else than comparisons of indices into own variables, which are proved.
    Own,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Checks, Self::Loops, Self::Own];

    /// Whether a part of what is proved is of this kind.
    fn is_kind_of(self, part: Proved, proved: Proved) -> bool {
        let others = match self {
            Self::Checks => return part.checks != 0 && part.checks != proved.checks,
            Self::Loops if proved.loops && !part.loops => Proved { loops: false, ..part },
            Self::Own if proved.own && !part.own => Proved { own: false, ..part },
            Self::Loops | Self::Own => return false,
        };
        others != Proved::NOTHING
    }
}

/// Parts of proofs that launches relied on.
#[derive(Default)]
pub(crate) struct Tally {
    /// All that was proved of the last launch with proofs.
    proved: Proved,
    /// Launches that ran without any check.
    unchecked: usize,
    /// Launches with proofs withheld.
    withheld: usize,
    /// The parts that forms left out: neither nothing nor all that was proved.
    parts: HashSet<Proved>,
    /// How often a form left out a part of a kind.
    kinds: HashMap<Kind, usize>,
}

impl Tally {
    /// Notes a launch with proofs.
    pub(crate) fn note_proved(&mut self, words: &[u32], forms: &Forms) {
        self.unchecked += usize::from(forms.unchecked);
        let left_out = if forms.unchecked { Some(everything(words)) } else { forms.made().next() };
        self.proved = left_out.unwrap_or_default();
    }

    /// Notes the same launch with proofs withheld, which has run in a form that may fail or leaves
    /// out everything.
    pub(crate) fn note_withheld(&mut self, words: &[u32], forms: &Forms) {
        let proved = self.proved;
        assert!(!forms.unchecked || forms.after.contains(&everything(words)), "own words have run");
        self.withheld += 1;
        for part in forms.made().filter(|&part| part != proved) {
            self.parts.insert(part);
            for kind in Kind::ALL.into_iter().filter(|kind| kind.is_kind_of(part, proved)) {
                *self.kinds.entry(kind).or_default() += 1;
            }
        }
    }

    /// Adds those of other kernels.
    pub(crate) fn add(&mut self, other: Self) {
        self.unchecked += other.unchecked;
        self.withheld += other.withheld;
        self.parts.extend(other.parts);
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }

    /// Checks that launches ran without checks, and that parts of these kinds were left out, where
    /// proofs were withheld from launches that do not all run in rounds.
    pub(crate) fn assert_withheld(&self, what: &str, rigs: &[Rig], kinds: &[Kind]) {
        // A device with less memory than that has no lend as a whole.
        let has_memory = |rig: &Rig| rig.runtime.explain().device_budget() >= 1 << 20;
        let is_proved = |rig: &Rig| rig.proofs == Proofs::Withheld && has_memory(rig);
        if self.withheld == 0 || !rigs.iter().any(is_proved) {
            return;
        }
        assert!(self.unchecked > 0, "{what}: {self}");
        for kind in kinds {
            assert!(self.kinds.contains_key(kind), "{what}, {kind:?}: {self}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unchecked, withheld, parts, kinds, .. } = self;
        let parts = parts.len();
        write!(f, "{unchecked} launches without checks, {withheld} with proofs withheld: ")?;
        write!(f, "{parts} parts of proofs, {kinds:?}")
    }
}

/// All that can be proved of a launch of a kernel.
fn everything(words: &[u32]) -> Proved {
    let program = Program::parse(words, None).unwrap();
    let analysis = program.analysis();
    let own = analysis.sites.iter().any(|site| site.check == Check::Own);
    let all = analysis.index_checks.len().min(Proved::MOST_CHECKS);
    let proved = Proved { own, loops: analysis.loops > 0, ..Proved::NOTHING };
    (0..all).fold(proved, Proved::with_check)
}

/// Draws several parts for kernels of which much can be proved.
#[test]
fn parts_of_every_kind_are_withheld() {
    let Some(rigs) = rigs() else { return };
    let has_proofs = |rig: &&Rig| rig.way == Way::Original || rig.proofs != Proofs::Off;
    let rigs: Vec<Rig> = rigs.iter().filter(has_proofs).cloned().collect();
    let mut tally = Tally::default();
    for name in ["barrier_in_loop", "last_group_sums"] {
        let case = (find(name).expect("it is in a list").make)();
        for draw in 0..DRAWS {
            tally.add(check_case(&format!("{name}, draw {draw}"), &case, &rigs));
        }
    }
    tally.assert_withheld("kernels of which much can be proved", &rigs, &Kind::ALL);
}
