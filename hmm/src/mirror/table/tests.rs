//! The table against a map of pages.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::device::Hold;

fn at(page: u64) -> VirtAddr {
    VirtAddr::new(page * page_bytes())
}

fn pages(first: u64, count: u64) -> VaRange {
    VaRange::from_len(at(first), count * page_bytes()).expect("a range")
}

fn held(frame: u64) -> Held {
    let (device, frame) = (DeviceIndex(3), PageNumber::new(frame));
    Held { device, frame, hold: Hold::Private, huge: false }
}

fn table() -> PageTable {
    PageTable::new(8).expect("memory")
}

#[test]
fn a_run_is_as_long_as_its_frames_follow_each_other() {
    let mut table = table();
    for page in 0..4 {
        table.set(at(510 + page), Place::Device(held(7 + page))).expect("room");
    }
    table.set(at(514), Place::Device(held(70))).expect("room");
    let run = table.next_held(pages(0, 2000), 100).expect("a run");
    assert_eq!((run.range, run.first), (pages(510, 4), held(7)));
    let part = table.next_held(pages(511, 2), 100).expect("a run");
    assert_eq!((part.range, part.first), (pages(511, 2), held(8)));
    assert_eq!(table.next_held(pages(0, 2000), 3).expect("a run").range, pages(510, 3));
}

#[test]
fn what_is_forgotten_becomes_garbage() {
    let mut table = table();
    for page in 0..10 {
        table.set(at(page), Place::Device(held(page))).expect("room");
    }
    table.set(at(4), Place::Transit(Mover::Migrator, 9)).expect("room");
    assert_eq!(table.transit(Mover::Migrator).at(9), Some(at(4)));
    table.forget(pages(2, 4));
    assert_eq!(table.transit(Mover::Migrator).at(9), None);
    assert_eq!(table.held(), PageCount::new(6));
    let frames = std::iter::from_fn(|| table.take_garbage()).map(Garbage::frames);
    let frames: Vec<_> = frames.map(|(first, host)| (first.get(), host)).collect();
    assert_eq!(frames, [(5, pages(5, 1)), (2, pages(2, 2))]);
}

#[test]
fn garbage_says_where_its_pages_belonged_last() {
    let mut table = table();
    // Neighbouring frames of pages that are no neighbours are given back by themselves.
    for (page, frame) in [(3, 7), (9, 8), (10, 9)] {
        table.set(at(page), Place::Device(held(frame))).expect("room");
    }
    table.rekey(pages(9, 2), at(600)).expect("room");
    table.forget(pages(0, 1000));
    let garbage = std::iter::from_fn(|| table.take_garbage()).map(Garbage::frames);
    let garbage: Vec<_> = garbage.map(|(first, host)| (first.get(), host)).collect();
    assert_eq!(garbage, [(8, pages(600, 2)), (7, pages(3, 1))]);
}

#[test]
fn pages_in_transit_move_with_their_mapping() {
    let mut table = table();
    table.set(at(5), Place::Transit(Mover::Handler, 0)).expect("room");
    table.set(at(6), Place::Device(held(1))).expect("room");
    table.rekey(pages(5, 2), at(5000)).expect("room");
    assert_eq!(table.transit(Mover::Handler).at(0), Some(at(5000)));
    assert_eq!(table.place(at(5001)), Place::Device(held(1)));
    assert_eq!((table.place(at(5)), table.place(at(6))), (Place::Home, Place::Home));
}

/// Between an `mremap` and the message about it, a mover finds nothing noted at the new place, and
/// claims it.
#[test]
fn a_page_that_moves_in_takes_the_place_of_a_claim() {
    let mut table = table();
    table.set(at(5), Place::Device(held(1))).expect("room");
    table.set(at(5000), Place::Transit(Mover::Migrator, 0)).expect("room");
    table.set(at(5001), Place::Transit(Mover::Migrator, 1)).expect("room");
    table.rekey(pages(5, 2), at(5000)).expect("room");
    assert_eq!(table.place(at(5000)), Place::Device(held(1)));
    assert_eq!(table.transit(Mover::Migrator).at(0), None);
    assert_eq!(table.transit(Mover::Migrator).at(1), None);
}

#[test]
fn a_table_ends() {
    let mut table = table();
    for block in 0..(8 + SPARE as u64) {
        assert_eq!(table.has_room(), block < 8);
        table.set(at(block * 512), Place::Device(held(block))).expect("room");
    }
    assert_eq!(table.set(at(1 << 30), Place::Device(held(1))), Err(Full));
    table.set(at(0), Place::Home).expect("home needs no room");
    table.set(at(1 << 30), Place::Device(held(1))).expect("a block is free again");
}

proptest! {
    #[test]
    fn the_table_is_a_map_of_pages(
        steps in prop::collection::vec(
            (0u8..3, 0u64..3000, 1u64..900, 0u64..100),
            1..if cfg!(miri) { 8 } else { 40 },
        ),
    ) {
        let mut table = table();
        let mut model: BTreeMap<u64, Held> = BTreeMap::new();
        for (what, first, count, number) in steps {
            match what {
                0 => for page in first..first + count.min(40) {
                    table.set(at(page), Place::Device(held(number + page))).expect("room");
                    model.insert(page, held(number + page));
                },
                1 => {
                    table.forget(pages(first, count));
                    model.retain(|page, _| !(first..first + count).contains(page));
                }
                _ => {
                    let target = 4000 + first + number;
                    table.forget(pages(target, count));
                    model.retain(|page, _| !(target..target + count).contains(page));
                    table.rekey(pages(first, count), at(target)).expect("room");
                    let moved: Vec<_> =
                        model.extract_if(first..first + count, |_, _| true).collect();
                    model.extend(moved.into_iter().map(|(page, h)| (page - first + target, h)));
                }
            }
            prop_assert_eq!(table.held().get(), model.len() as u64);
            let mut rest = VaRange::USER;
            let mut found = BTreeMap::new();
            while let Some(run) = table.next_held(rest, 10_000) {
                for (index, page) in run.range.pages(PageSize::host()).enumerate() {
                    let number = page.start().page_number(PageSize::host()).get();
                    found.insert(number, run.first.advance(index as u64));
                }
                rest = VaRange::new(run.range.end(), rest.end()).expect("ascending");
            }
            prop_assert_eq!(&found, &model);
        }
    }
}
