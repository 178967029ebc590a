//! Messages about changes of mappings, their order, and what they hold up.

use std::sync::Arc;

use rustix::mm::{Advice, MprotectFlags, MremapFlags};

use super::super::{Event, FaultKind, Feature, Fill, Modes, Resolution, Signal, Wakeup};
use super::rig::{
    Area, Rig, done, each_tier, ended, huge_pages, page_bytes, raw, retried, skip, spawn,
    spawn_read,
};
use crate::Maps;
use crate::addr::VaRange;

const EVENTS: [Feature; 5] = [
    Feature::EventRemap,
    Feature::EventRemove,
    Feature::EventUnmap,
    Feature::Move,
    Feature::WpUnpopulated,
];

/// A watched area with all pages there.
fn populated(rig: &mut Rig, pages: usize) -> Arc<Area> {
    let area = Area::new(pages);
    area.number(0..pages);
    rig.watch(&area, Modes::MISSING | Modes::PROTECTED);
    area
}

fn assert_unmap(event: &Event, range: VaRange) {
    assert!(matches!(event, Event::Unmap(found) if *found == range), "{event:?}, not {range}");
}

fn is_mapped(range: VaRange) -> bool {
    let vma = Maps::open().expect("maps").find_vma(range.start()).expect("lookup");
    vma.is_some_and(|vma| vma.range.contains(range.start()))
}

#[test]
fn unmapping_is_reported_after_the_fact_and_waits_for_the_reader() {
    each_tier(&EVENTS, |rig| {
        let area = populated(rig, 4);
        let unmapper = spawn(&area, |area| area.unmap(1..3));
        rig.await_readable();
        assert!(!is_mapped(area.page(1)), "the area is gone before the message is read");
        assert!(!unmapper.is_finished());
        assert_unmap(&rig.expect_event(), area.pages(1..3));
        unmapper.join().expect("munmap");
        area.check(0..1);
        area.check(3..4);
    });
}

#[test]
fn dropping_is_reported_before_the_fact() {
    each_tier(&EVENTS, |rig| {
        let area = populated(rig, 4);
        let dropper = spawn(&area, |area| area.advise(1..3, Advice::LinuxDontNeed));
        rig.await_readable();
        assert_eq!(area.present(0..4), 4, "the pages are there until the message is read");
        let event = rig.expect_event();
        assert!(matches!(event, Event::Remove(range) if range == area.pages(1..3)), "{event:?}");
        dropper.join().expect("thread").expect("madvise");
        assert_eq!(area.present(0..4), 2);
        let freer = spawn(&area, |area| area.advise(3..4, Advice::LinuxFree));
        let event = rig.expect_event();
        assert!(matches!(event, Event::Remove(range) if range == area.page(3)), "{event:?}");
        freer.join().expect("thread").expect("madvise");
    });
}

#[test]
fn a_mapping_put_over_the_range_is_an_unmapping_and_is_not_watched() {
    each_tier(&EVENTS, |rig| {
        let area = populated(rig, 3);
        let mapper = spawn(&area, |area| area.overlay(1..2));
        assert_unmap(&rig.expect_event(), area.page(1));
        mapper.join().expect("mmap");
        assert_eq!(area.read(1), 0);
        rig.expect_silence();
    });
}

fn remap(area: &Area, pages: usize, to: Option<&Area>, flags: MremapFlags) -> VaRange {
    let (from, len) = raw(area.range());
    let new_len = pages * usize::try_from(page_bytes()).expect("64 bits");
    let moved = match to.map(|to| raw(to.range())) {
        // SAFETY: Both areas are the test's, and no reference to either exists.
        Some((to, _)) => unsafe { rustix::mm::mremap_fixed(from, len, new_len, flags, to) },
        // SAFETY: The area is the test's, and no reference to it exists.
        None => unsafe { rustix::mm::mremap(from, len, new_len, flags) },
    };
    let start = crate::VirtAddr::from_ptr(moved.expect("mremap"));
    VaRange::from_len(start, new_len as u64).expect("a range")
}

fn assert_remap(event: &Event, source: VaRange, target: VaRange) {
    let expected =
        matches!(event, Event::Remap { from, to } if *from == source && *to == target.start());
    assert!(expected, "{event:?}, not {source} to {target}");
}

#[test]
fn a_move_is_reported_twice_and_the_new_place_is_watched() {
    each_tier(&EVENTS, |rig| {
        let (area, place) = (populated(rig, 4), rig.unwatched(4));
        let mover = spawn(&area, {
            let place = Arc::clone(&place);
            move |area| remap(area, 4, Some(&place), MremapFlags::MAYMOVE)
        });
        // The second is sent when the first was read, perhaps in time for the same batch.
        let events = rig.expect_events(2);
        assert_remap(&events[0], area.range(), place.range());
        assert_unmap(&events[1], area.range());
        assert_eq!(mover.join().expect("mremap"), place.range());
        place.check(0..4);
        rig.unregister(place.range()).expect("the new place is watched");
    });
}

