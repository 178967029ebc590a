//! Tracking of stores by a mirror: whole areas are adopted, and an answer never speaks of a mapping
//! that is no more.
//!
//! Areas have one userfaultfd, so the mirrors of tests that run side by side adopt buffers that
//! have areas to themselves.
//!
//! # Safety
//!
//! Buffers are the tests' own, and are touched through raw pointers only.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod hmm_copies;
mod hmm_rig;
mod processors;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use farptr_hmm::{
    Invalidate, Invalidation, Maps, Mirror, MirrorBuilder, MirrorTier, PageCount, PageSize, SeqSet,
    TrackError, VaRange, WouldBlock, fault_counts,
};
use hmm_copies::attach;
use hmm_rig::{Buffer, RW, Rig, Watchdog, fork, huge, is_root, isolated, number, page, skip};
use processors::pin;
use rustix::mm::{Advice, MapFlags, ProtFlags};

const TIERS: [MirrorTier; 2] = [MirrorTier::KernelFaults, MirrorTier::UserFaults];

/// A mirror in a tier, if there is one here that tracks stores.
fn mirror(tier: MirrorTier) -> Option<Mirror> {
    match MirrorBuilder::new().tier(tier).build() {
        Ok(mirror) if mirror.tracks_stores() => return Some(mirror),
        Ok(_) => skip("this kernel does not track stores; Linux 6.7 does", false),
        Err(error) => skip(format_args!("no mirror in {tier:?}: {error}"), !is_root()),
    }
    None
}

/// Runs a test in each tier that works here.
fn each_tier(test: impl Fn(&Mirror)) {
    let _watchdog = Watchdog::new();
    TIERS.into_iter().filter_map(mirror).for_each(|mirror| test(&mirror));
}

/// The places in a buffer of the pages of runs, each of which must be as long as can be.
fn places(buffer: &Buffer, runs: &[VaRange]) -> Vec<usize> {
    assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].start()), "{runs:?}");
    let place = |at: VaRange| {
        let bytes = at.start().offset_from(buffer.range().start()).expect("in the buffer");
        usize::try_from(bytes).expect("64 bits") / page()
    };
    runs.iter().flat_map(|run| run.pages(PageSize::host())).map(place).collect()
}

fn take(mirror: &Mirror, buffer: &Buffer) -> Vec<usize> {
    places(buffer, &mirror.take_written(buffer.range()).expect("take"))
}

/// Stores a word to a page.
fn store(buffer: &Buffer, page: usize) {
    let word = buffer.words_of(page..page + 1).start + 7;
    buffer.set(word, number(word));
}

/// A buffer of which some pages were stored to, adopted and protected.
fn protected(mirror: &Mirror, pages: usize, stored: Range<usize>) -> Buffer {
    let buffer = Buffer::alone(pages);
    buffer.fill(stored);
    mirror.adopt(buffer.range()).expect("adopt");
    mirror.protect(buffer.range()).expect("protect");
    buffer
}

fn not_protected(mirror: &Mirror, range: VaRange, context: &str) {
    match mirror.take_written(range) {
        Err(TrackError::NotProtected { range: named }) => assert_eq!(named, range, "{context}"),
        other => panic!("{context}: {other:?}"),
    }
}

#[test]
fn stores_are_known_and_loads_are_not() {
    each_tier(|mirror| {
        let buffer = protected(mirror, 24, 0..12);
        assert_eq!(take(mirror, &buffer), []);
        buffer.check(0..12);
        buffer.check_zero(20..22);
        assert_eq!(take(mirror, &buffer), [], "only read");
        [3, 4, 11, 15, 23].into_iter().for_each(|page| store(&buffer, page));
        // A system call stores too.
        let mut zeroes = File::open("/dev/zero").expect("zeroes");
        let at = buffer.part(8..9).start().as_mut_ptr::<u8>();
        // SAFETY: The bytes are the buffer's, and nothing else accesses them.
        zeroes.read_exact(unsafe { std::slice::from_raw_parts_mut(at, 10) }).expect("read");
        assert_eq!(take(mirror, &buffer), [3, 4, 8, 11, 15, 23]);
        assert_eq!(take(mirror, &buffer), []);
        store(&buffer, 4);
        mirror.protect(buffer.range()).expect("anew");
        assert_eq!(take(mirror, &buffer), [], "what came before does not count");
        // A part can be asked about by itself.
        [5, 6, 7].into_iter().for_each(|page| store(&buffer, page));
        let part = mirror.take_written(buffer.part(6..24)).expect("take");
        assert_eq!(places(&buffer, &part), [6, 7]);
        assert_eq!(take(mirror, &buffer), [5]);
    });
}

