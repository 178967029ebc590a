//! Other threads and processes read and lock the memory of devices and of the mirror: migrations go
//! on, and no page ever has the bytes of another.
//!
//! # Safety
//!
//! Buffers are accessed through raw pointers only, and are the tests' own, as are the mappings that
//! are locked.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod hmm_copies;
mod hmm_rig;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use farptr_hmm::{
    DeviceId, DeviceMemory, HostDevice, Lease, Maps, Mirror, Owner, PageCount, PageNumber,
    PageSize, VaRange,
};
use hmm_copies::Copies;
use hmm_rig::{Buffer, Rig, isolated, page};
use rustix::mm::{MlockAllFlags, MprotectFlags};

const PAGES: usize = 16;

/// Attaches a device of either kind.
fn attach(mirror: &Mirror, copies: bool) -> DeviceId {
    let device: Arc<dyn DeviceMemory> = if copies {
        Arc::new(Copies::new(4 * PAGES))
    } else {
        let frames = PageCount::new(4 * PAGES as u64);
        Arc::new(HostDevice::new(Owner::new(), frames).expect("a device"))
    };
    mirror.attach(device).expect("attach")
}

/// Migrates all of a buffer, again and again, and checks that every page moved each time.
fn goes_on(mirror: &Mirror, id: DeviceId, buffer: &Buffer, context: &str) {
    for round in 0..3 {
        let migration = mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        let all = PageCount::new(buffer.pages() as u64);
        assert_eq!(migration.moved(), all, "{context}, round {round}: {migration:?}");
        buffer.check(0..buffer.pages());
    }
    assert_eq!(mirror.stats().lost, 0, "{context}");
}

/// Runs a test with devices of both kinds. The test locks or reads all memory of its process, so it
/// runs in a process of its own.
fn with_each_kind(name: &str, test: impl Fn(&Mirror, DeviceId, &str)) {
    isolated(name, || {
        for copies in [false, true] {
            let Some(rig) = Rig::migrating(0) else { return };
            let id = attach(&rig.mirror, copies);
            test(&rig.mirror, id, if copies { "a device that copies" } else { "frames" });
        }
    });
}

fn filled(pages: usize) -> Buffer {
    let buffer = Buffer::anon(pages);
    buffer.fill(0..pages);
    buffer
}

/// Reads all memory of this process as a debugger does.
fn read_everything() {
    let memory = File::open("/proc/self/mem").expect("the memory of this process");
    let readable = Maps::open().expect("maps").vmas(VaRange::USER).expect("areas");
    let mut bytes = vec![0; page()];
    let mut read = 0;
    for vma in readable.iter().filter(|vma| vma.flags.read && vma.range.len_bytes() < 1 << 28) {
        for at in vma.range.pages(PageSize::host()) {
            // Pages that are away cannot be read so, and special mappings neither.
            read += usize::from(memory.read_exact_at(&mut bytes, at.start().get()).is_ok());
        }
    }
    assert!(read > 4 * PAGES, "only {read} pages could be read");
}

#[test]
fn a_reader_of_the_whole_process_stops_no_migration() {
    with_each_kind("a_reader_of_the_whole_process_stops_no_migration", |mirror, id, kind| {
        let buffer = filled(PAGES);
        goes_on(mirror, id, &buffer, kind);
        for _ in 0..2 {
            read_everything();
            goes_on(mirror, id, &buffer, kind);
        }
        mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        read_everything();
        buffer.check(0..PAGES);
        goes_on(mirror, id, &buffer, kind);
    });
}

#[test]
fn a_read_of_free_frames_stops_no_migration() {
    let Some(rig) = Rig::migrating(0) else { return };
    let device = HostDevice::new(Owner::new(), PageCount::new(64)).expect("a device");
    let device = Arc::new(device);
    let id = rig.mirror.attach(Arc::clone(&device) as _).expect("attach");
    let buffer = filled(PAGES);
    for _ in 0..3 {
        let mut bytes = vec![0xaa; 64 * page()];
        device.read(PageNumber::new(0), &mut bytes).expect("frames");
        goes_on(&rig.mirror, id, &buffer, "read");
    }
}

/// Locks all memory of this process.
fn lock_everything(flags: MlockAllFlags) {
    rustix::mm::mlockall(flags).expect("mlockall");
}