#[test]
fn a_move_that_leaves_the_range_mapped_leaves_it_watched() {
    each_tier(&EVENTS, |rig| {
        let (area, place) = (populated(rig, 2), rig.unwatched(2));
        let mover = spawn(&area, {
            let place = Arc::clone(&place);
            let flags = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
            move |area| remap(area, 2, Some(&place), flags)
        });
        assert_remap(&rig.expect_event(), area.range(), place.range());
        mover.join().expect("mremap");
        place.check(0..2);
        let reader = spawn_read(&area, 1);
        assert_eq!(rig.expect_fault().addr, area.at(1));
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.range(), Wakeup::Now) }, done(2));
        assert_eq!(reader.join().expect("reader"), 0);
        rig.unregister(place.range()).expect("the new place is watched");
    });
}

#[test]
fn shrinking_is_an_unmapping() {
    each_tier(&EVENTS, |rig| {
        let area = populated(rig, 4);
        let shrinker = spawn(&area, |area| remap(area, 2, None, MremapFlags::empty()));
        assert_unmap(&rig.expect_event(), area.pages(2..4));
        assert_eq!(shrinker.join().expect("mremap"), area.pages(0..2));
        area.check(0..2);
    });
}

#[test]
fn growing_elsewhere_is_a_move_and_the_new_part_is_watched() {
    each_tier(&EVENTS, |rig| {
        let (area, place) = (populated(rig, 2), rig.unwatched(8));
        let grower = spawn(&area, {
            let place = Arc::clone(&place);
            move |area| remap(area, 8, Some(&place), MremapFlags::MAYMOVE)
        });
        let events = rig.expect_events(2);
        assert_remap(&events[0], area.range(), place.range());
        assert_unmap(&events[1], area.range());
        grower.join().expect("mremap");
        place.check(0..2);
        let reader = spawn_read(&place, 7);
        assert_eq!(rig.expect_fault().addr, place.at(7));
        // SAFETY: The area is the test's.
        let (zeroed, _) = retried(|| unsafe { rig.zero(place.page(7), Wakeup::Now) });
        assert_eq!(zeroed, done(1));
        assert_eq!(reader.join().expect("reader"), 0);
        rig.unregister(place.range()).expect("the new place is watched");
    });
}

#[test]
fn huge_pages_are_made_without_a_word() {
    const MADV_COLLAPSE: i32 = 25;
    each_tier(&EVENTS, |rig| {
        let area = populated(rig, huge_pages());
        let _ = area.advise(0..huge_pages(), Advice::LinuxHugepage);
        let (start, len) = raw(area.range());
        // SAFETY: The pages are the area's, and the advice changes no content.
        if unsafe { libc::madvise(start, len, MADV_COLLAPSE) } != 0 {
            // Linux before 6.1 does not know the advice, and memory in one piece may have run out.
            return skip("collapse", std::io::Error::last_os_error(), true);
        }
        assert_eq!(area.huge_pages(0..huge_pages()), huge_pages());
        rig.expect_silence();
        area.check(0..huge_pages());
    });
}

#[test]
fn permissions_and_advice_are_not_reported() {
    each_tier(&EVENTS, |rig| {
        let area = populated(rig, 2);
        area.protect(0..2, MprotectFlags::READ);
        area.protect(0..2, MprotectFlags::READ | MprotectFlags::WRITE);
        for advice in [Advice::LinuxCold, Advice::LinuxPageOut, Advice::LinuxDontFork] {
            area.advise(0..2, advice).expect("advice");
        }
        let staging = rig.area(1, Modes::MISSING);
        let out = area.page(1);
        // SAFETY: Both areas are the test's.
        assert_eq!(unsafe { rig.move_pages(staging.at(0), out, Wakeup::Now) }, done(1));
        rig.expect_silence();
        area.check(0..1);
    });
}

#[test]
fn faults_overtake_other_messages() {
    each_tier(&EVENTS, |rig| {
        let area = rig.area(4, Modes::MISSING);
        let unmapper = spawn(&area, |area| area.unmap(3..4));
        rig.await_readable();
        let readers = [0, 1].map(|page| spawn_read(&area, page));
        rig.await_pending(2);
        let events = rig.expect_events(3);
        let mut faults: Vec<_> = events[..2].iter().map(fault_addr).collect();
        faults.sort();
        assert_eq!(faults, [area.at(0), area.at(1)]);
        assert_unmap(&events[2], area.page(3));
        // SAFETY: The area is the test's.
        let (zeroed, _) = retried(|| unsafe { rig.zero(area.pages(0..2), Wakeup::Now) });
        assert_eq!(zeroed, done(2));
        for reader in readers {
            assert_eq!(reader.join().expect("reader"), 0);
        }
        unmapper.join().expect("munmap");
    });
}

