//! Lookup of real areas: exact ranges, `PROCMAP_QUERY` against the text of `/proc/self/maps`.
//!
//! # Safety
//!
//! Mapped files are the tests' own: no other code changes them or cuts them short.

#![allow(unsafe_code)]

mod common;

use std::os::unix::ffi::OsStrExt;

use common::{Arena, all_maps, page_bytes};
use farptr_hmm::{Maps, MapsSource, VaRange, VirtAddr, Vma, VmaFlags};
use memmap2::MmapOptions;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::mm::MprotectFlags;

const READ_WRITE: VmaFlags = VmaFlags { read: true, write: true, execute: false, shared: false };

/// Finds an area through every source and checks that they agree.
fn find(addr: VirtAddr) -> Option<Vma> {
    let mut found: Vec<_> =
        all_maps().iter().map(|maps| maps.find_vma(addr).expect("find_vma")).collect();
    for pair in found.windows(2) {
        assert_eq!(pair[0], pair[1], "the sources disagree about {addr}");
    }
    found.swap_remove(0)
}

/// Lists areas through every source and checks that they agree.
fn list(range: VaRange) -> Vec<Vma> {
    let mut listed: Vec<_> =
        all_maps().iter().map(|maps| maps.vmas(range).expect("vmas")).collect();
    for pair in listed.windows(2) {
        assert_eq!(pair[0], pair[1], "the sources disagree about {range}");
    }
    listed.swap_remove(0)
}

#[test]
fn an_area_is_found_from_each_of_its_addresses() {
    let arena = Arena::new(4);
    let range = arena.range();
    let last = range.end().checked_sub(1).unwrap();
    for addr in [range.start(), arena.range_of(2..3).start(), last] {
        let vma = find(addr).expect("mapped");
        assert_eq!(vma.range, range);
        assert_eq!(vma.flags, READ_WRITE);
        assert_eq!((vma.offset_bytes, vma.inode, vma.name.as_deref()), (0, 0, None));
        assert!(vma.is_private_anonymous());
    }
}

#[test]
fn from_a_hole_the_next_area_above_is_found() {
    let arena = Arena::new(6);
    arena.unmap(2..4);
    let vma = find(arena.range_of(2..3).start()).expect("something above");
    assert_eq!(vma.range, arena.range_of(4..6));
    assert!(!vma.range.contains(arena.range_of(2..3).start()));
    // The end of an area is not in it.
    assert_eq!(find(arena.range_of(0..2).end()).map(|vma| vma.range), Some(arena.range_of(4..6)));
}

#[test]
fn above_the_last_area_there_is_none() {
    assert_eq!(find(VirtAddr::new(1 << 62)), None);
    assert_eq!(find(VirtAddr::new(u64::MAX)), None);
    assert_eq!(list(VaRange::from_len(VirtAddr::new(1 << 62), 4096).unwrap()), []);
}

#[test]
fn protection_splits_an_area() {
    let arena = Arena::new(6);
    arena.protect(2..3, MprotectFlags::READ);
    arena.protect(3..4, MprotectFlags::empty());
    let listed = list(arena.range());
    let seen: Vec<_> = listed.iter().map(|vma| (vma.range, vma.flags.to_string())).collect();
    assert_eq!(
        seen,
        [
            (arena.range_of(0..2), "rw-p".into()),
            (arena.range_of(2..3), "r--p".into()),
            (arena.range_of(3..4), "---p".into()),
            (arena.range_of(4..6), "rw-p".into()),
        ]
    );
}

#[test]
fn a_list_holds_whatever_shares_a_byte() {
    let arena = Arena::new(6);
    arena.unmap(2..4);
    let middle = arena.range_of(1..5);
    let narrow = VaRange::from_len(middle.start().checked_add(5).unwrap(), 1).unwrap();
    let ranges = |range| list(range).into_iter().map(|vma| vma.range).collect::<Vec<_>>();
    assert_eq!(ranges(middle), [arena.range_of(0..2), arena.range_of(4..6)]);
    assert_eq!(ranges(narrow), [arena.range_of(0..2)]);
    assert_eq!(ranges(arena.range_of(2..4)), []);
    assert_eq!(ranges(arena.range_of(2..2)), []);
}

