//! Runs a case in every way that farptr has, and compares the bytes.
//!
//! # Safety
//!
//! The words of each case are valid, and its kernel keeps to what is lent to it and does not race.

use crate::rigs::{Proofs, Rig, Way, rigs};
use crate::withheld::{Forms, Tally, seed};
use farptr::rewrite::Reflection;
use farptr::test_hooks::{KernelHooks, LaunchHooks};
use farptr::{Error, Grid, KernelError, LaunchOptions, RawKernel, Scope, Stats};
use farptr_kernel_cases::arena::{Arena, Slice};
use farptr_kernel_cases::case::{Case, Image};
use farptr_kernel_cases::catalogue::find;
use farptr_kernel_cases::devices::{MAY_LACK, has_pointer_values};
use std::{io::Write, sync::PoisonError, time::Duration};

/// How long a launch may take. llvmpipe compiles a kernel when it is first launched, and some forms
/// are so large that this takes 20 s, longer than a card's submissions may by default.
const COMPILING: Duration = Duration::from_secs(300);

/// Runs the case of this name in every way, and compares each with the first: the original, where
/// the device has direct access.
pub(crate) fn check(name: &str) {
    let Some(rigs) = rigs() else { return };
    let case = find(name).expect("it is in a list");
    check_case(name, &(case.make)(), rigs);
}

/// As [`check`], with other rigs. Says which parts of what was proved were left out in them.
pub(crate) fn check_case(name: &str, case: &Case, rigs: &[Rig]) -> Tally {
    let mut tally = Tally::default();
    for module in case.modules(name) {
        check_words(name, case, rigs, &module.words, &mut tally);
    }
    tally
}

fn check_words(name: &str, case: &Case, rigs: &[Rig], words: &[u32], tally: &mut Tally) {
    if case.pointer_values && !has_pointer_values(rigs[0].runtime.device_name()) {
        return not_run(name, "its compiler crashes on values of pointer type");
    }
    let mut arena = Arena::new(&case.buffers);
    let declared = Reflection::of(words).unwrap().push_bytes as usize;
    assert_eq!(arena.push(&case.push).len(), declared, "{name}: bytes of push constants");
    let mut expected: Option<Image> = None;
    // They stay, so that rigs of one runtime share what is compiled.
    let mut kernels: Vec<RawKernel> = Vec::new();
    for rig in rigs {
        // SAFETY: 1. the words are glslang's, the assembler's or the generator's; the validation
        // layer checks a sample of the generator's.
        let kernel = match unsafe { rig.runtime.raw_kernel("case", words) } {
            Ok(kernel) => kernel,
            Err(KernelError::Capability { capability, .. }) if MAY_LACK.contains(&capability) => {
                return not_run(name, &format!("the device lacks {capability:?}"));
            }
            Err(error) => panic!("{name}, {}: {error:?}", rig.label),
        };
        arena.reset();
        let before = kernel.left_out();
        let done = run(name, rig, &kernel, case, &mut arena);
        let done = done.unwrap_or_else(|error| panic!("{name}, {}: {error:?}", rig.label));
        rig.assert_worked(name, &done);
        let forms = Forms { before, after: kernel.left_out(), unchecked: done.proved_launches > 0 };
        match rig.proofs {
            Proofs::Off => {}
            Proofs::On => tally.note_proved(words, &forms),
            Proofs::Withheld => tally.note_withheld(words, &forms),
        }
        kernels.push(kernel);
        assert!(arena.canaries_live(), "{name}, {}: bytes beside the lends changed", rig.label);
        let mut image = arena.image();
        if let Some(normalise) = case.normalise {
            normalise(&mut image);
        }
        match &expected {
            None => {
                check_oracle(name, &rig.label, case, &arena, &image);
                expected = Some(image);
            }
            Some(expected) => compare(name, &rig.label, expected, &image),
        }
    }
}

/// Compares the results of the first rig with those of the case's code in Rust.
fn check_oracle(name: &str, label: &str, case: &Case, arena: &Arena, image: &Image) {
    let initial = arena.initial();
    assert!(*image != initial, "{name}: the kernel changed nothing, so it shows nothing");
    let Some(oracle) = case.oracle else { return };
    let mut expected = initial;
    oracle(&mut expected);
    compare(name, label, &expected, image);
}

fn run(
    name: &str,
    rig: &Rig,
    kernel: &RawKernel,
    case: &Case,
    arena: &mut Arena,
) -> Result<Stats, Error> {
    let push = arena.push(&case.push);
    let [x, y, z] = case.groups;
    // A test that panics while it holds the lock leaves no state on which another test depends.
    let _turn = rig.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rig.runtime.stats();
    let slices = arena.slices();
    rig.runtime.scope(|s| {
        for slice in slices {
            match slice {
                Slice::Read(bytes) => drop(s.lend(bytes)?),
                Slice::Write(bytes) => drop(s.lend_mut(bytes)?),
            }
        }
        launch(name, rig, s, kernel, Grid::groups(x, y, z), &push)
    })?;
    Ok(rig.runtime.stats().since(&before))
}

fn launch(
    name: &str,
    rig: &Rig,
    s: &mut Scope<'_, '_>,
    kernel: &RawKernel,
    grid: Grid,
    push: &[u8],
) -> Result<(), Error> {
    match rig.way {
        // SAFETY: 1. and 2. each case's kernel keeps to its lends and does not race.
        Way::Original => unsafe { s.launch_raw_unchecked(kernel, grid, push) }?,
        Way::Resident | Way::Mixed | Way::FromNothing { .. } | Way::Brought => {
            let options = LaunchOptions::new().deadline(COMPILING);
            let options = match rig.way {
                Way::FromNothing { seed, most } => options.serve_faults(seed, most),
                _ => options,
            };
            let options = match rig.proofs {
                Proofs::Off => options.proofs(false),
                Proofs::On => options,
                Proofs::Withheld => options.withhold_proofs(seed(name, &rig.label)),
            };
            s.launch_raw(kernel, grid, push, &options)?;
        }
    }
    Ok(())
}

/// Names a kernel that a device cannot run.
fn not_run(name: &str, why: &str) {
    // Straight to the stream: what a passing test prints with macros is captured.
    let _ = writeln!(std::io::stderr(), "NOT RUN {name}: {why}");
}

/// Panics at the first byte that differs.
fn compare(name: &str, label: &str, expected: &Image, image: &Image) {
    for (lend, (expected, bytes)) in expected.buffers.iter().zip(&image.buffers).enumerate() {
        assert_eq!(expected.len(), bytes.len(), "{name}, {label}: lend {lend}");
        let mut differing = expected.iter().zip(bytes).enumerate().filter(|(_, (a, b))| a != b);
        let Some((offset, _)) = differing.next() else { continue };
        let from = offset / 4 * 4;
        let to = (from + 16).min(bytes.len());
        panic!(
            "{name}, {label}: lend {lend} differs at offset {offset} and in {} bytes more: \
             expected {:02x?}, found {:02x?}",
            differing.count(),
            &expected[from..to],
            &bytes[from..to]
        );
    }
}
