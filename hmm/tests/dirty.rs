//! Tracking of stores, against a model and under load.
//!
//! # Safety
//!
//! The tests touch memory of their own through raw pointers, from several threads as atomics.

#![allow(unsafe_code)]

mod common;
mod processors;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{Arena, look, page_bytes, pages_in, pages_per_huge, skip_where_needed};
use farptr_hmm::{DirtyError, DirtyTracker, PageSize, PageState, VaRange, VirtAddr};
use processors::pin;
use proptest::prelude::*;
use rustix::mm::MprotectFlags;

/// A tracker, or why there is none. Every kernel that continuous integration runs on has it.
fn tracker() -> Option<DirtyTracker> {
    match DirtyTracker::open() {
        Ok(tracker) => Some(tracker),
        Err(error) => {
            skip_where_needed("tracking of stores", error);
            None
        }
    }
}

/// The pages of an arena that the runs cover, as indices. The runs must be as long as can be.
fn indices(arena: &Arena, runs: &[VaRange]) -> Vec<usize> {
    assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].start()), "{runs:?}");
    let base = arena.range().start();
    let pages = runs.iter().flat_map(|run| run.pages(PageSize::host()));
    let index = |page: VaRange| page.start().offset_from(base).expect("in the arena");
    pages.map(|page| usize::try_from(index(page)).expect("64 bits") / page_bytes()).collect()
}

fn take(tracker: &DirtyTracker, arena: &Arena) -> Vec<usize> {
    let written = tracker.written(arena.range()).expect("peek");
    let taken = tracker.take_written(arena.range()).expect("take");
    assert_eq!(written, taken);
    indices(arena, &taken)
}

#[test]
fn what_was_written_before_does_not_count() {
    let Some(tracker) = tracker() else { return };
    let arena = Arena::new(8);
    arena.write(0..4);
    tracker.track(arena.range()).expect("track");
    assert_eq!(take(&tracker, &arena), []);
    arena.write([1, 2, 6]);
    assert_eq!(take(&tracker, &arena), [1, 2, 6]);
    assert_eq!(take(&tracker, &arena), []);
    arena.write([2]);
    tracker.track(arena.range()).expect("anew");
    assert_eq!(take(&tracker, &arena), []);
}

#[test]
fn reading_is_not_writing() {
    let Some(tracker) = tracker() else { return };
    let arena = Arena::new(8);
    arena.write(0..2);
    tracker.track(arena.range()).expect("track");
    arena.read(0..8);
    assert_eq!(pages_in(&look(arena.range()), PageState::Anonymous).len(), 8);
    assert_eq!(take(&tracker, &arena), []);
    arena.write([0, 7]);
    assert_eq!(take(&tracker, &arena), [0, 7]);
}

#[test]
fn dropping_is_writing() {
    let Some(tracker) = tracker() else { return };
    let arena = Arena::new(4);
    arena.write(0..2);
    tracker.track(arena.range()).expect("track");
    arena.drop_pages(1..3);
    assert_eq!(take(&tracker, &arena), [1, 2]);
    arena.read(1..3);
    assert_eq!(take(&tracker, &arena), []);
}

/// A drop of a whole table of pages may take the table away with the entries that a scan looks at.
#[test]
fn dropping_tables_of_pages_is_writing() {
    let Some(tracker) = tracker() else { return };
    let pages = pages_per_huge();
    let arena = Arena::new(4 * pages);
    arena.write(0..4 * pages);
    tracker.track(arena.range()).expect("track");
    assert_eq!(take(&tracker, &arena), []);
    arena.drop_pages(0..3 * pages);
    let expected: Vec<_> = (0..3 * pages).collect();
    assert_eq!(take(&tracker, &arena), expected);
    assert_eq!(take(&tracker, &arena), []);
    arena.drop_pages(pages..2 * pages + 7);
    arena.write([pages + 3, 4 * pages - 1]);
    let expected: Vec<_> = (pages..2 * pages + 7).chain([4 * pages - 1]).collect();
    assert_eq!(take(&tracker, &arena), expected);
    assert_eq!(take(&tracker, &arena), []);
}

#[test]
fn system_calls_write_too() {
    let Some(tracker) = tracker() else { return };
    let arena = Arena::new(4);
    tracker.track(arena.range()).expect("track");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&[5; 8]).expect("room");
    let start = arena.range_of(2..3).start();
    // SAFETY: The bytes are the arena's and no other code accesses them.
    let bytes = unsafe { std::slice::from_raw_parts_mut(start.as_mut_ptr::<u8>(), 8) };
    assert_eq!(rustix::io::read(&reader, &mut *bytes), Ok(8));
    assert_eq!(take(&tracker, &arena), [2]);
    assert_eq!(bytes, [5; 8]);
}

