//! Every request to the kernel may fail, and no store is lost.
//!
//! # Safety
//!
//! The memory that is migrated is a mapping of the test's own, which it reads by system calls and
//! changes by atomic accesses only. The device hands everything on to one that keeps the promises
//! of the trait.

mod aimed;
mod armed;
mod moves;
mod stores;

use std::sync::Arc;

use crate::sys::copy::read_bytes;
use crate::sys::lease::Lease;
use crate::sys::mmap::HugePages;
use crate::sys::owned::Owned;
use crate::sys::transfer::Request;
use crate::sys::transfer::injection::{Failure, Half};
use crate::sys::uffd::{MirrorTier, Refusal, Resolution};
use crate::{
    DeviceError, DeviceId, DeviceMemory, HostDevice, Mirror, MirrorBuilder, MirrorCall, Owner,
    PageCount, PageNumber, PageSize, VaRange,
};

const PAGES: usize = 12;
/// Pages that are never touched.
const EMPTY: std::ops::Range<usize> = 5..7;

/// A device to whose memory nothing can be moved.
struct Copying(HostDevice);

// SAFETY: The device inside keeps both promises.
unsafe impl DeviceMemory for Copying {
    fn owner(&self) -> Owner {
        self.0.owner()
    }

    fn is_self_contained(&self) -> bool {
        true
    }

    fn alloc(
        &self,
        call: &MirrorCall,
        host: VaRange,
        size: PageSize,
    ) -> Result<PageNumber, DeviceError> {
        self.0.alloc(call, host, size)
    }

    fn free(&self, call: &MirrorCall, first: PageNumber, host: VaRange) {
        self.0.free(call, first, host);
    }

    fn copy_in(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        host: VaRange,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        self.0.copy_in(call, first, host, bytes)
    }

    fn copy_out(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        host: VaRange,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        self.0.copy_out(call, first, host, bytes)
    }

    fn zero(&self, call: &MirrorCall, first: PageNumber, host: VaRange) -> Result<(), DeviceError> {
        self.0.zero(call, first, host)
    }
}

/// A mirror, a device of either kind, and memory with content.
struct Case {
    mirror: Mirror,
    used: Box<dyn Fn() -> PageCount>,
    /// The memory to which pages go first: the first frames of the device, or the staging memory.
    destination: VaRange,
    id: DeviceId,
    memory: Owned<u8>,
    lease: Option<Lease>,
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    copies: bool,
    read_only: bool,
}

const KINDS: [Kind; 4] = [
    Kind { copies: false, read_only: false },
    Kind { copies: true, read_only: false },
    Kind { copies: false, read_only: true },
    Kind { copies: true, read_only: true },
];

fn page() -> usize {
    usize::try_from(PageSize::host().bytes()).expect("64 bits")
}

/// The content of a page.
fn content(index: usize) -> Vec<u8> {
    let byte = u8::try_from(index + 1).expect("few pages");
    vec![if EMPTY.contains(&index) { 0 } else { byte }; page()]
}

impl Case {
    /// `None` where pages cannot be moved.
    fn new(kind: Kind) -> Option<Self> {
        Self::with(MirrorBuilder::new(), kind)
    }

    /// The same with a mirror of another kind.
    fn with(builder: MirrorBuilder, kind: Kind) -> Option<Self> {
        let mirror = builder.build().expect("a mirror");
        if mirror.tier() != MirrorTier::KernelFaults {
            let root = rustix::process::geteuid().is_root();
            assert!(!root || std::env::var_os("CI").is_none(), "must run in CI");
            let line = b"SKIP the transfer: this tier moves no pages; run as root\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
            return None;
        }
        let device = HostDevice::new(Owner::new(), PageCount::new(64)).expect("a device");
        let destination = if kind.copies { mirror.staging() } else { device.frames().range() };
        let (id, used): (_, Box<dyn Fn() -> PageCount>) = if kind.copies {
            let device = Arc::new(Copying(device));
            (mirror.attach(Arc::clone(&device) as _), Box::new(move || device.0.used()))
        } else {
            let device = Arc::new(device);
            (mirror.attach(Arc::clone(&device) as _), Box::new(move || device.used()))
        };
        let id = id.expect("attach");
        let mut memory = Owned::new(PAGES * page(), HugePages::Never).expect("memory");
        for index in (0..PAGES).filter(|index| !EMPTY.contains(index)) {
            memory[index * page()..(index + 1) * page()].copy_from_slice(&content(index));
        }
        let mut case = Self { mirror, used, destination, id, memory, lease: None };
        if kind.read_only {
            case.forbid_writing();
        }
        Some(case)
    }

