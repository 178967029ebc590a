//! The kernel's HMM tests that fork, under their names. Each runs in a process of its own.

#![cfg(feature = "dmirror")]

mod hmm_rig;

use std::sync::Arc;

use farptr_hmm::{Code, Dmirror, MigrateError, Mirror, MirrorTier, PageCount};
use hmm_rig::{
    Buffer, PAGES, Rig, bytes, each_migrating_variant, each_variant, fork, isolated, negative,
    number,
};

/// A device of the child's own, on a mirror of its own.
fn child_device() -> Dmirror {
    let mirror = Arc::new(Mirror::build().expect("a mirror"));
    Dmirror::open(mirror, PageCount::new(1 << 14)).expect("a device")
}

fn write_child(buffer: &Buffer, migrated: bool) {
    each_variant(1, |rig| {
        let pages = buffer.pages();
        buffer.fill(0..pages);
        if migrated {
            if rig.mirror.tier() != MirrorTier::KernelFaults {
                return hmm_rig::skip("this tier moves no pages; run as root", !hmm_rig::is_root());
            }
            let (_, reply) = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
            assert_eq!(reply.cpages, pages as u64);
        }
        let child = fork(|| {
            buffer.check(0..pages);
            let device = child_device();
            let data = bytes(buffer.words_of(0..pages), negative);
            let reply = device.write(&buffer.lease(), &data).expect("write");
            assert_eq!((reply.cpages, reply.faults), (pages as u64, 1));
            for index in buffer.words_of(0..pages) {
                assert_eq!(buffer.get(index), negative(index));
            }
        });
        child.expect_success();
        buffer.check(0..pages);
        assert_eq!(rig.placed(), PageCount::ZERO);
    });
}

#[test]
fn anon_write_child() {
    isolated("anon_write_child", || {
        for migrated in [false, true] {
            write_child(&Buffer::anon(PAGES), migrated);
            write_child(&Buffer::thp(2), migrated);
        }
    });
}

#[test]
fn anon_write_child_shared() {
    isolated("anon_write_child_shared", || {
        each_variant(1, |_| {
            let buffer = Buffer::shared(PAGES);
            buffer.fill(0..PAGES);
            let child = fork(|| {
                buffer.check(0..PAGES);
                let data = bytes(buffer.words_of(0..PAGES), negative);
                let reply = child_device().write(&buffer.lease(), &data).expect("write");
                assert_eq!((reply.cpages, reply.faults), (PAGES as u64, 1));
            });
            child.expect_success();
            for index in buffer.words_of(0..PAGES) {
                assert_eq!(buffer.get(index), negative(index), "the parent sees it");
            }
        });
    });
}

#[test]
fn exclusive_cow() {
    isolated("exclusive_cow", || {
        each_migrating_variant(1, |rig| {
            let buffer = Buffer::anon(PAGES);
            buffer.fill(0..PAGES);
            rig.dev().exclusive(buffer.range()).expect("exclusive");
            let increment = || {
                for index in buffer.words_of(0..PAGES) {
                    buffer.set(index, buffer.get(index) + 1);
                }
                for index in buffer.words_of(0..PAGES) {
                    assert_eq!(buffer.get(index), number(index) + 1);
                }
            };
            let child = fork(increment);
            increment();
            child.expect_success();
        });
    });
}

#[test]
fn hmm_cow_in_device() {
    isolated("hmm_cow_in_device", || {
        each_migrating_variant(1, |rig| {
            let buffer = Buffer::anon(4);
            buffer.fill(0..4);
            let (_, reply) = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
            assert_eq!(reply.cpages, 4);
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let child = fork(|| {
                let _ = rustix::io::read(&reader, &mut [0u8; 1]).expect("the parent's word");
            });
            buffer.words_of(0..4).for_each(|index| buffer.set(index, negative(index)));
            assert_eq!(rig.dev().snapshot(buffer.range()).expect("snapshot"), [Code::WRITE; 4]);
            rustix::io::write(&writer, &[1]).expect("a word to the child");
            child.expect_success();
        });
    });
}

#[test]
fn a_child_is_refused_the_mirror_of_its_parent() {
    isolated("a_child_is_refused_the_mirror_of_its_parent", || {
        let rig = Rig::any(1);
        let buffer = Buffer::anon(4);
        buffer.fill(0..4);
        let child = fork(|| {
            assert!(rig.mirror.is_inherited());
            let error = rig.mirror.migrate_to_home(buffer.range()).expect_err("the parent's");
            assert!(matches!(error, MigrateError::Inherited { .. }), "{error}");
            assert!(rig.mirror.attach(Arc::new(host_device())).is_err());
        });
        child.expect_success();
        assert!(!rig.mirror.is_inherited());
    });
}

fn host_device() -> farptr_hmm::HostDevice {
    farptr_hmm::HostDevice::new(farptr_hmm::Owner::new(), PageCount::new(4)).expect("a device")
}

#[test]
fn pages_that_a_child_shared_can_move_again() {
    isolated("pages_that_a_child_shared_can_move_again", || {
        let Some(rig) = Rig::migrating(1) else { return };
        let buffer = Buffer::anon(PAGES);
        buffer.fill(0..PAGES);
        for _ in 0..3 {
            let (_, reply) = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
            assert_eq!(reply.cpages, PAGES as u64);
            fork(|| buffer.check(0..PAGES)).expect_success();
        }
        buffer.check(0..PAGES);
    });
}
