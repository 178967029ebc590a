//! Mappings with a known shape, and oracles that share no code with the crate.
//!
//! # Safety
//!
//! The helpers map, protect and drop memory that they own alone, and touch it through raw
//! pointers only.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::ffi::{c_int, c_void};
use std::fmt::Display;
use std::io::Write;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use farptr_hmm::{
    Maps, MapsError, MapsSource, PageCount, PageSize, PageState, Pagemap, PagemapError,
    PagemapSource, Residency, VaRange, VirtAddr,
};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

/// Far below where Linux places mappings by itself, so that a hole here stays a hole.
const FAR_AWAY: usize = 0x1000_0000_0000;

/// The distance between two arenas.
const STRIDE: usize = 1 << 32;

/// The next unused place.
static NEXT: AtomicUsize = AtomicUsize::new(FAR_AWAY);

/// Private anonymous memory between two guard pages: the kernel cannot merge it with a neighbour,
/// and it never uses huge pages unless asked, so every count is exact.
pub(crate) struct Arena {
    /// The first page after the lower guard.
    base: NonNull<c_void>,
    pages: usize,
}

// SAFETY: The methods that change the mapping are system calls, which the kernel puts in order;
// those that touch memory do so through volatile accesses to single bytes, and tests do not write
// a page from two threads.
unsafe impl Sync for Arena {}

impl Arena {
    pub(crate) fn new(pages: usize) -> Self {
        let page = page_bytes();
        let place = NEXT.fetch_add(STRIDE, Ordering::Relaxed);
        let hint = ptr::without_provenance_mut(place);
        let len = (pages + 2) * page;
        let (none, flags) = (ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE);
        // SAFETY: `FIXED_NOREPLACE` maps new memory or fails; it replaces nothing.
        let whole = unsafe { rustix::mm::mmap_anonymous(hint, len, none, flags) };
        let whole = whole.expect("no arena at its place; does this machine have 47-bit addresses?");
        let base = NonNull::new(whole.wrapping_byte_add(page)).expect("mapped above zero");
        let arena = Self { base, pages };
        arena.protect(0..pages, MprotectFlags::READ | MprotectFlags::WRITE);
        arena.advise(0..pages, Advice::LinuxNoHugepage);
        arena
    }

    /// An arena whose memory begins at a 2 MiB boundary and may use huge pages.
    pub(crate) fn new_huge(pages: usize) -> Self {
        let arena = Self::new(pages + 2 * pages_per_huge());
        arena.advise(0..arena.pages, Advice::LinuxHugepage);
        arena
    }

    /// The bytes of some of the pages.
    pub(crate) fn range_of(&self, pages: std::ops::Range<usize>) -> VaRange {
        let page = page_bytes() as u64;
        let base = VirtAddr::from_ptr(self.base.as_ptr());
        let start = base.checked_add(pages.start as u64 * page).expect("in user space");
        VaRange::from_len(start, pages.len() as u64 * page).expect("in user space")
    }

    pub(crate) fn range(&self) -> VaRange {
        self.range_of(0..self.pages)
    }

