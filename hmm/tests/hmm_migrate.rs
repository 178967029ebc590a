//! The kernel's HMM tests about moving memory to a device, under their names.
//!
//! # Safety
//!
//! Slices are made of buffers that the test owns, for the length of a system call.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod hmm_rig;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use farptr_hmm::{Code, DmirrorError, PageCount, PageSize, Skip};
use hmm_rig::{Buffer, PAGES, Rig, check_read, each_migrating_variant, page};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

const READ: MprotectFlags = MprotectFlags::READ;

fn rw() -> MprotectFlags {
    MprotectFlags::READ | MprotectFlags::WRITE
}

#[test]
fn migrate() {
    each_migrating_variant(1, |rig| {
        let buffer = Buffer::anon(PAGES);
        buffer.fill(0..PAGES);
        let (read, reply) = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
        assert_eq!(reply.cpages, PAGES as u64);
        check_read(&read, buffer.words_of(0..PAGES));
        assert_eq!(rig.placed(), PageCount::new(PAGES as u64));
        buffer.check(0..PAGES);
    });
}

#[test]
fn migrate_fault() {
    each_migrating_variant(1, |rig| {
        let buffer = Buffer::anon(PAGES);
        buffer.fill(0..PAGES);
        let (_, reply) = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
        assert_eq!(reply.cpages, PAGES as u64);
        buffer.check(0..PAGES / 2);
        // Memory that the CPU accesses stays where it is.
        let left = if rig.coherent { PAGES } else { PAGES / 2 };
        assert_eq!(rig.placed(), PageCount::new(left as u64));
        let (read, reply) = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
        assert_eq!(reply.cpages, PAGES as u64);
        check_read(&read, buffer.words_of(0..PAGES));
        buffer.check(0..PAGES);
    });
}

#[test]
fn migrate_release() {
    each_migrating_variant(1, |rig| {
        let buffer = Buffer::anon(PAGES);
        buffer.fill(0..PAGES);
        rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
        assert_eq!(rig.dev().release().expect("release").cpages, PAGES as u64);
        assert_eq!((rig.mirror.pages_away(), rig.dev().used()), (PageCount::ZERO, PageCount::ZERO));
        buffer.check(0..PAGES / 2);
        let faults = rig.mirror.stats().faults;
        buffer.check(PAGES / 2..PAGES);
        assert_eq!(rig.mirror.stats().faults, faults, "everything is home");
    });
}

#[test]
fn migrate_shared() {
    each_migrating_variant(1, |rig| {
        let buffer = Buffer::shared(PAGES);
        let error = rig.dev().migrate_to_dev(buffer.range(), None).expect_err("shared");
        assert!(matches!(error, DmirrorError::NotFound { addr } if addr == buffer.range().start()));
    });
}

#[test]
fn migrate_file_private() {
    // NEAR: a private page of a file that was written is the process's own, and the kernel moves
    // it. Userfaultfd does not watch such areas, so the page stays, and the result says why.
    each_migrating_variant(1, |rig| {
        let file = tempfile::tempfile().expect("a file");
        file.set_len((4 * page()) as u64).expect("length");
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let buffer = Buffer::file(&file, 4, access, MapFlags::PRIVATE);
        buffer.fill(0..4);
        let device = std::sync::Arc::new(
            farptr_hmm::HostDevice::new(farptr_hmm::Owner::new(), PageCount::new(16))
                .expect("device"),
        );
        let id = rig.mirror.attach(device).expect("attach");
        let migration = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        assert_eq!(migration.moved(), PageCount::ZERO);
        let [skipped] = migration.skipped() else { panic!("{migration:?}") };
        assert_eq!((skipped.range, skipped.reason), (buffer.range(), Skip::File));
        let (read, _) = rig.dev().read(buffer.range()).expect("read");
        check_read(&read, buffer.words_of(0..4));
        rig.mirror.detach(id);
    });
}

/// As debuggers do. The kernel lets no userfaultfd serve such reads.
#[test]
fn memory_that_is_away_is_read_by_nobody_until_it_is_home() {
    let Some(rig) = Rig::migrating(1) else { return };
    let buffer = Buffer::anon(8);
    buffer.fill(0..8);
    let memory = std::fs::File::open("/proc/self/mem").expect("memory");
    let read = || {
        let mut bytes = vec![0; 8 * page()];
        let done = memory.read_exact_at(&mut bytes, buffer.range().start().get());
        done.map(|()| bytes).map_err(|error| error.raw_os_error())
    };
    let expected = read().expect("pages at home");
    let _ = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
    assert_eq!(read(), Err(Some(5)), "EIO");
    assert_eq!(rig.mirror.migrate_all_home().expect("home"), PageCount::new(8));
    assert_eq!(read().expect("pages at home"), expected);
    buffer.check(0..8);
}

