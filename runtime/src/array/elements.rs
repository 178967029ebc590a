//! The elements of an array, in a mapping of their own.
//!
//! # Safety
//!
//! The fields of [`Elements`] keep these invariants, which the proofs below name by their numbers:
//!
//! 1. `memory` is aligned for `T`, since `T` is aligned to no more than every mapping is. It has
//!    room for `room` elements, whose bytes are fewer than `isize::MAX`. A type without bytes has
//!    room for any number in no memory at all.
//! 2. `memory` has no other owner, and gives out no reference. So a reference to `Elements`
//!    reaches the memory as it would reach a field.
//! 3. The first `len` elements are values of `T`, and `len` is at most `room`. Each function
//!    changes `len` when nothing can unwind between that and the change of the memory.
#![allow(unsafe_code, reason = "values in mapped memory, with the argument above")]

use crate::error::array::ArrayError;
use bytemuck::Zeroable;
use farptr_hmm::OwnMapping;
use std::{
    marker::PhantomData,
    mem::size_of,
    ops::{Deref, DerefMut},
    ptr, slice,
};

/// So many elements, and room for more until the memory is full.
///
/// `Send`, `Sync` and variance are those of its fields: a mapping can be sent and shared, and the
/// values count as held directly.
pub(super) struct Elements<T> {
    memory: OwnMapping,
    room: usize,
    len: usize,
    values: PhantomData<T>,
}

impl<T> Elements<T> {
    /// Fails when the program is compiled if the alignment is larger than a mapping has.
    const IS_ALIGNED: () = assert!(
        align_of::<T>() <= OwnMapping::ALIGN,
        "the elements of an Array are aligned to 4096 bytes at most"
    );

    /// No elements, and room for none, or for any number of a type without bytes.
    pub(super) const fn new() -> Self {
        let () = Self::IS_ALIGNED;
        let room = if size_of::<T>() == 0 { usize::MAX } else { 0 };
        Self { memory: OwnMapping::empty(), room, len: 0, values: PhantomData }
    }

    /// No elements, and room for so many.
    pub(super) fn with_room(len: usize) -> Result<Self, ArrayError> {
        let none = Self::new();
        if len <= none.room {
            return Ok(none);
        }
        let element_bytes = size_of::<T>();
        let bytes = len.checked_mul(element_bytes).filter(|&bytes| isize::try_from(bytes).is_ok());
        let bytes = bytes.ok_or(ArrayError::TooLong { len, element_bytes })?;
        let memory = OwnMapping::new(bytes).map_err(|source| ArrayError::NoMemory {
            len,
            element_bytes,
            source,
        })?;
        Ok(Self { memory, room: len, ..none })
    }

    /// So many elements of zeroes.
    pub(super) fn zeroed(len: usize) -> Result<Self, ArrayError>
    where
        T: Zeroable,
    {
        let mut elements = Self::with_room(len)?;
        // Invariant 3: the bytes of a new mapping are zeroes, which are a `T` as `Zeroable` says.
        elements.len = len;
        Ok(elements)
    }

    /// The number of elements that there is room for.
    pub(super) const fn room(&self) -> usize {
        self.room
    }

    const fn start(&self) -> *mut T {
        self.memory.as_ptr().cast()
    }

    /// Adds an element, or gives it back if there is no room.
    pub(super) fn push(&mut self, value: T) -> Result<(), T> {
        if self.len == self.room {
            return Err(value);
        }
        // SAFETY: The place is within `room` elements, which invariant 1 allots.
        let place = unsafe { self.start().add(self.len) };
        // SAFETY: 1. The place is valid for writes and aligned by invariant 1, and nobody else has
        // it by invariant 2. 2. It holds no value, by invariant 3, which would be lost.
        unsafe { place.write(value) };
        self.len += 1;
        Ok(())
    }

    /// Adds clones of the values, of as many as there is room for.
    ///
    /// Without a look at the room before each of them, so that the compiler can copy plain data as
    /// a block.
    pub(super) fn push_clones(&mut self, values: &[T])
    where
        T: Clone,
    {
        let count = values.len().min(self.room - self.len);
        for value in &values[..count] {
            let value = value.clone();
            // SAFETY: There is room for `count` elements behind the first `len`, of which this loop
            // has added fewer; invariant 1 allots it.
            let place = unsafe { self.start().add(self.len) };
            // SAFETY: As in `push`.
            unsafe { place.write(value) };
            self.len += 1;
        }
    }

    /// Moves all elements of a vector to the end of these, if there is room.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(super) fn take_vec(&mut self, from: &mut Vec<T>) {
        let count = from.len();
        assert!(count <= self.room - self.len, "the caller makes room");
        // SAFETY: The place is within `room` elements, or behind the last, by invariant 1.
        let place = unsafe { self.start().add(self.len) };
        // SAFETY: 1. The vector holds `count` values. 2. There is room for them behind `len`. 3. A
        // vector and a mapping do not overlap. The values are not used in the vector again: it is
        // emptied below, and nothing between can unwind.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), place, count) };
        // SAFETY: No elements need no values.
        unsafe { from.set_len(0) };
        self.len += count;
    }

    /// Moves all elements of others to the end of these, if there is room.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(super) fn take(&mut self, mut from: Self) {
        let count = from.len;
        assert!(count <= self.room - self.len, "the caller makes room");
        // SAFETY: As in `take_vec`.
        let place = unsafe { self.start().add(self.len) };
        // SAFETY: 1. `from` holds `count` values by invariant 3. 2. There is room for them behind
        // `len`. 3. Both have mappings of their own by invariant 2. The values are not used in
        // `from` again: it is emptied below, and nothing between can unwind.
        unsafe { ptr::copy_nonoverlapping(from.start(), place, count) };
        from.len = 0;
        self.len += count;
    }

    /// Moves all elements to the heap.
    pub(super) fn into_vec(mut self) -> Vec<T> {
        let mut vec = Vec::with_capacity(self.len);
        // SAFETY: 1. `len` values lie at the start by invariant 3. 2. The vector has capacity for
        // as many. 3. A vector and a mapping do not overlap. The values are not used here again:
        // `len` is set to zero below, and nothing between can unwind.
        unsafe { ptr::copy_nonoverlapping(self.start(), vec.as_mut_ptr(), self.len) };
        // SAFETY: 1. The capacity is at least `len`. 2. So many values were copied there.
        unsafe { vec.set_len(self.len) };
        self.len = 0;
        vec
    }
}

impl<T> Deref for Elements<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: 1. The memory is aligned, is one mapping, and is long enough by invariants 1 and
        // 3. 2. It holds `len` values by invariant 3. 3. By invariant 2 it is written through a
        // mutable borrow of `self` alone. 4. Its bytes are fewer than `isize::MAX` by invariant 1.
        unsafe { slice::from_raw_parts(self.start(), self.len) }
    }
}

impl<T> DerefMut for Elements<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: As in `deref`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl<T> Drop for Elements<T> {
    fn drop(&mut self) {
        let elements: *mut [T] = &raw mut **self;
        // SAFETY: 1. The elements are values, valid and aligned, by the invariants. 2. Nothing uses
        // them afterwards: the memory is unmapped when the fields are dropped, also if the end of
        // an element unwinds.
        unsafe { ptr::drop_in_place(elements) };
    }
}
