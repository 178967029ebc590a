//! Devices that fail at every step, while the CPU goes on writing: no store is ever lost.
//!
//! # Safety
//!
//! Words are accessed through raw pointers into buffers that the test owns.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod hmm_copies;
mod hmm_rig;
mod processors;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use farptr_hmm::{DeviceId, DmirrorError, Mirror, PageCount, PageSize, VaRange};
use hmm_copies::Copies;
use hmm_rig::{Buffer, Rig, huge, page};
use processors::pin;
use proptest::prelude::*;

fn attach(mirror: &Mirror, frames: usize) -> (Arc<Copies>, DeviceId) {
    let device = Arc::new(Copies::new(frames));
    let id = mirror.attach(Arc::clone(&device) as _).expect("attach");
    (device, id)
}

/// A word that several threads count in.
fn counter(buffer: &Buffer, index: usize) -> &AtomicU32 {
    let at: *mut u32 = buffer.part(0..1).start().as_mut_ptr();
    assert!(index < buffer.words());
    // SAFETY: The word is the buffer's, lives as long, and is accessed atomically only while the
    // reference is in use.
    unsafe { AtomicU32::from_ptr(at.wrapping_add(index)) }
}

#[test]
fn every_step_may_fail_and_nothing_is_lost() {
    let Some(rig) = Rig::migrating(0) else { return };
    for make in [|| Buffer::anon(40), || Buffer::thp(1)] {
        for panics in [false, true] {
            for step in 0..12 {
                let (device, id) = attach(&rig.mirror, 2 * huge());
                let buffer = make();
                let pages = buffer.pages();
                buffer.fill(0..pages / 2);
                buffer.fill(pages / 2 + 3..pages);
                device.set_panics(panics);
                device.fail_after(step);
                let migration = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
                let stayed: u64 = migration.skipped().iter().map(|s| count(s.range)).sum();
                assert_eq!(migration.moved().get() + stayed, pages as u64);
                device.fail_after(-1);
                buffer.check(0..pages / 2);
                buffer.check_zero(pages / 2..pages / 2 + 3);
                buffer.check(pages / 2 + 3..pages);
                rig.mirror.detach(id);
                assert_eq!(device.used(), 0, "step {step}");
            }
        }
    }
    assert_eq!(rig.mirror.stats().lost, 0);
}

fn count(range: VaRange) -> u64 {
    range.page_count(PageSize::host()).get()
}

#[test]
fn a_device_that_is_full_takes_what_it_can() {
    let Some(rig) = Rig::migrating(0) else { return };
    let (device, id) = attach(&rig.mirror, 10);
    let buffer = Buffer::anon(40);
    buffer.fill(0..40);
    let migration = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
    assert_eq!(migration.moved(), PageCount::new(10));
    let [rest] = migration.skipped() else { panic!("{migration:?}") };
    assert_eq!((rest.range, rest.reason), (buffer.part(10..40), farptr_hmm::Skip::NoDeviceMemory));
    buffer.check(0..40);
    rig.mirror.drain();
    assert_eq!(device.used(), 0);
}

/// One step of a migrating thread.
#[derive(Clone, Copy, Debug)]
enum Step {
    Out { first: usize, count: usize, fails: i32 },
    Home { first: usize, count: usize },
}

const PAGES: usize = 24;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = (0..PAGES, 1..PAGES).prop_map(|(first, count)| (first, count.min(PAGES - first)));
    let out = (range.clone(), -1..8i32).prop_map(|((first, count), fails)| Step::Out {
        first,
        count,
        fails,
    });
    let home = range.prop_map(|(first, count)| Step::Home { first, count });
    prop::collection::vec(prop_oneof![3 => out, 1 => home], 1..30)
}