#[test]
fn migrate_mixed() {
    each_migrating_variant(2, |rig| {
        let [dev0, dev1] = &rig.devices[..] else { panic!("two devices") };
        let buffer = Buffer::map(6, ProtFlags::empty(), MapFlags::PRIVATE);
        let lease = buffer.lease();
        let invalid = |result: Result<_, DmirrorError>| {
            let error = result.map(|_: (Vec<u8>, _)| ()).expect_err("not readable");
            assert!(matches!(error, DmirrorError::Invalid { .. }), "{error}");
        };
        invalid(dev1.migrate_to_dev(buffer.range(), Some(&lease)));
        buffer.unmap(1..2);
        invalid(dev1.migrate_to_dev(buffer.part(0..3), Some(&lease)));
        buffer.protect(2..3, READ);
        assert_eq!(buffer.get(buffer.words_of(2..3).start), 0);
        buffer.protect(3..4, rw());
        buffer.fill(3..4);
        buffer.protect(3..4, READ);
        buffer.protect(4..6, rw());
        buffer.fill(4..6);
        let (read, reply) = dev1.migrate_to_dev(buffer.part(2..6), Some(&lease)).expect("migrate");
        assert_eq!(reply.cpages, 4);
        let words = page() / 4;
        assert!((0..words).all(|index| hmm_rig::word(&read, index) == 0));
        for index in words..4 * words {
            assert_eq!(hmm_rig::word(&read, index), hmm_rig::number(2 * words + index));
        }
        let error = dev0.migrate_to_dev(buffer.part(5..6), None).expect_err("the other has it");
        assert!(matches!(error, DmirrorError::NotFound { .. }), "{error}");
        buffer.check_zero(2..3);
        buffer.check(3..6);
    });
}

#[test]
fn migrate_multiple() {
    each_migrating_variant(1, |rig| {
        for _ in 0..10 {
            let buffer = Buffer::anon(PAGES);
            buffer.fill(0..PAGES);
            let (read, reply) = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
            assert_eq!(reply.cpages, PAGES as u64);
            check_read(&read, buffer.words_of(0..PAGES));
            if rig.coherent {
                let reply = rig.dev().migrate_to_sys(buffer.range()).expect("home");
                assert_eq!(reply.cpages, PAGES as u64);
            }
            buffer.check(0..PAGES);
            rig.mirror.drain();
            assert_eq!(rig.dev().used(), PageCount::ZERO, "no frame is left over");
        }
    });
}

#[test]
fn hmm_gup_test() {
    // NEAR: the kernel's own test driver is not there; system calls that read and write the pages
    // show the same property.
    each_migrating_variant(1, |rig| {
        let buffer = Buffer::anon(4);
        buffer.fill(0..4);
        let (_, reply) = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
        assert_eq!(reply.cpages, 4);
        // Read by a write to a pipe, written by a read from one, and both again by a file.
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        let memory: *mut u8 = buffer.range().start().as_mut_ptr();
        let slice = |pages: usize| memory.wrapping_add(pages * page());
        // SAFETY: The page is the buffer's, and no other thread touches it during the call.
        let first = unsafe { std::slice::from_raw_parts(slice(0), page()) };
        writer.write_all(first).expect("write");
        // SAFETY: As above.
        let second = unsafe { std::slice::from_raw_parts_mut(slice(1), page()) };
        reader.read_exact(second).expect("read");
        let file: File = tempfile::tempfile().expect("a file");
        // SAFETY: As above.
        file.write_all_at(unsafe { std::slice::from_raw_parts(slice(2), page()) }, 0)
            .expect("write");
        // SAFETY: As above.
        let fourth = unsafe { std::slice::from_raw_parts_mut(slice(3), page()) };
        file.read_exact_at(fourth, 0).expect("read");
        // In the kernel a long pin takes pages home from coherent memory too; none is seen here.
        let place = if rig.coherent { Code::LOCAL_COHERENT } else { 0 };
        let expected = [place | Code::WRITE; 4];
        assert_eq!(rig.dev().snapshot(buffer.range()).expect("snapshot"), expected);
        let words = page() / 4;
        buffer.check(0..1);
        buffer.check(2..3);
        for index in 0..words {
            assert_eq!(buffer.get(words + index), hmm_rig::number(index));
            assert_eq!(buffer.get(3 * words + index), hmm_rig::number(2 * words + index));
        }
    });
}

#[test]
fn dropped_pages_are_zeroes_and_their_frames_are_free() {
    let Some(rig) = Rig::migrating(1) else { return };
    let buffer = Buffer::anon(8);
    buffer.fill(0..8);
    rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
    buffer.advise(2..4, rustix::mm::Advice::LinuxDontNeed);
    buffer.unmap(6..8);
    rig.mirror.drain();
    assert_eq!(rig.dev().used(), PageCount::new(4));
    buffer.check_zero(2..4);
    buffer.check(0..2);
    buffer.check(4..6);
}

#[test]
fn dropping_the_mirror_brings_everything_home() {
    let buffer = Buffer::anon(PAGES);
    {
        let Some(rig) = Rig::migrating(2) else { return };
        buffer.fill(0..PAGES);
        let half = PageSize::host().bytes() * PAGES as u64 / 2;
        assert_eq!(buffer.part(0..PAGES / 2).len_bytes(), half);
        rig.devices[0].migrate_to_dev(buffer.part(0..PAGES / 2), None).expect("migrate");
        rig.devices[1].migrate_to_dev(buffer.part(PAGES / 2..PAGES), None).expect("migrate");
    }
    buffer.check(0..PAGES);
}
