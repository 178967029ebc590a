//! Memory of a known shape, threads that touch it, and a userfaultfd that outlives neither.
//!
//! A test is its own fault handler: other threads touch memory, the test reads the messages and
//! answers. If it fails instead, dropping the [`Rig`] ends the watch and all threads go on.

use std::ffi::c_void;
use std::fmt::Display;
use std::io::Write;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

use super::super::{
    Event, Events, Fault, Features, MirrorTier, Modes, OpenUffdError, Operations, Outcome,
    Resolution, Uffd,
};
use crate::addr::{PageSize, VaRange, VirtAddr};
use crate::sys::processors::pin;
use crate::{PageState, Pagemap};

/// A fork makes the pages of all tests shared for a moment, which a move notices.
static FORKS: RwLock<()> = RwLock::new(());

/// Keeps forks away.
pub(in crate::sys) fn without_forks() -> RwLockReadGuard<'static, ()> {
    FORKS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the tests away that forks would disturb.
pub(super) fn alone() -> RwLockWriteGuard<'static, ()> {
    FORKS.write().unwrap_or_else(PoisonError::into_inner)
}

/// An address at which Linux places nothing by itself, so that a hole stays one.
const FAR_AWAY: usize = 0x2000_0000_0000;
const STRIDE: usize = 1 << 32;
static NEXT: AtomicUsize = AtomicUsize::new(FAR_AWAY);

pub(super) fn page_bytes() -> u64 {
    PageSize::host().bytes()
}

/// How many small pages a huge one stands for.
pub(super) fn huge_pages() -> usize {
    usize::try_from((2 << 20) / page_bytes()).expect("64 bits")
}

/// Pages at a place of their own, 2 MiB aligned. Page `i` is told from others by its content.
pub(super) struct Area {
    base: NonNull<c_void>,
    pages: usize,
}

// SAFETY: The area belongs to the process. The tests order the accesses of their threads.
unsafe impl Send for Area {}
// SAFETY: As for `Send`.
unsafe impl Sync for Area {}

impl Area {
    fn map(
        pages: usize,
        how: impl FnOnce(*mut c_void, usize) -> rustix::io::Result<*mut c_void>,
    ) -> Arc<Self> {
        let place = NEXT.fetch_add(STRIDE, Ordering::Relaxed);
        let base = how(ptr::without_provenance_mut(place), len(pages)).expect("memory");
        Arc::new(Self { base: NonNull::new(base).expect("not at zero"), pages })
    }

    /// Private anonymous memory without huge pages.
    pub(super) fn new(pages: usize) -> Arc<Self> {
        let area = Self::anonymous(pages, ProtFlags::READ | ProtFlags::WRITE);
        let _ = area.advise(0..pages, Advice::LinuxNoHugepage);
        area
    }

    /// Private anonymous memory with huge pages, the first of which is there; `None` if this
    /// kernel gives none.
    pub(super) fn huge() -> Option<Arc<Self>> {
        let area = Self::anonymous(2 * huge_pages(), ProtFlags::READ | ProtFlags::WRITE);
        area.advise(0..area.pages, Advice::LinuxHugepage).ok()?;
        area.write(0, 1);
        (area.huge_pages(0..huge_pages()) == huge_pages()).then_some(area)
    }

