//! Marks: what leaves them there, what takes them away, and what is not one.

use std::sync::Arc;

use rustix::mm::{Advice, MprotectFlags, MremapFlags};

use super::super::{
    Event, FaultKind, Feature, Features, Fill, MarkFinder, MirrorTier, Modes, Resolution, Uffd,
    UffdError, Wakeup,
};
use super::rig::{Area, Rig, done, each_tier, ended, raw, skip, spawn, spawn_read};
use crate::addr::VaRange;

const MARK: [Feature; 2] = [Feature::Move, Feature::WpUnpopulated];

fn both() -> Modes {
    Modes::MISSING | Modes::PROTECTED
}

fn marks(range: VaRange) -> Vec<VaRange> {
    let mut runs = Vec::new();
    let finder = MarkFinder::open().expect("pagemap");
    finder.for_each(range, |run| runs.push(run)).expect("scan");
    assert_eq!(finder.all_marked(range).expect("scan"), runs == [range]);
    runs
}

/// An area with a mark on each page.
fn marked(rig: &mut Rig, pages: usize) -> Arc<Area> {
    let area = rig.area(pages, both());
    assert_eq!(rig.place_marks(area.range()).expect("marks"), Resolution::Done);
    assert_eq!(marks(area.range()), [area.range()]);
    area
}

#[test]
fn a_mark_tells_our_hole_from_others() {
    each_tier(&MARK, |rig| {
        let area = rig.area(6, both());
        assert_eq!(marks(area.range()), []);
        assert_eq!(rig.place_marks(area.pages(1..3)).expect("marks"), Resolution::Done);
        assert_eq!(rig.place_marks(area.page(4)).expect("marks"), Resolution::Done);
        assert_eq!(marks(area.range()), [area.pages(1..3), area.page(4)]);
        assert_eq!(area.present(0..6), 0);
        assert_eq!(rig.clear_marks(area.page(2)), Resolution::Done);
        assert_eq!(marks(area.range()), [area.page(1), area.page(4)]);
    });
}

#[test]
fn an_access_to_a_mark_is_an_access_to_a_hole() {
    each_tier(&MARK, |rig| {
        let (area, source) = (marked(rig, 2), Area::new(1));
        source.write(0, 6);
        for (page, act) in [Area::read as fn(&Area, usize) -> u8, write_one].into_iter().enumerate()
        {
            let toucher = spawn(&area, move |area| act(area, page));
            let fault = rig.expect_fault();
            assert_eq!((fault.addr, fault.kind), (area.at(page), FaultKind::Missing));
            assert_eq!(fault.write, page == 1);
            // SAFETY: The area is the test's, and the source is not written.
            let filled =
                unsafe { rig.copy(area.at(page), source.range(), Fill::Plain, Wakeup::Now) };
            assert_eq!(filled, done(1), "a copy overwrites a mark");
            assert_eq!(toucher.join().expect("toucher"), 6);
        }
        assert_eq!(marks(area.range()), []);
        area.write(0, 1);
        rig.expect_silence();
    });
}

fn write_one(area: &Area, page: usize) -> u8 {
    area.write(page, 6);
    area.read(page)
}

#[test]
fn a_mark_is_in_the_way_of_all_but_copies() {
    each_tier(&[Feature::Move, Feature::WpUnpopulated, Feature::Poison], |rig| {
        let (area, staging) = (marked(rig, 1), Area::new(1));
        staging.number(0..1);
        let blocking = ended(0, Resolution::AlreadyThere);
        let shift = |rig: &Rig| {
            let wakeup = Wakeup::Now;
            // SAFETY: Both areas are the test's.
            unsafe { rig.move_pages(area.at(0), staging.range(), wakeup) }
        };
        assert_eq!(shift(rig), blocking);
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.range(), Wakeup::Now) }, blocking);
        assert_eq!(rig.poison(area.range(), Wakeup::Now), blocking);
        assert_eq!(marks(area.range()), [area.range()]);

        let reader = spawn_read(&area, 0);
        assert_eq!(rig.expect_fault().kind, FaultKind::Missing);
        assert_eq!(rig.clear_marks(area.range()), Resolution::Done);
        assert!(!reader.is_finished(), "nobody woke it");
        assert_eq!(shift(rig), done(1));
        assert_eq!(reader.join().expect("reader"), 1);
        rig.expect_silence();
    });
}

#[test]
fn a_page_moved_out_leaves_a_hole_that_takes_a_mark() {
    each_tier(&MARK, |rig| {
        let (area, staging) = (Area::new(4), rig.area(4, Modes::MISSING));
        area.number(0..4);
        rig.watch(&area, both());
        let out = area.pages(1..3);
        // SAFETY: Both areas are the test's.
        let moved = unsafe { rig.move_pages(staging.at(1), out, Wakeup::Now) };
        assert_eq!(moved, done(2));
        assert_eq!(rig.place_marks(out).expect("marks"), Resolution::Done);
        assert_eq!(marks(area.range()), [out]);
        area.write(0, 1);
        rig.expect_silence();
    });
}

#[test]
fn a_mark_survives_what_keeps_the_page() {
    each_tier(&MARK, |rig| {
        let area = marked(rig, 2);
        area.protect(0..2, MprotectFlags::empty());
        assert_eq!(marks(area.range()), [area.range()]);
        area.protect(0..2, MprotectFlags::READ | MprotectFlags::WRITE);
        assert_eq!(marks(area.range()), [area.range()]);
        for advice in [Advice::LinuxFree, Advice::LinuxPageOut, Advice::LinuxCold] {
            area.advise(0..2, advice).expect("advice");
            assert_eq!(marks(area.range()), [area.range()], "{advice:?}");
        }
        rig.expect_silence();
    });
}

