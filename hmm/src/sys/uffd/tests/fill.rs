//! Faults, and the ways to answer them but moving.

use std::sync::Arc;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MprotectFlags, ProtFlags};

use super::super::super::copy::read_bytes;
use super::super::{
    Fault, FaultKind, Feature, Fill, Modes, Operation, Refusal, Resolution, Uffd, UffdError, Wakeup,
};
use super::rig::{Area, done, each_tier, ended, page_bytes, spawn, spawn_read, spawn_write};
use crate::addr::{VaRange, VirtAddr};

const WP: [Feature; 1] = [Feature::WriteProtect];

/// Pages that hold their numbers, to copy from.
fn numbered(pages: usize) -> Arc<Area> {
    let area = Area::new(pages);
    area.number(0..pages);
    area
}

fn copy(uffd: &Uffd, dst: VirtAddr, src: VaRange) -> super::super::Outcome {
    // SAFETY: The destination is an area of the test, which says what it is to hold, and the source
    // is not written.
    unsafe { uffd.copy(dst, src, Fill::Plain, Wakeup::Now) }
}

#[test]
fn an_access_to_a_hole_waits_for_the_copy() {
    each_tier(&[], |rig| {
        let (area, source) = (rig.area(4, Modes::MISSING), numbered(4));
        let reader = spawn_read(&area, 2);
        let fault = rig.expect_fault();
        let expected =
            Fault { addr: area.at(2), kind: FaultKind::Missing, write: false, thread: None };
        assert_eq!(fault, expected);
        assert_eq!(copy(rig, area.at(2), source.page(2)), done(1));
        assert_eq!(reader.join().expect("reader"), 3);

        let writer = spawn_write(&area, 1, 9);
        let fault = rig.expect_fault();
        assert_eq!(fault, Fault { addr: area.at(1), write: true, ..expected });
        assert_eq!(copy(rig, area.at(1), source.page(1)), done(1));
        writer.join().expect("writer");
        assert_eq!(area.read(1), 9);
        assert_eq!(area.present(0..4), 2);
    });
}

#[test]
fn a_fault_names_its_thread_and_its_exact_address() {
    each_tier(&[Feature::ThreadId, Feature::ExactAddress], |rig| {
        let area = rig.area(1, Modes::MISSING);
        let toucher = spawn(&area, |area| {
            let addr = area.at(0).checked_add(1234).expect("an address");
            // SAFETY: The byte is the area's.
            let _ = unsafe { addr.as_ptr::<u8>().read_volatile() };
            rustix::thread::gettid().as_raw_nonzero().get()
        });
        let fault = rig.expect_fault();
        assert_eq!(fault.addr.offset_from(area.at(0)), Some(1234));
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.range(), Wakeup::Now) }, done(1));
        let thread = u32::try_from(toucher.join().expect("toucher")).expect("positive");
        assert_eq!(fault.thread, Some(thread));
    });
}

#[test]
fn filling_ignores_permissions() {
    each_tier(&[], |rig| {
        let source = numbered(2);
        for access in [ProtFlags::READ, ProtFlags::empty()] {
            let area = Area::anonymous(2, access);
            rig.watch(&area, Modes::MISSING);
            assert_eq!(copy(rig, area.at(0), source.page(0)), done(1));
            // SAFETY: The area is the test's.
            assert_eq!(unsafe { rig.zero(area.page(1), Wakeup::Now) }, done(1));
            area.protect(0..2, MprotectFlags::READ);
            assert_eq!((area.read(0), area.read(1)), (1, 0));
        }
    });
}

#[test]
fn a_request_ends_at_the_first_page_that_is_there_and_says_so() {
    each_tier(&[], |rig| {
        let (area, source) = (rig.area(8, Modes::MISSING), numbered(8));
        assert_eq!(copy(rig, area.at(5), source.page(0)), done(1));
        let there = Resolution::AlreadyThere;
        assert_eq!(copy(rig, area.at(0), source.range()), ended(5, there));
        assert_eq!(area.present(0..8), 6);
        area.check(0..5);
        assert_eq!(area.read(5), 1);
        assert_eq!(copy(rig, area.at(5), source.pages(5..8)), ended(0, there));
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.pages(6..8), Wakeup::Now) }, done(2));
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.pages(6..8), Wakeup::Now) }, ended(0, there));
        assert_eq!(copy(rig, area.at(0), VaRange::default()), done(0));
    });
}

