//! The costs of migrations and faults, in counts of requests, messages and callbacks.

#![cfg(feature = "dmirror")]

mod hmm_copies;
mod hmm_rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farptr_hmm::{
    Invalidate, Invalidation, MirrorBuilder, MirrorTier, PageCount, PageSize, SeqSet, WouldBlock,
};
use hmm_copies::{Copies, attach};
use hmm_rig::{Buffer, Rig, Watchdog, huge, is_root, isolated, page, skip};
use rustix::mm::Advice;

/// A device that counts how often it is told something.
#[derive(Debug, Default)]
struct Told(AtomicU64);

impl Invalidate for Told {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(invalidation.set_seq())
    }
}

#[test]
fn pages_that_are_there_cost_no_request_and_are_told_to_nobody() {
    for copies in [false, true] {
        let Some(rig) = Rig::migrating(0) else { return };
        let (mirror, pages) = (&rig.mirror, 3 * huge());
        let id = attach(mirror, copies, 2 * pages);
        let buffer = Buffer::anon(pages);
        buffer.fill(0..pages);
        let told = Arc::new(Told::default());
        let _notifier =
            mirror.notifiers().register(buffer.range(), None, Arc::clone(&told) as _).expect("one");
        let all = PageCount::new(pages as u64);
        assert_eq!(mirror.migrate_to_device(buffer.range(), id).expect("migrate").moved(), all);
        let before = (mirror.stats(), told.0.load(Ordering::Relaxed));
        let again = mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        assert_eq!((again.moved(), again.already_there()), (PageCount::ZERO, all), "{again:?}");
        assert_eq!(again.skipped(), [], "copies: {copies}");
        assert_eq!((mirror.stats(), told.0.load(Ordering::Relaxed)), before, "copies: {copies}");

        // One page is home: its block alone is migrated.
        let middle = buffer.part(pages / 2..pages / 2 + 1);
        assert_eq!(mirror.migrate_to_home(middle).expect("home"), PageCount::new(1));
        let before = mirror.stats();
        let again = mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        assert_eq!(again.moved(), PageCount::new(1), "{again:?}");
        let after = mirror.stats();
        assert_eq!(after.migrations - before.migrations, 1, "copies: {copies}");
        // The staging memory is watched anew after it was emptied.
        let registrations = after.registrations - before.registrations;
        assert!((1..=2).contains(&registrations), "{registrations}, copies: {copies}");
        buffer.check(0..pages);
    }
}

/// A block whose pages all stay is told to nobody either.
#[test]
fn pages_that_stay_are_told_to_nobody() {
    for copies in [false, true] {
        let Some(rig) = Rig::migrating(0) else { return };
        let id = attach(&rig.mirror, copies, 64);
        let buffer = Buffer::shared(16);
        buffer.fill(0..16);
        let before = rig.mirror.stats();
        let stayed = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        assert_eq!(stayed.moved(), PageCount::ZERO);
        let after = rig.mirror.stats();
        assert_eq!(
            (after.migrations, after.registrations),
            (before.migrations, before.registrations)
        );
        assert_eq!(after.skipped - before.skipped, 16);
        buffer.check(0..16);
    }
}

/// Pages that begin at a block, in which no page is huge.
fn blocks(count: usize) -> Buffer {
    let buffer = Buffer::thp(count);
    buffer.advise(0..buffer.pages(), Advice::LinuxNoHugepage);
    buffer.fill(0..buffer.pages());
    buffer
}

/// Moves all pages of some blocks to a device, touches pages in an order, and returns how many runs
/// of pages came home and how many faults were read.
fn touch(builder: MirrorBuilder, copies: bool, order: &[usize]) -> Option<(u64, u64)> {
    let mirror = builder.build().expect("a mirror");
    if mirror.tier() != MirrorTier::KernelFaults {
        skip("this tier moves no pages: system calls on them would fail; run as root", !is_root());
        return None;
    }
    let _watchdog = Watchdog::new();
    let buffer = blocks(4);
    let pages = buffer.pages();
    let id = attach(&mirror, copies, pages);
    let moved = mirror.migrate_to_device(buffer.range(), id).expect("migrate").moved();
    assert_eq!(moved.get(), pages as u64);
    let before = mirror.stats();
    for &page in order {
        let word = buffer.words_of(page..page + 1).start;
        assert_eq!(buffer.get(word), hmm_rig::number(word));
    }
    mirror.drain();
    let after = mirror.stats();
    buffer.check(0..pages);
    assert_eq!(after.lost, 0);
    Some((after.migrations - before.migrations, after.faults - before.faults))
}

#[test]
fn who_reads_everything_in_order_takes_ever_fewer_faults() {
    let pages = 4 * huge();
    let order: Vec<_> = (0..pages).collect();
    for copies in [false, true] {
        let Some((runs, faults)) = touch(MirrorBuilder::new(), copies, &order) else { return };
        // 16, 16, 32, 64, 128 and 256 pages are the first block; each other comes at once.
        assert_eq!(runs, 6 + 3, "copies: {copies}");
        // The thread may catch up with pages that are on their way, once for each 64 of them.
        assert!(faults <= runs + pages as u64 / 64, "{faults} faults, copies: {copies}");
    }
}