    /// Private anonymous memory with permissions of one's own.
    pub(super) fn anonymous(pages: usize, access: ProtFlags) -> Arc<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: `FIXED_NOREPLACE` maps new memory or fails.
        Self::map(pages, |at, len| unsafe { rustix::mm::mmap_anonymous(at, len, access, flags) })
    }

    /// A mapping of a file.
    pub(super) fn file(pages: usize, file: impl AsFd, shared: bool) -> Arc<Self> {
        let kind = if shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = kind | MapFlags::FIXED_NOREPLACE;
        // SAFETY: `FIXED_NOREPLACE` maps new memory or fails.
        Self::map(pages, |at, len| unsafe { rustix::mm::mmap(at, len, access, flags, file, 0) })
    }

    pub(super) fn range(&self) -> VaRange {
        self.pages(0..self.pages)
    }

    pub(super) fn pages(&self, pages: Range<usize>) -> VaRange {
        let base = VirtAddr::from_ptr(self.base.as_ptr());
        let start = base.checked_add(pages.start as u64 * page_bytes()).expect("an address");
        VaRange::from_len(start, pages.len() as u64 * page_bytes()).expect("a range")
    }

    pub(super) fn page(&self, page: usize) -> VaRange {
        self.pages(page..page + 1)
    }

    pub(super) fn at(&self, page: usize) -> VirtAddr {
        self.page(page).start()
    }

    /// Writes page numbers, counted from one, so that every page is there and is told apart.
    pub(super) fn number(&self, pages: Range<usize>) {
        pages.for_each(|page| self.write(page, tag(page)));
    }

    /// Checks that every page is there and holds its number.
    pub(super) fn check(&self, pages: Range<usize>) {
        let read: Vec<u8> = pages.clone().map(|page| self.read(page)).collect();
        assert_eq!(read, pages.map(tag).collect::<Vec<_>>());
    }

    pub(super) fn write(&self, page: usize, byte: u8) {
        // SAFETY: The byte is the area's, and the tests order the accesses to it.
        unsafe { self.at(page).as_mut_ptr::<u8>().write_volatile(byte) };
    }

    pub(super) fn read(&self, page: usize) -> u8 {
        // SAFETY: The byte is the area's, and the tests order the accesses to it.
        unsafe { self.at(page).as_ptr::<u8>().read_volatile() }
    }

    pub(super) fn advise(&self, pages: Range<usize>, advice: Advice) -> rustix::io::Result<()> {
        let (start, len) = raw(self.pages(pages));
        // SAFETY: The pages are the area's and no reference to them exists.
        unsafe { rustix::mm::madvise(start, len, advice) }
    }

    pub(super) fn protect(&self, pages: Range<usize>, access: MprotectFlags) {
        let (start, len) = raw(self.pages(pages));
        // SAFETY: The pages are the area's and no reference to them exists.
        unsafe { rustix::mm::mprotect(start, len, access) }.expect("mprotect");
    }

    pub(super) fn unmap(&self, pages: Range<usize>) {
        let (start, len) = raw(self.pages(pages));
        // SAFETY: The pages are the area's and no reference to them exists.
        unsafe { rustix::mm::munmap(start, len) }.expect("munmap");
    }

    /// Puts fresh memory in the place of pages.
    pub(super) fn overlay(&self, pages: Range<usize>) {
        let (start, len) = raw(self.pages(pages));
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: The pages that are replaced are the area's and no reference to them exists.
        unsafe { rustix::mm::mmap_anonymous(start, len, access, flags) }.expect("mmap");
    }

    fn states(&self, pages: Range<usize>) -> Vec<PageState> {
        let residency = Pagemap::open().expect("pagemap").residency(self.pages(pages.clone()));
        let residency = residency.expect("residency");
        pages.map(|page| residency.state_at(self.at(page)).expect("in range")).collect()
    }

    /// How many of the pages are there.
    pub(super) fn present(&self, pages: Range<usize>) -> usize {
        self.states(pages).into_iter().filter(|state| state.is_present()).count()
    }

    /// How many of the pages are mapped by huge pages.
    pub(super) fn huge_pages(&self, pages: Range<usize>) -> usize {
        let residency = Pagemap::open().expect("pagemap").residency(self.pages(pages));
        let huge = residency.expect("residency").huge_pages();
        huge.map_or(0, |count| usize::try_from(count.get()).expect("64 bits"))
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: The area has no other owner; a hole in it does no harm.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr(), len(self.pages)) };
        unmapped.expect("munmap");
    }
}

fn len(pages: usize) -> usize {
    pages * usize::try_from(page_bytes()).expect("64 bits")
}

pub(super) fn raw(range: VaRange) -> (*mut c_void, usize) {
    (range.start().as_mut_ptr(), usize::try_from(range.len_bytes()).expect("64 bits"))
}

fn tag(page: usize) -> u8 {
    u8::try_from(page % 255 + 1).expect("a byte")
}

/// A userfaultfd and the areas that it watches. Areas live until it is gone: unmapping one that is
/// watched waits for the reader of the messages.
pub(super) struct Rig {
    uffd: Option<Uffd>,
    /// Kept until the userfaultfd is gone.
    areas: Vec<Arc<Area>>,
    _forks: Option<RwLockReadGuard<'static, ()>>,
}

impl Deref for Rig {
    type Target = Uffd;

    fn deref(&self) -> &Uffd {
        self.uffd.as_ref().expect("until it is dropped")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.uffd = None;
        self.areas.clear();
    }
}

impl Rig {
    pub(super) fn open(tier: MirrorTier, features: Features) -> Result<Self, OpenUffdError> {
        let forks = Some(without_forks());
        let uffd = Some(Uffd::open(tier, features, Features::NONE)?);
        Ok(Self { uffd, areas: Vec::new(), _forks: forks })
    }

    /// For tests that fork and hold the lock themselves.
    pub(super) fn open_alone(
        _alone: &RwLockWriteGuard<'static, ()>,
        tier: MirrorTier,
        features: Features,
    ) -> Result<Self, OpenUffdError> {
        let uffd = Some(Uffd::open(tier, features, Features::NONE)?);
        Ok(Self { uffd, areas: Vec::new(), _forks: None })
    }

    /// Watches an area.
    pub(super) fn watch(&mut self, area: &Arc<Area>, modes: Modes) -> Operations {
        self.areas.push(Arc::clone(area));
        self.register(area.range(), modes).expect("register")
    }

    /// Maps an area that is not watched and may be later.
    pub(super) fn unwatched(&mut self, pages: usize) -> Arc<Area> {
        let area = Area::new(pages);
        self.areas.push(Arc::clone(&area));
        area
    }

    /// Maps an area and watches it.
    pub(super) fn area(&mut self, pages: usize, modes: Modes) -> Arc<Area> {
        let area = Area::new(pages);
        self.watch(&area, modes);
        area
    }

