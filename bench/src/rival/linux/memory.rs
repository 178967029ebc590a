//! Anonymous memory, mapped and populated by hand.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module: pages are mapped where the kernel chooses and unmapped by
//! their owner; words are read and written through pointers, within the mapping.

use crate::failure::Failure;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::{ffi::c_void, io, ptr};

/// The size of a transparent huge page where small ones have 4 KiB.
const HUGE_BYTES: usize = 2 << 20;

/// The kind of pages that memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HugePages {
    /// Small ones, by `MADV_NOHUGEPAGE`.
    Never,
    /// Huge ones where the system gives them, by `MADV_HUGEPAGE`.
    Prefer,
}

/// Private anonymous memory, readable and writable. No page of it is there until it is populated.
#[derive(Debug)]
pub(crate) struct Memory {
    // Invariant: a mapping of `mapped_bytes` at `base` that nothing else owns; `start` is in it and
    // at least `len_bytes` before its end.
    base: *mut c_void,
    mapped_bytes: usize,
    start: *mut c_void,
    len_bytes: usize,
}

impl Memory {
    /// Maps memory whose start is aligned for huge pages, if those are preferred.
    pub(crate) fn map(len_bytes: u64, huge: HugePages) -> Result<Self, Failure> {
        let len_bytes = usize::try_from(len_bytes).expect("a 64-bit machine");
        let (align, advice) = match huge {
            HugePages::Never => (1, Advice::LinuxNoHugepage),
            HugePages::Prefer => (HUGE_BYTES, Advice::LinuxHugepage),
        };
        let mapped_bytes = len_bytes + (align - 1);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: without a fixed place the kernel maps memory where there is none.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), mapped_bytes, access, flags) };
        let base = base.map_err(|errno| failed("mmap", errno))?;
        let start = base.wrapping_byte_add(base.addr().next_multiple_of(align) - base.addr());
        let memory = Self { base, mapped_bytes, start, len_bytes };
        memory.advise(advice, "madvise of huge pages")?;
        Ok(memory)
    }

    /// Makes every page present and writable by one call.
    pub(crate) fn populate(&self) -> Result<(), Failure> {
        self.advise(Advice::LinuxPopulateWrite, "MADV_POPULATE_WRITE")
    }

    /// Makes holes of all pages.
    pub(crate) fn drop_pages(&self) -> Result<(), Failure> {
        self.advise(Advice::LinuxDontNeed, "MADV_DONTNEED")
    }

    /// Writes all words: each is told from the others, and from those of another seed.
    pub(crate) fn fill(&self, seed: u64) {
        for word in 0..self.words() {
            let at = self.start.cast::<u64>().wrapping_add(word);
            // SAFETY: 3. the word is in the mapping.
            unsafe { at.write_volatile(content(seed, word)) };
        }
    }

    /// Tells whether all words are those that [`fill`](Self::fill) wrote.
    pub(crate) fn holds(&self, seed: u64) -> bool {
        (0..self.words()).all(|word| {
            // SAFETY: 3. the word is in the mapping.
            unsafe {
                self.start.cast::<u64>().wrapping_add(word).read_volatile() == content(seed, word)
            }
        })
    }

    /// Reads the first word of one page and tells whether it is the one that was written.
    pub(crate) fn touch(&self, page: usize, seed: u64) -> bool {
        let word = page * rustix::param::page_size() / size_of::<u64>();
        assert!(word < self.words(), "no such page");
        // SAFETY: 3. the word is in the mapping.
        unsafe {
            self.start.cast::<u64>().wrapping_add(word).read_volatile() == content(seed, word)
        }
    }

    /// Copies all bytes of memory of the same length.
    pub(crate) fn copy_from(&self, from: &Self) {
        assert_eq!(self.len_bytes, from.len_bytes);
        let (src, dst) = (from.start.cast::<u8>(), self.start.cast::<u8>());
        // SAFETY: 3. both mappings have so many bytes, and two mappings do not overlap.
        unsafe { ptr::copy_nonoverlapping(src, dst, self.len_bytes) };
    }

    /// The first byte, for the modules beside this one.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.start.cast()
    }

    /// The word that [`fill`](Self::fill) writes at a place.
    pub(crate) fn content(seed: u64, word: usize) -> u64 {
        content(seed, word)
    }

    fn words(&self) -> usize {
        self.len_bytes / size_of::<u64>()
    }

    /// The first address.
    pub(crate) fn start(&self) -> u64 {
        self.start.expose_provenance() as u64
    }

    /// How many bytes there are, as many as were asked for.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes as u64
    }

    /// Gives an advice: about the size of pages, to populate, or to drop.
    fn advise(&self, advice: Advice, call: &'static str) -> Result<(), Failure> {
        // SAFETY: 1. the range is this value's and no reference to it exists; the advices above
        // do not unmap.
        let advised = unsafe { madvise(self.start, self.len_bytes, advice) };
        advised.map_err(|errno| failed(call, errno))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: 1. the mapping is this value's, unmapped once, and no reference to it exists.
        let unmapped = unsafe { munmap(self.base, self.mapped_bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

fn content(seed: u64, word: usize) -> u64 {
    (word as u64 ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn failed(call: &'static str, errno: rustix::io::Errno) -> Failure {
    Failure::Linux { call, source: io::Error::from(errno) }
}
