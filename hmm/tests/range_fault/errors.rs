//! Pages that cannot be made available: each error, the address that it names, and that no page was
//! faulted in.
//!
//! # Safety
//!
//! Mapped files are the tests' own, but for one whose pages are never touched, like those behind
//! the end of a file.

use std::fs::File;
use std::io::Write;

use farptr_hmm::{FaultError, PageCount, PageSize, Pfn, VaRange, VirtAddr};
use memmap2::MmapOptions;
use rustix::mm::MprotectFlags;

use crate::common::{Arena, all_maps, look, page_bytes, skip, skip_before, skip_where_needed};
use crate::mirror::Mirror;

/// Checks that reading or writing the range fails at one page, and returns whether it was an
/// `EFAULT` rather than an `EPERM`.
fn fails_at(range: VaRange, writes: bool, at: VirtAddr) -> bool {
    match Mirror::open().fault(range, writes) {
        Err(FaultError::Fault { addr }) => {
            assert_eq!(addr, at);
            true
        }
        Err(FaultError::Permission { addr }) => {
            assert_eq!(addr, at);
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hole_is_a_fault_at_its_first_page() {
    let arena = Arena::new(8);
    arena.unmap(3..5);
    let hole = arena.range_of(3..5).start();
    for writes in [false, true] {
        assert!(fails_at(arena.range(), writes, hole));
    }
    assert_eq!(look(arena.range()).present_pages(), PageCount::ZERO, "foreseen: nothing was done");
    // The guard page behind the arena.
    let end = arena.range().end();
    let beyond = VaRange::new(arena.range_of(5..6).start(), end.checked_add(4096).unwrap());
    assert!(fails_at(beyond.unwrap().pages_covering(PageSize::host()), false, end));
}

#[test]
fn protection_decides() {
    use MprotectFlags as Flags;
    let arena = Arena::new(4);
    let at = arena.range_of(2..3).start();
    // Flags, then whether reading and writing fail, and if so whether by EFAULT.
    let cases = [
        (Flags::empty(), Some(true), Some(true)),
        (Flags::EXEC, Some(true), Some(true)),
        (Flags::WRITE, Some(true), Some(true)),
        (Flags::READ, None, Some(false)),
        (Flags::READ | Flags::WRITE, None, None),
    ];
    for (flags, read, write) in cases {
        arena.protect(2..3, flags);
        for (writes, expected) in [(false, read), (true, write)] {
            match expected {
                Some(fault) => assert_eq!(fails_at(arena.range(), writes, at), fault, "{flags:?}"),
                None => drop(Mirror::open().fault(arena.range(), writes).expect("allowed")),
            }
        }
    }
}

#[test]
fn a_file_ends_before_its_mapping() {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&vec![7; 2 * page_bytes()]).expect("write");
    // SAFETY: The file is this test's own; the pages behind its end are never touched.
    let map = unsafe { MmapOptions::new().len(4 * page_bytes()).map_mut(&file) }.expect("map");
    let range = VaRange::of_slice(&map);
    let end = range.start().checked_add(2 * page_bytes() as u64).unwrap();
    for writes in [false, true] {
        assert!(fails_at(range, writes, end));
    }
    let pfns = Mirror::open().snapshot(range);
    assert_eq!(pfns.count(Pfn::is_valid).get(), 2, "what there is was faulted in");
    assert_eq!(pfns.at(end), Some(Pfn::NONE));
}

#[test]
fn a_guard_is_a_fault_and_looks_like_nothing() {
    let arena = Arena::new(4);
    if let Err(error) = arena.install_guards(2..3) {
        return skip_before((6, 13), "guard markers", error);
    }
    let guard = arena.range_of(2..3).start();
    for writes in [false, true] {
        assert!(fails_at(arena.range(), writes, guard));
    }
    assert_eq!(Mirror::open().snapshot(arena.range()).at(guard), Some(Pfn::NONE));
}

/// The area of the kernel's with this name, if this machine has it.
fn area(name: &str) -> Option<VaRange> {
    let maps = all_maps();
    let vmas = maps[0].vmas(VaRange::USER).expect("areas");
    vmas.iter().find(|vma| vma.name.as_deref().is_some_and(|n| n == name)).map(|vma| vma.range)
}

#[test]
fn the_kernels_own_pages_are_what_they_are() {
    let Some(vdso) = area("[vdso]") else {
        return skip_where_needed("[vdso]", "there is none");
    };
    let read = Mirror::open().fault(vdso, false).expect("code may be read");
    assert!(read.runs().iter().all(|run| run.first.is_valid() && !run.first.is_writable()));
    assert!(!fails_at(vdso, true, vdso.start()));
    let Some(vvar) = area("[vvar]") else {
        return skip_where_needed("[vvar]", "there is none");
    };
    assert!(fails_at(vvar, false, vvar.start()));
    assert!(Mirror::open().snapshot(vvar).runs().iter().all(|run| run.first == Pfn::ERROR));
}

#[test]
fn memory_of_a_driver_that_cannot_be_faulted_in_is_a_fault() {
    // A container has no such device, nor may it.
    let Ok(file) = File::open("/dev/mem") else {
        return skip("/dev/mem", "it cannot be opened");
    };
    // SAFETY: The pages are never touched, and mapped for reading only.
    let Ok(map) = (unsafe { MmapOptions::new().len(page_bytes()).offset(0).map(&file) }) else {
        return skip("/dev/mem", "it cannot be mapped");
    };
    let range = VaRange::of_slice(&map);
    assert!(fails_at(range, false, range.start()));
    assert_eq!(Mirror::open().snapshot(range).at(range.start()), Some(Pfn::ERROR));
}