#[test]
fn what_cannot_be_filled_is_said_to_be_gone_or_unsuitable() {
    each_tier(&[], |rig| {
        let (area, source) = (rig.area(4, Modes::MISSING), numbered(4));
        let unwatched = Area::new(1);
        assert_eq!(copy(rig, unwatched.at(0), source.page(0)), ended(0, Resolution::Vanished));
        rig.unregister(area.page(3)).expect("unregister");
        area.unmap(3..4);
        assert_eq!(copy(rig, area.at(3), source.page(0)), ended(0, Resolution::Vanished));
        source.protect(2..3, MprotectFlags::empty());
        let unreadable = Resolution::Refused(Refusal::Unreadable);
        assert_eq!(copy(rig, area.at(0), source.pages(0..3)), ended(2, unreadable));
        let unsuitable = Resolution::Refused(Refusal::Unsuitable);
        let unaligned = area.at(2).checked_add(1).expect("an address");
        assert_eq!(copy(rig, unaligned, source.page(0)), ended(0, unsuitable));
        assert_eq!(area.present(0..3), 2);
    });
}

#[test]
fn waking_may_come_later() {
    each_tier(&[], |rig| {
        let (area, source) = (rig.area(1, Modes::MISSING), numbered(1));
        let reader = spawn_read(&area, 0);
        assert_eq!(rig.expect_fault().addr, area.at(0));
        // SAFETY: The area is the test's, and the source is not written.
        let filled = unsafe { rig.copy(area.at(0), source.range(), Fill::Plain, Wakeup::Later) };
        assert_eq!(filled, done(1));
        assert!(!reader.is_finished(), "nobody woke it");
        rig.wake(area.range()).expect("wake");
        assert_eq!(reader.join().expect("reader"), 1);
    });
}

#[test]
fn pages_may_be_born_write_protected() {
    each_tier(&WP, |rig| {
        let area = rig.area(2, Modes::MISSING | Modes::PROTECTED);
        let source = numbered(2);
        // SAFETY: The area is the test's, and the source is not written.
        let filled = unsafe { rig.copy(area.at(0), source.range(), Fill::Protected, Wakeup::Now) };
        assert_eq!(filled, done(2));
        area.check(0..2);
        let writer = spawn_write(&area, 1, 7);
        let fault = rig.expect_fault();
        assert_eq!((fault.addr, fault.kind, fault.write), (area.at(1), FaultKind::Protected, true));
        assert_eq!(rig.unprotect(area.page(1), Wakeup::Now), Resolution::Done);
        writer.join().expect("writer");
        assert_eq!((area.read(0), area.read(1)), (1, 7));
    });
}

#[test]
fn protection_lifted_without_waking_lets_the_store_wait_on() {
    each_tier(&WP, |rig| {
        let area = rig.area(1, Modes::MISSING | Modes::PROTECTED);
        assert_eq!(copy(rig, area.at(0), numbered(1).range()), done(1));
        assert_eq!(rig.write_protect(area.range()), Resolution::Done);
        let writer = spawn_write(&area, 0, 5);
        assert_eq!(rig.expect_fault().kind, FaultKind::Protected);
        assert_eq!(rig.unprotect(area.range(), Wakeup::Later), Resolution::Done);
        assert!(!writer.is_finished(), "nobody woke it");
        rig.wake(area.range()).expect("wake");
        writer.join().expect("writer");
        assert_eq!(area.read(0), 5);
    });
}

#[test]
fn poison_makes_accesses_fail_until_it_is_dropped_or_copied_over() {
    each_tier(&[Feature::Poison], |rig| {
        let area = rig.area(3, Modes::MISSING);
        assert_eq!(copy(rig, area.at(2), numbered(1).range()), done(1));
        assert_eq!(rig.poison(area.range(), Wakeup::Now), ended(2, Resolution::AlreadyThere));
        let error = read_bytes(area.at(0), &mut [0]).expect_err("poisoned");
        let number = error.source.raw_os_error();
        assert!(matches!(number, Some(libc::EFAULT | libc::EHWPOISON)), "{number:?}");
        let populate = area.advise(0..1, rustix::mm::Advice::LinuxPopulateRead);
        assert_eq!(populate, Err(rustix::io::Errno::HWPOISON));
        let there = ended(0, Resolution::AlreadyThere);
        assert_eq!(rig.poison(area.page(0), Wakeup::Now), there);
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.page(0), Wakeup::Now) }, there);
        assert_eq!(copy(rig, area.at(0), numbered(1).range()), done(1), "a copy cures");
        area.check(0..1);
        area.advise(1..2, rustix::mm::Advice::LinuxDontNeed).expect("drop");
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.page(1), Wakeup::Now) }, done(1));
        assert_eq!(area.read(1), 0);
    });
}

