//! Queries of areas while a launch runs.
//!
//! # Safety
//!
//! Each test gives its own list to a launch, which reads and writes nothing else.
#![allow(unsafe_code, reason = "it opens the memory of the process, with the argument above")]

use super::*;
use crate::{
    paging::{
        PAGE_BYTES,
        pages::Pages,
        plan::{Plan, Replay},
        process::ProcessPages,
        rounds,
        soft::{self, Launch, Op, Soft},
    },
    residency::memory::Memory,
    test_hooks::ServeFaults,
};
use farptr_hmm::MapsSource;
use memmap2::MmapMut;
use std::sync::{Arc, Mutex};

/// A process whose queries are counted, also while its pages own it.
struct Shared(Arc<Mutex<LentProcess>>);

impl Host for Shared {
    fn refresh_areas(&mut self) {
        self.0.lock().unwrap().refresh_areas();
    }

    fn area(&mut self, address: u64) -> Result<Option<Vma>, Denial> {
        self.0.lock().unwrap().area(address)
    }

    fn read(&mut self, from: u64, bytes: &mut [u8]) -> bool {
        self.0.lock().unwrap().read(from, bytes)
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> bool {
        self.0.lock().unwrap().write(to, bytes)
    }

    fn diagnose(&mut self, address: u64) -> Denial {
        self.0.lock().unwrap().diagnose(address)
    }
}

/// Adds one to each item of a list on a device in software, and returns the rounds that it took and
/// the number of queries of areas.
fn walk(head: u64, source: MapsSource) -> Option<(u64, u64)> {
    let areas = Areas::of(Maps::open_with(source).ok()?);
    // SAFETY: the launch below follows the list, which the caller lends to it.
    let memory = unsafe { ProcessMemory::open() }.ok()?;
    let process = Arc::new(Mutex::new(LentProcess { memory, areas }));
    let mut process_pages = ProcessPages::new(Box::new(Shared(Arc::clone(&process))));
    let program = vec![
        Op::Set { to: 0, value: head },
        Op::Bump { register: 0, offset: 8 },
        Op::Follow { register: 0, offset: 0 },
        Op::Again { register: 0 },
    ];
    let mut device = Soft::new(soft::Home { start: 0, bytes: Vec::new() }, vec![program]);
    let mut pages = Pages::default();
    let room = |bytes| device.allocate(bytes);
    pages.table.add_tree(Width::Bits47, room).unwrap();
    let plan = Plan {
        max_rounds: 1000,
        serve_faults: Some(ServeFaults { seed: 1, most_per_round: 1 }),
        ..Plan::unlimited(Replay::Undo)
    };
    let mut launch = Launch::new(device, &pages);
    let (outcome, costs) = rounds::launch(&mut launch, &mut pages, Some(&mut process_pages), plan);
    outcome.unwrap();
    let queries = process.lock().unwrap().areas.queries();
    Some((costs.rounds, queries))
}

#[test]
fn areas_are_queried_once_a_round_however_many_there_are() {
    const PAGES: usize = 20;
    let bytes = usize::try_from(PAGE_BYTES).unwrap();
    let mut list = MmapMut::map_anon(PAGES * bytes).unwrap();
    let head = list.as_mut_ptr().expose_provenance() as u64;
    for page in 1..PAGES {
        let next = head + (page * bytes) as u64;
        list[(page - 1) * bytes..][..8].copy_from_slice(&next.to_le_bytes());
    }
    // Each map is an area, with one between it and the next.
    let mut others = Vec::new();
    for walks in 1..3u8 {
        for source in [MapsSource::Query, MapsSource::Text] {
            let Some((rounds, queries)) = walk(head, source) else { continue };
            // A round that misses a page makes one query; the last round makes one before it writes
            // and one after.
            assert_eq!((rounds, queries), (PAGES as u64 + 2, rounds + 1), "{source:?}");
        }
        if walks == 1 {
            for number in 0..2000 {
                let map = MmapMut::map_anon(bytes).unwrap();
                others.push(if number % 2 == 0 {
                    Ok(map)
                } else {
                    Err(map.make_read_only().unwrap())
                });
            }
        }
    }
    assert_eq!(others.len(), 2000);
    assert!((0..PAGES).all(|page| list[page * bytes + 8] >= 2));
}
