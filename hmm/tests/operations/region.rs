//! The memory that the operations work on, and what each byte of it has to be.
//!
//! # Safety
//!
//! The region is the test's alone and is touched through raw pointers only. Pages that are unmapped
//! are mapped again only if no other mapping has taken their place.

#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr;

use farptr_hmm::{Lease, VaRange, VirtAddr};
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use crate::hmm_rig::page;

/// A huge page, and a few small ones on each side of it.
pub(crate) const PAGES: usize = MARGIN + 512 + MARGIN;
const MARGIN: usize = 16;

/// Of so many pages the first half may be unmapped: no hole is as long as what an allocator maps.
const GROUP: usize = 16;

const HUGE: usize = 2 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, arbitrary::Arbitrary)]
pub(crate) enum Access {
    None,
    Read,
    Write,
}

/// The state that one page has to have. Without content it is zeroes.
#[derive(Clone, Debug, Default)]
struct Page {
    access: Option<Access>,
    content: Option<Box<[u8]>>,
}

#[derive(Debug)]
pub(crate) struct Region {
    start: usize,
    pages: Vec<Page>,
}

/// Whether a page may be unmapped.
pub(crate) fn is_movable(index: usize) -> bool {
    index % GROUP < GROUP / 2
}

impl Region {
    pub(crate) fn map() -> Self {
        let len = PAGES * page() + HUGE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: The kernel chooses a place where nothing is.
        let whole =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE) };
        let whole = whole.expect("memory").expose_provenance();
        let start = (whole + MARGIN * page()).next_multiple_of(HUGE) - MARGIN * page();
        let end = start + PAGES * page();
        for rest in [whole..start, end..whole + len].into_iter().filter(|rest| !rest.is_empty()) {
            // SAFETY: The pages are the test's.
            unsafe { rustix::mm::munmap(at(rest.start), rest.len()) }.expect("munmap");
        }
        let page = Page { access: Some(Access::Write), content: None };
        let region = Self { start, pages: vec![page; PAGES] };
        // SAFETY: The pages are the test's. A kernel without huge pages does not know the advice.
        let _ = unsafe { rustix::mm::madvise(at(start), end - start, Advice::LinuxHugepage) };
        region
    }

    pub(crate) fn range(&self, pages: Range<usize>) -> VaRange {
        let start = VirtAddr::new((self.start + pages.start * page()) as u64);
        VaRange::from_len(start, (pages.len() * page()) as u64).expect("a range")
    }

    pub(crate) fn access(&self, index: usize) -> Option<Access> {
        self.pages[index].access
    }

    /// The pages from the first on that may be accessed in this way.
    pub(crate) fn run(&self, pages: Range<usize>, access: Access) -> Range<usize> {
        let allowed = |index: &usize| self.access(*index) >= Some(access);
        let count = pages.clone().take_while(allowed).count();
        pages.start..pages.start + count
    }

    pub(crate) fn expected(&self, pages: Range<usize>) -> Vec<u8> {
        let mut bytes = vec![0; pages.len() * page()];
        for (bytes, expected) in bytes.chunks_mut(page()).zip(&self.pages[pages]) {
            if let Some(content) = &expected.content {
                bytes.copy_from_slice(content);
            }
        }
        bytes
    }

    /// The state that the pages have to have from now on.
    pub(crate) fn expect(&mut self, pages: Range<usize>, bytes: &[u8]) {
        for (expected, bytes) in self.pages[pages].iter_mut().zip(bytes.chunks(page())) {
            expected.content = Some(bytes.into());
        }
    }

    fn raw(&self, pages: &Range<usize>) -> (*mut std::ffi::c_void, usize) {
        (at(self.start + pages.start * page()), pages.len() * page())
    }

    /// The right to have a device write pages, which the operations do one after another.
    pub(crate) fn lease(&self, pages: Range<usize>) -> Lease {
        // SAFETY: 1. The test's alone, and touched through pointers. 2. One operation at a time.
        unsafe { Lease::new(self.range(pages)) }
    }

    pub(crate) fn store(&mut self, index: usize, offset: usize, value: u8) {
        assert_eq!(self.access(index), Some(Access::Write));
        let (start, len) = self.raw(&(index..index + 1));
        // SAFETY: The byte is the test's, and writable.
        unsafe { start.cast::<u8>().wrapping_add(offset % len).write_volatile(value) };
        let empty = || vec![0; len].into();
        self.pages[index].content.get_or_insert_with(empty)[offset % len] = value;
    }

    /// Checks every byte of a page that can be read.
    pub(crate) fn check(&self, index: usize) {
        if self.access(index) < Some(Access::Read) {
            return;
        }
        let (start, len) = self.raw(&(index..index + 1));
        // SAFETY: The bytes are the test's, readable, and not written meanwhile.
        let found = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) };
        assert!(found == self.expected(index..index + 1), "page {index} is not what it was");
    }

    pub(crate) fn unmap(&mut self, pages: Range<usize>) {
        for index in pages.filter(|&index| is_movable(index)) {
            if self.access(index).is_none() {
                continue;
            }
            let (start, len) = self.raw(&(index..index + 1));
            // SAFETY: The page is the test's.
            unsafe { rustix::mm::munmap(start, len) }.expect("munmap");
            self.pages[index] = Page::default();
        }
    }

    /// Maps memory anew, where there is none and where there is.
    pub(crate) fn map_anew(&mut self, pages: Range<usize>) {
        for index in pages {
            let (start, len) = self.raw(&(index..index + 1));
            let place = match self.access(index) {
                Some(_) => MapFlags::FIXED,
                None => MapFlags::FIXED_NOREPLACE,
            };
            let access = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: The place is the test's, or free.
            let mapped = unsafe {
                rustix::mm::mmap_anonymous(start, len, access, MapFlags::PRIVATE | place)
            };
            assert_eq!(mapped.expect("nobody else maps memory here"), start);
            self.pages[index] = Page { access: Some(Access::Write), content: None };
        }
    }

    pub(crate) fn protect(&mut self, pages: Range<usize>, access: Access) {
        let flags = match access {
            Access::None => MprotectFlags::empty(),
            Access::Read => MprotectFlags::READ,
            Access::Write => MprotectFlags::READ | MprotectFlags::WRITE,
        };
        for index in pages.filter(|&index| self.pages[index].access.is_some()).collect::<Vec<_>>() {
            let (start, len) = self.raw(&(index..index + 1));
            // SAFETY: The page is the test's.
            unsafe { rustix::mm::mprotect(start, len, flags) }.expect("mprotect");
            self.pages[index].access = Some(access);
        }
    }

    /// Drops the pages, run by run of what is mapped.
    pub(crate) fn remove(&mut self, pages: Range<usize>) {
        let mut first = pages.start;
        while first < pages.end {
            let run = self.run(first..pages.end, Access::None);
            if !run.is_empty() {
                let (start, len) = self.raw(&run);
                // SAFETY: The pages are the test's.
                unsafe { rustix::mm::madvise(start, len, Advice::LinuxDontNeed) }.expect("madvise");
                self.pages[run.clone()].iter_mut().for_each(|page| page.content = None);
            }
            first = run.end + 1;
        }
    }

    /// Moves a page to another place, in place of what is there.
    pub(crate) fn relocate(&mut self, from: usize, to: usize) {
        if from == to || ![from, to].into_iter().all(is_movable) || self.access(from).is_none() {
            return;
        }
        if self.access(to).is_none() {
            // So that no other mapping can be replaced.
            self.map_anew(to..to + 1);
        }
        let ((start, len), (target, _)) = (self.raw(&(from..from + 1)), self.raw(&(to..to + 1)));
        // SAFETY: Both places are the test's, and no reference to them exists.
        let moved =
            unsafe { rustix::mm::mremap_fixed(start, len, len, MremapFlags::MAYMOVE, target) };
        assert_eq!(moved.expect("mremap"), target);
        self.pages[to] = std::mem::take(&mut self.pages[from]);
    }
}

fn at(address: usize) -> *mut std::ffi::c_void {
    ptr::with_exposed_provenance_mut(address)
}

impl Drop for Region {
    fn drop(&mut self) {
        for index in 0..PAGES {
            if self.access(index).is_some() {
                let (start, len) = self.raw(&(index..index + 1));
                // SAFETY: The page is the test's, which does not use it any more.
                let _ = unsafe { rustix::mm::munmap(start, len) };
            }
        }
    }
}