#[test]
fn a_page_of_shared_memory_that_is_not_mapped_can_be_mapped() {
    each_tier(&[Feature::MinorShmem, Feature::MissingShmem], |rig| {
        let file = memfd_create("uffd", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&file, 2 * page_bytes()).expect("ftruncate");
        rustix::io::pwrite(&file, &[8], 0).expect("pwrite");
        let area = Area::file(2, &file, true);
        let operations = rig.watch(&area, Modes::MISSING | Modes::MINOR);
        assert!(operations.contains(Operation::Continue));
        let reader = spawn_read(&area, 0);
        let fault = rig.expect_fault();
        assert_eq!((fault.addr, fault.kind), (area.at(0), FaultKind::Minor));
        let mapped = rig.map_existing(area.range(), Fill::Plain, Wakeup::Now);
        assert_eq!(mapped.done_bytes, page_bytes(), "{mapped:?}");
        assert_eq!(reader.join().expect("reader"), 8);
        let reader = spawn_read(&area, 1);
        assert_eq!(rig.expect_fault().kind, FaultKind::Missing);
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(area.page(1), Wakeup::Now) }, done(1));
        assert_eq!(reader.join().expect("reader"), 0);
    });
}

#[test]
fn what_is_mapped_decides_what_can_be_watched() {
    each_tier(&[Feature::Move, Feature::WriteProtect], |rig| {
        let both = Modes::MISSING | Modes::PROTECTED;
        let operations = rig.watch(&Area::new(1), both);
        for operation in [Operation::Copy, Operation::Zero, Operation::Move] {
            assert!(operations.contains(operation), "{operation:?}");
        }
        assert!(operations.contains(Operation::WriteProtect));
        assert!(operations.contains(Operation::Poison));
        assert!(!operations.contains(Operation::Continue));
        let operations = rig.watch(&Area::new(1), Modes::MISSING);
        assert!(!operations.contains(Operation::WriteProtect));

        let memfd = memfd_create("uffd", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&memfd, page_bytes()).expect("ftruncate");
        rig.watch(&Area::file(1, &memfd, false), Modes::MISSING);
        let file = tempfile::tempfile_in(std::env::temp_dir()).expect("a file");
        file.set_len(page_bytes()).expect("length");
        for shared in [false, true] {
            let area = Area::file(1, &file, shared);
            let refused = rig.register(area.range(), Modes::MISSING);
            match refused.expect_err("a regular file") {
                UffdError::Register { range, source } => {
                    assert_eq!(range, area.range());
                    // A temporary folder in memory is shared memory.
                    assert_eq!(source.raw_os_error(), Some(libc::EINVAL));
                }
                other => panic!("{other}"),
            }
        }
    });
}

#[test]
fn a_range_has_one_watcher() {
    each_tier(&[], |rig| {
        let area = rig.area(1, Modes::MISSING);
        let other = Uffd::open(rig.tier(), rig.features(), rig.features()).expect("uffd");
        let refused = other.register(area.range(), Modes::MISSING).expect_err("it is watched");
        assert!(refused.to_string().contains(&area.range().to_string()), "{refused}");
        rig.unregister(area.range()).expect("unregister");
        other.register(area.range(), Modes::MISSING).expect("free again");
        drop(other);
        assert_eq!(area.read(0), 0, "nobody watches");
    });
}

#[test]
fn ending_the_watch_lets_the_waiting_go_on() {
    each_tier(&[], |rig| {
        let area = rig.area(2, Modes::MISSING);
        let reader = spawn_read(&area, 0);
        assert_eq!(rig.expect_fault().addr, area.at(0));
        rig.unregister(area.range()).expect("unregister");
        assert_eq!(reader.join().expect("reader"), 0);
        rig.expect_silence();
    });
}
