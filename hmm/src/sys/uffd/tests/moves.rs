//! Moving pages, and every reason not to.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MprotectFlags, ProtFlags};

use super::super::super::scan::{Scan, Scanner};
use super::super::{Feature, Modes, Outcome, Refusal, Resolution, Uffd, Wakeup};
use super::rig::{
    Area, Rig, done, each_tier, ended, huge_pages, page_bytes, raw, skip, spawn_read,
};
use crate::addr::{VaRange, VirtAddr};
use crate::sys::abi;

const MOVE: [Feature; 1] = [Feature::Move];
const UNSUITABLE: Resolution = Resolution::Refused(Refusal::Unsuitable);

fn shift(uffd: &Uffd, dst: VirtAddr, src: VaRange) -> Outcome {
    // SAFETY: Both are areas of the test, which says what they are to hold.
    unsafe { uffd.move_pages(dst, src, Wakeup::Now) }
}

fn shift_all(uffd: &Uffd, dst: &Area, src: &Area) -> Outcome {
    shift(uffd, dst.at(0), src.range())
}

#[test]
fn pages_of_unwatched_memory_move_to_watched_memory_and_back() {
    each_tier(&MOVE, |rig| {
        let (app, staging) = (Area::new(4), rig.area(4, Modes::MISSING));
        app.number(0..4);
        assert_eq!(shift_all(rig, &staging, &app), done(4));
        assert_eq!((app.present(0..4), staging.present(0..4)), (0, 4));
        staging.check(0..4);
        rig.watch(&app, Modes::MISSING);
        let reader = spawn_read(&app, 3);
        assert_eq!(rig.expect_fault().addr, app.at(3));
        assert_eq!(shift_all(rig, &app, &staging), done(4));
        assert_eq!(reader.join().expect("reader"), 4);
        app.check(0..4);
        assert_eq!(staging.present(0..4), 0);
        rig.expect_silence();
    });
}

#[test]
fn a_watch_for_stores_is_watch_enough() {
    each_tier(&[Feature::Move, Feature::WriteProtect], |rig| {
        let (app, staging) = (Area::new(1), rig.area(1, Modes::PROTECTED));
        app.number(0..1);
        assert_eq!(shift_all(rig, &staging, &app), done(1));
        let unwatched = Area::new(1);
        assert_eq!(shift_all(rig, &unwatched, &staging), ended(0, UNSUITABLE));
        staging.check(0..1);
    });
}

#[test]
fn a_huge_page_moves_whole() {
    each_tier(&MOVE, |rig| {
        let (Some(app), Some(staging)) = (Area::huge(), Area::huge()) else {
            return skip("huge pages", "this kernel gives none", false);
        };
        let pages = huge_pages();
        app.write(pages - 1, 77);
        rig.watch(&staging, Modes::MISSING);
        let moved = shift(rig, staging.at(pages), app.pages(0..pages));
        assert_eq!(moved, done(pages));
        assert_eq!(staging.huge_pages(pages..2 * pages), pages);
        assert_eq!(app.present(0..pages), 0);
        assert_eq!((staging.read(pages), staging.read(2 * pages - 1)), (1, 77));
    });
}

/// Makes all processors pass the pages that they touched lately on to the lists of the system,
/// which collapsing pages begins with. The second huge page of the area holds nothing to collapse.
fn make_processors_forget(area: &Area) {
    const MADV_COLLAPSE: i32 = 25;
    let (start, len) = raw(area.pages(huge_pages()..2 * huge_pages()));
    // SAFETY: The pages are the area's, and the advice changes no content.
    let _ = unsafe { libc::madvise(start, len, MADV_COLLAPSE) };
}

#[test]
fn a_huge_page_is_split_to_move_a_part_of_it() {
    each_tier(&MOVE, |rig| {
        let Some(app) = Area::huge() else {
            return skip("huge pages", "this kernel gives none", false);
        };
        let (staging, pages) = (rig.area(3, Modes::MISSING), huge_pages());
        app.number(0..pages);
        // A page that is still in the list of a processor cannot be split.
        let moved = loop {
            let moved = shift(rig, staging.at(0), app.pages(0..3));
            if moved != ended(0, Resolution::Refused(Refusal::Busy)) {
                break moved;
            }
            make_processors_forget(&app);
        };
        assert_eq!(moved, done(3));
        staging.check(0..3);
        assert_eq!((app.present(0..pages), app.huge_pages(0..pages)), (pages - 3, 0));
        app.check(3..pages);
    });
}

