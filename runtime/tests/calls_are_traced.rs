//! A subscriber of the crate `tracing` sees what a runtime does, each thing once.
//!
//! # Safety
//!
//! A kernel without checks gets lent memory of the length that it is told.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "common/checked.rs"]
mod checked;
#[path = "common/collector.rs"]
mod collector;
mod common;

use checked::{add_one, endless, follow};
use collector::{Seen, collect};
use common::build;
use farptr::shaders::{affine, probe};
use farptr::test_hooks::TestHooks;
use farptr::{
    AccessMode, Backing, Error, Grid, LaunchOptions, PtrMut, Runtime, RuntimeBuilder, Stats,
    VirtAddr,
};
use std::time::Duration;

/// Elements of four pages.
const N: u32 = 4096;

fn direct() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Direct).proofs(false)
}

fn mirrored(backing: Backing) -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(backing).proofs(false)
}

/// Two launches of a kernel on lent memory, with what was seen and counted.
fn two_launches(runtime: &Runtime) -> (Vec<Seen>, Stats) {
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let mut y = vec![1.0f32; N as usize];
    let before = runtime.stats();
    let (ran, seen) = collect(|| {
        runtime.scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr();
            add_one(s, &kernel, y, N)?;
            add_one(s, &kernel, y, N)?;
            Ok(())
        })
    });
    ran.unwrap();
    assert!(y.iter().all(|&y| y == 3.0));
    assert!(seen.iter().all(|seen| seen.target == "farptr"), "{seen:?}");
    (seen, runtime.stats().since(&before))
}

fn lines(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|seen| seen.within.join("/") + ">" + &seen.line()).collect()
}

fn named<'s>(seen: &'s [Seen], name: &str) -> Vec<&'s Seen> {
    seen.iter().filter(|seen| seen.name == name).collect()
}

/// Asserts what launches on memory that the device reaches as it is make seen.
fn assert_reached(builder: RuntimeBuilder, variant: &str) {
    let Some(runtime) = build(builder) else { return };
    let (seen, _) = two_launches(&runtime);
    let rewrite = named(&seen, "rewrite");
    assert!(rewrite[0].get("variant").contains(variant), "{rewrite:?}");
    let lines: Vec<String> = lines(&seen);
    let launch = format!(">launch checked=true groups=[{}, 1, 1] kernel=affine", N / 64);
    let starts = [
        ">lend bytes=16384 imported=true writable=true".to_owned(),
        launch.clone(),
        "launch>analyse words=".to_owned(),
        "launch>rewrite kernel=affine variant=Variant".to_owned(),
        "launch>compile kernel=affine words=".to_owned(),
        "launch/compile>pipeline cache hit=false".to_owned(),
        launch,
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:#?}");
    for (line, start) in lines.iter().zip(&starts) {
        assert!(line.starts_with(start), "{line} and not {start}");
    }
}

#[test]
fn direct_launches_are_seen() {
    assert_reached(direct(), "translation: None");
}

#[test]
fn launches_on_imports_are_seen() {
    assert_reached(mirrored(Backing::Import), "translation: Segments");
}

#[test]
fn proved_launches_are_seen() {
    let Some(runtime) = build(direct().proofs(true)) else { return };
    let (seen, stats) = two_launches(&runtime);
    assert_eq!(stats.proved_launches, 2);
    let launches = named(&seen, "launch");
    assert!(launches.iter().all(|launch| launch.get("proved") == "true"), "{launches:?}");
    assert_eq!(named(&seen, "compile").len(), 1);
}

#[test]
fn rounds_and_copies_are_seen_as_they_are_counted() {
    let Some(runtime) = build(mirrored(Backing::Copy)) else { return };
    let (seen, stats) = two_launches(&runtime);
    let sum = |spans: &[&Seen], field: &str| -> u64 { spans.iter().map(|s| s.count(field)).sum() };
    let rounds = named(&seen, "round");
    // The device has all pages when the second launch comes, which therefore takes no rounds.
    assert_eq!(rounds.len() as u64, stats.rounds - 1);
    assert_eq!(sum(&rounds, "faults"), stats.faults);
    assert!(stats.faults > 0 && stats.undone_rounds > 0);
    assert!(rounds.iter().all(|round| round.within == ["launch"]), "{rounds:?}");
    let undone: Vec<_> = rounds.iter().filter(|round| round.count("faults") > 0).collect();
    assert_eq!(undone.len() as u64, stats.undone_rounds);
    assert!(undone.iter().all(|round| round.count("pages") > 0), "{undone:?}");

    let copies = |to: &str| -> Vec<_> {
        named(&seen, "copy").into_iter().filter(|copy| copy.get("to") == to).collect()
    };
    let (to_device, home) = (copies("device"), copies("home"));
    assert_eq!(sum(&to_device, "bytes"), stats.bytes_in);
    assert_eq!(sum(&home, "bytes"), stats.bytes_home);
    assert!(stats.bytes_in >= 16384 && stats.bytes_home >= 16384, "{stats:?}");
    assert!(to_device.iter().all(|copy| copy.within == ["launch", "round"]), "{to_device:?}");

    assert_eq!(named(&seen, "launch").len() as u64, stats.launches);
    let lends = named(&seen, "lend");
    assert_eq!(lends.len() as u64, stats.lends);
    assert_eq!(lends[0].line(), "lend bytes=16384 imported=false writable=true");
    assert_eq!(named(&seen, "analyse").len(), 1);
    assert_eq!(named(&seen, "rewrite").len(), named(&seen, "compile").len());
}

#[test]
fn building_says_once_which_device_was_chosen() {
    let (runtime, seen) = collect(|| build(direct()));
    let Some(runtime) = runtime else { return };
    assert_eq!(named(&seen, "build").len(), 1);
    let chosen = named(&seen, "device chosen");
    let [chosen] = chosen[..] else { panic!("{chosen:?}") };
    assert_eq!(chosen.get("name"), runtime.device_name());
    assert_eq!((chosen.get("access"), chosen.get("backing")), ("Direct", "Import"));
    assert!(chosen.is_event && chosen.within == ["build"]);
    // The launches of the proof are inside, too.
    let launches = named(&seen, "launch");
    assert!(!launches.is_empty());
    assert!(seen[1..].iter().all(|seen| seen.within[0] == "build"), "{seen:?}");
}

#[test]
fn a_refused_import_is_seen() {
    let Some(runtime) = build(mirrored(Backing::Import).refuse_imports_above(4096)) else { return };
    let (seen, stats) = two_launches(&runtime);
    let refused = named(&seen, "import refused");
    let [refused] = refused[..] else { panic!("{refused:?}") };
    assert_eq!((refused.count("bytes"), &*refused.within), (16384, &["lend".to_owned()][..]));
    assert!(stats.rounds > stats.launches, "it is copied");
}

#[test]
fn launches_without_checks_are_seen() {
    let Some(runtime) = build(direct()) else { return };
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let mut y = vec![1.0f32; N as usize];
    let (ran, seen) = collect(|| {
        runtime.scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr();
            let args = affine::Args { y, n: N, a: 1.0, c: 1.0 };
            // SAFETY: 1. to 3. it reads and writes the lent elements; 4. each once.
            #[allow(unsafe_code, reason = "the argument is above")]
            unsafe { s.launch_unchecked(&kernel, Grid::cover(N as usize), args) }?;
            Ok(())
        })
    });
    ran.unwrap();
    let names: Vec<_> = seen.iter().map(|seen| (&*seen.name, seen.get("checked"))).collect();
    let compiled = [("compile", ""), ("pipeline cache", "")];
    assert_eq!(names, [[("lend", ""), ("launch", "false")], compiled].concat());
}

