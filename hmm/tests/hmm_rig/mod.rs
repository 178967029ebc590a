//! Code that the conformance tests share: buffers, devices, guards, and processes of their own.
//!
//! # Safety
//!
//! Buffers map memory that they own alone, and touch it through raw pointers only.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::process::Command;
use std::ptr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use farptr_hmm::{
    CoherentMemory, Dmirror, Lease, Mirror, MirrorBuilder, MirrorTier, PageCount, PageSize,
    VaRange, VirtAddr,
};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

pub(crate) const RW: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// As many pages as the kernel's tests use: 4 MiB of small ones.
pub(crate) const PAGES: usize = 1024;

/// The pages of a huge page.
pub(crate) fn huge() -> usize {
    (2 << 20) / page()
}

pub(crate) fn page() -> usize {
    usize::try_from(PageSize::host().bytes()).expect("64 bits")
}

/// Memory of a known shape. Word `i` is told from others by its content.
#[derive(Debug)]
pub(crate) struct Buffer {
    start: usize,
    pages: usize,
    /// The pages that are still the buffer's. Memory that was unmapped belongs to the next mapping.
    owned: Mutex<Vec<bool>>,
}

impl Buffer {
    pub(crate) fn map(pages: usize, access: ProtFlags, flags: MapFlags) -> Self {
        // SAFETY: The kernel chooses a place where nothing is.
        let start =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), pages * page(), access, flags) };
        Self::at(start.expect("memory").expose_provenance(), pages)
    }

    fn at(start: usize, pages: usize) -> Self {
        Self { start, pages, owned: Mutex::new(vec![true; pages]) }
    }

    pub(crate) fn anon(pages: usize) -> Self {
        let buffer = Self::map(pages, RW, MapFlags::PRIVATE);
        buffer.advise(0..pages, Advice::LinuxNoHugepage);
        buffer
    }

    /// Memory that has an area of its own whatever is mapped: between two pages that nobody may
    /// access, which are left behind.
    pub(crate) fn alone(pages: usize) -> Self {
        let whole = Self::map(pages + 2, ProtFlags::empty(), MapFlags::PRIVATE);
        whole.disown(0..pages + 2);
        let buffer = Self::at(whole.start + page(), pages);
        buffer.protect(0..pages, MprotectFlags::READ | MprotectFlags::WRITE);
        buffer.advise(0..pages, Advice::LinuxNoHugepage);
        buffer
    }

    pub(crate) fn shared(pages: usize) -> Self {
        Self::map(pages, RW, MapFlags::SHARED)
    }

    pub(crate) fn file(file: &File, pages: usize, access: ProtFlags, flags: MapFlags) -> Self {
        // SAFETY: The kernel chooses a place where nothing is.
        let start =
            unsafe { rustix::mm::mmap(ptr::null_mut(), pages * page(), access, flags, file, 0) };
        Self::at(start.expect("memory").expose_provenance(), pages)
    }

    /// As many huge pages, aligned, that are wanted and not there yet.
    pub(crate) fn thp(count: usize) -> Self {
        let (pages, size) = (count * huge(), 2 << 20);
        let whole = Self::map(pages + huge(), RW, MapFlags::PRIVATE);
        let start = whole.start.next_multiple_of(size);
        let head = (start - whole.start) / page();
        whole.unmap(0..head);
        whole.unmap(head + pages..pages + huge());
        whole.disown(0..pages + huge());
        let buffer = Self::at(start, pages);
        buffer.advise(0..pages, Advice::LinuxHugepage);
        buffer
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    pub(crate) fn range(&self) -> VaRange {
        self.part(0..self.pages)
    }

    pub(crate) fn part(&self, pages: Range<usize>) -> VaRange {
        let start = VirtAddr::new((self.start + pages.start * page()) as u64);
        VaRange::from_len(start, (pages.len() * page()) as u64).expect("a range")
    }

    /// The right to let a device write here. Each test does what it promises.
    pub(crate) fn lease(&self) -> Lease {
        // SAFETY: The buffer is the test's, which touches it through pointers only, and changes no
        // mapping while a migration uses the lease.
        unsafe { Lease::new(self.range()) }
    }

    fn raw(&self, pages: Range<usize>) -> (*mut std::ffi::c_void, usize) {
        let start = self.start + pages.start * page();
        (ptr::with_exposed_provenance_mut(start), pages.len() * page())
    }

    fn word(&self, index: usize) -> *mut u32 {
        assert!(index < self.words());
        ptr::with_exposed_provenance_mut(self.start + index * 4)
    }

    pub(crate) fn words(&self) -> usize {
        self.pages * page() / 4
    }

    pub(crate) fn words_of(&self, pages: Range<usize>) -> Range<usize> {
        pages.start * page() / 4..pages.end * page() / 4
    }

    pub(crate) fn set(&self, index: usize, to: u32) {
        // SAFETY: The word is the buffer's.
        unsafe { self.word(index).write_volatile(to) };
    }

    pub(crate) fn get(&self, index: usize) -> u32 {
        // SAFETY: The word is the buffer's.
        unsafe { self.word(index).read_volatile() }
    }

    /// Writes the number of each word into it.
    pub(crate) fn fill(&self, pages: Range<usize>) {
        self.words_of(pages).for_each(|index| self.set(index, number(index)));
    }

    pub(crate) fn check(&self, pages: Range<usize>) {
        for index in self.words_of(pages) {
            assert_eq!(self.get(index), number(index), "word {index}");
        }
    }

    pub(crate) fn check_zero(&self, pages: Range<usize>) {
        for index in self.words_of(pages) {
            assert_eq!(self.get(index), 0, "word {index}");
        }
    }

    pub(crate) fn protect(&self, pages: Range<usize>, access: MprotectFlags) {
        let (start, len) = self.raw(pages);
        // SAFETY: The pages are the buffer's.
        unsafe { rustix::mm::mprotect(start, len, access) }.expect("mprotect");
    }

    pub(crate) fn advise(&self, pages: Range<usize>, advice: Advice) {
        let (start, len) = self.raw(pages);
        // SAFETY: The pages are the buffer's.
        let advised = unsafe { rustix::mm::madvise(start, len, advice) };
        if advice != Advice::LinuxNoHugepage && advice != Advice::LinuxHugepage {
            advised.expect("madvise");
        }
    }

    /// Makes a huge page of the pages that are there, if the kernel can.
    pub(crate) fn collapse(&self) -> bool {
        const MADV_COLLAPSE: i32 = 25;
        let (start, len) = self.raw(0..self.pages);
        // SAFETY: The pages are the buffer's, and keep their content.
        unsafe { libc::madvise(start, len, MADV_COLLAPSE) == 0 }
    }

    pub(crate) fn unmap(&self, pages: Range<usize>) {
        self.disown(pages.clone());
        let (start, len) = self.raw(pages);
        if len > 0 {
            // SAFETY: The pages are the buffer's.
            unsafe { rustix::mm::munmap(start, len) }.expect("munmap");
        }
    }

    fn disown(&self, pages: Range<usize>) {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)[pages].fill(false);
    }

    /// Moves pages to the start of another buffer.
    pub(crate) fn remap(&self, pages: Range<usize>, to: &Self, keep: bool) {
        use rustix::mm::MremapFlags;
        let (start, len) = self.raw(pages.clone());
        let (target, _) = to.raw(0..to.pages);
        if !keep {
            self.disown(pages);
        }
        let dont = if keep { MremapFlags::DONTUNMAP } else { MremapFlags::empty() };
        // SAFETY: Both are the test's, and no reference to them exists.
        let moved = unsafe {
            rustix::mm::mremap_fixed(start, len, len, MremapFlags::MAYMOVE | dont, target)
        };
        assert_eq!(moved.expect("mremap"), target);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut first = 0;
        for run in owned.chunk_by(|left, right| left == right) {
            if run[0] {
                self.unmap(first..first + run.len());
            }
            first += run.len();
        }
    }
}

