//! The traits of the standard library, as `Vec` has them.

use super::{Array, convert};
use crate::error::array::ArrayError;
use std::{
    alloc::{Layout, handle_alloc_error},
    borrow::{Borrow, BorrowMut},
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
    slice,
};

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements
    }
}

impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.elements
    }
}

impl<T> AsRef<[T]> for Array<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> AsMut<[T]> for Array<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T> Borrow<[T]> for Array<T> {
    fn borrow(&self) -> &[T] {
        self
    }
}

impl<T> BorrowMut<[T]> for Array<T> {
    fn borrow_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T: fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> Default for Array<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Panics if the length overflows, and ends the process if there is no memory, as `Vec` does.
impl<T: Clone> Clone for Array<T> {
    fn clone(&self) -> Self {
        self[..].into()
    }
}

impl<'a, T> IntoIterator for &'a Array<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Array<T> {
    type Item = &'a mut T;
    type IntoIter = slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// Panics if the length overflows, and ends the process if there is no memory, as `Vec` does;
/// [`Array::try_from_iter`] fails instead.
impl<T> FromIterator<T> for Array<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        or_end(Self::try_from_iter(values))
    }
}

/// Clones the elements. Ends the process if there is no memory, as `Vec` does;
/// [`Array::try_from_slice`] fails instead.
impl<T: Clone> From<&[T]> for Array<T> {
    fn from(slice: &[T]) -> Self {
        or_end(Self::try_from_slice(slice))
    }
}

/// Moves the elements. Ends the process if there is no memory; [`Array::try_from_vec`] fails
/// instead.
impl<T> From<Vec<T>> for Array<T> {
    fn from(mut vec: Vec<T>) -> Self {
        or_end(Self::try_from_vec(&mut vec))
    }
}

/// As from a vector.
impl<T> From<Box<[T]>> for Array<T> {
    fn from(slice: Box<[T]>) -> Self {
        slice.into_vec().into()
    }
}

/// As from a vector.
impl<T, const N: usize> From<[T; N]> for Array<T> {
    fn from(values: [T; N]) -> Self {
        or_end(convert::from_iter(values.into_iter()).map(Self::of))
    }
}

/// Moves the elements to the heap.
impl<T> From<Array<T>> for Vec<T> {
    fn from(array: Array<T>) -> Self {
        array.elements.into_vec()
    }
}

/// Does what `Vec` does where there is no memory.
fn or_end<T>(made: Result<Array<T>, ArrayError>) -> Array<T> {
    match made {
        Ok(array) => array,
        Err(ArrayError::NoMemory { len, .. }) => match Layout::array::<T>(len) {
            Ok(layout) => handle_alloc_error(layout),
            Err(_) => panic!("capacity overflow"),
        },
        Err(ArrayError::TooLong { .. }) => panic!("capacity overflow"),
    }
}

impl<T: Eq> Eq for Array<T> {}

impl<T: PartialOrd> PartialOrd for Array<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Ord> Ord for Array<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: Hash> Hash for Array<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// Compares as slices: the left side, the right side, and parameters beside `T` and `U`.
macro_rules! equal {
    ($($left:ty, $right:ty $(, $parameter:ident)?;)*) => {
        $(impl<T: PartialEq<U>, U $(, const $parameter: usize)?> PartialEq<$right> for $left {
            fn eq(&self, other: &$right) -> bool {
                self[..] == other[..]
            }
        })*
    };
}

equal! {
    Array<T>, Array<U>;
    Array<T>, [U];
    Array<T>, &[U];
    Array<T>, [U; N], N;
    Array<T>, Vec<U>;
    Vec<T>, Array<U>;
}