#[test]
fn a_mark_vanishes_with_what_drops_the_page() {
    each_tier(&MARK, |rig| {
        let area = marked(rig, 5);
        area.advise(0..1, Advice::LinuxDontNeed).expect("drop");
        area.overlay(1..2);
        area.unmap(2..3);
        assert_eq!(marks(area.range()), [area.pages(3..5)]);
        rig.unregister(area.page(3)).expect("unregister");
        assert_eq!(marks(area.range()), [area.page(4)]);
    });
}

#[test]
fn only_a_copy_of_what_was_marked_can_be_stale() {
    // A page that is dropped and touched again holds zeroes and no mark.
    each_tier(&MARK, |rig| {
        let area = marked(rig, 1);
        area.advise(0..1, Advice::LinuxDontNeed).expect("drop");
        let reader = spawn_read(&area, 0);
        assert_eq!(rig.expect_fault().kind, FaultKind::Missing);
        assert_eq!(marks(area.range()), []);
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.range(), Wakeup::Now) }, done(1));
        assert_eq!(reader.join().expect("reader"), 0);
    });
}

/// Moves an area to a place of its own and returns the place.
fn remap(area: &Area, to: &Area) {
    let ((from, len), (to, _)) = (raw(area.range()), raw(to.range()));
    // SAFETY: Both areas are the test's, and no reference to either exists.
    let moved = unsafe { rustix::mm::mremap_fixed(from, len, len, MremapFlags::MAYMOVE, to) };
    assert_eq!(moved.expect("mremap"), to);
}

#[test]
fn a_mark_moves_with_its_page_if_moves_are_reported() {
    let reported = [Feature::WpUnpopulated, Feature::EventRemap];
    each_tier(&reported, |rig| {
        let (area, place) = (marked(rig, 2), rig.unwatched(2));
        let (range, target) = (place.range(), Arc::clone(&place));
        let mover = spawn(&area, move |area| remap(area, &target));
        let Event::Remap { from, to } = rig.expect_event() else { panic!("expected a move") };
        assert_eq!((from, to), (area.range(), range.start()));
        mover.join().expect("mremap");
        assert_eq!(marks(range), [range]);
        rig.unregister(range).expect("the new place is watched");
    });
    each_tier(&[Feature::WpUnpopulated], |rig| {
        let (area, place) = (marked(rig, 2), rig.unwatched(2));
        remap(&area, &place);
        assert_eq!(marks(place.range()), []);
        assert_eq!(place.read(0), 0, "nobody watches the new place");
    });
}

#[test]
fn other_markers_are_not_marks() {
    each_tier(&[Feature::WpUnpopulated, Feature::Poison], |rig| {
        let area = rig.area(4, both());
        assert_eq!(rig.poison(area.page(0), Wakeup::Now), done(1));
        const MADV_GUARD_INSTALL: i32 = 102;
        let (start, len) = raw(area.page(1));
        // SAFETY: The page is the area's.
        let status = unsafe { libc::madvise(start, len, MADV_GUARD_INSTALL) };
        if status != 0 {
            // Linux before 6.13 does not know the advice.
            let error = std::io::Error::last_os_error();
            let unknown = error.raw_os_error() == Some(libc::EINVAL);
            skip("guard pages", error, unknown);
        }
        assert_eq!(rig.place_marks(area.page(3)).expect("marks"), Resolution::Done);
        assert_eq!(marks(area.range()), [area.page(3)]);
    });
}

#[test]
fn a_page_that_is_there_is_protected_instead() {
    each_tier(&MARK, |rig| {
        let area = Area::new(2);
        area.number(0..1);
        rig.watch(&area, both());
        assert_eq!(rig.place_marks(area.range()).expect("marks"), Resolution::Done);
        assert_eq!(marks(area.range()), [area.page(1)]);
        let writer = super::rig::spawn_write(&area, 0, 4);
        assert_eq!(rig.expect_fault().kind, FaultKind::Protected);
        assert_eq!(rig.unprotect(area.page(0), Wakeup::Now), Resolution::Done);
        writer.join().expect("writer");
    });
}

#[test]
fn marks_need_their_feature() {
    let plain = Uffd::open(MirrorTier::UserFaults, Features::NONE, Features::NONE).expect("uffd");
    let error = plain.place_marks(VaRange::default()).expect_err("no feature");
    assert!(matches!(error, UffdError::NoFeature { feature: Feature::WpUnpopulated, .. }));
    assert!(error.to_string().contains("WP_UNPOPULATED"), "{error}");
}

#[test]
fn marks_are_found_in_any_number_of_runs() {
    each_tier(&MARK, |rig| {
        // More runs than one call of the kernel returns.
        let area = rig.area(1000, both());
        let expected: Vec<_> = (0..1000).step_by(2).map(|page| area.page(page)).collect();
        for &page in &expected {
            assert_eq!(rig.place_marks(page).expect("marks"), Resolution::Done);
        }
        assert_eq!(marks(area.range()), expected);
        assert_eq!(rig.clear_marks(area.range()), Resolution::Done);
        assert_eq!(marks(area.range()), []);
    });
}
