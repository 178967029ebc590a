//! Random programs over pointers, which must give the same bytes however they run.
//!
//! `FARPTR_PROGRAMS_SEED` is the first seed and `FARPTR_PROGRAMS_COUNT` the number of programs.
//!
//! # Safety
//!
//! The generator makes valid modules.

use crate::rigs::{Rig, quick_rigs, rigs};
use crate::run::check_case;
use crate::withheld::{Kind, Tally};
use farptr::KernelError;
use farptr::rewrite::Capability;
use farptr_kernel_cases::devices::has_pointer_values;
use farptr_kernel_cases::programs::{Features, case};
use std::io::Write;
use std::process::{Command, Stdio};

/// Programs that run unless the environment says otherwise.
const COUNT: u64 = 500;

#[test]
fn share_0_of_4_is_exact() {
    check_share(0);
}

#[test]
fn share_1_of_4_is_exact() {
    check_share(1);
}

#[test]
fn share_2_of_4_is_exact() {
    check_share(2);
}

#[test]
fn share_3_of_4_is_exact() {
    check_share(3);
}

/// One program in so many runs with validation on: the layer looks at the words of the program and
/// of what became of it.
const VALIDATED: u64 = 50;

/// Set in the process that runs a share.
const INSIDE: &str = "FARPTR_PROGRAMS_INSIDE";

/// llvmpipe compiles in half the time so: no optimisation, narrow vectors. Three quarters of
/// the time, and more, go into its compiler. A variable that is set already is left alone.
const COMPILE_FAST: [(&str, &str); 2] =
    [("GALLIVM_PERF", "nopt"), ("LP_NATIVE_VECTOR_WIDTH", "128")];

/// Runs every fourth program, in a process of its own: drivers read variables as they start.
fn check_share(share: u64) {
    if std::env::var_os(INSIDE).is_some() {
        return run_share(share);
    }
    let mut inside = Command::new(std::env::current_exe().unwrap());
    inside.args([&format!("programs::share_{share}_of_4_is_exact"), "--exact", "--nocapture"]);
    inside.env(INSIDE, "1").stdout(Stdio::null());
    inside.envs(COMPILE_FAST.iter().filter(|(name, _)| std::env::var_os(name).is_none()).copied());
    let ended = inside.status().unwrap();
    assert!(ended.success(), "share {share}: {ended}; see above");
}

fn run_share(share: u64) {
    let (Some(validated), Some(quick)) = (rigs(), quick_rigs()) else { return };
    let first = number("FARPTR_PROGRAMS_SEED").unwrap_or(1);
    let count = number("FARPTR_PROGRAMS_COUNT").unwrap_or(COUNT);
    let features = features(&validated[0]);
    // Straight to the stream: what a passing test prints with macros is captured.
    let _ = writeln!(std::io::stderr(), "programs: seeds {first} + {share} + 4k, {count} in all");
    let mut tally = Tally::default();
    for seed in (first + share..first + count).step_by(4) {
        let rigs = if seed % VALIDATED == 0 { validated } else { &quick };
        tally.add(check_case(&format!("program {seed}"), &case(seed, features), rigs));
    }
    let _ = writeln!(std::io::stderr(), "programs of share {share}: {tally}");
    if count >= COUNT {
        let what = format!("share {share}");
        tally.assert_withheld(&what, &quick, &[Kind::Checks, Kind::Own]);
    }
}

/// The features of programs that a device runs.
fn features(rig: &Rig) -> Features {
    let pointers = has_pointer_values(rig.runtime.device_name());
    let tried = case(1, Features { long: true, pointers });
    // SAFETY: 1. the generator makes valid modules.
    let made = unsafe { rig.runtime.raw_kernel("program", &tried.modules("program")[0].words) };
    let lacks = |error: &KernelError| {
        matches!(error, KernelError::Capability { capability: Capability::Int64, .. })
    };
    Features { long: !made.err().is_some_and(|error| lacks(&error)), pointers }
}

/// The number that a variable of the environment holds.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}