/// A drop of a whole table of pages takes the table away too.
#[test]
fn dropped_pages_are_written() {
    each_tier(|mirror| {
        let pages = 4 * huge();
        let buffer = protected(mirror, pages, 0..pages);
        assert_eq!(take(mirror, &buffer), []);
        buffer.advise(2..4, Advice::LinuxDontNeed);
        assert_eq!(take(mirror, &buffer), [2, 3]);
        buffer.advise(0..3 * huge(), Advice::LinuxDontNeed);
        store(&buffer, pages - 1);
        let expected: Vec<_> = (0..3 * huge()).chain([pages - 1]).collect();
        assert_eq!(take(mirror, &buffer), expected);
        assert_eq!(take(mirror, &buffer), []);
        assert!(!mirror.has_pending_drop(buffer.range()), "what is not watched is not known");
    });
}

#[test]
fn huge_pages_are_tracked_by_the_small_page() {
    each_tier(|mirror| {
        let buffer = Buffer::thp(2);
        buffer.fill(0..buffer.pages());
        mirror.adopt(buffer.range()).expect("adopt");
        mirror.protect(buffer.range()).expect("protect");
        assert_eq!(take(mirror, &buffer), []);
        [1, huge() + 9].into_iter().for_each(|page| store(&buffer, page));
        assert_eq!(take(mirror, &buffer), [1, huge() + 9]);
        assert_eq!(take(mirror, &buffer), []);
        buffer.check(0..buffer.pages());
    });
}

/// How many areas this process has.
fn areas() -> usize {
    Maps::open().expect("maps").vmas(VaRange::USER).expect("areas").len()
}

fn whole(bytes: &[u8]) -> VaRange {
    VaRange::of_slice(bytes).whole_pages(PageSize::host())
}

fn lend_many(mirror: &Mirror, count: usize, bytes: usize) {
    let mut buffers: Vec<Vec<u8>> = (0..count).map(|_| Vec::with_capacity(bytes)).collect();
    for buffer in &mut buffers {
        buffer.resize(bytes.min(3 * page()), 1);
        buffer.resize(bytes, 2);
    }
    let before = areas();
    for buffer in &buffers {
        let range = whole(buffer);
        mirror.adopt(range).expect("adopt");
        mirror.protect(range).expect("protect");
    }
    assert!(areas() <= before + 64, "{before} areas became {}", areas());
    for (index, buffer) in buffers.iter_mut().enumerate() {
        let range = whole(buffer);
        assert_eq!(mirror.take_written(range).expect("take"), [], "buffer {index}");
        if index % 100 == 0 {
            buffer[2 * page()] = 9;
            let written = mirror.take_written(range).expect("take");
            let expected = VaRange::of(&buffer[2 * page()]).pages_covering(PageSize::host());
            assert_eq!(written, [expected], "buffer {index}");
        }
    }
    // The program goes on: allocators give memory back, and get some anew.
    drop(buffers);
    let again: Vec<Vec<u8>> = (0..count / 10).map(|_| vec![3; bytes]).collect();
    assert!(again.iter().all(|buffer| buffer.iter().all(|&byte| byte == 3)));
    assert!(areas() <= before + 64, "{before} areas became {}", areas());
}

#[test]
fn ten_thousand_ranges_make_few_areas() {
    isolated("ten_thousand_ranges_make_few_areas", || {
        for tier in TIERS {
            for bytes in [16_000, 65_536] {
                let Some(mirror) = mirror(tier) else { continue };
                lend_many(&mirror, 10_000, bytes);
            }
        }
    });
}