#[test]
fn a_file_mapping_names_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    // A file system may refuse a name; none that holds temporary files refuses this one.
    let path = folder.path().join("two words\nand (parentheses)");
    std::fs::write(&path, vec![0; 3 * page_bytes()]).expect("write");
    let file = std::fs::File::open(&path).expect("open");
    let page = page_bytes() as u64;
    // SAFETY: The file is this test's own and is not truncated.
    let map = unsafe { MmapOptions::new().offset(page).map(&file) }.expect("map");
    let range = VaRange::of_slice(&map);

    let vma = find(range.start()).expect("mapped");
    assert_eq!(vma.range, range);
    assert_eq!(vma.flags.to_string(), "r--s");
    assert_eq!(vma.offset_bytes, page);
    assert_eq!(vma.path(), Some(path.canonicalize().expect("a path").as_path()));
    assert!(vma.is_file_backed() && !vma.is_deleted());

    std::fs::remove_file(&path).expect("remove");
    let vma = find(range.start()).expect("still mapped");
    assert_eq!(vma.path(), None);
    assert!(vma.is_file_backed() && vma.is_deleted());
}

#[test]
fn a_path_too_long_for_a_query_costs_only_the_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fd = rustix::fs::open(folder.path(), OFlags::PATH, Mode::empty()).expect("open");
    let component = "d".repeat(250);
    for _ in 0..20 {
        rustix::fs::mkdirat(&fd, &component, Mode::RWXU).expect("mkdir");
        fd = rustix::fs::openat(&fd, &component, OFlags::PATH, Mode::empty()).expect("open");
    }
    let flags = OFlags::CREATE | OFlags::RDWR;
    let file = rustix::fs::openat(&fd, "file", flags, Mode::RWXU).expect("create");
    rustix::fs::ftruncate(&file, page_bytes() as u64).expect("truncate");
    // SAFETY: The file is this test's own and is not truncated again.
    let map = unsafe { MmapOptions::new().map(&file) }.expect("map");
    for maps in all_maps() {
        let vma = maps.find_vma(VirtAddr::of_slice(&map)).expect("find_vma").expect("mapped");
        assert_eq!(vma.range, VaRange::of_slice(&map), "{:?}", maps.source());
        assert_eq!(vma.inode, rustix::fs::fstat(&file).expect("stat").st_ino);
        if maps.source() == MapsSource::Query {
            assert_eq!(vma.name, None);
        }
    }
}

#[test]
fn an_area_knows_its_inode() {
    let fd = rustix::fs::memfd_create("scratch pad", MemfdFlags::CLOEXEC).expect("memfd");
    rustix::fs::ftruncate(&fd, page_bytes() as u64).expect("truncate");
    // SAFETY: The file is this test's own and is not truncated again.
    let map = unsafe { MmapOptions::new().map_mut(&fd) }.expect("map");
    let vma = find(VirtAddr::of_slice(&map)).expect("mapped");
    let stat = rustix::fs::fstat(&fd).expect("stat");
    assert_eq!(vma.inode, stat.st_ino);
    assert_eq!(vma.device.major, rustix::fs::major(stat.st_dev));
    assert_eq!(vma.device.minor, rustix::fs::minor(stat.st_dev));
    assert_eq!(
        vma.name.as_deref().map(OsStrExt::as_bytes),
        Some(&b"/memfd:scratch pad (deleted)"[..])
    );
    assert!(vma.flags.shared && vma.flags.write);
}

#[test]
fn every_source_lists_this_programs_own_code() {
    let code = VirtAddr::from_ptr(find as *const ());
    let vma = find(code).expect("mapped");
    assert!(vma.range.contains(code) && vma.flags.execute && !vma.flags.write);
    assert_eq!(vma.path(), std::env::current_exe().ok().as_deref());
}

#[test]
fn areas_do_not_overlap_and_ascend() {
    for maps in all_maps() {
        let arena = Arena::new(3);
        let first = arena.range_of(0..1).start().checked_sub(1 << 20).unwrap();
        let window = VaRange::new(first, arena.range().end()).unwrap();
        let listed = maps.vmas(window).expect("vmas");
        assert!(listed.iter().any(|vma| vma.range == arena.range()));
        assert!(listed.windows(2).all(|pair| pair[0].range.end() <= pair[1].range.start()));
    }
}

#[test]
fn the_best_source_is_chosen() {
    let chosen = Maps::open().expect("maps").source();
    assert_eq!(chosen, all_maps()[0].source());
    let text = Maps::open_with(MapsSource::Text).expect("maps");
    assert_eq!(text.source(), MapsSource::Text);
}
