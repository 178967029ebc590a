//! The memory under stress: buffers that change their places in a range of their own.
//!
//! # Safety
//!
//! Everything mapped, moved and unmapped here lies in one reservation that the test owns. It is
//! touched through raw pointers and by system calls only, under the locks of its pages.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use farptr_hmm::{Lease, VaRange, VirtAddr};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags};

use super::content::Stamp;
use super::hmm_rig::{RW, huge, page};

/// A range of address space, cut into places for one buffer each.
///
/// While a place is unmapped, the kernel may give its addresses to any new mapping: a thread that
/// starts gets its stack there. Such a place is lost to the arena.
#[derive(Debug)]
pub(crate) struct Arena {
    start: usize,
    places: usize,
    free: Mutex<Vec<usize>>,
    lost: Mutex<Vec<usize>>,
}

/// The bytes of a place: those of a huge page.
const PLACE: usize = 2 << 20;

impl Arena {
    pub(crate) fn reserve(places: usize) -> Self {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let (len, none) = ((places + 1) * PLACE, ProtFlags::empty());
        // SAFETY: The kernel chooses a place where nothing is.
        let whole = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, none, flags) };
        let whole = whole.expect("address space").expose_provenance();
        let start = whole.next_multiple_of(PLACE);
        let (head, tail) = (start - whole, PLACE - (start - whole));
        for (at, len) in [(whole, head), (start + places * PLACE, tail)] {
            if len > 0 {
                // SAFETY: The pages are the reservation's, and no other code knows them yet.
                unsafe { rustix::mm::munmap(pointer(at), len) }.expect("munmap");
            }
        }
        let free = (0..places).map(|place| start + place * PLACE).collect();
        Self { start, places, free: Mutex::new(free), lost: Mutex::default() }
    }

    fn lost(&self) -> MutexGuard<'_, Vec<usize>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self) -> MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a free place.
    pub(crate) fn take(&self, choice: usize) -> usize {
        let mut free = self.free();
        let index = choice % free.len();
        free.swap_remove(index)
    }

    /// Unmaps everything, whatever it holds by now.
    pub(crate) fn unmap(&self) {
        let lost = self.lost();
        let places = (0..self.places).map(|place| self.start + place * PLACE);
        for place in places.filter(|place| !lost.contains(place)) {
            // SAFETY: The place is the arena's, and no thread touches it after this.
            unsafe { rustix::mm::munmap(pointer(place), PLACE) }.expect("munmap");
        }
    }
}

fn pointer(at: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(at)
}

/// A buffer, and what each of its pages is expected to hold.
#[derive(Debug)]
pub(crate) struct Mapped {
    number: u64,
    pages: usize,
    huge: bool,
    /// The place at which it is. Threads that read or write pages hold it shared; a thread that
    /// maps holds it alone.
    place: RwLock<usize>,
    /// The same, but may be wrong at times.
    hint: AtomicUsize,
    stamps: Vec<RwLock<Stamp>>,
}

/// A buffer that keeps its place.
#[derive(Debug)]
pub(crate) struct Held<'m> {
    mapped: &'m Mapped,
    place: RwLockReadGuard<'m, usize>,
}

/// A buffer whose place may be changed.
#[derive(Debug)]
pub(crate) struct Alone<'m> {
    mapped: &'m Mapped,
    place: RwLockWriteGuard<'m, usize>,
}

impl Mapped {
    pub(crate) fn new(arena: &Arena, number: u64, pages: usize) -> Self {
        let (place, stamps) = (arena.take(0), (0..pages).map(|_| RwLock::default()).collect());
        let (hint, huge) = (AtomicUsize::new(place), pages == huge());
        let mapped = Self { number, pages, huge, place: RwLock::new(place), hint, stamps };
        assert!(mapped.map_at(place, MapFlags::FIXED));
        mapped
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Addresses of pages, or where they were a moment ago.
    pub(crate) fn guess(&self, first: usize, count: usize) -> VaRange {
        range(self.hint.load(Ordering::Relaxed), first, count)
    }

    pub(crate) fn hold(&self) -> Held<'_> {
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        Held { mapped: self, place }
    }

    pub(crate) fn alone(&self) -> Alone<'_> {
        let place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        Alone { mapped: self, place }
    }

    pub(crate) fn reading(&self, page: usize) -> RwLockReadGuard<'_, Stamp> {
        self.stamps[page].read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn writing(&self, page: usize) -> RwLockWriteGuard<'_, Stamp> {
        self.stamps[page].write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stamp(&self, page: usize, version: u64, owner: u64) -> Stamp {
        Stamp { page: self.number << 32 | page as u64, version, owner }
    }

    /// Maps fresh memory. `over` says whether it may replace other memory. Returns `false` if other
    /// memory is there and may not be replaced.
    #[must_use]
    fn map_at(&self, at: usize, over: MapFlags) -> bool {
        let (len, flags) = (self.pages * page(), MapFlags::PRIVATE | over);
        // SAFETY: The place is the buffer's, whose lock is held, and no reference to it exists.
        let mapped = unsafe { rustix::mm::mmap_anonymous(pointer(at), len, RW, flags) };
        if mapped == Err(Errno::EXIST) {
            return false;
        }
        assert_eq!(mapped.expect("mmap").expose_provenance(), at, "a place is not moved");
        let advice = if self.huge { Advice::LinuxHugepage } else { Advice::LinuxNoHugepage };
        // SAFETY: The advice changes no content.
        let _ = unsafe { rustix::mm::madvise(pointer(at), len, advice) };
        true
    }
}

