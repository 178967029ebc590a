//! Lent memory: what a scope gives for a slice, and what becomes a kernel's argument.

use crate::LendError;
use farptr_rewrite::{Ptr, PtrMut};
use std::{
    fmt,
    marker::PhantomData,
    ops::{Bound, Range, RangeBounds},
};

/// A slice that a scope has lent to the device for reading.
///
/// It is an inert token: dropping, copying or forgetting it changes nothing. A part of it is a
/// token, too: [`slice`](Self::slice), [`split_at`](Self::split_at), [`at`](Self::at).
pub struct Lent<'scope, T> {
    ptr: Ptr<'scope, T>,
    len: usize,
}

impl<'scope, T> Lent<'scope, T> {
    /// The token of a slice, whose address is exposed.
    pub(crate) fn new(memory: &[T]) -> Self {
        let address = memory.as_ptr().expose_provenance();
        Self { ptr: Ptr::from_address(address as u64), len: memory.len() }
    }

    /// The address of the first element, for a kernel's arguments. Its value is the host address.
    #[must_use]
    pub fn ptr(&self) -> Ptr<'scope, T> {
        self.ptr
    }

    /// A part of the elements.
    fn part(&self, range: &Range<usize>) -> Self {
        Self { ptr: self.ptr.add(range.start as u64), len: range.len() }
    }
}

/// A slice that a scope has lent to the device for reading and writing.
///
/// It is an inert token, as [`Lent`] is, and a part of it is a token, too. The host looks at the
/// elements, before the scope ends, through [`Idle`](crate::Idle), at those of one token at a time
/// if it writes.
pub struct LentMut<'scope, T> {
    // Invariant: the pointer and length of elements of a `&'env mut [T]`, which the scope with the
    // brand 'scope lent for writing: T is `LendableMut`. The pointer was exposed. A second one from
    // the borrow would end what the first one may do, by the rules for borrows.
    pointer: *mut T,
    len: usize,
    brand: PhantomData<fn(&'scope ()) -> &'scope ()>,
}

impl<'scope, T> LentMut<'scope, T> {
    /// The token of a slice, whose address is exposed.
    pub(crate) fn new(memory: &mut [T]) -> Self {
        let (len, pointer) = (memory.len(), memory.as_mut_ptr());
        pointer.expose_provenance();
        Self { pointer, len, brand: PhantomData }
    }

    /// The address of the first element, for a kernel's arguments. Its value is the host address.
    ///
    /// For an argument that the kernel only reads through, `ptr().into()` makes a [`Ptr`] of it.
    #[must_use]
    pub fn ptr(&self) -> PtrMut<'scope, T> {
        PtrMut::from_address(self.pointer.addr() as u64)
    }

    pub(crate) fn raw(&self) -> *mut T {
        self.pointer
    }

    /// A part of the elements: the range lies within them.
    fn part(&self, range: &Range<usize>) -> Self {
        Self { pointer: self.pointer.wrapping_add(range.start), len: range.len(), ..*self }
    }
}

/// The range as numbers; as an error if it does not lie within so many elements.
pub(crate) fn within(
    range: &impl RangeBounds<usize>,
    len: usize,
) -> Result<Range<usize>, Range<usize>> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    if start <= end && end <= len { Ok(start..end) } else { Err(start..end) }
}