/// Growing copies nothing: it takes fewer faults than there are pages.
#[test]
fn a_vec_that_is_tracked_grows_in_place_or_moves() {
    const BYTES: usize = 64 << 20;
    isolated("a_vec_that_is_tracked_grows_in_place_or_moves", || {
        for tier in TIERS {
            let Some(mirror) = mirror(tier) else { continue };
            let mut numbers = vec![7u8; BYTES];
            let lent = whole(&numbers);
            mirror.adopt(lent).expect("adopt");
            mirror.protect(lent).expect("protect");
            let (before, faults) = (areas(), fault_counts().expect("counts").total());
            numbers.reserve_exact(BYTES);
            let taken = fault_counts().expect("counts").total() - faults;
            assert!(taken < 1000, "{taken} faults, {} pages", BYTES / page());
            assert!(areas() <= before + 1, "{before} areas became {}", areas());
            mirror.drain();
            if whole(&numbers) != lent {
                not_protected(&mirror, lent, "the old place");
            }
            // At its new place nothing is known of it, until it is protected there.
            let lent = whole(&numbers);
            if mirror.take_written(lent).is_err() {
                mirror.adopt(lent).expect("adopt");
                mirror.protect(lent).expect("protect");
            }
            numbers[BYTES / 2] = 8;
            let expected = VaRange::of(&numbers[BYTES / 2]).pages_covering(PageSize::host());
            assert_eq!(mirror.take_written(lent).expect("take"), [expected]);
            numbers[BYTES / 2] = 7;
            assert!(numbers.iter().all(|&byte| byte == 7));
        }
    });
}

/// Maps memory anew in the place of a part of a buffer.
fn map_over(buffer: &Buffer, pages: Range<usize>) {
    let (at, len) = (buffer.part(pages.clone()).start().as_mut_ptr(), pages.len() * page());
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    // SAFETY: The place is the buffer's, and no reference to it exists.
    let mapped = unsafe { rustix::mm::mmap_anonymous(at, len, RW, flags) };
    assert_eq!(mapped.expect("mmap"), at);
}

/// A device that counts how often the end of a mapping is told.
#[derive(Debug, Default)]
struct Unmaps(AtomicU64);

impl Invalidate for Unmaps {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        let ends = invalidation.event() == farptr_hmm::Event::Unmap;
        self.0.fetch_add(ends.into(), Ordering::Relaxed);
        Ok(invalidation.set_seq())
    }
}

#[test]
fn memory_that_is_mapped_anew_is_an_error() {
    each_tier(|mirror| {
        let buffer = protected(mirror, 8, 0..8);
        let ends = Arc::new(Unmaps::default());
        let notifiers = mirror.notifiers();
        let _notifier =
            notifiers.register(buffer.range(), None, Arc::clone(&ends) as _).expect("a notifier");
        map_over(&buffer, 2..5);
        mirror.drain();
        assert_eq!(ends.0.load(Ordering::Relaxed), 1);
        for part in [buffer.range(), buffer.part(2..5), buffer.part(4..5)] {
            not_protected(mirror, part, "mapped anew");
        }
        // The rest counted as part of the range that was asked about, so it is not known either.
        not_protected(mirror, buffer.part(0..2), "asked about before");
        let error = mirror.protect(buffer.range()).expect_err("not adopted");
        assert!(matches!(error, TrackError::NotAdopted { .. }), "{error:?}");
        mirror.adopt(buffer.range()).expect("adopt");
        not_protected(mirror, buffer.range(), "adopted only");
        mirror.protect(buffer.range()).expect("protect");
        assert_eq!(take(mirror, &buffer), []);
        store(&buffer, 3);
        assert_eq!(take(mirror, &buffer), [3]);
    });
}

