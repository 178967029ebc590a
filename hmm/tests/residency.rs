//! Residency of real mappings: exact counts, every source against every other, `mincore` and
//! `smaps` as witnesses.
//!
//! # Safety
//!
//! Mapped files are the tests' own and unlinked: no other code changes them or cuts them short.

#![allow(unsafe_code)]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;

use common::{
    Arena, look, mincore_pages, page_bytes, pages_in, pages_per_huge, read_byte, skip, skip_before,
    skip_where_needed, smaps_bytes, states, write_byte,
};
use farptr_hmm::{
    PageCount, PageSize, PageState, Pagemap, PagemapError, PagemapSource, VaRange, VirtAddr,
};
use memmap2::{Advice, MmapOptions, UncheckedAdvice};
use proptest::prelude::*;
use rustix::mm::MprotectFlags;

#[test]
fn untouched_memory_is_absent() {
    let arena = Arena::new(100);
    let seen = look(arena.range());
    assert_eq!(seen.runs().len(), 1);
    assert_eq!(seen.absent_pages(), PageCount::new(100));
    assert_eq!(seen.present_pages(), PageCount::ZERO);
    assert_eq!(smaps_bytes(arena.range().start(), "Rss"), 0);
}

#[test]
fn touched_pages_are_present_and_no_others() {
    let arena = Arena::new(8);
    arena.write([0, 3, 5]);
    let seen = look(arena.range());
    assert_eq!(pages_in(&seen, PageState::Anonymous), [0, 3, 5]);
    assert_eq!(pages_in(&seen, PageState::Absent), [1, 2, 4, 6, 7]);
    assert_eq!(seen.runs().len(), 6);
    assert_eq!(smaps_bytes(arena.range().start(), "Rss"), 3 * page_bytes() as u64);
}

#[test]
fn a_page_that_was_only_read_is_the_page_of_zeroes() {
    let arena = Arena::new(4);
    arena.read([2]);
    assert_eq!(pages_in(&look(arena.range()), PageState::Anonymous), [2]);
}

#[test]
fn dropped_pages_are_absent_again() {
    let arena = Arena::new(8);
    arena.write(0..8);
    assert_eq!(look(arena.range()).present_pages(), PageCount::new(8));
    arena.drop_pages(2..5);
    assert_eq!(pages_in(&look(arena.range()), PageState::Absent), [2, 3, 4]);
}

#[test]
fn looking_changes_nothing() {
    let arena = Arena::new(16);
    arena.write([1, 2]);
    let first = look(arena.range());
    assert_eq!(look(arena.range()), first);
    assert_eq!(smaps_bytes(arena.range().start(), "Rss"), 2 * page_bytes() as u64);
}

#[test]
fn a_byte_range_is_examined_in_the_pages_it_touches() {
    let arena = Arena::new(4);
    arena.write([1]);
    let page = page_bytes() as u64;
    let start = arena.range_of(1..2).start();
    let inside = VaRange::from_len(start.checked_add(1).unwrap(), 1).unwrap();
    assert_eq!(look(inside).range(), arena.range_of(1..2));
    assert_eq!(look(inside).present_pages(), PageCount::new(1));

    let across = VaRange::from_len(start.checked_sub(1).unwrap(), page + 2).unwrap();
    assert_eq!(look(across).range(), arena.range_of(0..3));
    assert_eq!(pages_in(&look(across), PageState::Anonymous), [1]);

    let empty = VaRange::from_len(start.checked_add(7).unwrap(), 0).unwrap();
    assert_eq!(look(empty).pages(), PageCount::ZERO);
}

#[test]
fn protection_does_not_make_a_page_absent() {
    let arena = Arena::new(4);
    arena.write([0, 1]);
    arena.protect(0..4, MprotectFlags::empty());
    assert_eq!(pages_in(&look(arena.range()), PageState::Anonymous), [0, 1]);
}

#[test]
fn a_hole_is_absent() {
    let arena = Arena::new(6);
    arena.write(0..6);
    arena.unmap(2..4);
    assert_eq!(pages_in(&look(arena.range()), PageState::Absent), [2, 3]);
    assert_eq!(pages_in(&look(arena.range()), PageState::Anonymous), [0, 1, 4, 5]);
}

