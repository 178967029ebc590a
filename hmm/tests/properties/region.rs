//! Memory at a place of its own, mapped, changed and read page by page.
//!
//! # Safety
//!
//! A region reserves a place where the kernel maps nothing by itself and that no other region
//! uses, so whatever it maps, unmaps or moves there is its own. Pages are touched through raw
//! pointers or by system calls, never through references. Those methods that dereference a pointer
//! are for pages that the caller knows to be accessible.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use farptr_hmm::{Lease, VaRange, VirtAddr};
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use crate::hmm_rig::page;
use crate::model::Access;

/// Far below where Linux places mappings by itself, so that a hole here stays a hole.
const FAR_AWAY: usize = 0x1800_0000_0000;

/// The distance between two regions.
const STRIDE: usize = 1 << 30;

/// Two thirds of a region lie below this boundary: between blocks of the mirror's table.
const BOUNDARY: usize = 2 << 20;

static NEXT: AtomicUsize = AtomicUsize::new(FAR_AWAY);

/// See the module.
#[derive(Debug)]
pub(crate) struct Region {
    base: usize,
    pages: usize,
}

/// The first page of a region that lies above the boundary.
fn boundary(pages: usize) -> usize {
    pages / 3 * 2 / 16 * 16
}

/// The parts of a range of a region's pages that lie in one block of the mirror's table each.
pub(crate) fn blocks(pages: usize, part: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let boundary = boundary(pages).clamp(part.start, part.end);
    [part.start..boundary, boundary..part.end].into_iter().filter(|block| !block.is_empty())
}

/// A page that holds more than one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn;

/// The bytes of a page that holds a number in every word.
pub(crate) fn bytes_of(tag: u32) -> Vec<u8> {
    tag.to_ne_bytes().repeat(page() / 4)
}

/// The words of a page.
pub(crate) fn words_of(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(*word.first_chunk().expect("a word")))
}

/// The number that a page holds in every word.
pub(crate) fn tag_of(bytes: &[u8]) -> Result<u32, Torn> {
    let mut words = words_of(bytes);
    let first = words.next().expect("a page");
    if words.all(|word| word == first) { Ok(first) } else { Err(Torn) }
}

fn protection(access: Access) -> (ProtFlags, MprotectFlags) {
    match access {
        Access::None => (ProtFlags::empty(), MprotectFlags::empty()),
        Access::Read => (ProtFlags::READ, MprotectFlags::READ),
        Access::Write => {
            (ProtFlags::READ | ProtFlags::WRITE, MprotectFlags::READ | MprotectFlags::WRITE)
        }
    }
}