#[test]
fn the_page_of_zeroes_moves_too() {
    each_tier(&MOVE, |rig| {
        let (app, staging) = (Area::new(2), rig.area(2, Modes::MISSING));
        assert_eq!((app.read(0), app.read(1)), (0, 0));
        assert_eq!(app.present(0..2), 2);
        assert_eq!(shift_all(rig, &staging, &app), done(2));
        assert_eq!((app.present(0..2), staging.present(0..2)), (0, 2));
        assert_eq!(staging.read(1), 0);
    });
}

#[test]
fn a_hole_in_the_source_stops_the_move() {
    each_tier(&MOVE, |rig| {
        let (app, staging) = (Area::new(4), rig.area(4, Modes::MISSING));
        app.number(0..2);
        app.number(3..4);
        assert_eq!(shift_all(rig, &staging, &app), ended(2, Resolution::Vanished));
        assert_eq!(shift_all(rig, &staging, &Area::new(1)), ended(0, Resolution::Vanished));
        let hole = shift(rig, staging.at(2), app.pages(2..4));
        assert_eq!(hole, ended(0, Resolution::Vanished));
        assert_eq!(shift(rig, staging.at(3), app.page(3)), done(1));
        assert_eq!(staging.present(0..4), 3);
        assert_eq!(staging.read(3), 4);
    });
}

#[test]
fn a_page_in_the_way_stops_the_move() {
    each_tier(&MOVE, |rig| {
        let (app, staging) = (Area::new(4), rig.area(4, Modes::MISSING));
        app.number(0..4);
        assert_eq!(shift(rig, staging.at(2), app.page(2)), done(1));
        app.write(2, 99);
        assert_eq!(shift_all(rig, &staging, &app), ended(2, Resolution::AlreadyThere));
        assert_eq!((app.present(0..4), staging.present(0..4)), (2, 3));
        staging.check(0..3);
        assert_eq!((app.read(2), app.read(3)), (99, 4));
    });
}

#[test]
fn memory_that_cannot_be_written_does_not_move() {
    each_tier(&MOVE, |rig| {
        let (app, staging) = (Area::new(1), rig.area(1, Modes::MISSING));
        app.number(0..1);
        app.protect(0..1, MprotectFlags::READ);
        assert_eq!(shift_all(rig, &staging, &app), ended(0, UNSUITABLE));
        app.check(0..1);
        let access = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
        let executable = Area::anonymous(1, access);
        executable.number(0..1);
        assert_eq!(shift_all(rig, &staging, &executable), ended(0, UNSUITABLE));
        executable.check(0..1);
    });
}

#[test]
fn shared_memory_and_files_do_not_move() {
    each_tier(&MOVE, |rig| {
        let staging = rig.area(1, Modes::MISSING);
        let memfd = memfd_create("uffd", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&memfd, page_bytes()).expect("ftruncate");
        let file = tempfile::tempfile().expect("a file");
        file.set_len(page_bytes()).expect("length");
        let areas = [Area::file(1, &memfd, true), Area::file(1, &file, false)];
        for app in areas {
            app.number(0..1);
            assert_eq!(shift_all(rig, &staging, &app), ended(0, UNSUITABLE));
            app.check(0..1);
        }
        assert_eq!(staging.present(0..1), 0);
    });
}

#[test]
fn locked_memory_moves_to_locked_memory_only() {
    each_tier(&MOVE, |rig| {
        let (app, staging) = (Area::new(1), rig.area(1, Modes::MISSING));
        app.number(0..1);
        let (start, len) = raw(app.range());
        // SAFETY: The page is the area's, and locking changes no content.
        if let Err(error) = unsafe { rustix::mm::mlock(start, len) } {
            return skip("locked memory", error, !rustix::process::geteuid().is_root());
        }
        assert_eq!(shift_all(rig, &staging, &app), ended(0, UNSUITABLE));
        // SAFETY: As above.
        unsafe { rustix::mm::munlock(start, len) }.expect("munlock");
        assert_eq!(shift_all(rig, &staging, &app), done(1));
        staging.check(0..1);
    });
}

