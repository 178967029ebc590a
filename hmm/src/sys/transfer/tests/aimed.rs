//! First stores to pages of zeroes while the kernel moves the pages behind them: no store is lost.
//!
//! A first store replaces the page of zeroes. If that happens while the kernel moves that page and
//! its neighbours, the kernel begins again, and may then move pages that it does not count. One
//! thread moves, on one processor; another, on another processor, stores as soon as it hears that a
//! move is about to begin. The test adjusts how long before its begin a move is announced, by
//! whether the last stores came too early or too late. It goes on until [`MEETINGS`] stores were
//! made while a move was running.
//!
//! # Safety
//!
//! While other threads may access the words of the test's memory, all accesses to them are atomic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::stores::{Ends, add, count_on, read_page};
use super::{Case, Kind, PAGES, page};
use crate::sys::mmap::HugePages;
use crate::sys::owned::Owned;
use crate::sys::processors::{are_several, pin};
use crate::sys::transfer::ring::Ring;
use crate::{PageSize, VaRange};

/// How often a store has to be made while a move is under way.
const MEETINGS: u64 = 2_000;
/// How many cases that may take.
const MOST_CASES: u64 = 60_000;
/// The distance between pages of zeroes.
const ZEROES_EVERY: usize = 3;

/// When a store was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// Before the move began.
    Early,
    /// It ended while the move was under way.
    Within,
    /// After the move had ended, or with its help.
    Late,
}

/// A mirror, and how long before their begin its moves are announced.
struct Aim {
    case: Case,
    /// The mean, in steps of a loop that waits, times 16.
    lead: u64,
    random: u64,
}

impl Aim {
    fn new(copies: bool) -> Option<Self> {
        let case = Case::new(Kind { copies, read_only: false })?;
        Some(Self { case, lead: 16 * 16, random: 0x9e37_79b9_7f4a_7c15 })
    }

    /// The lead with which the next move is announced: at random, up to twice the mean.
    fn next_lead(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % (self.lead / 8 + 1)
    }

    /// Keeps the mean where a quarter of the stores are not late. The interesting stores, just
    /// before the kernel takes a page, are at the border between late ones and others.
    fn learn(&mut self, time: Time) {
        match time {
            Time::Early | Time::Within => self.lead -= self.lead * 3 / 64,
            Time::Late => self.lead += self.lead / 64 + 1,
        }
    }
}

/// Whether a page is one of zeroes at first. Pages with content follow each, and the kernel moves
/// those together.
fn is_zeroes(index: usize) -> bool {
    index.is_multiple_of(ZEROES_EVERY)
}

/// The content of a page before the first store.
fn content(index: usize) -> Vec<u8> {
    let byte = u8::try_from(index + 1).expect("few pages");
    vec![if is_zeroes(index) { 0 } else { byte }; page()]
}

/// Memory in which every page is there.
fn memory() -> Owned<u8> {
    let mut memory = Owned::new(PAGES * page(), HugePages::Never).expect("memory");
    for index in 0..PAGES {
        let start = index * page();
        if is_zeroes(index) {
            // The kernel maps the page of zeroes where a page is read that was never written.
            assert_eq!(std::hint::black_box(memory[start]), 0);
        } else {
            memory[start..start + page()].copy_from_slice(&content(index));
        }
    }
    memory
}

/// Waits for the move and stores to the pages of zeroes, and then to every page until `done`.
/// Returns how often to each, and when the first store was made.
fn store(ring: &Ring, range: VaRange, done: &AtomicBool) -> (u32, Time) {
    while ring.announced() == 0 && !done.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    let mut pages = range.pages(PageSize::host()).step_by(ZEROES_EVERY);
    add(pages.next().expect("a page").start());
    let time = match (ring.begun(), ring.ended()) {
        (0, _) => Time::Early,
        (_, 0) => Time::Within,
        _ => Time::Late,
    };
    pages.for_each(|page| add(page.start()));
    (count_on(range, done), time)
}

/// Moves memory once while another thread stores. Returns when it did.
fn meet(case: &Case, lead: u64, context: &str) -> Time {
    let memory = memory();
    let range = memory.range();
    let ring = case.mirror.injection().ring();
    ring.restart(lead);
    let (ready, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (rounds, time) = thread::scope(|scope| {
        let storing = scope.spawn(|| {
            let _pinned = pin(1);
            ready.store(true, Ordering::Release);
            store(ring, range, &done)
        });
        let ends = Ends(&done);
        while !ready.load(Ordering::Acquire) {
            thread::yield_now();
        }
        case.mirror.migrate_to_device(range, case.id).expect("migrate");
        drop(ends);
        storing.join().expect("the thread that stores")
    });
    for (index, at) in range.pages(PageSize::host()).enumerate() {
        let mut expected = content(index);
        let word: &mut [u8; 4] = expected.first_chunk_mut().expect("a word");
        let stores = rounds + u32::from(is_zeroes(index));
        *word = u32::from_ne_bytes(*word).wrapping_add(stores).to_ne_bytes();
        let found = read_page(at.start());
        let words = [&found, &expected].map(|page| page.first_chunk().copied());
        let words = words.map(|word| word.map(u32::from_ne_bytes));
        assert_eq!(words[0], words[1], "page {index} of {range} after {context}; {ring}");
        assert!(found == expected, "page {index} of {range}, later words: {context}; {ring}");
    }
    case.mirror.migrate_to_home(range).expect("home");
    time
}

#[test]
fn no_store_is_lost_that_meets_a_move_of_its_page() {
    let [Some(mut moving), Some(mut copying)] = [false, true].map(Aim::new) else { return };
    if !are_several() {
        return;
    }
    // Only now: the threads that serve the mirrors are not to be kept on this processor.
    let _pinned = pin(0);
    let (mut cases, mut meetings, mut uncounted) = (0, 0, 0);
    while meetings < MEETINGS && cases < MOST_CASES {
        let aim = if cases % 4 == 3 { &mut copying } else { &mut moving };
        let context = format!("{cases} cases, {meetings} meetings, {uncounted} uncounted moves");
        let lead = aim.next_lead();
        let time = meet(&aim.case, lead, &context);
        aim.learn(time);
        meetings += u64::from(time == Time::Within);
        uncounted += aim.case.mirror.injection().ring().uncounted();
        cases += 1;
    }
    println!("{cases} cases, {meetings} meetings, {uncounted} moves that the kernel did not count");
    assert_eq!(meetings, MEETINGS, "in {cases} cases");
    assert_eq!([moving, copying].map(|aim| aim.case.mirror.stats().lost), [0, 0]);
}
