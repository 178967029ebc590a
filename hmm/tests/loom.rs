//! Every interleaving of readers, invalidations, registrations and their ends, explored by loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p farptr-hmm --release --test loom`.

#![cfg(loom)]

use std::sync::Arc;

use farptr_hmm::{
    Detail, Event, FaultError, FaultInError, HmmRange, HostError, HostMm, Invalidate, Invalidation,
    Notifier, Notifiers, PageAccess, PageEntry, PageRun, PageSize, Request, SeqSet, VaRange,
    VirtAddr, Vma, VmaFlags, WouldBlock, range_fault,
};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

/// The bound that keeps three threads affordable. The races of this protocol need one or two
/// switches; two threads are explored without a bound.
const PREEMPTIONS: usize = 3;

fn explore(preemptions: Option<usize>, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(test);
}

fn page() -> VaRange {
    let bytes = PageSize::host().bytes();
    VaRange::from_len(VirtAddr::new(bytes), bytes).expect("a user range")
}

/// The host page table, one entry: what the page holds. A relaxed access is the weakest that a
/// walk of another's page table can be.
#[derive(Default)]
struct Host {
    page: AtomicU64,
}

impl Host {
    fn read(&self) -> u64 {
        self.page.load(Ordering::Relaxed)
    }

    /// Changes the page as the protocol demands: inside an invalidation.
    fn change(&self, notifiers: &Notifiers, to: u64) {
        let guard = notifiers.invalidate(Event::Unmap, page());
        self.page.store(to, Ordering::Relaxed);
        drop(guard);
    }
}

/// A device page table of one entry.
#[derive(Default)]
struct Device {
    entry: Mutex<Option<u64>>,
}

impl Invalidate for Device {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        let mut entry = self.entry.lock().unwrap();
        let seq_set = invalidation.set_seq();
        *entry = None;
        Ok(seq_set)
    }
}

/// One turn of the loop that every device runs; tells whether the entry was made.
fn mirror_once(notifier: &Notifier, host: &Host, device: &Device) -> bool {
    let seq = notifier.read_begin();
    let page = host.read();
    let mut entry = device.entry.lock().unwrap();
    let made = !notifier.read_retry(seq);
    if made {
        *entry = Some(page);
    }
    made
}

struct World {
    notifiers: Notifiers,
    host: Arc<Host>,
    device: Arc<Device>,
}

impl World {
    fn new() -> Self {
        Self { notifiers: Notifiers::new(), host: Arc::default(), device: Arc::default() }
    }

    fn register(&self) -> Notifier {
        self.notifiers.register(page(), None, self.device.clone()).expect("not empty")
    }

    fn changer(&self, to: u64) -> thread::JoinHandle<()> {
        let (notifiers, host) = (self.notifiers.clone(), self.host.clone());
        thread::spawn(move || host.change(&notifiers, to))
    }

    /// At rest the device holds nothing or what the host holds.
    fn check(&self) {
        let entry = *self.device.entry.lock().unwrap();
        assert!(entry.is_none() || entry == Some(self.host.read()), "stale: {entry:?}");
    }
}

#[test]
fn a_reader_never_keeps_what_a_writer_changed() {
    explore(None, || {
        let world = World::new();
        let notifier = world.register();
        let changer = world.changer(1);
        mirror_once(&notifier, &world.host, &world.device);
        changer.join().unwrap();
        world.check();
    });
}

#[test]
fn a_reader_never_keeps_what_two_writers_changed() {
    explore(Some(PREEMPTIONS), || {
        let world = World::new();
        let notifier = world.register();
        let changers = [world.changer(1), world.changer(2)];
        mirror_once(&notifier, &world.host, &world.device);
        for changer in changers {
            changer.join().unwrap();
        }
        world.check();
    });
}

#[test]
fn a_reader_that_begins_after_the_end_succeeds() {
    explore(None, || {
        let world = World::new();
        let notifier = world.register();
        let changer = world.changer(1);
        changer.join().unwrap();
        assert!(mirror_once(&notifier, &world.host, &world.device));
        assert_eq!(*world.device.entry.lock().unwrap(), Some(1));
    });
}

#[test]
fn two_readers_and_a_writer() {
    explore(Some(PREEMPTIONS), || {
        let world = World::new();
        let notifier = Arc::new(world.register());
        let reader = {
            let (notifier, host, device) =
                (notifier.clone(), world.host.clone(), world.device.clone());
            thread::spawn(move || mirror_once(&notifier, &host, &device))
        };
        let changer = world.changer(1);
        mirror_once(&notifier, &world.host, &world.device);
        reader.join().unwrap();
        changer.join().unwrap();
        world.check();
    });
}

#[test]
fn a_newcomer_never_keeps_what_it_was_not_told_of() {
    explore(None, || {
        let world = World::new();
        let changer = world.changer(1);
        let notifier = world.register();
        mirror_once(&notifier, &world.host, &world.device);
        changer.join().unwrap();
        world.check();
    });
}

