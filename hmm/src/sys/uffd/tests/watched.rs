//! Finding out what is watched.

use rustix::mm::MprotectFlags;

use super::super::{Event, Events, Feature, Modes, Resolution};
use super::rig::{each_tier, spawn};

#[test]
fn a_range_is_watched_if_it_lies_in_one_watched_area() {
    each_tier(&[Feature::WriteProtect], |rig| {
        let area = rig.unwatched(8);
        area.number(0..4);
        assert_eq!(rig.check_watched(area.range()), Resolution::Vanished);
        area.unmap(3..4);
        rig.watch(&area, Modes::MISSING | Modes::PROTECTED);
        assert_eq!(rig.check_watched(area.pages(0..3)), Resolution::Done);
        assert_eq!(rig.check_watched(area.pages(4..8)), Resolution::Done);
        // The hole was passed over, and what appears there is not watched.
        assert_eq!(rig.check_watched(area.range()), Resolution::Vanished);
        assert_eq!(rig.check_watched(area.page(3)), Resolution::Vanished);
        area.overlay(3..4);
        assert_eq!(rig.check_watched(area.page(3)), Resolution::Vanished);
        assert_eq!(rig.check_watched(area.pages(2..5)), Resolution::Vanished);
        // Permissions do not matter, but make another area.
        area.protect(6..8, MprotectFlags::empty());
        assert_eq!(rig.check_watched(area.pages(6..8)), Resolution::Done);
        assert_eq!(rig.check_watched(area.pages(4..8)), Resolution::Vanished);
        // Nothing was changed by asking.
        assert_eq!((area.present(0..4), area.present(4..8)), (3, 0));
        area.check(0..3);
    });
}

#[test]
fn nothing_is_known_while_a_message_is_unread() {
    each_tier(&[Feature::EventRemove], |rig| {
        let area = rig.area(2, Modes::MISSING);
        let dropper = spawn(&area, |area| area.advise(0..1, rustix::mm::Advice::LinuxDontNeed));
        rig.await_readable();
        assert_eq!(rig.check_watched(area.page(1)), Resolution::Retry);
        let mut events = Events::new();
        assert_eq!(rig.read_events(&mut events).expect("read"), 1);
        assert!(matches!(events.next(), Some(Event::Remove(range)) if range == area.page(0)));
        dropper.join().expect("thread").expect("drop");
        assert_eq!(rig.check_watched(area.page(1)), Resolution::Done);
    });
}
