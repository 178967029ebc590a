use super::*;
use farptr_hmm::VirtAddr;

fn range(start: u64, bytes: u64) -> VaRange {
    VaRange::from_len(VirtAddr::new(start), bytes).unwrap()
}

fn missing(lend: usize, page: usize, write: bool) -> Missing {
    Missing { lend, page, write }
}

const NO_ROOM: fn() -> Result<u64, &'static str> = || Err("no room");

#[test]
fn copies_carry_lent_bytes_only_and_neighbours_are_joined() {
    let mut pages = Pages::default();
    let lend = pages.add(range(0x1ff0, 0x2020), true, Some(0x10_0000), 0x50_0000);
    assert_eq!(pages.lends()[lend].pages(), 4);
    let all: Vec<Missing> = (0..4).map(|page| missing(lend, page, true)).collect();
    let whole = Span { home: 0x1ff0, device: 0x10_0ff0, bytes: 0x2020 };
    assert_eq!(pages.serve(&all, NO_ROOM), Ok(vec![whole]));
    assert_eq!(pages.serve(&all, NO_ROOM), Ok(vec![]), "served already");
    assert_eq!(pages.writable(&Reach::All), [whole]);
    assert_eq!(pages.dirty(&Reach::All).spans, [], "nothing is newer than home before a commit");
    pages.commit(&Reach::All);
    assert_eq!(pages.dirty(&Reach::All).spans, [whole]);
    pages.written_back(&pages.dirty(&Reach::All));
    assert_eq!(pages.dirty(&Reach::All).spans, []);
    assert_eq!(pages.writable(&Reach::All), [whole], "the device may still write");
}

#[test]
fn lends_that_share_a_page_share_no_frame() {
    let mut pages = Pages::default();
    let low = pages.add(range(0x1000, 0x100), true, None, 0x50_0000);
    let high = pages.add(range(0x1100, 0x200), false, None, 0x51_0000);
    let mut next = 0;
    let mut room = || {
        next += 0x1000;
        Ok::<u64, ()>(next)
    };
    let plan = pages.serve(&[missing(low, 0, true), missing(high, 0, false)], &mut room);
    let copies = [
        Span { home: 0x1000, device: 0x1000, bytes: 0x100 },
        Span { home: 0x1100, device: 0x2100, bytes: 0x200 },
    ];
    assert_eq!(plan.unwrap(), copies);
    assert_eq!(pages.find(0x10ff), Some((low, 0)));
    assert_eq!(pages.find(0x1100), Some((high, 0)));
    assert_eq!((pages.find(0xfff), pages.find(0x1300)), (None, None));
    pages.commit(&Reach::All);
    assert_eq!(
        pages.dirty(&Reach::All).spans,
        copies[..1],
        "what is lent for reading never goes home"
    );
    assert!(!pages.lends()[high].lacks(0, true), "serving it does not make it writable");
}

#[test]
fn lends_that_touch_are_copied_apart_wherever_their_frames_are() {
    let mut pages = Pages::default();
    let low = pages.add(range(0x1000, 0x1000), true, Some(0x10_0000), 0x50_0000);
    let high = pages.add(range(0x2000, 0x1000), true, Some(0x10_1000), 0x51_0000);
    let all = [missing(low, 0, true), missing(high, 0, true)];
    let copies = [
        Span { home: 0x1000, device: 0x10_0000, bytes: 0x1000 },
        Span { home: 0x2000, device: 0x10_1000, bytes: 0x1000 },
    ];
    assert_eq!(pages.serve(&all, NO_ROOM).unwrap(), copies);
    assert_eq!(pages.writable(&Reach::All), copies);
    pages.commit(&Reach::All);
    assert_eq!(pages.dirty(&Reach::All).spans, copies);
}

#[test]
fn nested_lends_are_found() {
    let mut pages = Pages::default();
    let outer = pages.add(range(0x1000, 0x10000), false, None, 0x50_0000);
    let inner = pages.add(range(0x3000, 0x10), false, None, 0x51_0000);
    assert_eq!(pages.find(0x3000), Some((inner, 0)));
    assert_eq!(pages.find(0x3010), Some((outer, 2)));
    assert_eq!(pages.find(0x1_0fff), Some((outer, 15)));
}