#[test]
fn memory_that_is_unmapped_is_an_error() {
    each_tier(|mirror| {
        let buffer = protected(mirror, 8, 0..8);
        buffer.unmap(6..8);
        assert_eq!(take_part(mirror, &buffer, 0..6), []);
        not_protected(mirror, buffer.range(), "a part is unmapped");
        not_protected(mirror, buffer.part(6..8), "unmapped");
        let error = mirror.protect(buffer.range()).expect_err("unmapped");
        assert!(matches!(error, TrackError::NotAdopted { .. }), "{error:?}");
        let error = mirror.protect(buffer.part(6..8)).expect_err("unmapped");
        assert!(matches!(error, TrackError::NotAdopted { .. }), "{error:?}");
        let error = mirror.adopt(buffer.range()).expect_err("unmapped");
        let first = buffer.part(6..7).start();
        assert!(matches!(error, TrackError::NotMapped { addr, .. } if addr == first), "{error:?}");
        // A gap in the middle is not passed over.
        mirror.protect(buffer.part(0..6)).expect("protect");
        buffer.unmap(2..3);
        for range in [buffer.part(0..6), buffer.part(1..4)] {
            let error = mirror.protect(range).expect_err("a gap");
            assert!(matches!(error, TrackError::NotAdopted { .. }), "{error:?}");
        }
        // A request that failed protects nothing that counts.
        store(&buffer, 4);
        not_protected(mirror, buffer.part(3..6), "the request failed");
    });
}

fn take_part(mirror: &Mirror, buffer: &Buffer, pages: Range<usize>) -> Vec<usize> {
    places(buffer, &mirror.take_written(buffer.part(pages)).expect("take"))
}

/// The entries of the page table move with the mapping, protection included.
#[test]
fn memory_that_is_moved_is_an_error_in_both_places() {
    each_tier(|mirror| {
        for keep in [false, true] {
            let (first, second) = (protected(mirror, 8, 0..8), protected(mirror, 8, 0..4));
            // Pages that nobody has stored to come in the place of others.
            first.remap(0..8, &second, keep);
            not_protected(mirror, second.range(), "what is there was protected elsewhere");
            not_protected(mirror, first.range(), "moved away");
            second.check(0..8);
            mirror.adopt(second.range()).expect("it is adopted");
            mirror.protect(second.range()).expect("protect");
            store(&second, 2);
            assert_eq!(take(mirror, &second), [2]);
        }
        // There and back.
        let (first, second) = (protected(mirror, 4, 0..4), Buffer::alone(4));
        first.remap(0..4, &second, false);
        let back = Buffer::alone(4);
        second.remap(0..4, &back, false);
        not_protected(mirror, back.range(), "moved twice");
    });
}

#[test]
fn what_was_not_adopted_is_an_error() {
    each_tier(|mirror| {
        let buffer = Buffer::alone(4);
        buffer.fill(0..4);
        not_protected(mirror, buffer.range(), "never protected");
        let error = mirror.protect(buffer.range()).expect_err("never adopted");
        assert!(matches!(error, TrackError::NotAdopted { .. }), "{error:?}");
        mirror.adopt(buffer.range()).expect("adopt");
        not_protected(mirror, buffer.range(), "adopted only");
        mirror.protect(buffer.part(0..2)).expect("protect");
        not_protected(mirror, buffer.range(), "a half");
        mirror.protect(buffer.range()).expect("protect");
        mirror.unwatch(buffer.range()).expect("unwatch");
        not_protected(mirror, buffer.range(), "left");
        let odd = VaRange::from_len(buffer.range().start(), 100).expect("a range");
        for error in [mirror.adopt(odd), mirror.protect(odd), mirror.take_written(odd).map(drop)] {
            assert!(matches!(error, Err(TrackError::Unaligned { .. })), "{error:?}");
        }
        let nothing = VaRange::default();
        mirror.adopt(nothing).expect("nothing");
        mirror.protect(nothing).expect("nothing");
        assert_eq!(mirror.take_written(nothing).expect("nothing"), []);
    });
}