fn fault_addr(event: &Event) -> crate::VirtAddr {
    match event {
        Event::Fault(fault) if fault.kind == FaultKind::Missing => fault.addr,
        other => panic!("expected a fault, got {other:?}"),
    }
}

#[test]
fn nothing_is_filled_while_a_message_is_unread() {
    each_tier(
        &[Feature::EventUnmap, Feature::Move, Feature::WpUnpopulated, Feature::Poison],
        |rig| {
            let area = rig.area(8, Modes::MISSING | Modes::PROTECTED);
            let source = Area::new(1);
            source.number(0..1);
            let unmapper = spawn(&area, |area| area.unmap(7..8));
            rig.await_readable();
            let (retry, src) = (ended(0, Resolution::Retry), source.range());
            for _ in 0..3 {
                // SAFETY: The areas are the test's, and the source is not written.
                let copied = unsafe { rig.copy(area.at(0), src, Fill::Plain, Wakeup::Now) };
                // SAFETY: The area is the test's.
                let zeroed = unsafe { rig.zero(area.page(1), Wakeup::Now) };
                // SAFETY: The areas are the test's.
                let moved = unsafe { rig.move_pages(area.at(2), src, Wakeup::Now) };
                let poisoned = rig.poison(area.page(3), Wakeup::Now);
                assert_eq!([copied, zeroed, moved, poisoned], [retry; 4]);
                assert_eq!(rig.write_protect(area.page(4)), Resolution::Retry);
                assert_eq!(rig.clear_marks(area.page(4)), Resolution::Retry);
            }
            rig.wake(area.range()).expect("waking is never held up");
            assert_eq!(area.present(0..7), 0);
            assert_unmap(&rig.expect_event(), area.page(7));
            // The thread that unmapped has to go on first. SAFETY: The area is the test's, and the
            // source is not written.
            let (copied, _) =
                retried(|| unsafe { rig.copy(area.at(0), src, Fill::Plain, Wakeup::Now) });
            assert_eq!(copied, done(1));
            unmapper.join().expect("munmap");
            // SAFETY: The area is the test's.
            assert_eq!(unsafe { rig.zero(area.page(1), Wakeup::Now) }, done(1));
        },
    );
}

#[test]
fn a_flood_is_read_in_batches() {
    each_tier(&[], |rig| {
        const THREADS: usize = 100;
        let area = rig.area(THREADS, Modes::MISSING);
        let readers: Vec<_> = (0..THREADS).map(|page| spawn_read(&area, page)).collect();
        rig.await_pending(THREADS);
        let mut faults: Vec<_> = rig.expect_events(THREADS).iter().map(fault_addr).collect();
        faults.sort();
        let expected: Vec<_> = (0..THREADS).map(|page| area.at(page)).collect();
        assert_eq!(faults, expected);
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.range(), Wakeup::Now) }, done(THREADS));
        readers.into_iter().for_each(|reader| assert_eq!(reader.join().expect("reader"), 0));
    });
}

#[test]
fn a_fault_whose_thread_went_on_is_not_reported() {
    each_tier(&[], |rig| {
        let area = rig.area(1, Modes::MISSING);
        let reader = spawn_read(&area, 0);
        rig.await_pending(1);
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.range(), Wakeup::Now) }, done(1));
        assert_eq!(reader.join().expect("reader"), 0);
        rig.expect_silence();
    });
}

#[test]
fn a_wait_ends_with_a_message_or_with_a_signal() {
    each_tier(&[], |rig| {
        let [nudge, stop] = [(); 2].map(|()| Signal::new().expect("a signal"));
        let wait = |rig: &Rig| {
            let awaited = rig.wait(&nudge, &stop).expect("wait");
            (awaited.events, awaited.nudge, awaited.stop)
        };
        let area = rig.area(1, Modes::MISSING);
        let reader = spawn_read(&area, 0);
        assert_eq!(wait(rig), (true, false, false));
        stop.raise().expect("raise");
        assert_eq!(wait(rig), (true, false, true));
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.range(), Wakeup::Now) }, done(1));
        reader.join().expect("reader");
        for _ in 0..2 {
            stop.raise().expect("raise");
            assert_eq!(wait(rig), (false, false, true));
            nudge.raise().expect("raise");
            assert_eq!(wait(rig), (false, true, true));
            nudge.clear().expect("clear");
            nudge.clear().expect("clear, though it is not raised");
        }
    });
}