#[test]
fn many_short_runs_need_many_calls_and_come_back_whole() {
    // More runs than one scan returns and more pages than one read takes.
    let arena = Arena::new(9001);
    arena.write((0..9001).step_by(2));
    let seen = look(arena.range());
    assert_eq!(seen.runs().len(), 9001);
    assert_eq!(seen.present_pages(), PageCount::new(4501));
    assert_eq!(seen.absent_pages(), PageCount::new(4500));
}

#[test]
fn guard_markers_are_entries_that_map_no_page() {
    let arena = Arena::new(4);
    arena.write([0, 1]);
    match arena.install_guards(1..3) {
        Ok(()) => {
            let seen = look(arena.range());
            assert_eq!(pages_in(&seen, PageState::Swapped), [1, 2]);
            assert_eq!(pages_in(&seen, PageState::Anonymous), [0]);
            assert_eq!(seen.swapped_pages(), PageCount::new(2));
        }
        Err(error) => skip_before((6, 13), "guard markers", error),
    }
}

#[test]
fn addresses_that_no_process_has_are_an_error() {
    let page = PageSize::host().bytes();
    let top = VaRange::new(VaRange::LIMIT.checked_sub(page).unwrap(), VaRange::LIMIT).unwrap();
    let across = VaRange::new(VirtAddr::new(page), VaRange::LIMIT).unwrap();
    for pagemap in common::pagemaps() {
        for range in [top, across] {
            let error = pagemap.residency(range).unwrap_err();
            assert!(matches!(error, PagemapError::OutsideUserSpace { .. }), "{error:?}");
            assert!(error.to_string().contains("0x8000000000000000"), "{error}");
        }
    }
}

#[test]
fn the_best_source_is_chosen() {
    let chosen = Pagemap::open().unwrap().source();
    assert_eq!(chosen, common::pagemaps()[0].source());
    let entries = Pagemap::open_with(PagemapSource::Entries).unwrap();
    assert_eq!(entries.source(), PagemapSource::Entries);
}

/// A file of `pages` pages, all of them in the page cache.
fn file_of(pages: usize) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&vec![7; pages * page_bytes()]).expect("write");
    file
}

fn page_of(bytes: &[u8], page: usize) -> VirtAddr {
    VirtAddr::of(&bytes[page * page_bytes()])
}

#[test]
fn a_private_write_makes_a_page_anonymous() {
    let file = file_of(8);
    // SAFETY: The file is this test's own and unlinked; it is not truncated.
    let mut map = unsafe { MmapOptions::new().map_copy(&file) }.expect("map");
    let range = VaRange::of_slice(&map);
    assert_eq!(look(range).present_pages(), PageCount::ZERO);

    // A first write copies one page and maps no other.
    map[4 * page_bytes()] = 1;
    let seen = look(range);
    assert_eq!(pages_in(&seen, PageState::Anonymous), [4]);
    assert_eq!(seen.present_pages(), PageCount::new(1));

    // A page that was there as the file's is replaced by a copy.
    map.advise(Advice::PopulateRead).expect("populate");
    assert_eq!(pages_in(&look(range), PageState::File), [0, 1, 2, 3, 5, 6, 7]);
    map[6 * page_bytes()] = 1;
    let seen = look(range);
    assert_eq!(pages_in(&seen, PageState::Anonymous), [4, 6]);
    assert_eq!(pages_in(&seen, PageState::File), [0, 1, 2, 3, 5, 7]);
    assert_eq!(smaps_bytes(range.start(), "Anonymous"), 2 * page_bytes() as u64);
}

#[test]
fn a_shared_write_keeps_the_pages_of_the_file() {
    let file = file_of(8);
    // SAFETY: The file is this test's own and unlinked; it is not truncated.
    let mut map = unsafe { MmapOptions::new().map_mut(&file) }.expect("map");
    let range = VaRange::of_slice(&map);
    assert_eq!(look(range).present_pages(), PageCount::ZERO);

    map[3 * page_bytes()] = 1;
    let seen = look(range);
    assert_eq!(seen.state_at(page_of(&map, 3)), Some(PageState::File));
    assert_eq!(seen.pages_in(PageState::Anonymous), PageCount::ZERO);
    let rss = smaps_bytes(range.start(), "Rss");
    assert_eq!(seen.present_pages().bytes(PageSize::host()), Some(rss));

    map.advise(Advice::PopulateRead).expect("populate");
    assert_eq!(pages_in(&look(range), PageState::File).len(), 8);
    // SAFETY: Dropping pages of a shared file mapping loses no data, the file keeps them.
    unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) }.expect("drop");
    assert_eq!(look(range).absent_pages(), PageCount::new(8));
}