#[test]
fn no_store_is_lost_whatever_fails() {
    // Asked once, not in each case.
    let Some(rig) = Rig::migrating(0) else { return };
    drop(rig);
    let config = ProptestConfig { cases: 40, ..ProptestConfig::default() };
    proptest!(config, |(steps in steps())| {
        let Some(rig) = Rig::migrating(0) else { return Ok(()) };
        let (device, id) = attach(&rig.mirror, 64);
        let buffer = Buffer::anon(PAGES);
        let rounds = count_through(&steps, &rig.mirror, (&device, id), &buffer);
        for page in 0..PAGES {
            for (writer, &rounds) in rounds.iter().enumerate() {
                prop_assert_eq!(
                    buffer.get(word_of(page, writer)), rounds, "page {} writer {}", page, writer
                );
            }
        }
        prop_assert_eq!(rig.mirror.stats().lost, 0);
    });
}

/// The word in which a thread counts.
fn word_of(page_index: usize, writer: usize) -> usize {
    page_index * (page() / 4) + writer * 7
}

/// Takes the steps while two threads count in each page. Returns how far each came.
fn count_through(
    steps: &[Step],
    mirror: &Mirror,
    (device, id): (&Copies, DeviceId),
    buffer: &Buffer,
) -> Vec<u32> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let count = |writer| {
            let done = &done;
            move || {
                let _pinned = pin(1 + writer);
                let mut rounds = 0;
                while !done.load(Ordering::Relaxed) {
                    for page in 0..PAGES {
                        counter(buffer, word_of(page, writer)).fetch_add(1, Ordering::Relaxed);
                    }
                    rounds += 1;
                }
                rounds
            }
        };
        let writers = [scope.spawn(count(0)), scope.spawn(count(1))];
        let _pinned = pin(0);
        for step in steps {
            match *step {
                Step::Out { first, count, fails } => {
                    device.fail_after(fails);
                    let part = buffer.part(first..first + count);
                    mirror.migrate_to_device(part, id).expect("migrate");
                }
                Step::Home { first, count } => {
                    mirror.migrate_to_home(buffer.part(first..first + count)).expect("home");
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("writer")).collect()
    })
}

/// At the exit of the process the thread that serves faults is still there.
#[test]
fn exit_with_pages_away() {
    hmm_rig::isolated("exit_with_pages_away", || {
        let Some(rig) = Rig::migrating(1) else { return };
        let buffer: &'static Buffer = Box::leak(Box::new(Buffer::anon(16)));
        buffer.fill(0..16);
        rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
        static BUFFER: std::sync::OnceLock<&'static Buffer> = std::sync::OnceLock::new();
        BUFFER.set(buffer).expect("once");
        extern "C" fn look() {
            BUFFER.get().expect("set").check(0..16);
        }
        // SAFETY: The function lives for ever; a panic in it ends the process, as it should.
        assert_eq!(unsafe { libc::atexit(look) }, 0);
        std::mem::forget(rig);
        std::process::exit(0);
    });
}

#[test]
fn threads_touch_migrate_drop_and_unmap_by_turns() {
    let Some(rig) = Rig::migrating(2) else { return };
    thread::scope(|scope| {
        for worker in 0..4 {
            let rig = &rig;
            scope.spawn(move || {
                let _pinned = pin(worker);
                for round in 0..40 {
                    let pages = 16 + 8 * worker;
                    let buffer = Buffer::anon(pages);
                    buffer.fill(0..pages);
                    let device = &rig.devices[(worker + round) % 2];
                    // A neighbour's fault brings some of them home again at once.
                    match device.migrate_to_dev(buffer.range(), None) {
                        Ok(_) | Err(DmirrorError::NotFound { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    buffer.advise(2..4, rustix::mm::Advice::LinuxDontNeed);
                    buffer.unmap(8..10);
                    buffer.check(0..2);
                    buffer.check_zero(2..4);
                    buffer.check(4..8);
                    let other = &rig.devices[(worker + round + 1) % 2];
                    let (read, _) = other.read(buffer.part(10..pages)).expect("read");
                    let first = buffer.words_of(10..pages).start;
                    assert_eq!(hmm_rig::word(&read, 0), hmm_rig::number(first));
                    buffer.check(10..pages);
                }
            });
        }
    });
    rig.mirror.drain();
    assert_eq!(rig.mirror.pages_away(), PageCount::ZERO);
    assert_eq!(rig.mirror.stats().lost, 0);
}
