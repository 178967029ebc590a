//! The kernel's HMM tests about several devices, snapshots and exclusive access, under their names.

#![cfg(feature = "dmirror")]

mod hmm_rig;

use farptr_hmm::{Code, DmirrorError, PageCount};
use hmm_rig::{
    Buffer, PAGES, RW, Rig, bytes, check_read, each_migrating_variant, negative, number,
};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

#[test]
fn snapshot() {
    each_migrating_variant(2, |rig| {
        let [dev0, dev1] = &rig.devices[..] else { panic!("two devices") };
        let buffer = Buffer::map(7, ProtFlags::empty(), MapFlags::PRIVATE);
        buffer.unmap(1..2);
        buffer.protect(2..3, MprotectFlags::READ);
        assert_eq!(buffer.get(buffer.words_of(2..3).start), 0);
        buffer.protect(3..7, MprotectFlags::READ | MprotectFlags::WRITE);
        buffer.fill(3..7);
        buffer.protect(3..4, MprotectFlags::READ);
        assert_eq!(dev0.migrate_to_dev(buffer.part(5..6), None).expect("migrate").1.cpages, 1);
        assert_eq!(dev1.migrate_to_dev(buffer.part(6..7), None).expect("migrate").1.cpages, 1);
        let expected = [
            Code::ERROR,
            Code::ERROR,
            Code::ZERO | Code::READ,
            Code::READ,
            Code::WRITE,
            if rig.coherent { Code::LOCAL_COHERENT } else { Code::LOCAL } | Code::WRITE,
            if rig.coherent { Code::REMOTE_COHERENT | Code::WRITE } else { Code::NONE },
        ];
        assert_eq!(dev0.snapshot(buffer.range()).expect("snapshot"), expected);
        assert_eq!(rig.placed(), PageCount::new(2), "a snapshot brings nothing home");
        buffer.check(3..7);
    });
}

#[test]
fn double_map() {
    each_migrating_variant(2, |rig| {
        let [dev0, dev1] = &rig.devices[..] else { panic!("two devices") };
        let buffer = Buffer::anon(6);
        buffer.fill(0..6);
        buffer.protect(0..6, MprotectFlags::READ);
        for device in [dev0, dev1] {
            let (read, reply) = device.read(buffer.range()).expect("read");
            assert_eq!((reply.cpages, reply.faults), (6, 1));
            check_read(&read, buffer.words_of(0..6));
        }
        let lease = buffer.lease();
        let (read, reply) = dev1.migrate_to_dev(buffer.range(), Some(&lease)).expect("migrate");
        assert_eq!(reply.cpages, 6);
        check_read(&read, buffer.words_of(0..6));
        let (read, reply) = dev0.read(buffer.range()).expect("read");
        assert_eq!((reply.cpages, reply.faults), (6, 1), "the pages came home first");
        check_read(&read, buffer.words_of(0..6));
        assert_eq!(rig.placed(), PageCount::new(if rig.coherent { 6 } else { 0 }));
    });
}

#[test]
fn a_device_reads_what_another_holds_of_many() {
    let Some(rig) = Rig::migrating(2) else { return };
    let [dev0, dev1] = &rig.devices[..] else { panic!("two devices") };
    let buffer = Buffer::anon(PAGES);
    buffer.fill(0..PAGES);
    for _ in 0..3 {
        for (here, there) in [(dev0, dev1), (dev1, dev0)] {
            here.migrate_to_dev(buffer.range(), None).expect("migrate");
            let (read, reply) = there.read(buffer.range()).expect("read");
            assert_eq!(reply.faults, 1);
            check_read(&read, buffer.words_of(0..PAGES));
        }
    }
}

#[test]
fn exclusive() {
    each_migrating_variant(1, |rig| {
        let buffer = Buffer::anon(PAGES);
        buffer.fill(0..PAGES);
        let (read, reply) = rig.dev().exclusive(buffer.range()).expect("exclusive");
        assert_eq!(reply.cpages, PAGES as u64);
        check_read(&read, buffer.words_of(0..PAGES));
        let held = rig.dev().check_exclusive(buffer.range()).expect_err("exclusive");
        assert!(matches!(held, DmirrorError::Permission { .. }));
        buffer.words_of(0..PAGES).for_each(|index| buffer.set(index, buffer.get(index) + 1));
        for index in buffer.words_of(0..PAGES) {
            assert_eq!(buffer.get(index), number(index) + 1);
        }
        rig.dev().check_exclusive(buffer.range()).expect("every page was revoked");
    });
}

#[test]
fn exclusive_mprotect() {
    each_migrating_variant(1, |rig| {
        let buffer = Buffer::map(PAGES, RW, MapFlags::PRIVATE);
        buffer.fill(0..PAGES);
        rig.dev().exclusive(buffer.range()).expect("exclusive");
        buffer.protect(0..PAGES, MprotectFlags::READ);
        let data = bytes(buffer.words_of(0..PAGES), negative);
        let error = rig.dev().write(&buffer.lease(), &data).expect_err("read-only");
        assert!(matches!(error, DmirrorError::Permission { .. }), "{error}");
        buffer.check(0..PAGES);
    });
}

#[test]
fn a_device_writes_what_it_holds_and_the_cpu_reads_it() {
    let Some(rig) = Rig::migrating(1) else { return };
    let buffer = Buffer::anon(8);
    buffer.fill(0..8);
    let data = bytes(buffer.words_of(0..8), negative);
    rig.dev().migrate_to_dev(buffer.part(2..6), None).expect("migrate");
    let reply = rig.dev().write(&buffer.lease(), &data).expect("write");
    assert_eq!(reply.cpages, 8);
    assert_eq!(rig.mirror.pages_away(), PageCount::new(4), "they stay on the device");
    for index in buffer.words_of(0..8) {
        assert_eq!(buffer.get(index), negative(index));
    }
}

#[test]
fn what_was_dropped_is_read_and_moved_afresh() {
    each_migrating_variant(1, |rig| {
        for make in [|| Buffer::anon(8), || Buffer::shared(8)] {
            let buffer = make();
            buffer.fill(0..8);
            rig.dev().read(buffer.range()).expect("read");
            buffer.advise(2..6, rustix::mm::Advice::LinuxDontNeed);
            buffer.words_of(2..4).for_each(|index| buffer.set(index, number(index)));
            assert!(
                !rig.mirror.has_pending_drop(buffer.range()),
                "whoever dropped them has gone on"
            );
            let (read, _) = rig.dev().read(buffer.range()).expect("read");
            for index in buffer.words_of(0..8) {
                assert_eq!(hmm_rig::word(&read, index), buffer.get(index), "word {index}");
            }
        }
    });
}