#[test]
fn a_read_only_file_mapping_is_file_pages() {
    let file = file_of(3);
    // SAFETY: The file is this test's own and unlinked; it is not truncated.
    let map = unsafe { MmapOptions::new().map(&file) }.expect("map");
    read_byte(page_of(&map, 1));
    let seen = look(VaRange::of_slice(&map));
    // The kernel may map cached neighbours along with the page that was read.
    assert_eq!(seen.state_at(page_of(&map, 1)), Some(PageState::File));
    assert_eq!(seen.pages_in(PageState::Anonymous), PageCount::ZERO);
}

/// Tells why huge pages cannot be expected here, if they cannot.
fn huge_pages_forbidden() -> Option<String> {
    let policy = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let size = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    match (policy, size) {
        (Ok(policy), _) if policy.contains("[never]") => Some("the policy is never".into()),
        (Ok(_), Ok(size)) if size.trim() == "2097152" => None,
        (Ok(_), size) => Some(format!("a huge page is not 2 MiB: {size:?}")),
        (Err(error), _) => Some(format!("no transparent huge pages: {error}")),
    }
}

/// The first 2 MiB of the arena that one huge page can map.
fn huge_page_of(arena: &Arena) -> VaRange {
    let start = arena.range().start().align_up(PageSize::MIB_2).expect("in user space");
    VaRange::from_len(start, PageSize::MIB_2.bytes()).expect("in user space")
}

#[test]
fn a_huge_page_counts_as_its_small_pages() {
    if let Some(reason) = huge_pages_forbidden() {
        return skip_where_needed("huge page", reason);
    }
    let arena = Arena::new_huge(pages_per_huge());
    let huge = huge_page_of(&arena);
    write_byte(huge.start());
    let granted = smaps_bytes(arena.range().start(), "AnonHugePages");
    if granted != huge.len_bytes() {
        return skip_where_needed("huge page", "the kernel had none to give");
    }
    for pagemap in common::pagemaps() {
        let seen = pagemap.residency(arena.range()).unwrap();
        let expected = PageCount::new(pages_per_huge() as u64);
        assert_eq!(seen.present_pages(), expected);
        assert_eq!(seen.run_at(huge.start()).map(|run| run.range), Some(huge));
        match pagemap.source() {
            PagemapSource::Scan => assert_eq!(seen.huge_pages(), Some(expected)),
            _ => assert_eq!(seen.huge_pages(), None),
        }
    }
    assert_eq!(look(arena.range()).pages_in(PageState::Anonymous).get(), pages_per_huge() as u64);
}

#[test]
fn the_huge_page_of_zeroes_is_not_a_page_of_a_file() {
    if let Some(reason) = huge_pages_forbidden() {
        return skip_where_needed("huge page of zeroes", reason);
    }
    let arena = Arena::new_huge(pages_per_huge());
    let huge = huge_page_of(&arena);
    read_byte(huge.start());
    let seen = look(huge);
    assert_eq!(seen.pages_in(PageState::File), PageCount::ZERO);
    assert_eq!(seen.state_at(huge.start()), Some(PageState::Anonymous));
    if seen.present_pages() == PageCount::new(1) {
        skip("huge page of zeroes", "the kernel mapped the small one");
    }
}

/// The change that a test makes to one page.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize),
    Read(usize),
    Drop(usize),
}

fn steps(pages: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3, 0..pages).prop_map(|(kind, page)| match kind {
        0 => Step::Write(page),
        1 => Step::Read(page),
        _ => Step::Drop(page),
    });
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn residency_follows_a_model(steps in steps(40)) {
        let arena = Arena::new(40);
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Write(page) => {
                    arena.write([page]);
                    model.insert(page);
                }
                Step::Read(page) => {
                    arena.read([page]);
                    model.insert(page);
                }
                Step::Drop(page) => {
                    arena.drop_pages(page..page + 1);
                    model.remove(&page);
                }
            }
        }
        let seen = look(arena.range());
        let present: Vec<bool> = states(&seen).into_iter().map(PageState::is_present).collect();
        let expected: Vec<bool> = (0..40).map(|page| model.contains(&page)).collect();
        prop_assert_eq!(&present, &expected);
        prop_assert_eq!(&present, &mincore_pages(arena.range()));
    }
}