#[test]
fn a_lock_of_everything_stops_no_migration() {
    with_each_kind("a_lock_of_everything_stops_no_migration", |mirror, id, kind| {
        let buffer = filled(PAGES);
        for flags in [MlockAllFlags::CURRENT, MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT] {
            for away in [false, true] {
                if away {
                    mirror.migrate_to_device(buffer.range(), id).expect("migrate");
                }
                lock_everything(flags);
                buffer.check(0..PAGES);
                // Memory that was mapped since is not locked, and its pages have to get to memory
                // that is.
                let unlocked = filled(PAGES);
                goes_on(mirror, id, &unlocked, &format!("{kind}, locked, {away}"));
                mirror.migrate_to_device(buffer.range(), id).expect("migrate");
                buffer.check(0..PAGES);
                rustix::mm::munlockall().expect("munlockall");
                goes_on(mirror, id, &buffer, &format!("{kind}, unlocked, {away}"));
            }
        }
    });
}

/// Frames that hold old bytes and are locked cannot be dropped as others are. Pages that were never
/// touched have zeroes all the same, wherever they went meanwhile.
#[test]
fn memory_that_was_never_touched_reads_as_zeroes() {
    isolated("memory_that_was_never_touched_reads_as_zeroes", || {
        for locks_one in [false, true] {
            let Some(rig) = Rig::migrating(0) else { return };
            let frames = PageCount::new(PAGES as u64);
            let device = HostDevice::new(Owner::new(), frames).expect("a device");
            let id = rig.mirror.attach(Arc::new(device)).expect("attach");
            let old = filled(PAGES);
            rig.mirror.migrate_to_device(old.range(), id).expect("migrate");
            // Home by a copy: locked pages cannot be moved to, so their bytes stay in the frames.
            let locked = VaRange::from_len(old.range().start(), old.range().len_bytes());
            let (start, len) = (locked.expect("a range").start().as_mut_ptr(), PAGES * page());
            if locks_one {
                // SAFETY: The pages are the test's, and keep their bytes.
                unsafe { rustix::mm::mlock(start, len) }.expect("mlock");
                // SAFETY: As above.
                unsafe { rustix::mm::munlock(start, len) }.expect("munlock");
            }
            old.check(0..PAGES);
            rig.mirror.migrate_to_home(old.range()).expect("home");
            let other = filled(PAGES);
            lock_everything(MlockAllFlags::CURRENT);
            let _ = rig.mirror.migrate_to_device(other.range(), id).expect("migrate");
            rustix::mm::munlockall().expect("munlockall");
            other.check(0..PAGES);
            rig.mirror.migrate_to_home(other.range()).expect("home");
            for _ in 0..3 {
                let fresh = Buffer::anon(PAGES);
                let migration = rig.mirror.migrate_to_device(fresh.range(), id).expect("migrate");
                assert_eq!(migration.moved(), frames, "{migration:?}");
                fresh.check_zero(0..PAGES);
            }
        }
    });
}

/// A drop fails at the second of two areas, when it has dropped the first.
#[test]
fn a_lease_over_memory_that_is_locked_in_part_loses_nothing() {
    for copies in [false, true] {
        let Some(rig) = Rig::migrating(0) else { return };
        let id = attach(&rig.mirror, copies);
        let buffer = filled(PAGES);
        buffer.protect(0..PAGES, MprotectFlags::READ);
        let locked = buffer.part(PAGES / 2..PAGES);
        let len = usize::try_from(locked.len_bytes()).expect("64 bits");
        // SAFETY: The pages are the test's, and keep their bytes.
        unsafe { rustix::mm::mlock(locked.start().as_mut_ptr(), len) }.expect("mlock");
        // SAFETY: The mapping does not change while the lease is in use, and no device writes.
        let lease = unsafe { Lease::new(buffer.range()) };
        for _ in 0..2 {
            let migration = rig.mirror.migrate_leased(buffer.range(), id, &lease).expect("migrate");
            let skipped: u64 = migration
                .skipped()
                .iter()
                .map(|s| s.range.page_count(PageSize::host()).get())
                .sum();
            assert_eq!(migration.moved().get() + skipped, PAGES as u64, "{migration:?}");
            buffer.check(0..PAGES);
        }
        assert_eq!(rig.mirror.stats().lost, 0);
    }
}