fn range(place: usize, first: usize, count: usize) -> VaRange {
    let start = VirtAddr::new((place + first * page()) as u64);
    VaRange::from_len(start, (count * page()) as u64).expect("a range")
}

impl Held<'_> {
    pub(crate) fn range(&self, first: usize, count: usize) -> VaRange {
        range(*self.place, first, count)
    }

    /// The right to have a device write pages, whose locks the caller holds.
    pub(crate) fn lease(&self, first: usize, count: usize) -> Lease {
        // SAFETY: 1. The caller holds the locks of the pages, so no other thread accesses them. 2.
        // The lease is not used for a migration.
        unsafe { Lease::new(self.range(first, count)) }
    }

    pub(crate) fn raw(&self, page_index: usize) -> (*mut c_void, usize) {
        assert!(page_index < self.mapped.pages);
        (pointer(*self.place + page_index * page()), page())
    }

    pub(crate) fn load(&self, page_index: usize) -> Vec<u64> {
        let (start, len) = self.raw(page_index);
        let start = start.cast::<u64>();
        // SAFETY: The page is mapped while its place is held, and no thread writes while the caller
        // holds its lock.
        (0..len / 8).map(|word| unsafe { start.wrapping_add(word).read_volatile() }).collect()
    }

    pub(crate) fn store(&self, page_index: usize, words: &[u64]) {
        let (start, len) = self.raw(page_index);
        assert_eq!(words.len(), len / 8);
        let start = start.cast::<u64>();
        for (index, &word) in words.iter().enumerate() {
            // SAFETY: As in `load`, and the caller holds the lock alone.
            unsafe { start.wrapping_add(index).write_volatile(word) };
        }
    }

    /// Drops pages, whose locks the caller holds alone.
    pub(crate) fn discard(&self, first: usize, count: usize) {
        let (start, len) = self.raw(first);
        // SAFETY: The caller wants the pages to be zeroes, and holds their locks alone.
        let done = unsafe { rustix::mm::madvise(start, len * count, Advice::LinuxDontNeed) };
        done.expect("madvise");
    }
}

impl Alone<'_> {
    pub(crate) fn range(&self) -> VaRange {
        range(*self.place, 0, self.mapped.pages)
    }

    /// Unmaps the buffer and maps a fresh one, in another place if this one is lost.
    pub(crate) fn unmap_and_map(&mut self, arena: &Arena) {
        let len = self.mapped.pages * page();
        // SAFETY: The place is the buffer's, whose lock is held, and no reference to it exists.
        unsafe { rustix::mm::munmap(pointer(*self.place), len) }.expect("munmap");
        if !self.mapped.map_at(*self.place, MapFlags::FIXED_NOREPLACE) {
            arena.lost().push(*self.place);
            self.rest_at(arena.take(0));
            assert!(self.mapped.map_at(*self.place, MapFlags::FIXED));
        }
        self.forget();
    }

    /// Maps fresh memory over the buffer.
    pub(crate) fn map_over(&self) {
        assert!(self.mapped.map_at(*self.place, MapFlags::FIXED));
        self.forget();
    }

    fn rest_at(&mut self, place: usize) {
        *self.place = place;
        self.mapped.hint.store(place, Ordering::Relaxed);
    }

    fn forget(&self) {
        for page in 0..self.mapped.pages {
            *self.mapped.writing(page) = Stamp::default();
        }
    }

    /// Moves the buffer to a free place. Nothing is left there, or empty memory.
    ///
    /// Watched areas are moved one by one, which `areas` lists: the kernel moves no two at once.
    pub(crate) fn remap(&mut self, arena: &Arena, to: usize, keep: bool, areas: &Areas<'_>) {
        let (from, len) = (*self.place, self.mapped.pages * page());
        let mut done = 0;
        while done < len {
            let rest = VirtAddr::new((from + done) as u64);
            let rest = VaRange::from_len(rest, (len - done) as u64).expect("a range");
            let first = areas(rest);
            assert_eq!(first.start(), rest.start(), "what is left of the buffer is mapped");
            let first = usize::try_from(first.len_bytes()).expect("64 bits");
            match move_area(from + done, to + done, first, keep) {
                Ok(()) => done += first,
                // Another thread has had a part of the area watched meanwhile.
                Err(Errno::FAULT) => {}
                Err(error) => panic!("mremap: {error}"),
            }
        }
        self.rest_at(to);
        let mut list = arena.free();
        if !keep {
            let (none, flags) = (ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE);
            let flags = flags | MapFlags::FIXED_NOREPLACE;
            // SAFETY: The flags say that nothing may be there.
            let kept = unsafe { rustix::mm::mmap_anonymous(pointer(from), len, none, flags) };
            if kept == Err(Errno::EXIST) {
                list = arena.lost();
            } else {
                assert_eq!(kept.expect("mmap").expose_provenance(), from);
            }
        }
        list.push(from);
    }
}

/// Says which part of a range, from its start on, lies in one area.
pub(crate) type Areas<'a> = dyn Fn(VaRange) -> VaRange + 'a;

fn move_area(from: usize, to: usize, len: usize, keep: bool) -> rustix::io::Result<()> {
    let keeps = if keep { MremapFlags::DONTUNMAP } else { MremapFlags::empty() };
    let (flags, to) = (MremapFlags::MAYMOVE | keeps, pointer(to));
    // SAFETY: Both are parts of places of the arena: one is a buffer's, whose lock is held, and no
    // buffer has the other.
    let moved = unsafe { rustix::mm::mremap_fixed(pointer(from), len, len, flags, to) }?;
    assert_eq!(moved, to);
    Ok(())
}