/// The value that a test writes into a word. No word of a page is zero.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a short buffer").wrapping_add(1)
}

/// The value that a test has the device write into a word.
pub(crate) fn negative(index: usize) -> u32 {
    number(index).wrapping_neg()
}

pub(crate) fn bytes(words: Range<usize>, of: impl Fn(usize) -> u32) -> Vec<u8> {
    words.flat_map(|index| of(index).to_ne_bytes()).collect()
}

pub(crate) fn word(bytes: &[u8], index: usize) -> u32 {
    u32::from_ne_bytes(*bytes[index * 4..].first_chunk().expect("a word"))
}

/// Checks what a device read from the start of a buffer on.
pub(crate) fn check_read(read: &[u8], words: Range<usize>) {
    for index in words {
        assert_eq!(word(read, index), number(index), "word {index} on the device");
    }
}

/// Ends the process with a message if a test hangs. The time is there to end it, not to judge it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        let (alive, test) = channel();
        let name = thread::current().name().unwrap_or("?").to_owned();
        thread::spawn(move || {
            if test.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
                let _ = writeln!(std::io::stderr(), "HANGS: {name}");
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}

/// Says that a test does not run, straight to standard error, which the harness does not hold back.
/// Continuous integration leaves out nothing that is not expected to be.
pub(crate) fn skip(reason: impl Display, expected: bool) {
    let in_ci = std::env::var_os("CI").is_some();
    let name = thread::current().name().unwrap_or("?").to_owned();
    assert!(expected || !in_ci, "{name} must run in CI: {reason}");
    let _ = writeln!(std::io::stderr(), "SKIP {name}: {reason}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// One mirror with devices, and the guard against hanging.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) devices: Vec<Dmirror>,
    pub(crate) mirror: Arc<Mirror>,
    /// Whether the CPU reaches the memory of the devices.
    pub(crate) coherent: bool,
    _watchdog: Watchdog,
}

impl Rig {
    /// A mirror in whatever tier works here.
    pub(crate) fn any(devices: usize) -> Self {
        let watchdog = Watchdog::new();
        let mirror = Arc::new(MirrorBuilder::new().build().expect("a mirror"));
        let open = |_| Dmirror::open(Arc::clone(&mirror), PageCount::new(1 << 18)).expect("device");
        let devices = (0..devices).map(open).collect();
        Self { devices, mirror, coherent: false, _watchdog: watchdog }
    }

    /// The same with devices whose memory the CPU reaches.
    fn coherent(devices: usize) -> Self {
        let rig = Self::any(0);
        let memory = Arc::new(CoherentMemory::new(&rig.mirror).expect("memory"));
        let open = |_| {
            let (mirror, memory) = (Arc::clone(&rig.mirror), Arc::clone(&memory));
            Dmirror::open_coherent(mirror, PageCount::new(1 << 18), memory).expect("device")
        };
        Self { devices: (0..devices).map(open).collect(), coherent: true, ..rig }
    }

    /// How many pages are on devices.
    pub(crate) fn placed(&self) -> PageCount {
        let used = self.devices.iter().map(|device| device.used().get()).sum();
        if self.coherent { PageCount::new(used) } else { self.mirror.pages_away() }
    }

    /// A mirror that can move pages. Prints so and returns `None` if that needs a privilege that
    /// the process lacks.
    pub(crate) fn migrating(devices: usize) -> Option<Self> {
        let rig = Self::any(devices);
        if rig.mirror.tier() == MirrorTier::KernelFaults {
            return Some(rig);
        }
        skip("this tier moves no pages: system calls on them would fail; run as root", !is_root());
        None
    }

    pub(crate) fn dev(&self) -> &Dmirror {
        &self.devices[0]
    }
}

/// Runs a test on devices of each kind of memory, in whatever tier works here.
pub(crate) fn each_variant(devices: usize, test: impl Fn(&Rig)) {
    test(&Rig::any(devices));
    test(&Rig::coherent(devices));
}

/// Runs a test on devices of each kind of memory, if pages can be moved here.
pub(crate) fn each_migrating_variant(devices: usize, test: impl Fn(&Rig)) {
    if let Some(rig) = Rig::migrating(devices) {
        test(&rig);
        drop(rig);
        test(&Rig::coherent(devices));
    }
}

/// Runs a test that forks in a process of its own, in which nothing else goes on.
pub(crate) fn isolated(name: &str, test: impl FnOnce()) {
    const ALONE: &str = "FARPTR_TEST_ALONE";
    if std::env::var_os(ALONE).is_some_and(|alone| alone == name) {
        return test();
    }
    let _watchdog = Watchdog::new();
    let program = std::env::current_exe().expect("this program");
    let arguments = ["--exact", name, "--nocapture", "--test-threads=1"];
    let status =
        Command::new(program).args(arguments).env(ALONE, name).status().expect("a process");
    assert!(status.success(), "{name} failed in its process: {status}");
}

/// Forks. The child runs `test` and succeeds unless it panics; the parent gets a handle.
pub(crate) fn fork(test: impl FnOnce()) -> Child {
    // SAFETY: The process has no other thread that holds a lock: the harness waits, and the thread
    // that serves faults takes only locks of the mirror, which the child does not use.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).is_err();
        // SAFETY: The process ends.
        unsafe { libc::_exit(failed.into()) };
    }
    Child { pid }
}

/// A child process, to be waited for.
#[derive(Debug)]
#[must_use]
pub(crate) struct Child {
    pid: i32,
}

impl Child {
    pub(crate) fn expect_success(self) {
        let mut status = 0;
        // SAFETY: The pointer is to a local variable.
        let waited = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        assert_eq!((waited, status), (self.pid, 0), "the child failed: {status:#x}");
    }
}

/// Huge pages that were reserved for a test, given back afterwards.
#[derive(Debug)]
pub(crate) struct HugePages {
    before: String,
    _alone: MutexGuard<'static, ()>,
}

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    /// Reserves pages, if that is allowed and there are as many.
    pub(crate) fn reserve(count: usize) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match std::fs::read_to_string(RESERVED) {
            Ok(before) => before,
            Err(error) => {
                skip(format_args!("this kernel reserves no huge pages: {error}"), !is_root());
                return None;
            }
        };
        let wanted = before.trim().parse::<usize>().expect("a number") + count;
        if let Err(error) = std::fs::write(RESERVED, wanted.to_string()) {
            skip(format_args!("huge pages cannot be reserved: {error}; run as root"), !is_root());
            return None;
        }
        let reserved = Self { before, _alone: alone };
        let got = std::fs::read_to_string(RESERVED).expect("readable before");
        let got = got.trim().parse::<usize>().expect("a number");
        // Memory in one piece runs out on any machine.
        if got < wanted {
            skip(format_args!("{got} of {wanted} huge pages could be reserved"), true);
            return None;
        }
        Some(reserved)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = std::fs::write(RESERVED, &self.before);
    }
}
