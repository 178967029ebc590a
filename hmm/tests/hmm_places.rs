//! Devices are told for which pages of the host frames are, and keep neighbours together.
//!
//! # Safety
//!
//! The devices keep what they were given: one in frames that are each page's own, one in a device
//! that keeps the promises of the trait.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod hmm_rig;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farptr_hmm::{
    DeviceError, DeviceMemory, HostDevice, HostMm, MirrorCall, Owner, PageCount, PageNumber,
    PageSize, VaRange,
};
use hmm_rig::{Buffer, Rig, page};

type Done = Result<(), DeviceError>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(page: VaRange) -> u64 {
    page.start().page_number(PageSize::host()).get()
}

/// A device in which each page of one range has a place of its own.
struct Places {
    owner: Owner,
    range: VaRange,
    bytes: Mutex<Vec<u8>>,
}

impl Places {
    fn new(range: VaRange) -> Self {
        let bytes = vec![0xee; usize::try_from(range.len_bytes()).expect("64 bits")];
        Self { owner: Owner::new(), range, bytes: Mutex::new(bytes) }
    }

    fn bytes_of(first: PageNumber, host: VaRange) -> Range<usize> {
        let first = usize::try_from(first.get()).expect("64 bits") * page();
        first..first + usize::try_from(host.len_bytes()).expect("64 bits")
    }
}

// SAFETY: 1. Frames are written by `copy_in` and `zero` only. 2. A page has one frame, which is no
// other page's, and a page is given out once before it is taken back.
unsafe impl DeviceMemory for Places {
    fn owner(&self) -> Owner {
        self.owner
    }

    fn is_self_contained(&self) -> bool {
        true
    }

    fn alloc(
        &self,
        _: &MirrorCall,
        host: VaRange,
        page_size: PageSize,
    ) -> Result<PageNumber, DeviceError> {
        if page_size > PageSize::host() || !self.range.contains_range(&host) {
            return Err(DeviceError::NoMemory);
        }
        Ok(PageNumber::new(number(host) - number(self.range)))
    }

    fn free(&self, _: &MirrorCall, _: PageNumber, _: VaRange) {}

    fn copy_in(&self, _: &MirrorCall, first: PageNumber, host: VaRange, bytes: &[u8]) -> Done {
        lock(&self.bytes)[Self::bytes_of(first, host)].copy_from_slice(bytes);
        Ok(())
    }

    fn copy_out(&self, _: &MirrorCall, first: PageNumber, host: VaRange, to: &mut [u8]) -> Done {
        to.copy_from_slice(&lock(&self.bytes)[Self::bytes_of(first, host)]);
        Ok(())
    }

    fn zero(&self, _: &MirrorCall, first: PageNumber, host: VaRange) -> Done {
        lock(&self.bytes)[Self::bytes_of(first, host)].fill(0);
        Ok(())
    }
}

#[test]
fn a_device_that_gives_each_page_its_place_has_one_run_whatever_came_and_went() {
    const PAGES: usize = 100;
    let Some(rig) = Rig::migrating(0) else { return };
    let buffer = Buffer::anon(PAGES);
    buffer.fill(0..PAGES);
    let id = rig.mirror.attach(Arc::new(Places::new(buffer.range()))).expect("attach");
    // In an order in which a device that gives out the next free frame would mix the pages up.
    for part in [60..100, 10..20, 0..5, 20..60, 5..10] {
        rig.mirror.migrate_to_device(buffer.part(part), id).expect("migrate");
    }
    for round in 0..4 {
        let runs = rig.mirror.device_pages(buffer.range());
        let [run] = runs[..] else { panic!("round {round}: {runs:?}") };
        assert_eq!((run.range, run.frame.get()), (buffer.range(), 0), "round {round}");
        for page in [3, 97, 40 + round, 70] {
            buffer.check(page..page + 1);
        }
        let home = rig.mirror.migrate_to_home(buffer.part(50..55)).expect("home");
        assert!(home <= PageCount::new(5));
        rig.mirror.migrate_to_device(buffer.part(90..100), id).expect("migrate");
        let all = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        let there = all.moved().get() + all.already_there().get();
        assert_eq!(there, PAGES as u64, "{all:?}");
    }
    buffer.check(0..PAGES);
}

