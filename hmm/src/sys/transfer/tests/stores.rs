//! Stores while requests fail: none is lost.
//!
//! # Safety
//!
//! While other threads may access the words of the test's memory, all accesses to them are atomic.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::{Case, Kind, content, page};
use crate::sys::copy::read_bytes;
use crate::sys::processors::pin;
use crate::sys::transfer::Request;
use crate::sys::transfer::injection::{Failure, Half};
use crate::sys::uffd::{Refusal, Resolution};
use crate::{MirrorBuilder, PageSize, VaRange, VirtAddr};

/// Sets the flag when the thread that migrates ends, in whatever way: another waits for it.
pub(super) struct Ends<'a>(pub(super) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts one more in the first word of a page.
pub(super) fn add(page: VirtAddr) {
    let word: *mut u32 = page.as_mut_ptr();
    // SAFETY: The word is the test's, and lives as long as its memory.
    let _ = unsafe { AtomicU32::from_ptr(word) }.fetch_add(1, Ordering::Relaxed);
}

/// Counts in the first word of each page until `done`. Returns how far.
pub(super) fn count_on(range: VaRange, done: &AtomicBool) -> u32 {
    for rounds in 1.. {
        let last = done.load(Ordering::Relaxed);
        for at in range.pages(PageSize::host()) {
            add(at.start());
        }
        if last {
            return rounds;
        }
    }
    0
}

pub(super) fn read_page(at: VirtAddr) -> Vec<u8> {
    let mut bytes = vec![0xaa; page()];
    read_bytes(at, &mut bytes).expect("a page that is there");
    bytes
}

/// Migrates to and fro while requests fail and a thread counts. Returns which requests failed. With
/// a lease, pages are copied where they cannot be moved, which needs a mirror that does not track
/// stores.
fn count_through(copies: bool, leased: bool, failures: &[Failure]) -> Option<Vec<Request>> {
    let builder = MirrorBuilder::new().track_stores(!leased);
    let mut case = Case::with(builder, Kind { copies, read_only: false })?;
    if leased {
        case.lend();
    }
    count_in(&case, copies, failures)
}

fn count_in(case: &Case, copies: bool, failures: &[Failure]) -> Option<Vec<Request>> {
    let leased = case.lease.is_some();
    let context = format!("copies: {copies}, leased: {leased}, {failures:?}");
    case.plan(failures.iter().copied());
    // Only now: the thread that serves the mirror is not to be kept on this processor.
    let _pinned = pin(0);
    let (range, done) = (case.range(), AtomicBool::new(false));
    let rounds = thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let _pinned = pin(1);
            count_on(range, &done)
        });
        let ends = Ends(&done);
        for _ in 0..3 {
            case.out();
            case.mirror.migrate_to_home(range).expect("home");
        }
        case.out();
        drop(ends);
        counting.join().expect("the thread that counts")
    });
    for (index, at) in range.pages(PageSize::host()).enumerate() {
        let mut expected = content(index);
        let word: &mut [u8; 4] = expected.first_chunk_mut().expect("a word");
        *word = u32::from_ne_bytes(*word).wrapping_add(rounds).to_ne_bytes();
        let found = read_page(at.start());
        let words = [&found, &expected].map(|page| page.first_chunk().copied());
        let words = words.map(|word| word.map(u32::from_ne_bytes));
        assert_eq!(words[0], words[1], "page {index}, {rounds} rounds: {context}");
        assert!(found == expected, "page {index} behind its first word: {context}");
    }
    assert_eq!(case.mirror.stats().lost, 0, "{context}");
    Some(case.failed())
}

const NO_MEMORY: Resolution = Resolution::Refused(Refusal::NoMemory);

/// Has pages that can be moved leave by protection instead.
const UNMOVABLE: Failure = Failure {
    on: Some(Request::MoveOut),
    after: 0,
    times: u32::MAX,
    resolution: Resolution::Refused(Refusal::Unsuitable),
    half: Half::Undone,
};

#[test]
fn no_store_is_lost_whatever_request_fails() {
    for (copies, leased) in [(false, false), (true, false), (false, true), (true, true)] {
        for (resolution, half) in
            [(Resolution::Retry, Half::Undone), (NO_MEMORY, Half::Undone), (NO_MEMORY, Half::Done)]
        {
            for (after, times) in (0..24).flat_map(|after| [(after, 1), (after, 20)]) {
                let failure = Failure { on: None, after, times, resolution, half };
                let failures = [UNMOVABLE, failure];
                let failures = if leased { &failures[..] } else { &failures[1..] };
                if count_through(copies, leased, failures).is_none() {
                    return;
                }
            }
        }
    }
}

/// Where protection makes no store wait, pages that can be written are not copied and dropped.
#[test]
fn no_store_is_lost_though_protection_makes_none_wait() {
    for copies in [false, true] {
        let Some(mut case) = Case::new(Kind { copies, read_only: false }) else { return };
        case.lend();
        let Some(failed) = count_in(&case, copies, &[UNMOVABLE]) else { return };
        assert!(failed.contains(&Request::MoveOut), "{failed:?}");
        // Nothing but the holes could leave.
        assert!(case.mirror.stats().skipped > 0 || !case.mirror.tracks_stores());
    }
}

#[test]
fn no_store_is_lost_if_changes_of_protection_fail() {
    let resolution = Resolution::Retry;
    let undropped = Failure { on: Some(Request::DropCopied), times: 2, resolution, ..UNMOVABLE };
    let changes = [
        (Request::Protect, true, vec![UNMOVABLE]),
        (Request::Unprotect, true, vec![UNMOVABLE, undropped]),
        (Request::Mark, false, vec![]),
        (Request::Mark, true, vec![UNMOVABLE]),
        (Request::Unmark, false, vec![]),
    ];
    for (kind, leased, before) in changes {
        for resolution in [Resolution::Retry, NO_MEMORY] {
            for (after, times, half) in
                [(0, 1, Half::Undone), (0, 30, Half::Done), (1, 2, Half::Undone)]
            {
                let failure = Failure { on: Some(kind), after, times, resolution, half };
                let failures: Vec<_> = before.iter().copied().chain([failure]).collect();
                let Some(failed) = count_through(false, leased, &failures) else { return };
                let may = kind.may_end_as(resolution);
                assert_eq!(failed.contains(&kind), may, "{failure:?}: {failed:?}");
            }
        }
    }
}