    /// Reads messages until there are as many as expected.
    pub(super) fn expect_events(&self, count: usize) -> Vec<Event> {
        let mut batch = Events::new();
        let mut events = Vec::new();
        while events.len() < count {
            self.await_readable();
            self.read_events(&mut batch).expect("events");
            events.extend(&mut batch);
        }
        assert_eq!(events.len(), count, "{events:?}");
        events
    }

    pub(super) fn expect_event(&self) -> Event {
        self.expect_events(1).pop().expect("one event")
    }

    pub(super) fn expect_fault(&self) -> Fault {
        match self.expect_event() {
            Event::Fault(fault) => fault,
            other => panic!("expected a fault, got {other:?}"),
        }
    }

    /// Checks that there is no message now.
    pub(super) fn expect_silence(&self) {
        let mut batch = Events::new();
        let count = self.read_events(&mut batch).expect("events");
        assert_eq!(count, 0, "{:?}", batch.collect::<Vec<_>>());
    }

    /// Waits until a message can be read. The limit is there to fail a broken test.
    pub(super) fn await_readable(&self) {
        let limit = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        let mut polled = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)];
        while polled[0].revents().is_empty() {
            let ready = poll(&mut polled, Some(&limit)).expect("poll");
            assert_eq!(ready, 1, "no message came");
        }
    }

    /// Waits until as many faults are queued, without reading them.
    pub(super) fn await_pending(&self, faults: usize) {
        let path = format!("/proc/self/fdinfo/{}", self.as_fd().as_raw_fd());
        loop {
            let text = std::fs::read_to_string(&path).expect("fdinfo");
            let line = text.lines().find_map(|line| line.strip_prefix("pending:"));
            let pending = line.expect("a userfaultfd").trim().parse::<usize>().expect("a number");
            if pending >= faults {
                return;
            }
            thread::yield_now();
        }
    }
}

/// Runs a test in every tier that works here.
pub(super) fn each_tier(features: &[super::super::Feature], test: impl Fn(&mut Rig)) {
    let _pinned = pin(0);
    let features: Features = features.iter().copied().collect();
    for tier in [MirrorTier::KernelFaults, MirrorTier::UserFaults] {
        match Rig::open(tier, features) {
            Ok(mut rig) => test(&mut rig),
            Err(error) => skip_tier(tier, error),
        }
    }
}

/// Says that a tier is left out, once for all tests. Only the privileged tier may be, and only
/// without privilege.
pub(super) fn skip_tier(tier: MirrorTier, reason: impl Display) {
    static SAID: Once = Once::new();
    let expected = tier == MirrorTier::KernelFaults && !rustix::process::geteuid().is_root();
    let what = format_args!("every test of userfaultfd for {tier}");
    if expected {
        SAID.call_once(|| skip(what, reason, expected));
    } else {
        skip(what, reason, expected);
    }
}

/// Says that a part of a test is left out, straight to standard error, which the test harness does
/// not hold back. Continuous integration leaves out nothing that is not expected to be.
pub(super) fn skip(what: impl Display, reason: impl Display, expected: bool) {
    let in_ci = std::env::var_os("CI").is_some();
    assert!(expected || !in_ci, "{what} must work in CI: {reason}");
    let name = thread::current().name().unwrap_or("?").to_owned();
    let line = format!("SKIP {name}: {what}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Makes a request until it need not be made again, and counts.
pub(super) fn retried(mut request: impl FnMut() -> Outcome) -> (Outcome, usize) {
    let mut retries = 0;
    loop {
        let outcome = request();
        if outcome.resolution != Resolution::Retry {
            return (outcome, retries);
        }
        assert_eq!(outcome.done_bytes, 0);
        retries += 1;
        thread::yield_now();
    }
}

/// The outcome of doing this many pages and then ending for the reason given.
pub(super) fn ended(pages: usize, resolution: Resolution) -> Outcome {
    Outcome { done_bytes: pages as u64 * page_bytes(), resolution }
}

pub(super) fn done(pages: usize) -> Outcome {
    ended(pages, Resolution::Done)
}

/// Reads a byte of a page in another thread.
pub(super) fn spawn_read(area: &Arc<Area>, page: usize) -> JoinHandle<u8> {
    let area = Arc::clone(area);
    on_another_processor(move || area.read(page))
}

/// Writes a byte of a page in another thread.
pub(super) fn spawn_write(area: &Arc<Area>, page: usize, byte: u8) -> JoinHandle<()> {
    let area = Arc::clone(area);
    on_another_processor(move || area.write(page, byte))
}

/// Does something to an area in another thread.
pub(super) fn spawn<T: Send + 'static>(
    area: &Arc<Area>,
    act: impl FnOnce(&Area) -> T + Send + 'static,
) -> JoinHandle<T> {
    let area = Arc::clone(area);
    on_another_processor(move || act(&area))
}

/// Does something in another thread, on another processor than the tests of [`each_tier`].
fn on_another_processor<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::spawn(move || {
        let _pinned = pin(1);
        act()
    })
}