#[test]
fn huge_pages_are_tracked_by_the_small_page() {
    let Some(tracker) = tracker() else { return };
    let pages = pages_per_huge();
    let arena = Arena::new_huge(2 * pages);
    let huge = PageSize::MIB_2;
    let inner = arena.range().whole_pages(huge);
    let first = VaRange::from_len(inner.start(), huge.bytes()).expect("a range");
    common::write_byte(first.start());
    if look(first).huge_pages().is_none_or(|count| count.get() == 0) {
        return skip_where_needed("huge pages", "this kernel gives none");
    }
    tracker.track(first).expect("track");
    assert_eq!(tracker.take_written(first).expect("take"), []);
    let third = first.pages(PageSize::host()).nth(2).expect("many pages");
    common::write_byte(third.start());
    assert_eq!(tracker.take_written(first).expect("take"), [third]);
    assert_eq!(tracker.take_written(first).expect("take"), []);
}

#[test]
fn a_part_of_a_huge_page_can_be_asked_about() {
    let Some(tracker) = tracker() else { return };
    let arena = Arena::new_huge(2 * pages_per_huge());
    let inner = arena.range().whole_pages(PageSize::MIB_2);
    let small: Vec<_> = inner.pages(PageSize::host()).collect();
    common::write_byte(small[0].start());
    let part = |first: usize, end: usize| {
        VaRange::new(small[first].start(), small[end].start()).expect("a range")
    };
    let (low, high) = (part(0, pages_per_huge() / 2), part(pages_per_huge() / 2, pages_per_huge()));
    // The tracked range begins and ends inside the huge page.
    tracker.track(part(1, 300)).expect("track");
    tracker.track(part(0, pages_per_huge())).expect("track");
    for page in [2, 3, 300] {
        common::write_byte(small[page].start());
    }
    assert_eq!(tracker.take_written(low).expect("take"), [part(2, 4)]);
    assert_eq!(tracker.take_written(low).expect("take"), []);
    assert_eq!(tracker.take_written(high).expect("take"), [part(300, 301)]);
}

#[test]
fn permissions_do_not_matter() {
    let Some(tracker) = tracker() else { return };
    let arena = Arena::new(2);
    arena.write(0..1);
    tracker.track(arena.range()).expect("track");
    arena.protect(0..2, MprotectFlags::READ);
    assert_eq!(take(&tracker, &arena), []);
    arena.protect(0..2, MprotectFlags::READ | MprotectFlags::WRITE);
    assert_eq!(take(&tracker, &arena), []);
    arena.write(1..2);
    assert_eq!(take(&tracker, &arena), [1]);
}

#[test]
fn more_runs_than_one_call_returns() {
    let Some(tracker) = tracker() else { return };
    let arena = Arena::new(1000);
    tracker.track(arena.range()).expect("track");
    let odd: Vec<_> = (1..1000).step_by(2).collect();
    arena.write(odd.iter().copied());
    assert_eq!(take(&tracker, &arena), odd);
    arena.write(0..1000);
    assert_eq!(tracker.take_written(arena.range()).expect("take"), [arena.range()]);
}

#[test]
fn what_is_not_tracked_is_not_said_to_be_clean() {
    let Some(tracker) = tracker() else { return };
    let (arena, other) = (Arena::new(4), Arena::new(1));
    assert!(matches!(tracker.written(other.range()), Err(DirtyError::NotTracked { .. })));
    tracker.track(arena.range()).expect("track");
    tracker.untrack(arena.range_of(3..4)).expect("untrack");
    let error = tracker.take_written(arena.range()).expect_err("a part is not tracked");
    assert!(matches!(error, DirtyError::NotTracked { range } if range == arena.range()));
    assert!(error.to_string().contains(&arena.range().to_string()), "{error}");
    let tracked = arena.range_of(0..3);
    arena.write([1]);
    assert_eq!(indices(&arena, &tracker.take_written(tracked).expect("take")), [1]);
    arena.unmap(1..2);
    let error = tracker.take_written(tracked).expect_err("a part is not mapped");
    assert!(matches!(error, DirtyError::NotTracked { .. }), "{error}");
    assert!(matches!(tracker.written(arena.range_of(1..2)), Err(DirtyError::NotTracked { .. })));
    assert_eq!(tracker.take_written(arena.range_of(2..3)).expect("mapped"), []);
    assert!(matches!(tracker.track(tracked), Ok(()) | Err(DirtyError::Track { .. })));
}

#[test]
fn a_dropped_tracker_tracks_nothing() {
    let (Some(first), Some(second)) = (tracker(), tracker()) else { return };
    let arena = Arena::new(1);
    first.track(arena.range()).expect("track");
    let error = second.track(arena.range()).expect_err("tracked by another");
    assert!(matches!(error, DirtyError::Track { .. }), "{error}");
    drop(first);
    second.track(arena.range()).expect("nobody tracks it");
}

