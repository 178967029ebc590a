//! Lent memory as bytes at addresses: the only slices of it that the library makes.
//!
//! # Safety
//!
//! The functions below make slices from addresses. The invariant of [`Homes`] says that the memory
//! there may be read, or written: each range was added under the promises of [`Homes::add`], and
//! every slice is compared with the ranges before it is made. Methods that make slices for writing
//! take `&mut self`, so such a slice is the only one. Bytes of pointers are copied as bytes, which
//! keeps their provenance (`lend::lendable`).
#![allow(unsafe_code, reason = "it makes slices from addresses, with the argument above")]

use farptr_hmm::VaRange;
use std::collections::BTreeMap;

/// The ranges that a scope has lent, as bytes at addresses.
#[derive(Default)]
pub(crate) struct Homes {
    // Invariant: each range, by start, is borrowed until the scope ends, shared or, where it says
    // so, mutably; its address was exposed; its bytes are initialised, and any bytes are values of
    // its type where it says that it may be written. No range lies within another one.
    ranges: BTreeMap<u64, (u64, bool)>,
}

impl Homes {
    /// Adds a range, in place of those that lie within it.
    ///
    /// # Safety
    ///
    /// 1. Until this value is dropped, the range is borrowed by its owner's scope: mutably, its
    ///    address exposed from the mutable borrow, if `writable`.
    /// 2. Its bytes are initialised. If they are not `writable`, no code changes them; if they are,
    ///    any bytes are values of the type that they have.
    /// 3. No mutable borrow of it is used while a method of this value runs.
    pub(crate) unsafe fn add(&mut self, range: VaRange, writable: bool) {
        let (start, end) = (range.start().get(), range.end().get());
        let within: Vec<u64> = self.ranges.range(start..end).map(|(&start, _)| start).collect();
        for start in within {
            self.ranges.remove(&start);
        }
        self.ranges.insert(start, (end, writable));
    }

    /// A copy of the bytes that are lent for writing, by their addresses: those of ranges that were
    /// added, or all.
    pub(crate) fn save(&self, ranges: Option<&[VaRange]>) -> Vec<(u64, Vec<u8>)> {
        let of = |start: u64| Some((start, *self.ranges.get(&start)?));
        let some = ranges.unwrap_or_default().iter().filter_map(|range| of(range.start().get()));
        let all = ranges.is_none().then(|| self.ranges.iter().map(|(&start, &of)| (start, of)));
        let writable = some.chain(all.into_iter().flatten()).filter(|&(_, (_, writable))| writable);
        writable.map(|(start, (end, _))| (start, self.bytes(start, end - start).to_vec())).collect()
    }

    /// Puts a copy back that [`save`](Self::save) made.
    pub(crate) fn restore(&mut self, saved: &[(u64, Vec<u8>)]) {
        for (start, bytes) in saved {
            self.bytes_mut(*start, bytes.len() as u64).copy_from_slice(bytes);
        }
    }

    /// Lent bytes.
    pub(crate) fn bytes(&self, start: u64, bytes: u64) -> &[u8] {
        self.check(start, bytes, false);
        let (start, length) = (pointer(start), length(bytes));
        // SAFETY: the invariant: `check` found the bytes in a borrowed range of initialised bytes,
        // which nothing writes meanwhile.
        unsafe { std::slice::from_raw_parts(start.cast_const(), length) }
    }

    /// Lent bytes that may be written.
    pub(crate) fn bytes_mut(&mut self, start: u64, bytes: u64) -> &mut [u8] {
        self.check(start, bytes, true);
        let (start, length) = (pointer(start), length(bytes));
        // SAFETY: as in `bytes`; the range is borrowed mutably, so that no reference is in it, and
        // may hold any bytes; `&mut self` shows that no other slice of it was made here.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }

    fn check(&self, start: u64, bytes: u64, write: bool) {
        let range = self.ranges.range(..=start).next_back();
        let lent = range.is_some_and(|(_, &(end, writable))| {
            start.checked_add(bytes).is_some_and(|last| last <= end) && (writable || !write)
        });
        assert!(lent, "copies stay within what was lent");
    }
}

fn pointer(address: u64) -> *mut u8 {
    let address = usize::try_from(address).expect("a lent address fits a pointer");
    std::ptr::with_exposed_provenance_mut(address)
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("lent bytes are in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A node as a program lends it.
    #[repr(C)]
    struct Node {
        next: *const u32,
        count: AtomicU32,
        unused: u32,
    }

    /// The bytes of memory that lives until the test ends, as a scope adds them.
    fn add<T>(homes: &mut Homes, memory: *mut T, writable: bool) -> (u64, u64) {
        let (start, bytes) = (memory.expose_provenance() as u64, size_of::<T>() as u64);
        let range = VaRange::from_len(farptr_hmm::VirtAddr::new(start), bytes).unwrap();
        // SAFETY: 1. and 3. the caller keeps the memory, and does not use it beside `homes`; 2. it
        // has no padding, and any bytes are values.
        unsafe { homes.add(range, writable) };
        (start, bytes)
    }

    #[test]
    fn pointers_that_are_copied_as_bytes_can_be_used() {
        let (first, second) = (Box::new(1u32), Box::new(2u32));
        let mut node = Node { next: &raw const *first, count: AtomicU32::new(3), unused: 0 };
        let mut homes = Homes::default();
        let (start, bytes) = add(&mut homes, &raw mut node, true);
        let saved = homes.save(None);
        // As a device leaves a pointer: made of an exposed address, in memory from elsewhere.
        let address = (&raw const *second).expose_provenance();
        let left: *const u32 = std::ptr::with_exposed_provenance(address);
        // SAFETY: it has the 8 bytes of the pointer, which lives and does not change.
        let left = unsafe { std::slice::from_raw_parts((&raw const left).cast::<u8>(), 8) };
        homes.bytes_mut(start, 8).copy_from_slice(left);
        // SAFETY: the pointer was made of the exposed address of `second`.
        assert_eq!(unsafe { *node.next }, 2);
        node.count.store(4, Ordering::Relaxed);
        homes.restore(&saved);
        // SAFETY: the bytes are those of the pointer to `first`, copied there and back.
        assert_eq!(unsafe { *node.next }, 1);
        assert_eq!((node.count.load(Ordering::Relaxed), node.unused, bytes), (3, 0, 16));
    }

    #[test]
    #[should_panic(expected = "copies stay within what was lent")]
    fn memory_that_is_lent_for_reading_is_not_written() {
        let number = 1u32;
        let mut reference = &number;
        let mut homes = Homes::default();
        let (start, bytes) = add(&mut homes, &raw mut reference, false);
        assert_eq!(homes.bytes(start, bytes), (&raw const number).addr().to_ne_bytes());
        assert!(homes.save(None).is_empty(), "there is nothing to put back");
        homes.bytes_mut(start, bytes).fill(0);
    }
}