#[test]
fn who_reads_everything_backwards_brings_home_no_more_at_a_time() {
    let pages = 4 * huge();
    let order: Vec<_> = (0..pages).rev().collect();
    for copies in [false, true] {
        let Some((runs, _)) = touch(MirrorBuilder::new(), copies, &order) else { return };
        assert_eq!(runs, pages as u64 / 16, "copies: {copies}");
    }
}

#[test]
fn a_neighbourhood_does_not_grow_beyond_its_limit() {
    let pages = 4 * huge();
    let order: Vec<_> = (0..pages).collect();
    let size = |pages: usize| PageSize::new((pages * page()) as u64).expect("a power of two");
    for copies in [false, true] {
        for (least, most, expected) in [(1, 1, pages), (64, 1, pages / 64), (64, 128, 32 - 15)] {
            let builder = MirrorBuilder::new().fault_around(size(least));
            let builder = builder.fault_around_limit(size(most));
            let Some((runs, _)) = touch(builder, copies, &order) else { return };
            assert_eq!(runs, expected as u64, "copies: {copies}, {least} to {most} pages");
        }
    }
}

/// Watches holes, touches each page in order, and returns how many faults were answered and how
/// many messages about faults were read.
fn touch_holes(rig: &Rig, buffer: &Buffer, touch: impl Fn(usize)) -> (u64, u64) {
    rig.mirror.watch(buffer.range()).expect("watch");
    let before = rig.mirror.stats();
    (0..buffer.pages()).for_each(|page| touch(buffer.words_of(page..page + 1).start));
    rig.mirror.drain();
    let after = rig.mirror.stats();
    (after.zero_filled - before.zero_filled, after.faults - before.faults)
}

#[test]
fn who_fills_watched_holes_in_order_takes_ever_fewer_faults() {
    let Some(rig) = Rig::migrating(0) else { return };
    for stores in [false, true] {
        let buffer = Buffer::thp(4);
        buffer.advise(0..buffer.pages(), Advice::LinuxNoHugepage);
        let expected = |word| if stores { hmm_rig::number(word) } else { 0 };
        let (filled, faults) = touch_holes(&rig, &buffer, |word| {
            if stores {
                buffer.set(word, hmm_rig::number(word));
            }
            assert_eq!(buffer.get(word), expected(word));
        });
        // 16, 16, 32, 64, 128 and 256 pages are the first block; each other is filled at once.
        assert_eq!((filled, faults), (6 + 3, 6 + 3), "stores: {stores}");
        for page in 0..buffer.pages() {
            let word = buffer.words_of(page..page + 1).start;
            assert_eq!((buffer.get(word), buffer.get(word + 1)), (expected(word), 0));
        }
    }
}

/// What was filled and is not stored to takes no memory.
#[test]
fn holes_that_nobody_stores_to_take_no_memory() {
    let Some(rig) = Rig::migrating(0) else { return };
    let buffer = Buffer::thp(4);
    buffer.advise(0..buffer.pages(), Advice::LinuxNoHugepage);
    rig.mirror.watch(buffer.range()).expect("watch");
    let stored: Vec<_> = (0..buffer.pages()).step_by(100).collect();
    stored.iter().for_each(|&page| buffer.set(buffer.words_of(page..page + 1).start, 1));
    let device = Arc::new(Copies::new(buffer.pages()));
    let id = rig.mirror.attach(Arc::clone(&device) as _).expect("attach");
    rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
    // What is the page of zeroes is not copied to a device, but zeroed there.
    assert_eq!(device.copied_in(), stored.len() as u64);
    for page in 0..buffer.pages() {
        let word = buffer.words_of(page..page + 1).start;
        assert_eq!(buffer.get(word), u32::from(page % 100 == 0));
    }
}

/// Small buffers whose inner pages are watched, each an area of its own.
#[test]
fn many_small_ranges_take_few_faults_each() {
    const COUNT: usize = 500;
    isolated("many_small_ranges_take_few_faults_each", || {
        let Some(rig) = Rig::migrating(0) else { return };
        let buffers: Vec<_> = (0..COUNT).map(|_| Buffer::anon(16)).collect();
        for buffer in &buffers {
            rig.mirror.watch(buffer.part(1..15)).expect("watch");
        }
        let before = rig.mirror.stats();
        for buffer in &buffers {
            buffer.fill(0..16);
        }
        rig.mirror.drain();
        let filled = rig.mirror.stats().zero_filled - before.zero_filled;
        // The neighbourhood may end within the range, and the area does.
        assert!(filled <= 2 * COUNT as u64, "{filled} faults for {COUNT} ranges");
        buffers.iter().for_each(|buffer| buffer.check(0..16));
    });
}
