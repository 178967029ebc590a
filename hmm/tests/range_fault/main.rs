//! `range_fault` and `snapshot` on real memory, under the names of the kernel's own HMM tests where
//! there is one: what is reported, how many fault calls it takes, what it leaves behind.
//!
//! # Safety
//!
//! Mapped files are the tests' own and unlinked: no other code changes them or cuts them short.

#![allow(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod huge;
mod mirror;
#[path = "../processors/mod.rs"]
mod processors;
mod race;
mod writable;

use std::fs::File;
use std::io::{Read, Seek, Write};

use common::{Arena, look, page_bytes, pages_in, smaps_bytes};
use farptr_hmm::{FaultError, PageCount, PageState, Pfn, VaRange};
use memmap2::MmapOptions;
use mirror::{Mirror, bytes, number_pages, numbered};
use rustix::mm::MprotectFlags;

const PAGES: usize = 1024;

#[test]
fn anon_read() {
    let arena = Arena::new(PAGES);
    number_pages(arena.range_of(2..PAGES), 2);
    arena.protect(0..PAGES, MprotectFlags::READ);
    arena.read([1]);

    let mut mirror = Mirror::open();
    let read = mirror.read(arena.range()).expect("read");
    assert_eq!((mirror.cpages, mirror.faults), (PAGES, 1));
    assert!(read[..2 * page_bytes()].iter().all(|&byte| byte == 0));
    assert_eq!(read[2 * page_bytes()..], numbered(2..PAGES));
    assert_eq!(look(arena.range()).absent_pages(), PageCount::ZERO);
}

#[test]
fn anon_read_prot() {
    let arena = Arena::new(PAGES);
    number_pages(arena.range(), 0);
    arena.protect(0..PAGES, MprotectFlags::empty());

    let mut mirror = Mirror::open();
    let error = mirror.read(arena.range()).unwrap_err();
    let start = arena.range().start();
    assert!(matches!(error, FaultError::Fault { addr } if addr == start), "{error:?}");
    assert_eq!(mirror.cpages, 0);

    arena.protect(0..PAGES, MprotectFlags::READ);
    assert_eq!(bytes(arena.range()), numbered(0..PAGES));
}

#[test]
fn anon_write() {
    let arena = Arena::new(PAGES);
    let mut mirror = Mirror::open();
    mirror.write(arena.range(), &numbered(0..PAGES)).expect("write");
    assert_eq!((mirror.cpages, mirror.faults), (PAGES, 1));
    assert_eq!(bytes(arena.range()), numbered(0..PAGES));
}

#[test]
fn anon_write_prot() {
    let arena = Arena::new(PAGES);
    arena.protect(0..PAGES, MprotectFlags::READ);
    let mut mirror = Mirror::open();
    mirror.read(arena.range_of(0..1)).expect("read");
    assert_eq!((mirror.cpages, mirror.faults), (1, 1));

    let error = mirror.write(arena.range(), &numbered(0..PAGES)).unwrap_err();
    let start = arena.range().start();
    assert!(matches!(error, FaultError::Permission { addr } if addr == start), "{error:?}");
    assert!(bytes(arena.range_of(0..1)).iter().all(|&byte| byte == 0));
    assert_eq!(look(arena.range()).present_pages(), PageCount::new(1), "nothing was faulted in");

    arena.protect(0..PAGES, MprotectFlags::READ | MprotectFlags::WRITE);
    mirror.write(arena.range(), &numbered(0..PAGES)).expect("write");
    assert_eq!((mirror.cpages, mirror.faults), (PAGES, 1));
    assert_eq!(bytes(arena.range()), numbered(0..PAGES));
    let all = (PAGES * page_bytes()) as u64;
    assert_eq!(smaps_bytes(start, "Anonymous"), all, "the page of zeroes was replaced");
}

/// An unlinked file of numbered pages.
fn file_of(pages: usize) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&numbered(0..pages)).expect("write");
    file
}

