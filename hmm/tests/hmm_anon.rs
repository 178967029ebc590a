//! The kernel's HMM tests about reading and writing memory at home, under their names.

#![cfg(feature = "dmirror")]

mod hmm_rig;
mod processors;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use farptr_hmm::{Dmirror, DmirrorError, Mirror, PageCount};
use hmm_rig::{
    Buffer, PAGES, RW, Rig, Watchdog, bytes, check_read, each_variant, negative, number, page, word,
};
use processors::pin;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("files").count()
}

#[test]
fn open_close() {
    hmm_rig::isolated("open_close", || {
        let _watchdog = Watchdog::new();
        let before = open_files();
        for _ in 0..3 {
            let mirror = Arc::new(Mirror::build().expect("a mirror"));
            let device = Dmirror::open(Arc::clone(&mirror), PageCount::new(16)).expect("a device");
            drop(device);
            assert_eq!(mirror.notifiers().count(), 0);
            assert_eq!(mirror.pages_away(), PageCount::ZERO);
        }
        assert_eq!(open_files(), before, "no file is left open");
    });
}

#[test]
fn anon_read() {
    each_variant(1, |rig| {
        let buffer = Buffer::anon(PAGES);
        buffer.fill(2..PAGES);
        buffer.protect(0..PAGES, MprotectFlags::READ);
        assert_eq!(buffer.get(page() / 4), 0, "the second page is the page of zeroes");
        let (read, reply) = rig.dev().read(buffer.range()).expect("read");
        assert_eq!((reply.cpages, reply.faults), (PAGES as u64, 1));
        assert!(buffer.words_of(0..2).all(|index| word(&read, index) == 0));
        check_read(&read, buffer.words_of(2..PAGES));
    });
}

#[test]
fn anon_read_prot() {
    each_variant(1, |rig| {
        let buffer = Buffer::anon(PAGES);
        buffer.fill(0..PAGES);
        buffer.protect(0..PAGES, MprotectFlags::empty());
        let error = rig.dev().read(buffer.range()).expect_err("not readable");
        assert!(matches!(error, DmirrorError::Fault { addr } if addr == buffer.range().start()));
        buffer.protect(0..PAGES, MprotectFlags::READ);
        buffer.check(0..PAGES);
    });
}

#[test]
fn anon_write() {
    each_variant(1, |rig| {
        let buffer = Buffer::anon(PAGES);
        let data = bytes(buffer.words_of(0..PAGES), number);
        let reply = rig.dev().write(&buffer.lease(), &data).expect("write");
        assert_eq!((reply.cpages, reply.faults), (PAGES as u64, 1));
        buffer.check(0..PAGES);
    });
}

#[test]
fn anon_write_prot() {
    each_variant(1, |rig| {
        let buffer = Buffer::map(PAGES, ProtFlags::READ, MapFlags::PRIVATE);
        let (_, reply) = rig.dev().read(buffer.part(0..1)).expect("read");
        assert_eq!((reply.cpages, reply.faults), (1, 1));
        let data = bytes(buffer.words_of(0..PAGES), number);
        let error = rig.dev().write(&buffer.lease(), &data).expect_err("read-only");
        assert!(matches!(error, DmirrorError::Permission { .. }), "{error}");
        buffer.check_zero(0..PAGES);
        buffer.protect(0..PAGES, MprotectFlags::READ | MprotectFlags::WRITE);
        let reply = rig.dev().write(&buffer.lease(), &data).expect("write");
        assert_eq!((reply.cpages, reply.faults), (PAGES as u64, 1));
        buffer.check(0..PAGES);
    });
}

#[test]
fn anon_read_multiple() {
    each_variant(1, |rig| {
        for round in 0..10 {
            let buffer = Buffer::map(PAGES, RW, MapFlags::PRIVATE);
            let content = |index| number(index) + round;
            buffer.words_of(0..PAGES).for_each(|index| buffer.set(index, content(index)));
            let (read, reply) = rig.dev().read(buffer.range()).expect("read");
            assert_eq!((reply.cpages, reply.faults), (PAGES as u64, 1), "round {round}");
            assert_eq!(read, bytes(buffer.words_of(0..PAGES), content));
        }
    });
}

#[test]
fn anon_teardown() {
    each_variant(1, |rig| {
        for round in 0..10 {
            let buffer = Buffer::map(PAGES, RW, MapFlags::PRIVATE);
            buffer.fill(0..PAGES);
            let result = thread::scope(|scope| {
                let _pinned = pin(0);
                scope.spawn(|| {
                    let _pinned = pin(1);
                    thread::sleep(Duration::from_micros(3 * round));
                    buffer.unmap(PAGES / 2..PAGES);
                });
                rig.dev().read(buffer.range())
            });
            if let Ok((read, reply)) = result {
                assert_eq!((reply.cpages, reply.faults), (PAGES as u64, 1));
                check_read(&read, buffer.words_of(0..PAGES));
            }
            buffer.check(0..PAGES / 2);
        }
    });
}

#[test]
fn a_device_writes_and_the_cpu_reads_by_turns() {
    let rig = Rig::any(1);
    let buffer = Buffer::anon(4);
    buffer.fill(0..4);
    let data = bytes(buffer.words_of(0..4), negative);
    rig.dev().write(&buffer.lease(), &data).expect("write");
    assert!(buffer.words_of(0..4).all(|index| buffer.get(index) == negative(index)));
    let (read, reply) = rig.dev().read(buffer.range()).expect("read");
    assert_eq!((read, reply.faults), (data, 0));
}
