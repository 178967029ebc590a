//! Options that are for tests alone, of runtimes and of launches.
//!
//! They make launches slow and change no result.

use farptr_rewrite::Proved;

/// Options of a runtime for tests.
pub trait TestHooks: Sized {
    /// Copies pages by commands of the device even where the host reaches its memory: for devices
    /// that share their memory with the host.
    #[must_use]
    fn staged_copies(self, on: bool) -> Self;

    /// Serves the faults of a round in a random order, and so many pages after a round at most.
    #[must_use]
    fn serve_faults(self, seed: u64, most_per_round: usize) -> Self;

    /// Refuses to import ranges longer than so many bytes, as if the driver had, in mirrored
    /// access. They are copied: so a scope imports some of its memory and copies the rest.
    #[must_use]
    fn refuse_imports_above(self, bytes: u64) -> Self;
}

/// Options of a launch for tests.
pub trait LaunchHooks: Sized {
    /// Withholds a part of what is proved of the launch, which the seed decides on: all, nothing,
    /// or something between. The launch runs in a checked form, never the kernel's own words, and
    /// that form makes the checks whose proofs are withheld.
    #[must_use]
    fn withhold_proofs(self, seed: u64) -> Self;

    /// As [`TestHooks::serve_faults`], for this launch.
    #[must_use]
    fn serve_faults(self, seed: u64, most_per_round: usize) -> Self;
}

/// The forms of a kernel, for tests.
pub trait KernelHooks {
    /// Proofs that forms with checks rely on, of each form that launches have needed so far.
    fn left_out(&self) -> Vec<Proved>;
}

/// The part of what is proved of a launch that is withheld from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Withheld {
    pub(crate) seed: u64,
}

impl Withheld {
    /// The rest of proofs: each check and each other proof in half of all cases.
    pub(crate) fn leaves(self, proved: Proved) -> Proved {
        let [checks, others] = [1, 2].map(|part| scattered(self.seed ^ part << 60));
        Proved {
            checks: proved.checks & checks,
            own: proved.own && others & 1 != 0,
            loops: proved.loops && others & 2 != 0,
        }
    }
}

/// A number whose bits look random (the output function of splitmix64).
fn scattered(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The options of a runtime, as they reach a scope.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) staged_copies: bool,
    pub(crate) serve_faults: Option<ServeFaults>,
    /// Bytes above which no range is imported.
    pub(crate) import_limit: Option<u64>,
}

/// Serves the faults of a round in a random order and not all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServeFaults {
    /// Decides on the order.
    pub(crate) seed: u64,
    /// Pages that are served after a round at most.
    pub(crate) most_per_round: usize,
}