/// Pins the pages of a range for as long as the file lives, as direct I/O and devices do.
fn pin(range: VaRange) -> std::io::Result<OwnedFd> {
    const IORING_REGISTER_BUFFERS: libc::c_uint = 0;
    // Larger than the structure, and all zero: no flags.
    let mut params = [0u64; 32];
    // SAFETY: The kernel reads and writes one structure, which fits in `params`.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    let ring = i32::try_from(ring).map_err(std::io::Error::other)?;
    if ring < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: The kernel made the file for this call.
    let ring = unsafe { OwnedFd::from_raw_fd(ring) };
    let (start, len) = raw(range);
    let buffer = libc::iovec { iov_base: start, iov_len: len };
    let (request, number) = (IORING_REGISTER_BUFFERS, ring.as_raw_fd());
    // SAFETY: The kernel reads one vector. It does nothing to the buffer without being asked.
    let status = unsafe {
        libc::syscall(libc::SYS_io_uring_register, number, request, &raw const buffer, 1)
    };
    if status == 0 { Ok(ring) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn a_pinned_page_does_not_move() {
    each_tier(&MOVE, |rig| {
        let (app, staging) = (Area::new(3), rig.area(3, Modes::MISSING));
        app.number(0..3);
        let pinned = match pin(app.page(1)) {
            Ok(pinned) => pinned,
            // Containers often forbid io_uring.
            Err(error) => return skip("pinned memory", error, true),
        };
        let busy = Resolution::Refused(Refusal::Busy);
        assert_eq!(shift_all(rig, &staging, &app), ended(1, busy));
        assert_eq!((app.read(1), app.read(2)), (2, 3));
        drop(pinned);
        // The kernel lets go of the page a while after the file is closed.
        let rest = loop {
            let rest = shift(rig, staging.at(1), app.pages(1..3));
            if rest.resolution != busy {
                break rest;
            }
            std::thread::yield_now();
        };
        assert_eq!(rest, done(2));
        staging.check(0..3);
    });
}

/// Whether the page that is there is write-protected by a userfaultfd.
fn is_protected(area: &Arc<Area>) -> bool {
    let scan = Scan {
        flags: 0,
        wanted: abi::SCAN_PRESENT | abi::SCAN_WRITTEN,
        inverted: abi::SCAN_WRITTEN,
        returned: abi::SCAN_PRESENT,
    };
    let mut found = 0;
    let scanner = Scanner::open().expect("pagemap");
    scanner.scan(area.range(), scan, |run| found += run.len_bytes()).expect("scan");
    found == area.range().len_bytes()
}

#[test]
fn a_move_loses_write_protection() {
    each_tier(&[Feature::Move, Feature::WriteProtect], |rig| {
        let both = Modes::MISSING | Modes::PROTECTED;
        let app = Area::new(1);
        app.number(0..1);
        rig.watch(&app, both);
        let staging = rig.area(1, both);
        assert_eq!(rig.write_protect(app.range()), Resolution::Done);
        assert!(is_protected(&app));
        assert_eq!(shift_all(rig, &staging, &app), done(1));
        assert!(!is_protected(&staging));
        staging.write(0, 3);
        rig.expect_silence();
    });
}

#[test]
fn a_move_from_nowhere_moves_nothing() {
    each_tier(&MOVE, |rig| {
        let (gone, staging) = (Area::new(2), rig.area(2, Modes::MISSING));
        gone.number(0..2);
        gone.unmap(1..2);
        assert_eq!(shift_all(rig, &staging, &gone), ended(0, UNSUITABLE));
        gone.check(0..1);
        let far: &Rig = rig;
        assert_eq!(shift(far, staging.at(0), gone.page(0)), done(1));
    });
}