#[test]
fn a_range_is_whole_pages_or_nothing() {
    let Some(tracker) = tracker() else { return };
    let nothing = VaRange::default();
    tracker.track(nothing).expect("nothing");
    tracker.untrack(nothing).expect("nothing");
    assert_eq!(tracker.take_written(nothing).expect("nothing"), []);
    let odd = VaRange::from_len(VirtAddr::new(1), 4096).expect("a range");
    assert!(matches!(tracker.track(odd), Err(DirtyError::Unaligned { range }) if range == odd));
    assert!(matches!(tracker.written(odd), Err(DirtyError::Unaligned { .. })));
}

const PAGES: usize = 24;

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Read(usize),
    Drop(usize, usize),
    Take(usize, usize),
    Track,
    Protect,
}

fn step() -> impl Strategy<Value = Step> {
    let part = || (0..PAGES, 1..=PAGES).prop_map(|(first, len)| (first, (first + len).min(PAGES)));
    prop_oneof![
        8 => (0..PAGES).prop_map(Step::Write),
        4 => (0..PAGES).prop_map(Step::Read),
        2 => part().prop_map(|(first, end)| Step::Drop(first, end)),
        4 => part().prop_map(|(first, end)| Step::Take(first, end)),
        1 => Just(Step::Track),
        1 => Just(Step::Protect),
    ]
}

/// Does a step to the memory and to the model, which is the set of pages that were written.
fn perform(step: &Step, arena: &Arena, tracker: &DirtyTracker, written: &mut [bool; PAGES]) {
    match *step {
        Step::Write(page) => {
            arena.write([page]);
            written[page] = true;
        }
        Step::Read(page) => arena.read([page]),
        Step::Drop(first, end) => {
            arena.drop_pages(first..end);
            written[first..end].fill(true);
        }
        Step::Take(first, end) => {
            let range = arena.range_of(first..end);
            let expected: Vec<_> = (first..end).filter(|&page| written[page]).collect();
            let peeked = tracker.written(range).expect("peek");
            assert_eq!(indices(arena, &peeked), expected);
            assert_eq!(tracker.take_written(range).expect("take"), peeked);
            written[first..end].fill(false);
        }
        Step::Track => {
            tracker.track(arena.range()).expect("track");
            written.fill(false);
        }
        Step::Protect => {
            arena.protect(0..PAGES, MprotectFlags::READ);
            arena.protect(0..PAGES, MprotectFlags::READ | MprotectFlags::WRITE);
        }
    }
}

proptest! {
    #[test]
    fn the_tracker_agrees_with_a_model(
        before in prop::collection::vec(0..PAGES, 0..PAGES),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        if let Some(tracker) = tracker() {
            let arena = Arena::new(PAGES);
            arena.write(before);
            tracker.track(arena.range()).expect("track");
            let mut written = [false; PAGES];
            for step in steps.iter().chain([&Step::Take(0, PAGES)]) {
                perform(step, &arena, &tracker, &mut written);
            }
        }
    }
}

/// The first word of a page, to be shared between threads.
fn word(range: VaRange, page: usize) -> &'static AtomicU64 {
    let offset = (page * page_bytes()) as u64;
    let addr = range.start().checked_add(offset).expect("an address");
    // SAFETY: The word is aligned, and the arena that it is part of outlives the threads that use
    // it, all of which use it as an atomic.
    unsafe { AtomicU64::from_ptr(addr.as_mut_ptr()) }
}

/// A copy that follows the memory by what the tracker reports, and nothing else.
fn follow(tracker: &DirtyTracker, arena: &Arena, copy: &mut [u64]) {
    let runs = tracker.take_written(arena.range()).expect("take");
    for page in indices(arena, &runs) {
        copy[page] = word(arena.range(), page).load(Ordering::Acquire);
    }
}

#[test]
fn no_store_is_lost_while_others_store() {
    const PAGES: usize = 512;
    const STORES: u64 = 40_000;
    let Some(tracker) = tracker() else { return };
    for arena in [Arena::new(PAGES), Arena::new_huge(PAGES)] {
        let range = arena.range_of(0..PAGES);
        tracker.track(arena.range()).expect("track");
        let mut copy = vec![0; indices(&arena, &[arena.range()]).len()];
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _pinned = pin(0);
            let writer = scope.spawn(|| {
                let _pinned = pin(1);
                let mut state = 0x9e37_79b9_7f4a_7c15_u64;
                for store in 1..=STORES {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let page = usize::try_from(state % PAGES as u64).expect("small");
                    word(range, page).store(store, Ordering::Release);
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) && !writer.is_finished() {
                follow(&tracker, &arena, &mut copy);
            }
        });
        follow(&tracker, &arena, &mut copy);
        for (page, &followed) in copy.iter().enumerate().take(PAGES) {
            let now = word(range, page).load(Ordering::Acquire);
            assert_eq!(followed, now, "page {page} was written and not reported");
        }
        tracker.untrack(arena.range()).expect("untrack");
    }
}