#[test]
fn file_read() {
    let file = file_of(PAGES);
    // SAFETY: The file is this test's own and unlinked; it is not truncated.
    let map = unsafe { MmapOptions::new().map(&file) }.expect("map");
    let mut mirror = Mirror::open();
    let read = mirror.read(VaRange::of_slice(&map)).expect("read");
    assert_eq!((mirror.cpages, mirror.faults), (PAGES, 1));
    assert_eq!(read, numbered(0..PAGES));
    let error = mirror.write(VaRange::of_slice(&map), &read).unwrap_err();
    assert!(matches!(error, FaultError::Permission { .. }), "{error:?}");
}

#[test]
fn file_write() {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.set_len((PAGES * page_bytes()) as u64).expect("extend");
    // SAFETY: The file is this test's own and unlinked; it is not truncated.
    let map = unsafe { MmapOptions::new().map_mut(&file) }.expect("map");
    let range = VaRange::of_slice(&map);
    let mut mirror = Mirror::open();
    mirror.write(range, &numbered(0..PAGES)).expect("write");
    assert_eq!((mirror.cpages, mirror.faults), (PAGES, 1));
    assert_eq!(bytes(range), numbered(0..PAGES));
    let mut text = Vec::new();
    file.rewind().expect("seek");
    file.read_to_end(&mut text).expect("read");
    assert!(text == numbered(0..PAGES), "the file has it too");
}

#[test]
fn snapshot() {
    let arena = Arena::new(5);
    arena.protect(0..1, MprotectFlags::empty());
    arena.unmap(1..2);
    arena.read([2]);
    arena.write([3, 4]);
    arena.protect(2..4, MprotectFlags::READ);
    let before = (look(arena.range()), smaps_bytes(arena.range_of(4..5).start(), "Rss"));

    let pfns = Mirror::open().snapshot(arena.range());
    let at = |page: usize| pfns.at(arena.range_of(page..page + 1).start()).expect("in range");
    assert_eq!([at(0), at(1)], [Pfn::ERROR; 2]);
    assert!([at(2), at(3)].iter().all(|pfn| pfn.is_valid() && !pfn.is_writable()));
    assert!(at(4).is_valid() && at(4).is_writable());
    assert!((2..5).all(|page| at(page).order() == 0));
    let after = (look(arena.range()), smaps_bytes(arena.range_of(4..5).start(), "Rss"));
    assert_eq!(before, after, "looking has no effect");
}

#[test]
fn a_snapshot_of_untouched_memory_is_one_run_of_nothing() {
    let arena = Arena::new(100_000);
    let pfns = Mirror::open().snapshot(arena.range());
    assert_eq!(pfns.runs().len(), 1);
    assert_eq!(pfns.runs()[0].first, Pfn::NONE);
    assert_eq!(look(arena.range()).present_pages(), PageCount::ZERO);
}

#[test]
fn a_large_present_range_is_one_run() {
    let arena = Arena::new(1 << 15);
    let mut mirror = Mirror::open();
    let pfns = mirror.fault(arena.range(), true).expect("populate");
    assert_eq!((mirror.faults, pfns.runs().len()), (1, 1));
    assert_eq!(mirror.snapshot(arena.range()), pfns);
}

#[test]
fn the_number_of_a_host_page_is_the_number_of_the_page() {
    let arena = Arena::new(8);
    arena.write(0..8);
    let size = farptr_hmm::PageSize::host();
    for (addr, pfn) in Mirror::open().snapshot(arena.range()).pages() {
        assert_eq!(pfn.number(), Some(addr.page_number(size)));
    }
}

#[test]
fn a_private_file_page_is_copied_before_it_is_writable() {
    let file = file_of(8);
    // SAFETY: The file is this test's own and unlinked; it is not truncated.
    let map = unsafe { MmapOptions::new().map_copy(&file) }.expect("map");
    let range = VaRange::of_slice(&map);
    let mut mirror = Mirror::open();
    let pfns = mirror.fault(range, false).expect("read");
    assert_eq!(pfns.count(Pfn::is_valid).get(), 8);
    assert_eq!(pfns.count(Pfn::is_writable).get(), 0);
    assert_eq!(pages_in(&look(range), PageState::File).len(), 8);
    let pfns = mirror.fault(range, true).expect("write");
    assert_eq!(pfns.count(Pfn::is_writable).get(), 8);
    assert_eq!(pages_in(&look(range), PageState::Anonymous).len(), 8);
    assert_eq!(bytes(range), numbered(0..8));
}
