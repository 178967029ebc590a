//! The memory that may be moved to each device. Each test runs in a process of its own, which an
//! alarm ends if it hangs: no request of a migration may make a process hang.
//!
//! # Safety
//!
//! An alarm is set, which ends the process, and the allocator is told how to map. The device hands
//! everything on to one that keeps the promises of the trait.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod hmm_copies;
mod hmm_rig;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use farptr_hmm::{
    DeviceError, DeviceId, HostDevice, Lease, Memory, MigrateError, Migration, Owner, PageCount,
    PageSize, Skip, VaRange, parse_maps,
};
use hmm_copies::Copies;
use hmm_rig::{Buffer, Rig, isolated, number, page};
use memmap2::MmapMut;

/// Runs a test in a process that is ended when it hangs.
fn alone(name: &str, test: impl FnOnce()) {
    isolated(name, || {
        // SAFETY: The call has no obligations; the alarm ends this process.
        unsafe { libc::alarm(60) };
        test();
    });
}

/// The areas of this process that can be read and written, with their names.
fn areas() -> Vec<(VaRange, String)> {
    let text = std::fs::read("/proc/self/maps").expect("maps");
    let vmas = parse_maps(&text).expect("maps");
    let writable = vmas.into_iter().filter(|vma| vma.flags.read && vma.flags.write);
    let name = |name: Option<std::ffi::OsString>| name.unwrap_or_default().into_string();
    writable.map(|vma| (vma.range, name(vma.name).expect("a name"))).collect()
}

/// Uses what every program uses: the allocator, the stack, the thread's variables.
fn live() -> usize {
    let text: Vec<String> = (0..2000).map(|number| format!("{number:>200}")).collect();
    thread::spawn(move || text.iter().map(String::len).sum()).join().expect("a thread")
}

fn attach(rig: &Rig, pages: u64) -> DeviceId {
    let device = HostDevice::new(Owner::new(), PageCount::new(pages)).expect("a device");
    rig.mirror.attach(Arc::new(device)).expect("attach")
}

/// Whether pages stayed for the reason that a thread may need them on the way.
fn needed(migration: &Migration, range: VaRange) -> bool {
    let needed = |at| {
        let mut skipped = migration.skipped().iter();
        skipped.any(|run| run.reason == Skip::Needed && run.range.contains(at))
    };
    range.pages(PageSize::host()).all(|page| needed(page.start()))
}

fn ask_for_everything() {
    let Some(rig) = Rig::migrating(0) else { return };
    let id = attach(&rig, 1 << 14);
    let buffer = Buffer::anon(64);
    buffer.fill(0..64);
    let mut moved = 0;
    for round in 0..3 {
        let areas = areas();
        for (range, name) in &areas {
            match rig.mirror.migrate_to_device(*range, id) {
                Ok(migration) => {
                    let named = name == "[heap]" || name == "[stack]";
                    assert!(!named || needed(&migration, *range), "{name}: {migration:?}");
                    moved += migration.moved().get();
                }
                // Another thread may have unmapped it, or the kernel provides it.
                Err(MigrateError::NoMemory { .. }) => {}
                Err(error) => panic!("{range} {name}: {error:?}"),
            }
            let _ = rig.mirror.make_exclusive(*range, id);
            // SAFETY: No mapping changes during the call, and no device writes.
            let lease = unsafe { Lease::new(*range) };
            let _ = rig.mirror.migrate_leased(*range, id, &lease);
            assert_eq!(live(), 2000 * 200, "after {range} {name} in round {round}");
        }
        buffer.check(0..64);
    }
    assert!(moved >= 64, "only {moved} pages moved");
    assert_eq!(rig.mirror.stats().lost, 0);
}

#[test]
fn a_process_that_asks_for_all_of_its_memory_goes_on() {
    alone("a_process_that_asks_for_all_of_its_memory_goes_on", ask_for_everything);
}

/// Here the mirror lies in an arena of its thread, and so does what the thread allocates.
#[test]
fn a_thread_that_asks_for_all_of_its_memory_goes_on() {
    alone("a_thread_that_asks_for_all_of_its_memory_goes_on", || {
        thread::spawn(ask_for_everything).join().expect("a thread");
    });
}

/// Has the allocator carve vectors out of its own memory, so that it keeps what it takes back.
fn carve() {
    // SAFETY: The call has no obligations.
    assert_eq!(unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20) }, 1);
    // SAFETY: As above.
    assert_eq!(unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) }, 1);
}

