//! Ranges that are watched no more: their pages are home, and nobody is told of their changes.

#![cfg(feature = "dmirror")]

mod hmm_copies;
mod hmm_rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farptr_hmm::{
    DirtyTracker, Invalidate, Invalidation, Maps, PageCount, SeqSet, UnwatchError, VaRange,
    WouldBlock,
};
use hmm_copies::attach;
use hmm_rig::{Buffer, Rig, fork, isolated, page, skip};

/// A device that counts how often it is told something.
#[derive(Debug, Default)]
struct Told(AtomicU64);

impl Told {
    fn times(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Invalidate for Told {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(invalidation.set_seq())
    }
}

/// How many areas share an address with a range.
fn areas(range: VaRange) -> usize {
    Maps::open().expect("maps").vmas(range).expect("areas").len()
}

#[test]
fn changes_of_a_range_that_is_left_are_told_to_nobody() {
    let rig = Rig::any(0);
    let buffer = Buffer::anon(16);
    buffer.fill(0..8);
    let (range, told) = (buffer.range(), Arc::new(Told::default()));
    let notifiers = rig.mirror.notifiers();
    let _notifier = notifiers.register(range, None, Arc::clone(&told) as _).expect("a notifier");
    rig.mirror.watch(range).expect("watch");
    buffer.advise(2..4, rustix::mm::Advice::LinuxDontNeed);
    buffer.unmap(15..16);
    rig.mirror.drain();
    assert_eq!(told.times(), 2, "it is watched");
    rig.mirror.unwatch(buffer.part(0..15)).expect("unwatch");
    assert_eq!(told.times(), 3, "it is told once more");
    let before = rig.mirror.stats();
    buffer.advise(0..2, rustix::mm::Advice::LinuxDontNeed);
    buffer.check_zero(0..4);
    buffer.check(4..8);
    buffer.fill(8..14);
    buffer.unmap(14..15);
    rig.mirror.drain();
    assert_eq!(rig.mirror.stats(), before, "no message, no fault");
    assert_eq!(told.times(), 3);
    // It is watched as often as one likes.
    rig.mirror.watch(buffer.part(0..14)).expect("watch");
    buffer.unmap(13..14);
    rig.mirror.drain();
    assert_eq!(told.times(), 4);
}

#[test]
fn a_range_that_is_left_is_whole_again_and_anybodys() {
    let rig = Rig::any(0);
    let buffer = Buffer::anon(64);
    buffer.fill(0..64);
    let before = areas(buffer.range());
    rig.mirror.watch(buffer.part(7..11)).expect("watch");
    assert_eq!(areas(buffer.range()), before + 2);
    // More than was watched may be left.
    rig.mirror.unwatch(buffer.range()).expect("unwatch");
    assert_eq!(areas(buffer.range()), before);
    match DirtyTracker::open() {
        Ok(tracker) => tracker.track(buffer.range()).expect("nobody else watches it"),
        Err(error) => skip(format_args!("no tracker of stores: {error}"), false),
    }
    buffer.check(0..64);
}

#[test]
fn pages_that_are_away_come_home_before_their_range_is_left() {
    for copies in [false, true] {
        let Some(rig) = Rig::migrating(0) else { return };
        let id = attach(&rig.mirror, copies, 64);
        let buffer = Buffer::anon(32);
        buffer.fill(0..30);
        let all = PageCount::new(32);
        for _ in 0..3 {
            let moved = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate").moved();
            assert_eq!(moved, all, "copies: {copies}");
            rig.mirror.unwatch(buffer.part(4..32)).expect("unwatch");
            assert_eq!(rig.mirror.pages_away(), PageCount::new(4), "copies: {copies}");
            let faults = rig.mirror.stats().faults;
            buffer.check(4..30);
            buffer.check_zero(30..32);
            assert_eq!(rig.mirror.stats().faults, faults, "copies: {copies}");
            buffer.check(0..4);
        }
        assert_eq!(rig.mirror.stats().lost, 0);
    }
}

/// A drop may come after its message and after the range was left and is watched again: its pages
/// stay at home until they were seen absent.
#[test]
fn a_drop_that_was_announced_is_known_when_a_range_was_left_meanwhile() {
    for copies in [false, true] {
        let Some(rig) = Rig::migrating(0) else { return };
        let id = attach(&rig.mirror, copies, 64);
        let buffer = Buffer::anon(8);
        buffer.fill(0..8);
        rig.mirror.watch(buffer.range()).expect("watch");
        buffer.advise(2..4, rustix::mm::Advice::LinuxDontNeed);
        rig.mirror.unwatch(buffer.range()).expect("unwatch");
        // The mirror cannot see that the pages were dropped and stored to again: as far as it
        // knows, the drop is yet to come.
        buffer.fill(2..4);
        let migration = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        let [stayed] = migration.skipped() else { panic!("{migration:?}") };
        assert_eq!((stayed.range, stayed.reason), (buffer.part(2..4), farptr_hmm::Skip::Dropping));
        // Once they were seen absent, they go.
        buffer.advise(2..4, rustix::mm::Advice::LinuxDontNeed);
        let migration = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        assert_eq!(migration.moved(), PageCount::new(2), "{migration:?}");
        buffer.check_zero(2..4);
        buffer.check(0..2);
        buffer.check(4..8);
    }
}

#[test]
fn what_cannot_be_left_is_said() {
    isolated("what_cannot_be_left_is_said", || {
        let rig = Rig::any(0);
        let buffer = Buffer::anon(4);
        buffer.fill(0..4);
        let range = buffer.range();
        rig.mirror.watch(range).expect("watch");
        let odd = VaRange::from_len(range.start(), page() as u64 / 2).expect("a range");
        for invalid in [VaRange::default(), odd] {
            let error = rig.mirror.unwatch(invalid).expect_err("not whole pages");
            assert!(matches!(error, UnwatchError::Invalid { range } if range == invalid));
        }
        fork(|| {
            let error = rig.mirror.unwatch(range).expect_err("the parent's");
            assert!(matches!(error, UnwatchError::Inherited { .. }), "{error:?}");
        })
        .expect_success();
        // Holes are passed over; where nothing is mapped there is nothing to leave.
        buffer.unmap(1..2);
        rig.mirror.unwatch(range).expect("unwatch");
        buffer.unmap(2..4);
        let error = rig.mirror.unwatch(buffer.part(1..4)).expect_err("nothing there");
        assert!(matches!(error, UnwatchError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("something must be mapped"), "{error}");
        buffer.check(0..1);
    });
}
