//! Requests to protect pages, so that stores to them are known, may fail: what is not known is not
//! said to be unwritten. Whole areas are adopted, of which other tests may have a part, so each
//! test has a process of its own.
//!
//! # Safety
//!
//! The memory is the test's own, and is changed by atomic accesses only.

use std::process::Command;
use std::thread;

use super::stores::add;
use super::{Case, KINDS, Kind, PAGES};
use crate::PageSize;
use crate::mirror::TrackError;
use crate::sys::transfer::Request;
use crate::sys::transfer::injection::{Failure, Half};
use crate::sys::uffd::{Refusal, Resolution};

/// Runs a test in a process in which nothing else goes on.
fn alone(test: impl FnOnce()) {
    const ALONE: &str = "FARPTR_TEST_ARMED";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let name = thread::current().name().expect("the name of the test").to_owned();
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(ALONE, "1");
    let status = command.status().expect("a process");
    assert!(status.success(), "{name} failed in its process: {status}");
}

/// A case of which the mirror tracks stores; `None` where none can.
fn tracking(kind: Kind) -> Option<Case> {
    let case = Case::new(kind)?;
    if case.mirror.tracks_stores() {
        return Some(case);
    }
    assert!(std::env::var_os("CI").is_none(), "must run in CI");
    let line = b"SKIP protection that fails: this kernel does not track stores; Linux 6.7 does\n";
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
    None
}

fn failure(times: u32, resolution: Resolution, half: Half) -> Failure {
    Failure { on: Some(Request::Arm), after: 0, times, resolution, half }
}

#[test]
fn a_request_to_protect_that_fails_leaves_nothing_protected() {
    alone(|| [Half::Undone, Half::Done].into_iter().for_each(fail_to_protect));
}

fn fail_to_protect(half: Half) {
    let Some(case) = tracking(KINDS[0]) else { return };
    let (mirror, range) = (&case.mirror, case.range());
    mirror.adopt(range).expect("adopt");
    mirror.protect(range).expect("protect");
    let first = range.pages(PageSize::host()).next().expect("a page");
    add(first.start());
    // Half of the pages may be protected, that which was stored to among them.
    let no_memory = Resolution::Refused(Refusal::NoMemory);
    case.plan([failure(1, no_memory, half)]);
    let error = mirror.protect(range).expect_err("no memory");
    assert!(matches!(error, TrackError::Refused { .. }), "{error:?}");
    let error = mirror.take_written(first).expect_err("the request failed");
    assert!(matches!(error, TrackError::NotProtected { .. }), "{half:?}: {error:?}");
    // Requests that come too early are made again.
    case.plan([failure(3, Resolution::Retry, half)]);
    mirror.protect(range).expect("protect");
    assert_eq!(case.failed().len(), 4, "{half:?}");
    assert_eq!(mirror.take_written(range).expect("take"), []);
    add(first.start());
    assert_eq!(mirror.take_written(range).expect("take"), [first]);
}

/// Pages that leave and are put back, for whatever reason, count as written.
#[test]
fn a_page_that_was_put_back_counts_as_written() {
    alone(|| KINDS.into_iter().filter(|kind| !kind.read_only).for_each(put_back));
}

fn put_back(kind: Kind) {
    let Some(case) = tracking(kind) else { return };
    let (mirror, range) = (&case.mirror, case.range());
    mirror.adopt(range).expect("adopt");
    mirror.protect(range).expect("protect");
    let no_memory = Resolution::Refused(Refusal::NoMemory);
    let unmarked = failure(u32::MAX, no_memory, Half::Undone);
    case.plan([Failure { on: Some(Request::Mark), ..unmarked }]);
    case.out();
    case.plan([]);
    mirror.migrate_to_home(range).expect("home");
    let written = mirror.take_written(range).expect("take");
    let pages: u64 = written.iter().map(|r| r.page_count(PageSize::host()).get()).sum();
    assert_eq!(pages, PAGES as u64, "{kind:?}: {written:?}");
}