#[test]
fn failed_room_changes_no_state() {
    let mut pages = Pages::default();
    let lend = pages.add(range(0x1000, 0x2000), true, None, 0x50_0000);
    let wanted = [missing(lend, 0, true), missing(lend, 1, false)];
    let mut left = 1;
    let room = || {
        left -= 1;
        if left < 0 { Err("no room") } else { Ok(0x9000) }
    };
    assert_eq!(pages.serve(&wanted, room), Err("no room"));
    assert!(pages.lends()[lend].lacks(0, false));
    assert_eq!(pages.writable(&Reach::All), []);
    let plan = pages.serve(&wanted, || Ok::<u64, ()>(0xb000)).unwrap();
    assert_eq!(plan[0].device, 0x9000, "the frame was kept");
}

#[test]
fn residency_needs_one_stretch_and_all_permissions() {
    let mut pages = Pages::default();
    let run = pages.add(range(0x1800, 0x1000), true, Some(0x10_0000), 0x50_0000);
    let read: Vec<Missing> = (0..2).map(|page| missing(run, page, false)).collect();
    pages.serve(&read, NO_ROOM).unwrap();
    assert_eq!(pages.lends()[run].resident_delta(), None, "it may be written");
    let write: Vec<Missing> = (0..2).map(|page| missing(run, page, true)).collect();
    assert_eq!(pages.serve(&write, NO_ROOM), Ok(vec![]), "permission alone costs no copy");
    assert_eq!(pages.lends()[run].resident_delta(), Some(0x10_0000 - 0x1000));
    pages.discard(&Reach::All);
    assert_eq!(pages.lends()[run].resident_delta(), None);
    pages.serve(&write, NO_ROOM).unwrap();
    pages.forget(run);
    assert!(pages.lends()[run].lacks(0, false));
}

#[test]
fn a_launch_changes_the_lends_that_it_reaches() {
    let mut pages = Pages::default();
    let one = pages.add(range(0x1000, 0x1000), true, Some(0x10_0000), 0x50_0000);
    let other = pages.add(range(0x8000, 0x1000), true, Some(0x20_0000), 0x51_0000);
    pages.serve(&[missing(one, 0, true), missing(other, 0, true)], NO_ROOM).unwrap();
    let [first, second] = [one, other].map(|lend| Reach::these([lend]));
    let span = |home, device| Span { home, device, bytes: 0x1000 };
    assert_eq!(pages.writable(&second), [span(0x8000, 0x20_0000)]);
    pages.commit(&first);
    assert_eq!(pages.dirty(&second).spans, []);
    assert_eq!(pages.dirty(&Reach::All).spans, [span(0x1000, 0x10_0000)]);
    pages.discard(&second);
    assert!(pages.lends()[other].lacks(0, false) && !pages.lends()[one].lacks(0, true));
}

#[test]
fn pages_in_doubt_come_again_unless_they_are_newer() {
    let mut pages = Pages::default();
    let lend = pages.add(range(0x1000, 0x2000), true, Some(0x10_0000), 0x50_0000);
    pages.serve(&[missing(lend, 0, true)], NO_ROOM).unwrap();
    pages.commit(&Reach::All);
    pages.serve(&[missing(lend, 1, false)], NO_ROOM).unwrap();
    let uploaded = |pages: &mut Pages| {
        let mut words = Vec::new();
        let upload = |_, new: &[u64]| {
            words.extend_from_slice(new);
            Ok::<(), ()>(())
        };
        pages.table.upload(upload).unwrap();
        words
    };
    let dirty = Entry::new(0x10_0000, true).word();
    assert_eq!(uploaded(&mut pages), [dirty, Entry::new(0x10_1000, false).word()]);
    pages.doubt();
    assert!(!pages.lends()[lend].lacks(0, true) && pages.lends()[lend].lacks(1, false));
    assert_eq!(uploaded(&mut pages), [dirty, 0]);
}
