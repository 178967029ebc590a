//! Slices in memory of their own, which the general heap has no part in.
//!
//! # Safety
//!
//! A slice is made of a mapping that no other code knows, whose pages read as zeroes until they are
//! written, for a type that any bytes are a value of.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::slice;

use bytemuck::Pod;

#[cfg(miri)]
use super::heap::Mapping;
#[cfg(not(miri))]
use super::mmap::Mapping;
use super::mmap::{HugePages, MemoryError};
use super::needed::{Listed, list};
use crate::addr::{PageSize, VaRange};

/// A slice of zeroes at first, in pages of its own. Pages that were never touched cost nothing.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    /// At least `len` values of `T`, from its start on. No other reference to it exists.
    memory: Mapping,
    len: usize,
    /// If the memory must stay at home.
    listed: Option<Listed>,
    values: PhantomData<T>,
}

impl<T: Pod> Owned<T> {
    /// Maps memory for `len` values.
    pub(crate) fn new(len: usize, huge: HugePages) -> Result<Self, MemoryError> {
        let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
        let align = match huge {
            HugePages::Prefer => PageSize::MIB_2,
            HugePages::Never => PageSize::host(),
        };
        let memory = Mapping::new(bytes, align, huge)?;
        Ok(Self { memory, len, listed: None, values: PhantomData })
    }

    /// Notes that the memory is needed while pages move: it must never move to a device itself.
    pub(crate) fn keep_home(mut self) -> Self {
        self.listed = Some(list(self.range()));
        self
    }

    /// The addresses of the pages.
    pub(crate) fn range(&self) -> VaRange {
        self.memory.range()
    }

    /// Takes back what the program did by locking all memory of the process.
    pub(crate) fn unlock(&self) -> Result<(), MemoryError> {
        self.memory.unlock()
    }

    /// Makes the pages present, so that touching them takes no fault.
    pub(crate) fn populate(&self) -> Result<(), MemoryError> {
        self.memory.populate()
    }
}

impl<T: Pod> Deref for Owned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: 1. The mapping starts at a page boundary, which is aligned for `T`, and has room
        // for `len` values. 2. Its bytes are zeroes or were written as `T`, and any bytes are a
        // `T`. 3. No other reference to it exists, and a writer borrows `self` mutably.
        unsafe { slice::from_raw_parts(self.memory.as_ptr().cast::<T>(), self.len) }
    }
}

impl<T: Pod> DerefMut for Owned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: As in `deref`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr().cast::<T>(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_zeroes_until_it_is_written() {
        let mut slice = Owned::<u64>::new(1000, HugePages::Never).expect("memory");
        assert!(slice.iter().all(|&word| word == 0));
        slice[999] = 7;
        slice.populate().expect("populate");
        assert_eq!((slice.len(), slice[998], slice[999]), (1000, 0, 7));
        assert!(slice.range().len_bytes() >= 8000);
    }
}