#[test]
fn a_slice_of_the_heap_moves_to_a_self_contained_device() {
    alone("a_slice_of_the_heap_moves_to_a_self_contained_device", || {
        let Some(rig) = Rig::migrating(0) else { return };
        carve();
        let host = attach(&rig, 1024);
        let copies = rig.mirror.attach(Arc::new(Copies::new(1024))).expect("attach");
        for id in [host, copies] {
            let numbers: Vec<u32> = (0..100_000).collect();
            let range = VaRange::of_slice(&numbers).whole_pages(PageSize::host());
            let whole = range.page_count(PageSize::host());
            if id == host {
                // This comes first, while the slice is part of the heap. Later it is an area of its
                // own, which the allocator may use for something else.
                let bare = rig.mirror.migrate_to_device(range, id).expect("migrate");
                assert!(needed(&bare, range), "{bare:?}");
            }
            let out = || rig.mirror.migrate_to_device(&numbers[..], id).expect("migrate").moved();
            assert_eq!(out(), whole);
            assert!((0..100_000).eq(numbers.iter().copied()));
            assert_eq!(out(), whole);
            let _above = Box::new([0u8; 200]);
            drop(numbers);
            assert!(rig.mirror.pages_away() > PageCount::ZERO, "the allocator has them now");
            // Their next owner finds them.
            let boxes: Vec<Box<[u8; 1000]>> = (0..400).map(|_| Box::new([7; 1000])).collect();
            assert!(boxes.iter().all(|bytes| bytes.iter().all(|&byte| byte == 7)));
            assert_eq!(live(), 2000 * 200);
        }
        assert_eq!(rig.mirror.stats().lost, 0);
    });
}

type Job = Box<dyn FnOnce() + Send>;

/// A device that reads frames back in another thread, which allocates, as a driver might.
struct Driver {
    device: HostDevice,
    jobs: Mutex<Sender<(Job, Sender<()>)>>,
}

impl Driver {
    fn new(pages: u64) -> Self {
        let (jobs, next): (_, Receiver<(Job, Sender<()>)>) = channel();
        thread::spawn(move || {
            for (job, done) in next {
                job();
                let _ = done.send(());
            }
        });
        let device = HostDevice::new(Owner::new(), PageCount::new(pages)).expect("a device");
        Self { device, jobs: Mutex::new(jobs) }
    }

    /// Has the thread allocate before pages are read back.
    fn have_thread_allocate(&self, call: &str) -> Result<(), DeviceError> {
        if call == "copy_out" {
            let (done, is_done) = channel();
            let job: Job = Box::new(|| assert!(live() > 0));
            self.jobs.lock().expect("jobs").send((job, done)).expect("a thread");
            is_done.recv().expect("a thread");
        }
        Ok(())
    }
}

hmm_copies::forward::forward!(Driver, device; have_thread_allocate, false);

#[test]
fn a_device_that_may_allocate_gets_mappings_only() {
    alone("a_device_that_may_allocate_gets_mappings_only", || {
        let Some(rig) = Rig::migrating(0) else { return };
        carve();
        let id = rig.mirror.attach(Arc::new(Driver::new(256))).expect("attach");
        let numbers: Vec<u32> = (0..100_000).collect();
        let slice = || Memory::from(&numbers[..]);
        let buffer = Buffer::anon(16);
        // SAFETY: The buffer does not change during the calls, and no device writes.
        let lease = unsafe { Lease::new(buffer.range()) };
        for memory in [slice(), Memory::from(slice().range()), buffer.range().into()] {
            let leased = lease.range() == memory.range();
            for result in [
                rig.mirror.migrate_to_device(memory, id),
                rig.mirror.make_exclusive(memory, id),
                if leased {
                    rig.mirror.migrate_leased(memory, id, &lease)
                } else {
                    rig.mirror.migrate_to_device(memory, id)
                },
            ] {
                let error = result.expect_err("it may be an allocator's");
                assert!(matches!(error, MigrateError::MayAllocate { .. }), "{error:?}");
                assert!(error.to_string().contains("is_self_contained"), "{error}");
            }
        }
        assert_eq!(rig.mirror.pages_away(), PageCount::ZERO);

        let mut map = MmapMut::map_anon(16 * page()).expect("memory");
        map.fill(9);
        let moved = rig.mirror.migrate_to_device(&map, id).expect("migrate").moved();
        assert_eq!(moved, PageCount::new(16));
        assert!(map.iter().all(|&byte| byte == 9), "home by a touch");
        // SAFETY: The buffer was mapped for the test alone.
        let own = unsafe { Memory::own_mapping(buffer.range()) };
        buffer.fill(0..16);
        let half = own.part(buffer.part(4..12)).expect("inside");
        assert!(own.part(VaRange::of_slice(&map)).is_none());
        assert_eq!(rig.mirror.migrate_to_device(half, id).expect("migrate").moved().get(), 8);
        assert_eq!(buffer.get(5 * page() / 4), number(5 * page() / 4));
        buffer.check(0..16);
        // Unmapped while away.
        let _ = rig.mirror.migrate_to_device(&map, id).expect("migrate");
        drop(map);
        assert_eq!(live(), 2000 * 200);
        rig.mirror.drain();
        assert_eq!((rig.mirror.pages_away(), rig.mirror.stats().lost), (PageCount::ZERO, 0));
    });
}