/// The methods of both tokens, whatever `T` is: parts, a length, copies, debug output.
macro_rules! token {
    ($name:ident) => {
        impl<T> $name<'_, T> {
            /// A part of the elements, as one token.
            ///
            /// It is for arguments, and for what the host looks at. A kernel can touch what it
            /// could before: an access is compared with the whole lend that its pointer leads into,
            /// so a negative index, or one beyond the part, is no fault if it stays in the lend.
            ///
            /// # Examples
            ///
            /// ```
            /// # let runtime = farptr::Runtime::builder().build()?;
            /// let mut y = [0.0f32; 10];
            /// runtime.scope(|s| {
            ///     let y = s.lend_mut(&mut y)?;
            ///     let (left, right) = y.split_at(4)?;
            ///     assert_eq!((left.len(), right.len()), (4, 6));
            ///     assert_eq!(right.slice(1..3)?.ptr().address(), y.at(5)?.ptr().address());
            ///     assert_eq!(
            ///         y.slice(8..12).unwrap_err().to_string(),
            ///         "elements 8..12 are not within the 10 that were lent"
            ///     );
            ///     Ok(())
            /// })?;
            /// # Ok::<(), farptr::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// [`LendError::OutOfRange`] when the range ends behind the last element, or before it
            /// starts.
            pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self, LendError> {
                let outside =
                    |Range { start, end }| LendError::OutOfRange { start, end, len: self.len };
                Ok(self.part(&within(&range, self.len).map_err(outside)?))
            }

            /// The elements before an index, and those from it on, as two tokens.
            ///
            /// As [`slice`](Self::slice) otherwise.
            ///
            /// # Errors
            ///
            /// [`LendError::OutOfRange`] when there are fewer elements.
            pub fn split_at(&self, mid: usize) -> Result<(Self, Self), LendError> {
                Ok((self.slice(..mid)?, self.slice(mid..)?))
            }

            /// The element at an index, as a token of one element.
            ///
            /// As [`slice`](Self::slice) otherwise.
            ///
            /// # Errors
            ///
            /// [`LendError::OutOfRange`] when there is no such element.
            pub fn at(&self, index: usize) -> Result<Self, LendError> {
                self.slice(index..=index)
            }

            /// The number of elements.
            #[must_use]
            pub fn len(&self) -> usize {
                self.len
            }

            /// Whether there are no elements.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len == 0
            }
        }

        impl<T> Clone for $name<'_, T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $name<'_, T> {}

        impl<T> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x}, {})"), self.ptr().address(), self.len)
            }
        }
    };
}

token!(Lent);
token!(LentMut);

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(range: impl RangeBounds<usize>, len: usize) -> Result<Range<usize>, String> {
        let outside = |Range { start, end }| LendError::OutOfRange { start, end, len }.to_string();
        within(&range, len).map_err(outside)
    }

    #[test]
    fn ranges_are_those_of_slices() {
        assert_eq!(parts(.., 3), Ok(0..3));
        assert_eq!(parts(1..3, 3), Ok(1..3));
        assert_eq!(parts(..=2, 3), Ok(0..3));
        assert_eq!(parts(3..3, 3), Ok(3..3));
        let excluded = (Bound::Excluded(0), Bound::Unbounded);
        assert_eq!(parts(excluded, 3), Ok(1..3));
    }

    #[test]
    fn ranges_that_a_slice_would_panic_on_are_errors() {
        let said = |range: &str, len| {
            Err(format!("elements {range} are not within the {len} that were lent"))
        };
        assert_eq!(parts(2..4, 3), said("2..4", 3));
        assert_eq!(parts(4.., 3), said("4..3", 3));
        #[expect(clippy::reversed_empty_ranges, reason = "it is the mistake")]
        let reversed = parts(2..1, 3);
        assert_eq!(reversed, said("2..1", 3));
        let max = usize::MAX;
        assert_eq!(parts(..=max, 3), said(&format!("0..{max}"), 3));
        assert_eq!(parts(max..=max, 3), said(&format!("{max}..{max}"), 3));
        let behind = (Bound::Excluded(max), Bound::Unbounded);
        assert_eq!(parts(behind, 3), said(&format!("{max}..3"), 3));
    }

    /// The elements of a token, as addresses.
    fn addresses(lent: &LentMut<'_, u64>) -> Range<usize> {
        lent.raw().addr()..lent.raw().wrapping_add(lent.len()).addr()
    }

    #[test]
    fn parts_are_those_of_the_slice() {
        let mut memory = [0u64; 10];
        let there = memory.as_ptr_range();
        let at = |index: usize| there.start.wrapping_add(index).addr();
        let lent = LentMut::new(&mut memory);
        assert_eq!(addresses(&lent), at(0)..at(10));
        let (left, right) = lent.split_at(4).unwrap();
        assert_eq!((addresses(&left), addresses(&right)), (at(0)..at(4), at(4)..at(10)));
        assert_eq!(addresses(&right.slice(1..3).unwrap()), at(5)..at(7));
        assert_eq!(addresses(&right.at(5).unwrap()), at(9)..at(10));
        assert!(right.at(6).is_err() && left.slice(..5).is_err());
        assert!(lent.slice(10..).unwrap().is_empty());

        let lent = Lent::new(&memory);
        let part = lent.slice(2..=4).unwrap();
        assert_eq!((part.ptr().address(), part.len()), (at(2) as u64, 3));
    }
}