    pub(crate) fn write(&self, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            write_byte(self.range_of(page..page + 1).start());
        }
    }

    pub(crate) fn read(&self, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            read_byte(self.range_of(page..page + 1).start());
        }
    }

    /// Drops the pages, as `madvise(MADV_DONTNEED)` does.
    pub(crate) fn drop_pages(&self, pages: std::ops::Range<usize>) {
        self.advise(pages, Advice::LinuxDontNeed);
    }

    pub(crate) fn protect(&self, pages: std::ops::Range<usize>, flags: MprotectFlags) {
        let (start, len) = raw(self.range_of(pages));
        // SAFETY: The pages are this arena's and no reference to them exists.
        unsafe { rustix::mm::mprotect(start, len, flags) }.expect("mprotect");
    }

    /// Turns pages into a hole.
    pub(crate) fn unmap(&self, pages: std::ops::Range<usize>) {
        let (start, len) = raw(self.range_of(pages));
        // SAFETY: The pages are this arena's and no reference to them exists. The hole stays one:
        // the kernel places nothing here by itself, and no two arenas share a place.
        unsafe { rustix::mm::munmap(start, len) }.expect("munmap");
    }

    fn advise(&self, pages: std::ops::Range<usize>, advice: Advice) {
        let (start, len) = raw(self.range_of(pages));
        // SAFETY: The pages are this arena's and no reference to them exists.
        let advised = unsafe { rustix::mm::madvise(start, len, advice) };
        // A kernel without huge pages does not know the two advices about them.
        if !matches!(advice, Advice::LinuxNoHugepage | Advice::LinuxHugepage) {
            advised.expect("madvise");
        }
    }

    /// Installs guard markers on the pages, or tells why this kernel does not (Linux 6.13 does).
    pub(crate) fn install_guards(&self, pages: std::ops::Range<usize>) -> std::io::Result<()> {
        const MADV_GUARD_INSTALL: c_int = 102;
        let (start, len) = raw(self.range_of(pages));
        // SAFETY: The pages are this arena's and no reference to them exists.
        match unsafe { madvise(start, len, MADV_GUARD_INSTALL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let page = page_bytes();
        let start = self.base.as_ptr().wrapping_byte_sub(page);
        // SAFETY: The pages and their two guards are this arena's; a hole in them does no harm.
        let unmapped = unsafe { rustix::mm::munmap(start, (self.pages + 2) * page) };
        unmapped.expect("munmap");
    }
}

unsafe extern "C" {
    fn madvise(addr: *mut c_void, len: usize, advice: c_int) -> c_int;
    fn mincore(addr: *mut c_void, len: usize, vec: *mut u8) -> c_int;
}

fn raw(range: VaRange) -> (*mut c_void, usize) {
    (range.start().as_mut_ptr(), usize::try_from(range.len_bytes()).expect("64 bits"))
}

/// Writes one byte of a page that the caller owns.
pub(crate) fn write_byte(addr: VirtAddr) {
    // SAFETY: The tests pass addresses of writable memory of their own, exposed when mapped.
    unsafe { addr.as_mut_ptr::<u8>().write_volatile(1) };
}

/// Reads one byte of a page that the caller owns.
pub(crate) fn read_byte(addr: VirtAddr) {
    // SAFETY: The tests pass addresses of readable memory of their own, exposed when mapped.
    let _ = unsafe { addr.as_ptr::<u8>().read_volatile() };
}

pub(crate) fn page_bytes() -> usize {
    usize::try_from(PageSize::host().bytes()).expect("64 bits")
}

pub(crate) fn pages_per_huge() -> usize {
    (2 << 20) / page_bytes()
}

/// Asks the kernel in a third way which pages are there; exact for anonymous memory.
pub(crate) fn mincore_pages(range: VaRange) -> Vec<bool> {
    let (start, len) = raw(range);
    let mut resident = vec![0u8; len / page_bytes()];
    // SAFETY: `mincore` writes one byte per page of the range to `resident`, which has that many.
    let status = unsafe { mincore(start, len, resident.as_mut_ptr()) };
    assert_eq!(status, 0, "mincore: {}", std::io::Error::last_os_error());
    resident.iter().map(|byte| byte & 1 != 0).collect()
}

/// Reads a counter of the area that begins at `start` from `/proc/self/smaps`, in bytes.
pub(crate) fn smaps_bytes(start: VirtAddr, counter: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let header = format!("{:08x}-", start.get());
    let area = text.lines().skip_while(|line| !line.starts_with(&header));
    let line = area.into_iter().find_map(|line| line.strip_prefix(counter)?.strip_prefix(':'));
    let kib = line.unwrap_or_else(|| panic!("no {counter} for {start}")).trim();
    kib.strip_suffix(" kB").expect("kB").parse::<u64>().expect("a number") * 1024
}

/// Every source of residency that works here, the best one first.
pub(crate) fn pagemaps() -> Vec<Pagemap> {
    let mut opened = vec![Pagemap::open_with(PagemapSource::Entries).expect("pagemap")];
    match Pagemap::open_with(PagemapSource::Scan) {
        Ok(scan) => opened.insert(0, scan),
        Err(PagemapError::ScanUnavailable { source }) => {
            skip_before((6, 7), "PAGEMAP_SCAN", source);
        }
        Err(error) => panic!("{error}"),
    }
    opened
}

/// Every source of areas that works here, the best one first.
pub(crate) fn all_maps() -> Vec<Maps> {
    let mut opened = vec![Maps::open_with(MapsSource::Text).expect("maps")];
    match Maps::open_with(MapsSource::Query) {
        Ok(query) => opened.insert(0, query),
        Err(MapsError::QueryUnavailable { source }) => {
            skip_before((6, 11), "PROCMAP_QUERY", source);
        }
        Err(error) => panic!("{error}"),
    }
    opened
}

/// Lists the state of each page of a snapshot.
pub(crate) fn states(residency: &Residency) -> Vec<PageState> {
    let size = residency.page_size();
    let pages = residency.range().pages(size);
    pages.map(|page| residency.state_at(page.start()).expect("in range")).collect()
}

/// Looks at a range through every source, checks that they agree, and returns what they saw.
pub(crate) fn look(range: VaRange) -> Residency {
    let mut seen: Vec<Residency> = pagemaps()
        .iter()
        .map(|pagemap| pagemap.residency(range).expect("residency"))
        .inspect(check_shape)
        .collect();
    for pair in seen.windows(2) {
        assert_eq!(states(&pair[0]), states(&pair[1]), "the sources disagree about {range}");
    }
    seen.swap_remove(0)
}

fn check_shape(residency: &Residency) {
    let mut cursor = residency.range().start();
    for run in residency.runs() {
        assert_eq!(run.range.start(), cursor, "{residency:?}");
        assert!(!run.range.is_empty(), "{residency:?}");
        cursor = run.range.end();
    }
    assert_eq!(cursor, residency.range().end(), "{residency:?}");
}

/// The indices of the pages in one state.
pub(crate) fn pages_in(residency: &Residency, state: PageState) -> Vec<usize> {
    let states = states(residency);
    let pages = (0..states.len()).filter(|&page| states[page] == state).collect::<Vec<_>>();
    assert_eq!(residency.pages_in(state), PageCount::new(pages.len() as u64));
    pages
}

/// Says that a part of a test does not run, because this machine is not made for it: straight to
/// standard error, which the harness does not hold back.
pub(crate) fn skip(what: &str, reason: impl Display) {
    let _ = writeln!(std::io::stderr(), "SKIP {what}: {reason}");
}

/// Says that a part of a test does not run, which must not happen in continuous integration.
pub(crate) fn skip_where_needed(what: &str, reason: impl Display) {
    assert!(std::env::var_os("CI").is_none(), "{what} must work in CI: {reason}");
    skip(what, reason);
}

/// Says that a part of a test does not run, which is as it should be before the given Linux.
pub(crate) fn skip_before(version: (u32, u32), what: &str, reason: impl Display) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().expect("a release number").expect("a release number");
    if (next(), next()) < version {
        skip(what, reason);
    } else {
        skip_where_needed(what, reason);
    }
}
