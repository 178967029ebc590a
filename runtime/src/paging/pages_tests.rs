use super::*;
use farptr_hmm::VirtAddr;
use proptest::prelude::*;

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
fn lends_are_found_by_any_of_their_bytes() {
    let mut pages = Pages::default();
    let long = pages.add(range(0x1000, 0x10000), false, None, 0x50_0000);
    let short = pages.add(range(0x2_0000, 0x10), false, None, 0x51_0000);
    assert_eq!((pages.find(0x1000), pages.find(0x1_0fff)), (Some((long, 0)), Some((long, 15))));
    assert_eq!((pages.find(0xfff), pages.find(0x1_1000), pages.find(0x2_0010)), (None, None, None));
    assert_eq!(pages.find(0x2_000f), Some((short, 0)));
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
    pages.forget([run]);
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

#[derive(Clone, Debug)]
enum Step {
    Serve {
        lend: usize,
        page: usize,
        write: bool,
    },
    /// A launch that counts.
    Commit(Vec<usize>),
    /// A launch that does not count, which was preceded by a copy home.
    Discard(Vec<usize>),
    /// Pages of a lend go home.
    Home {
        lend: usize,
        pages: (usize, usize),
    },
    /// Pages of a lend go home, and are dropped.
    Take {
        lend: usize,
        pages: (usize, usize),
    },
    Doubt,
    Retire(usize),
}

const LENDS: usize = 30;

fn step() -> impl Strategy<Value = Step> {
    let page = || prop_oneof![0..4usize, 0..200usize];
    let part = || (0..LENDS, (page(), page()));
    let some = || prop::collection::vec(0..LENDS, 0..4);
    prop_oneof![
        8 => (0..LENDS, page(), any::<bool>())
            .prop_map(|(lend, page, write)| Step::Serve { lend, page, write }),
        3 => some().prop_map(Step::Commit),
        2 => some().prop_map(Step::Discard),
        2 => part().prop_map(|(lend, pages)| Step::Home { lend, pages }),
        1 => part().prop_map(|(lend, pages)| Step::Take { lend, pages }),
        1 => Just(Step::Doubt),
        1 => (0..LENDS).prop_map(Step::Retire),
    ]
}

/// Takes a step; `lends` has the positions of lends, which new ones take over. An empty list of
/// lends stands for all.
fn take(pages: &mut Pages, lends: &mut [usize], step: &Step) {
    let reach = |some: &[usize]| match some {
        [] => Reach::All,
        some => Reach::these(some.iter().map(|&lend| lends[lend])),
    };
    let range_of = |lend: usize, (a, b): (usize, usize)| {
        let count = pages.lends()[lends[lend]].pages();
        a.min(b).min(count)..a.max(b).min(count)
    };
    match *step {
        Step::Serve { lend, page, write } => {
            let lend = lends[lend];
            let page = page % pages.lends()[lend].pages();
            pages.serve(&[missing(lend, page, write)], NO_ROOM).unwrap();
        }
        Step::Commit(ref some) => pages.commit(&reach(some)),
        Step::Discard(ref some) => {
            let reach = reach(some);
            let dirty = pages.dirty(&reach);
            pages.written_back(&dirty);
            assert_eq!(pages.dirty(&reach).spans, []);
            pages.discard(&reach);
        }
        Step::Home { lend, pages: part } => {
            let dirty = pages.dirty_among(lends[lend], range_of(lend, part));
            pages.written_back(&dirty);
        }
        Step::Take { lend, pages: part } => {
            let (part, lend) = (range_of(lend, part), lends[lend]);
            let dirty = pages.dirty_among(lend, part.clone());
            pages.written_back(&dirty);
            pages.forget_pages(lend, part.clone());
            assert!(part.into_iter().all(|page| pages.lends()[lend].lacks(page, false)));
        }
        Step::Doubt => pages.doubt(),
        Step::Retire(lend) => {
            let old = lends[lend];
            let (range, writable) = (pages.lends()[old].range(), pages.lends()[old].writable());
            let whole = 0..pages.lends()[old].pages();
            let dirty = pages.dirty_among(old, whole);
            pages.written_back(&dirty);
            let frames = pages.retire(old);
            lends[lend] = pages.add(range, writable, frames, 0x50_0000);
        }
    }
}

proptest! {
    /// What is kept for lends of few pages and of many is what a look at every page finds.
    #[test]
    fn what_is_kept_of_lends_is_what_a_scan_finds(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut pages = Pages::default();
        let mut lends: Vec<usize> = (0..LENDS as u64).map(|lend| {
            let count = if lend % 3 == 0 { 200 } else { 2 };
            let (start, frames) = (0x1000_0000 + lend * 0x10_0000, 0x8000_0000 + lend * 0x10_0000);
            pages.add(range(start, count * PAGE_BYTES), lend % 4 != 1, Some(frames), 0x50_0000)
        }).collect();
        let mut deltas: Vec<Option<u64>> = vec![None; LENDS];
        for step in &steps {
            take(&mut pages, &mut lends, step);
            if let Step::Retire(lend) = *step {
                deltas[lend] = None;
            }
            let scanned = |state| {
                let all = pages.lends.iter().enumerate();
                let with = all.filter(move |(_, lend)| {
                    (0..lend.pages()).any(|page| lend.states.at(page) == state)
                });
                with.map(|(position, _)| position).collect::<BTreeSet<_>>()
            };
            for (state, having) in PRESENT.into_iter().zip(&pages.having) {
                prop_assert_eq!(having, &scanned(state));
            }
            let changed = pages.take_changed();
            for (lend, delta) in lends.iter().zip(&mut deltas) {
                let now = pages.lends()[*lend].resident_delta();
                prop_assert!(now == *delta || changed.contains(lend));
                *delta = now;
            }
            let dirty: u64 = (pages.lends.iter())
                .map(|lend| lend.states.count(State::Dirty) as u64 * PAGE_BYTES)
                .sum();
            prop_assert_eq!(Span::sum(&pages.dirty(&Reach::All).spans), dirty);
        }
    }
}