    fn forbid_writing(&mut self) {
        let (start, len) = (self.memory.as_mut_ptr().cast(), self.memory.len());
        // SAFETY: The memory is the test's, which does not write it any more.
        unsafe { rustix::mm::mprotect(start, len, rustix::mm::MprotectFlags::READ) }
            .expect("mprotect");
        self.lend();
    }

    fn lend(&mut self) {
        // SAFETY: The mapping does not change until the end of the test, and no device writes.
        self.lease = Some(unsafe { Lease::new(self.range()) });
    }

    fn range(&self) -> VaRange {
        VaRange::from_len(self.memory.range().start(), (PAGES * page()) as u64).expect("a range")
    }

    fn plan(&self, failures: impl IntoIterator<Item = Failure>) {
        self.mirror.injection().plan(failures);
    }

    fn failed(&self) -> Vec<Request> {
        self.mirror.injection().take_failed()
    }

    /// Migrates everything; each page moves or has a reason not to.
    fn out(&self) {
        let (range, id) = (self.range(), self.id);
        let migration = match &self.lease {
            Some(lease) => self.mirror.migrate_leased(range, id, lease),
            None => self.mirror.migrate_to_device(range, id),
        };
        let migration = migration.expect("migrate");
        let skipped = migration.skipped().iter();
        let skipped: u64 = skipped.map(|s| s.range.page_count(PageSize::host()).get()).sum();
        assert_eq!(migration.moved().get() + skipped, PAGES as u64, "{migration:?}");
    }

    /// Reads every page as a system call does. Each holds what it held, or cannot be read: as many
    /// as are counted as lost.
    fn check(&self, context: &str) -> u64 {
        let mut unreadable = 0;
        for (index, at) in self.range().pages(PageSize::host()).enumerate() {
            let mut bytes = vec![0xaa; page()];
            match read_bytes(at.start(), &mut bytes) {
                Ok(()) => {
                    assert!(bytes == content(index), "page {index} is {}: {context}", bytes[0]);
                }
                Err(_) => unreadable += 1,
            }
        }
        // The handler, or a fork in another test, makes a page unreadable a moment before it counts
        // the page, and brings a page home a moment before it frees the frame. So the checks come
        // after a drain.
        self.mirror.drain();
        let left = self.mirror.migrate_to_home(self.range()).expect("home");
        assert_eq!(left, PageCount::ZERO, "{context}");
        assert_eq!(self.mirror.stats().lost, unreadable, "{context}");
        assert_eq!(self.mirror.pages_away(), PageCount::ZERO, "{context}");
        assert_eq!((self.used)(), PageCount::ZERO, "{context}");
        unreadable
    }
}

const RESOLUTIONS: [Resolution; 4] = [
    Resolution::Retry,
    Resolution::Refused(Refusal::NoMemory),
    Resolution::Refused(Refusal::Busy),
    Resolution::Refused(Refusal::Unsuitable),
];

/// Has the request after `after` others fail on a way out and home. Returns whether there was one.
fn one_failure(kind: Kind, failure: Failure, by_touch: bool) -> Option<bool> {
    let context = format!("{kind:?}, {failure:?}, by touch: {by_touch}");
    let case = Case::new(kind)?;
    case.plan(Some(failure));
    case.out();
    if !by_touch {
        case.mirror.migrate_to_home(case.range()).expect("home");
    }
    let lost = case.check(&context);
    let failed = case.failed();
    let passes =
        matches!(failure.resolution, Resolution::Retry | Resolution::Refused(Refusal::NoMemory));
    // If a page cannot be moved home, it is copied, and a hole is filled with zeroes. If these
    // requests fail too, the page is lost.
    let last = [Request::CopyHome, Request::ZeroHome];
    let may_lose = !passes && failed.iter().any(|request| last.contains(request));
    assert!(lost == 0 || may_lose, "{lost} pages lost by {failed:?}: {context}");
    Some(!failed.is_empty())
}