impl Region {
    /// Reserves a region and maps all of it for writing, between two guard pages.
    pub(crate) fn new(pages: usize) -> Self {
        let place = NEXT.fetch_add(STRIDE, Ordering::Relaxed) + BOUNDARY;
        let base = place - boundary(pages) * page();
        let (none, flags) = (ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE);
        let (start, len) = (ptr::without_provenance_mut(base - page()), (pages + 2) * page());
        // SAFETY: `FIXED_NOREPLACE` maps new memory or fails; it replaces nothing.
        let mapped = unsafe { rustix::mm::mmap_anonymous(start, len, none, flags) };
        let mapped = mapped.expect("no region at its place; are there 47-bit addresses?");
        assert_eq!(mapped.expose_provenance(), base - page());
        let region = Self { base, pages };
        region.map(0..pages, Access::Write, false);
        region
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    pub(crate) fn all(&self) -> Range<usize> {
        0..self.pages
    }

    pub(crate) fn range(&self, pages: Range<usize>) -> VaRange {
        let start = VirtAddr::new((self.base + pages.start * page()) as u64);
        VaRange::from_len(start, (pages.len() * page()) as u64).expect("a range")
    }

    /// The number of the page at an address of the region.
    pub(crate) fn index(&self, addr: VirtAddr) -> usize {
        (usize::try_from(addr.get()).expect("64 bits") - self.base) / page()
    }

    fn raw(&self, pages: Range<usize>) -> (*mut c_void, usize) {
        assert!(pages.end <= self.pages, "{pages:?}");
        let start = self.base + pages.start * page();
        (ptr::with_exposed_provenance_mut(start), pages.len() * page())
    }

    /// The right to let a device write pages, and to move pages that cannot be written.
    ///
    /// # Safety
    ///
    /// As [`Lease::new`].
    pub(crate) unsafe fn lease(&self, pages: Range<usize>) -> Lease {
        // SAFETY: 1. and 2. The caller's promises.
        unsafe { Lease::new(self.range(pages)) }
    }

    /// Maps fresh memory in place of what is there.
    pub(crate) fn map(&self, pages: Range<usize>, access: Access, shared: bool) {
        let (start, len) = self.raw(pages.clone());
        let flags = if shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
        let (access, flags) = (protection(access).0, flags | MapFlags::FIXED);
        // SAFETY: What is replaced is the region's, and no reference to it exists.
        let mapped = unsafe { rustix::mm::mmap_anonymous(start, len, access, flags) };
        assert_eq!(mapped.expect("mmap"), start);
        // A kernel without huge pages does not know the advice.
        let _ = self.advise(pages, Advice::LinuxNoHugepage);
    }

    pub(crate) fn unmap(&self, pages: Range<usize>) {
        let (start, len) = self.raw(pages);
        // SAFETY: The pages are the region's, and no reference to them exists.
        unsafe { rustix::mm::munmap(start, len) }.expect("munmap");
    }

    /// Changes the access to mapped pages.
    pub(crate) fn protect(&self, pages: Range<usize>, access: Access) {
        let (start, len) = self.raw(pages);
        // SAFETY: The pages are the region's, and no reference to them exists.
        unsafe { rustix::mm::mprotect(start, len, protection(access).1) }.expect("mprotect");
    }

    /// Moves mapped pages of one area. If they are kept, fresh ones are where they were.
    pub(crate) fn remap(&self, from: Range<usize>, to: usize, keep: bool) {
        let (start, len) = self.raw(from.clone());
        let (target, _) = self.raw(to..to + from.len());
        let dont = if keep { MremapFlags::DONTUNMAP } else { MremapFlags::empty() };
        let flags = MremapFlags::MAYMOVE | dont;
        // SAFETY: Both places are the region's, and no reference to them exists.
        let moved = unsafe { rustix::mm::mremap_fixed(start, len, len, flags, target) };
        assert_eq!(moved.expect("mremap"), target);
    }

    fn advise(&self, pages: Range<usize>, advice: Advice) -> rustix::io::Result<()> {
        let (start, len) = self.raw(pages);
        // SAFETY: The pages are the region's, and no reference to them exists.
        unsafe { rustix::mm::madvise(start, len, advice) }
    }

    /// Drops the content of pages; pages that are not mapped are passed over.
    pub(crate) fn drop_pages(&self, pages: Range<usize>) {
        match self.advise(pages, Advice::LinuxDontNeed) {
            Ok(()) | Err(rustix::io::Errno::NOMEM) => {}
            Err(error) => panic!("madvise: {error}"),
        }
    }

    /// Faults pages in, up to the first that cannot be faulted in. Tells whether all were.
    pub(crate) fn populate(&self, pages: Range<usize>, write: bool) -> bool {
        let advice = if write { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
        self.advise(pages, advice).is_ok()
    }

    /// The words of an accessible page.
    fn words(&self, index: usize) -> impl Iterator<Item = &AtomicU32> {
        let (start, len) = self.raw(index..index + 1);
        let start: *mut u32 = start.cast();
        // SAFETY: The word is the region's, and every access of the process to it is atomic.
        (0..len / 4).map(move |word| unsafe { AtomicU32::from_ptr(start.wrapping_add(word)) })
    }

    /// Writes a number into every word of a page that can be written.
    pub(crate) fn store(&self, index: usize, tag: u32) {
        self.words(index).for_each(|word| word.store(tag, Ordering::Relaxed));
    }

    /// Reads a page that can be read.
    pub(crate) fn load(&self, index: usize) -> Result<u32, Torn> {
        let mut words = self.words(index).map(|word| word.load(Ordering::Relaxed));
        let first = words.next().expect("a page");
        if words.all(|word| word == first) { Ok(first) } else { Err(Torn) }
    }

    /// Has the kernel read a page; `None` if it cannot be read.
    pub(crate) fn fetch(&self, index: usize) -> Option<Vec<u8>> {
        let (remote, len) = self.raw(index..index + 1);
        let mut bytes = vec![0; len];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
        let remote = libc::iovec { iov_base: remote, iov_len: len };
        let process = rustix::process::getpid().as_raw_pid();
        // SAFETY: Each pointer is to one vector. The kernel writes into `bytes`, which has as many,
        // and checks itself what it reads.
        let read = unsafe {
            libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0)
        };
        (usize::try_from(read) == Ok(len)).then_some(bytes)
    }

    /// Has the kernel write a number into every word of a page; tells whether it can be written.
    pub(crate) fn put(&self, index: usize, tag: u32) -> bool {
        let (remote, len) = self.raw(index..index + 1);
        let mut bytes = bytes_of(tag);
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
        let remote = libc::iovec { iov_base: remote, iov_len: len };
        let process = rustix::process::getpid().as_raw_pid();
        // SAFETY: Each pointer is to one vector. The kernel writes a page of the region, to which
        // no reference but atomics exists, if it may be written.
        let written = unsafe {
            libc::process_vm_writev(process, &raw const local, 1, &raw const remote, 1, 0)
        };
        usize::try_from(written) == Ok(len)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let start = ptr::with_exposed_provenance_mut(self.base - page());
        // SAFETY: The pages and their two guards are the region's; a hole in them does no harm.
        unsafe { rustix::mm::munmap(start, (self.pages + 2) * page()) }.expect("munmap");
    }
}