/// A device that compares what it is told with what it was told before.
struct Noting {
    device: HostDevice,
    /// Whether pages are moved to it.
    is_host: bool,
    /// The number of the page that each frame was given out for.
    pages: Mutex<BTreeMap<u64, u64>>,
    /// The frames that were named for another page.
    strange: Mutex<Vec<(u64, VaRange)>>,
}

impl Noting {
    fn new(is_host: bool) -> Self {
        let device = HostDevice::new(Owner::new(), PageCount::new(1024)).expect("a device");
        Self { device, is_host, pages: Mutex::default(), strange: Mutex::default() }
    }

    fn is_noted(&self, first: PageNumber, host: VaRange) -> bool {
        let pages = lock(&self.pages);
        (first.get()..)
            .zip(host.pages(PageSize::host()))
            .all(|(frame, page)| pages.get(&frame) == Some(&number(page)))
    }

    fn compare(&self, first: PageNumber, host: VaRange) {
        if !self.is_noted(first, host) {
            lock(&self.strange).push((first.get(), host));
        }
    }
}

// SAFETY: 1. 2. and 3. The device inside does it all.
unsafe impl DeviceMemory for Noting {
    fn owner(&self) -> Owner {
        self.device.owner()
    }

    fn alloc(
        &self,
        call: &MirrorCall,
        host: VaRange,
        page_size: PageSize,
    ) -> Result<PageNumber, DeviceError> {
        let first = self.device.alloc(call, host, page_size)?;
        let noted = (first.get()..).zip(host.pages(PageSize::host()).map(number));
        lock(&self.pages).extend(noted);
        Ok(first)
    }

    fn free(&self, call: &MirrorCall, first: PageNumber, host: VaRange) {
        self.compare(first, host);
        let count = host.page_count(PageSize::host()).get();
        lock(&self.pages).retain(|frame, _| !(first.get()..first.get() + count).contains(frame));
        self.device.free(call, first, host);
    }

    fn copy_in(&self, call: &MirrorCall, first: PageNumber, host: VaRange, bytes: &[u8]) -> Done {
        self.compare(first, host);
        self.device.copy_in(call, first, host, bytes)
    }

    fn copy_out(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        host: VaRange,
        bytes: &mut [u8],
    ) -> Done {
        self.compare(first, host);
        self.device.copy_out(call, first, host, bytes)
    }

    fn zero(&self, call: &MirrorCall, first: PageNumber, host: VaRange) -> Done {
        self.compare(first, host);
        self.device.zero(call, first, host)
    }

    fn is_self_contained(&self) -> bool {
        true
    }

    fn as_host(&self) -> Option<&HostDevice> {
        self.is_host.then_some(&self.device)
    }
}

#[test]
fn a_device_is_told_for_which_pages_each_call_is() {
    for is_host in [true, false] {
        let Some(rig) = Rig::migrating(0) else { return };
        let device = Arc::new(Noting::new(is_host));
        let id = rig.mirror.attach(Arc::clone(&device) as _).expect("attach");
        let (buffer, other) = (Buffer::anon(200), Buffer::anon(16));
        buffer.fill(0..180);
        for part in [8..24, 0..200, 4..9] {
            let _ = rig.mirror.migrate_to_device(buffer.part(part), id).expect("migrate");
            buffer.check(20..21);
            buffer.advise(30..33, rustix::mm::Advice::LinuxDontNeed);
            buffer.check_zero(30..33);
            buffer.fill(30..33);
        }
        let _ = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        rig.mirror.migrate_to_home(buffer.range()).expect("home");
        buffer.check(0..180);
        rig.mirror.drain();
        assert_eq!(*lock(&device.strange), [], "host: {is_host}");

        // Pages that move to other addresses are given back with these.
        let moved = rig.mirror.migrate_to_device(buffer.part(0..16), id).expect("migrate").moved();
        assert_eq!(moved, PageCount::new(16));
        buffer.remap(0..16, &other, false);
        rig.mirror.drain();
        rig.mirror.evict(id).expect("evict");
        assert_eq!(device.device.used(), PageCount::ZERO, "host: {is_host}");
        let strange = std::mem::take(&mut *lock(&device.strange));
        assert!(strange.iter().all(|(_, host)| other.range().contains_range(host)), "{strange:?}");
        assert!(!strange.is_empty());
        buffer.check(16..180);
        other.check(0..16);
        assert_eq!(rig.mirror.stats().lost, 0, "host: {is_host}");
    }
}