/// Asserts that a scope that fails makes one event seen, of this name.
fn assert_failure<R>(seen: &[Seen], ended: &Result<R, Error>, name: &str, kernel: &str) {
    let events: Vec<_> = ["fault", "deadline", "failure"].map(|name| named(seen, name)).concat();
    let [event] = events[..] else { panic!("{events:?}") };
    assert_eq!((&*event.name, event.get("kernel")), (name, kernel));
    let Err(Error::Launch(error)) = ended else { panic!("no launch failed") };
    assert_eq!(event.get("error"), error.to_string());
}

#[test]
fn faults_are_seen_once() {
    for builder in [direct(), mirrored(Backing::Import), mirrored(Backing::Copy)] {
        let Some(runtime) = build(builder) else { return };
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let mut y = vec![1.0f32; N as usize];
        let (ended, seen) = collect(|| {
            runtime.scope(|s| {
                s.lend_mut(&mut y)?;
                // A null pointer, in all invocations; the second launch does not run.
                add_one(s, &kernel, PtrMut::from_address(0), N)?;
                Ok(add_one(s, &kernel, PtrMut::from_address(0), N)?)
            })
        });
        assert_failure(&seen, &ended, "fault", "affine");
    }
}

#[test]
fn deadlines_are_seen_once() {
    let Some(runtime) = build(mirrored(Backing::Copy)) else { return };
    let kernel = runtime.kernel::<probe::Kernel>().unwrap();
    let (link, mut result) = (endless(), vec![0u32; 2]);
    // The deadline comes after the first round, whatever the driver does with long loops.
    let options = LaunchOptions::new().deadline(Duration::ZERO);
    let (ended, seen) = collect(|| {
        runtime.scope(|s| {
            s.lend(std::slice::from_ref(&*link))?;
            let result = s.lend_mut(&mut result)?.ptr();
            let head = VirtAddr::of(&*link).get();
            Ok(follow(s, &kernel, head, result, (1, options))?)
        })
    });
    assert_failure(&seen, &ended, "deadline", "probe");
}

#[test]
fn kernels_of_an_earlier_runtime_are_found_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    for hit in ["false", "true"] {
        let builder = direct().validation(true).pipeline_cache(folder.path());
        let Some(runtime) = common::or_skip(builder) else { return };
        let (seen, _) = two_launches(&runtime);
        let events = named(&seen, "pipeline cache");
        let [event] = events[..] else { panic!("{events:?}") };
        assert_eq!(event.get("hit"), hit);
    }
}