#[test]
fn any_request_may_fail_once() {
    let mut failures = 0;
    for kind in KINDS {
        for resolution in RESOLUTIONS {
            for (half, by_touch) in [
                (Half::Undone, false),
                (Half::Done, false),
                (Half::Undone, true),
                (Half::Done, true),
            ] {
                for after in 0.. {
                    let failure = Failure { on: None, after, times: 1, resolution, half };
                    match one_failure(kind, failure, by_touch) {
                        None => return,
                        Some(true) => failures += 1,
                        Some(false) => break,
                    }
                }
            }
        }
    }
    assert!(failures > 100, "only {failures} requests failed");
}

#[test]
fn requests_may_fail_again_and_again() {
    for kind in KINDS {
        for resolution in [Resolution::Retry, Resolution::Refused(Refusal::NoMemory)] {
            for after in 0..6 {
                let failure =
                    Failure { on: None, after, times: 20, resolution, half: Half::Undone };
                if one_failure(kind, failure, after % 2 == 0).is_none() {
                    return;
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_moved_home_is_copied() {
    let resolution = Resolution::Refused(Refusal::Busy);
    let on = Some(Request::MoveHome);
    let failure = Failure { on, after: 0, times: u32::MAX, resolution, half: Half::Undone };
    let Some(case) = Case::new(KINDS[0]) else { return };
    case.out();
    case.plan(Some(failure));
    assert_eq!(case.mirror.migrate_to_home(case.range()).expect("home").get(), PAGES as u64);
    assert_eq!(case.check("copied"), 0);
    assert!(!case.failed().is_empty());
}

#[test]
fn pages_that_the_kernel_moves_and_does_not_count_are_where_it_moved_them() {
    let (resolution, half) = (Resolution::AlreadyThere, Half::Uncounted);
    for kind in KINDS.into_iter().filter(|kind| !kind.read_only) {
        for (on, by_touch) in [
            (Request::MoveOut, false),
            (Request::MoveOut, true),
            (Request::MoveHome, false),
            (Request::MoveHome, true),
        ] {
            let context = format!("{kind:?}, {on:?}, by touch: {by_touch}");
            let Some(case) = Case::new(kind) else { return };
            case.plan(Some(Failure { on: Some(on), after: 0, times: 1, resolution, half }));
            case.out();
            assert_eq!(case.mirror.pages_away().get(), PAGES as u64, "{context}");
            if !by_touch {
                case.mirror.migrate_to_home(case.range()).expect("home");
            }
            assert_eq!(case.check(&context), 0, "{context}");
            // Nothing is moved home from a device that copies.
            assert_eq!(
                case.failed().is_empty(),
                kind.copies && on == Request::MoveHome,
                "{context}"
            );
        }
    }
}

#[test]
fn what_cannot_come_home_is_never_read_as_zeroes() {
    for by_touch in [false, true] {
        for refusal in [Refusal::Unsuitable, Refusal::NoMemory] {
            for half in [Half::Undone, Half::Done] {
                let resolution = Resolution::Refused(refusal);
                let on = Some(Request::CopyHome);
                let failure = Failure { on, after: 0, times: u32::MAX, resolution, half };
                let Some(case) = Case::new(KINDS[1]) else { return };
                case.out();
                case.plan(Some(failure));
                if !by_touch {
                    case.mirror.migrate_to_home(case.range()).expect("home");
                }
                let lost = case.check(&format!("{failure:?}"));
                assert!(lost > 0 && lost <= PAGES as u64, "{lost} lost: {failure:?}");
                assert!(half == Half::Done || lost == PAGES as u64, "{lost} lost: {failure:?}");
            }
        }
    }
}