#[test]
fn a_newcomer_joins_others() {
    explore(Some(PREEMPTIONS), || {
        let world = World::new();
        let bystander = Arc::new(Device::default());
        let first = world.notifiers.register(page(), None, bystander).expect("not empty");
        let changer = world.changer(1);
        let notifier = world.register();
        mirror_once(&notifier, &world.host, &world.device);
        changer.join().unwrap();
        world.check();
        drop((first, notifier));
        assert_eq!(world.notifiers.count(), 0);
    });
}

/// A device that must not be told anything once it is gone.
struct Mortal {
    alive: Mutex<bool>,
}

impl Invalidate for Mortal {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        assert!(*self.alive.lock().unwrap(), "told after its notifier was dropped");
        Ok(invalidation.set_seq())
    }
}

#[test]
fn nobody_is_told_after_leaving() {
    explore(None, || {
        let world = World::new();
        let mortal = Arc::new(Mortal { alive: Mutex::new(true) });
        let notifier = world.notifiers.register(page(), None, mortal.clone()).expect("not empty");
        let changer = world.changer(1);
        drop(notifier);
        *mortal.alive.lock().unwrap() = false;
        changer.join().unwrap();
        assert_eq!(world.notifiers.count(), 0);
    });
}

#[test]
fn leaving_does_not_hinder_those_who_stay() {
    explore(Some(PREEMPTIONS), || {
        let world = World::new();
        let notifier = world.register();
        let leaver = world.register();
        let leaving = thread::spawn(move || drop(leaver));
        let changer = world.changer(1);
        mirror_once(&notifier, &world.host, &world.device);
        leaving.join().unwrap();
        changer.join().unwrap();
        world.check();
        assert_eq!(world.notifiers.count(), 1);
    });
}

/// A device that gives up rather than wait for its lock.
#[derive(Default)]
struct Impatient {
    entry: Mutex<Option<u64>>,
}

impl Invalidate for Impatient {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        let entry = match (self.entry.try_lock(), invalidation.would_block()) {
            (Ok(entry), _) => Ok(entry),
            (Err(_), Some(would_block)) => return Err(would_block),
            (Err(_), None) => self.entry.lock(),
        };
        let mut entry = entry.unwrap();
        let seq_set = invalidation.set_seq();
        *entry = None;
        Ok(seq_set)
    }
}

#[test]
fn a_refused_invalidation_changes_nothing_and_leaves_nothing() {
    explore(None, || {
        let notifiers = Notifiers::new();
        let (host, device) = (Arc::new(Host::default()), Arc::new(Impatient::default()));
        let notifier = notifiers.register(page(), None, device.clone()).expect("not empty");
        let changer = {
            let (notifiers, host) = (notifiers.clone(), host.clone());
            thread::spawn(move || {
                if let Ok(guard) = notifiers.try_invalidate(Event::Clear, page()) {
                    host.page.store(1, Ordering::Relaxed);
                    drop(guard);
                }
            })
        };
        let seq = notifier.read_begin();
        let seen = host.read();
        let mut entry = device.entry.lock().unwrap();
        if !notifier.read_retry(seq) {
            *entry = Some(seen);
        }
        drop(entry);
        changer.join().unwrap();
        let entry = *device.entry.lock().unwrap();
        assert!(entry.is_none() || entry == Some(host.read()), "stale: {entry:?}");
        assert!(notifier.try_read_begin().is_some(), "the count is balanced");
    });
}

/// As a host for walks: an area of one page, there if the number is not zero.
impl HostMm for Host {
    fn vmas(&self, range: VaRange) -> Result<Vec<Vma>, HostError> {
        let flags = VmaFlags { read: true, write: true, ..VmaFlags::default() };
        let device = farptr_hmm::Device::default();
        Ok(vec![Vma { range, flags, offset_bytes: 0, device, inode: 0, name: None }])
    }

    fn is_special(&self, _: &Vma) -> Result<bool, HostError> {
        Ok(false)
    }

    fn pages(&self, _: &Vma, range: VaRange, _: Detail) -> Result<Vec<PageRun>, HostError> {
        let there = self.read() != 0;
        let entry = if there { PageEntry::Present { writable: true } } else { PageEntry::Empty };
        Ok(vec![PageRun { range, entry, mapping: PageSize::host() }])
    }

    fn fault_in(&self, _: VaRange, _: PageAccess) -> Result<(), FaultInError> {
        self.page.store(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_walk_never_leaves_an_entry_for_a_page_that_is_gone() {
    explore(Some(PREEMPTIONS), || {
        let world = World::new();
        let notifier = world.register();
        // Drops the page: zero is a page that is not there.
        let changer = world.changer(0);
        let mut range = HmmRange::new(page(), &notifier).expect("whole pages");
        range.default_flags = Request::FAULT;
        match range_fault(&*world.host, &mut range) {
            Err(FaultError::Busy { .. }) => {}
            result => {
                result.expect("only ever busy");
                let mut entry = world.device.entry.lock().unwrap();
                if !range.read_retry() {
                    *entry = Some(1);
                }
            }
        }
        changer.join().unwrap();
        world.check();
    });
}