#[test]
fn a_mirror_that_does_not_track_says_so() {
    let mirror = MirrorBuilder::new().track_stores(false).build().expect("a mirror");
    assert!(!mirror.tracks_stores());
    let buffer = Buffer::alone(2);
    let range = buffer.range();
    for error in [mirror.adopt(range), mirror.protect(range), mirror.take_written(range).map(drop)]
    {
        let error = error.expect_err("it does not track");
        assert!(matches!(error, TrackError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("track_stores"), "{error}");
    }
}

#[test]
fn memory_of_any_kind_can_be_adopted() {
    each_tier(|mirror| {
        let file = tempfile::tempfile().expect("a file");
        file.set_len((8 * page()) as u64).expect("length");
        let shared = Buffer::file(&file, 8, RW, MapFlags::SHARED);
        let private = Buffer::file(&file, 8, RW, MapFlags::PRIVATE);
        for buffer in [shared, private, Buffer::shared(8)] {
            buffer.fill(0..3);
            mirror.adopt(buffer.range()).expect("adopt");
            mirror.protect(buffer.range()).expect("protect");
            assert_eq!(take(mirror, &buffer), []);
            buffer.check(0..3);
            let _ = buffer.get(buffer.words_of(6..7).start);
            assert_eq!(take(mirror, &buffer), [], "only read");
            [1, 5].into_iter().for_each(|page| store(&buffer, page));
            assert_eq!(take(mirror, &buffer), [1, 5]);
        }
        // Nobody can store through such a mapping.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let read_only = File::open(path).expect("reopen");
        let buffer = Buffer::file(&read_only, 8, ProtFlags::READ, MapFlags::SHARED);
        let error = mirror.adopt(buffer.range()).expect_err("read-only for ever");
        assert!(matches!(error, TrackError::Refused { .. }), "{error:?}");
        mirror.drain();
    });
}

#[test]
fn tracking_survives_a_fork_in_the_parent_only() {
    isolated("tracking_survives_a_fork_in_the_parent_only", || {
        each_tier(|mirror| {
            let buffer = protected(mirror, 8, 0..8);
            store(&buffer, 1);
            fork(|| {
                store(&buffer, 2);
                let error = mirror.take_written(buffer.range()).expect_err("the parent's");
                assert!(matches!(error, TrackError::Inherited { .. }), "{error:?}");
                let error = mirror.protect(buffer.range()).expect_err("the parent's");
                assert!(matches!(error, TrackError::Inherited { .. }), "{error:?}");
            })
            .expect_success();
            store(&buffer, 5);
            assert_eq!(take(mirror, &buffer), [1, 5]);
        });
    });
}

#[test]
fn pages_that_were_away_are_written() {
    for copies in [false, true] {
        let Some(rig) = Rig::migrating(0) else { return };
        let mirror = &rig.mirror;
        if !mirror.tracks_stores() {
            return skip("this kernel does not track stores; Linux 6.7 does", false);
        }
        let id = attach(mirror, copies, 64);
        // Never touched pages have marks of their own: they move all the same.
        let buffer = protected(mirror, 16, 0..12);
        let migration = mirror.migrate_to_device(buffer.part(4..16), id).expect("migrate");
        assert_eq!(migration.moved(), PageCount::new(12), "{migration:?}, copies: {copies}");
        let expected: Vec<_> = (4..16).collect();
        assert_eq!(take(mirror, &buffer), expected, "copies: {copies}");
        mirror.protect(buffer.range()).expect("protect");
        assert_eq!(mirror.pages_away(), PageCount::new(12), "nothing has come home for it");
        store(&buffer, 1);
        let with_store: Vec<_> = [1].into_iter().chain(4..16).collect();
        assert_eq!(take(mirror, &buffer), with_store, "copies: {copies}");
        mirror.migrate_to_home(buffer.range()).expect("home");
        assert_eq!(take(mirror, &buffer), expected, "copies: {copies}");
        assert_eq!(take(mirror, &buffer), []);
        buffer.check(0..12);
        buffer.check_zero(12..16);
        assert_eq!(mirror.stats().lost, 0);
    }
}

/// The number that a thread stores into a page.
fn word(buffer: &Buffer, page_index: usize) -> &AtomicU64 {
    let at = buffer.part(page_index..page_index + 1).start().as_mut_ptr();
    // SAFETY: The word is the buffer's, and is accessed atomically only while the reference is in
    // use.
    unsafe { AtomicU64::from_ptr(at) }
}

/// Sets the flag when a thread ends, in whatever way: others wait for it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Brings a copy up to date by what the mirror knows, and by nothing else.
fn follow(mirror: &Mirror, buffer: &Buffer, copy: &mut [u64]) {
    let stale = match mirror.take_written(buffer.range()) {
        Ok(runs) => places(buffer, &runs),
        Err(TrackError::NotProtected { .. }) => {
            mirror.protect(buffer.range()).expect("protect");
            (0..buffer.pages()).collect()
        }
        Err(error) => panic!("{error}"),
    };
    for page in stale {
        copy[page] = word(buffer, page).load(Ordering::Acquire);
    }
}

#[test]
fn no_store_is_missed_while_others_store_and_pages_migrate() {
    const PAGES: usize = 600;
    const STORES: u64 = 20_000;
    for copies in [false, true] {
        let Some(rig) = Rig::migrating(0) else { return };
        let mirror = &rig.mirror;
        if !mirror.tracks_stores() {
            return skip("this kernel does not track stores; Linux 6.7 does", false);
        }
        let id = attach(mirror, copies, 2 * PAGES);
        let buffer = Buffer::alone(PAGES);
        mirror.adopt(buffer.range()).expect("adopt");
        let (mut copy, done) = (vec![0; PAGES], AtomicBool::new(false));
        let together = Barrier::new(2);
        thread::scope(|scope| {
            let _pinned = pin(0);
            scope.spawn(|| {
                let _ends = Ends(&done);
                let _pinned = pin(1);
                together.wait();
                let mut state = 0x9e37_79b9_7f4a_7c15_u64;
                for store in 1..=STORES {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let page = usize::try_from(state % PAGES as u64).expect("small");
                    word(&buffer, page).store(store, Ordering::Release);
                }
            });
            let migrator = scope.spawn(|| {
                let _pinned = pin(0);
                together.wait();
                for round in 0.. {
                    let first = round * 37 % PAGES;
                    let part = buffer.part(first..PAGES.min(first + 90));
                    mirror.migrate_to_device(part, id).expect("migrate");
                    mirror.migrate_to_home(part).expect("home");
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                }
            });
            while !migrator.is_finished() {
                follow(mirror, &buffer, &mut copy);
            }
            migrator.join().expect("the thread that migrates");
        });
        follow(mirror, &buffer, &mut copy);
        for (page, &followed) in copy.iter().enumerate() {
            let now = word(&buffer, page).load(Ordering::Acquire);
            assert_eq!(followed, now, "page {page} was written and not reported, copies: {copies}");
        }
        assert_eq!(mirror.stats().lost, 0);
    }
}

/// All memory that the process may store to is adopted: allocators, stacks, and what the mirror
/// uses itself. Nothing waits for itself, also at the end of the mirror.
#[test]
fn all_memory_of_the_process_may_be_adopted() {
    isolated("all_memory_of_the_process_may_be_adopted", || {
        each_tier(|mirror| {
            let vmas = Maps::open().expect("maps").vmas(VaRange::USER).expect("areas");
            let own = vmas.iter().filter(|vma| vma.flags.write && vma.is_private_anonymous());
            let adopted = own.filter(|vma| mirror.adopt(vma.range).is_ok()).count();
            assert!(adopted > 3, "{adopted} areas");
            let id = (mirror.tier() == MirrorTier::KernelFaults).then(|| attach(mirror, true, 64));
            for round in 0..20 {
                // Allocators give memory back, and threads their stacks.
                let many: Vec<Vec<u8>> = (0..200).map(|n| vec![1; 1 << (n % 18)]).collect();
                let sums = thread::scope(|scope| {
                    let sum = || many.iter().map(Vec::len).sum::<usize>();
                    let threads: Vec<_> = (0..4).map(|_| scope.spawn(sum)).collect();
                    threads.into_iter().map(|t| t.join().expect("a thread")).sum::<usize>()
                });
                assert!(sums > 0);
                drop(many);
                // SAFETY: The call has no obligations.
                unsafe { libc::malloc_trim(0) };
                let buffer = protected(mirror, 8, 0..8);
                store(&buffer, round % 8);
                assert_eq!(take(mirror, &buffer), [round % 8]);
                if let Some(id) = id {
                    mirror.migrate_to_device(buffer.range(), id).expect("migrate");
                    buffer.check(0..8);
                }
            }
        });
    });
}
