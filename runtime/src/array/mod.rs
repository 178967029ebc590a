//! Owned memory that is a mapping of its own.

mod convert;
mod elements;
#[cfg(test)]
mod tests;
mod traits;

use crate::error::array::ArrayError;
use bytemuck::Zeroable;
use elements::Elements;

/// A number of elements that is fixed, in memory that is a mapping of its own: the memory to lend
/// where there is a choice.
///
/// It derefs to a slice, so it is lent, read and written as a `Vec` is. It may live in a structure,
/// be lent in any scope of any runtime, be sent to another thread, and be dropped before or after
/// the runtimes that it was lent to. It is [`Send`] and [`Sync`] where a `Vec` of the type is.
///
/// # Memory
///
/// The elements begin at a page boundary and have their pages to themselves, between two pages that
/// nobody may touch. So no other memory is imported with the array or copied beside it, and the
/// kernel keeps it as one area (VMA) that is nobody else's. From 4 MiB on it is aligned to 2 MiB,
/// and the kernel is asked for huge pages. An array without bytes (no elements, or elements without
/// a size) maps nothing.
///
/// A process has 65530 areas as a rule (`vm.max_map_count`), and each array takes two or three: it
/// is meant for few and large pieces of data. Small ones are better in a `Vec`.
///
/// Elements are aligned to 4096 bytes at most. A type with a larger alignment is an error when the
/// program is compiled.
///
/// # Contract
///
/// When a scope ends, the bytes of what it lent are home, so looking at an array needs no device.
///
/// Kernels and devices learn of writes from the page tables of the process. As long as an array
/// lives, nobody may write its bytes past these: not the system into registered buffers
/// (`io_uring`) or by a read with `O_DIRECT` that is in flight when a scope begins, and no other
/// device or driver that has pinned the pages. Kernels may miss bytes that are written so, and such
/// bytes may be lost. Safe code alone makes no such writes. Ordinary system calls, as `read`, go
/// through the page tables.
///
/// # Children
///
/// A child made by `fork` has a copy of its own, which it may read, write and drop.
///
/// # Where it differs from a `Vec`
///
/// It does not grow. If its elements hold references, these lead to values that are declared before
/// the array, since the array has a destructor; there is an example below. If there is no
/// memory, [`zeroed`](Self::zeroed) and the functions whose names begin with `try` return an error.
/// The conversions of the standard library (`From`, [`FromIterator`], [`Clone`]) do what `Vec` does
/// then: they panic if the length overflows, and end the process by [`handle_alloc_error`] if the
/// system refuses the memory.
///
/// [`handle_alloc_error`]: std::alloc::handle_alloc_error
///
/// # Examples
///
/// ```
/// use farptr::{Array, Grid, Runtime, shaders::saxpy};
///
/// let runtime = Runtime::builder().build()?;
/// let kernel = runtime.kernel::<saxpy::Kernel>()?;
/// let x: Array<f32> = (0..1000u16).map(f32::from).collect();
/// let mut y = Array::zeroed(1000)?;
/// runtime.scope(|s| {
///     let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
///     let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: 1000, a: 2.0 };
///     Ok(s.launch(&kernel, Grid::cover(1000), args)?)
/// })?;
/// assert_eq!(y[999], 1998.0); // home, as all that was lent
/// # Ok::<(), farptr::Error>(())
/// ```
///
/// # Misuse that does not compile
///
/// Sending or sharing an array of values that may not be sent or shared:
///
/// ```
/// fn may_be_sent_and_shared(array: impl Send + Sync) {}
/// may_be_sent_and_shared(farptr::Array::from([1]));
/// ```
///
/// ```compile_fail,E0277
/// fn may_be_sent(array: impl Send) {}
/// may_be_sent(farptr::Array::from([std::rc::Rc::new(1)]));
/// ```
///
/// ```compile_fail,E0277
/// fn may_be_shared(array: impl Sync) {}
/// may_be_shared(farptr::Array::from([std::cell::Cell::new(1)]));
/// ```
///
/// Elements that lead to what lives no longer than the array:
///
/// ```
/// let one = 1;
/// let array = farptr::Array::from([&one]);
/// ```
///
/// ```compile_fail,E0597
/// let mut array = farptr::Array::new();
/// let one = 1;
/// array = farptr::Array::from([&one]); // `one` is dropped first
/// ```
///
/// Elements that are aligned to more than a page:
///
/// ```
/// #[repr(align(4096))]
/// struct Aligned;
/// farptr::Array::from([Aligned]);
/// ```
///
/// ```compile_fail,E0080
/// #[repr(align(8192))]
/// struct Aligned;
/// farptr::Array::from([Aligned]);
/// ```
pub struct Array<T> {
    elements: Elements<T>,
}

impl<T> Array<T> {
    /// Makes an array without elements, which maps nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// static EMPTY: farptr::Array<u32> = farptr::Array::new();
    /// assert!(EMPTY.is_empty());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { elements: Elements::new() }
    }

    /// Makes an array of so many elements whose bytes are zeroes.
    ///
    /// No page of it is there until it is touched, so it costs little, however long it is.
    ///
    /// # Errors
    ///
    /// * [`ArrayError::TooLong`] if the bytes cannot be numbered.
    /// * [`ArrayError::NoMemory`] if the system refuses the memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr::{Array, ArrayError};
    ///
    /// assert_eq!(Array::<f32>::zeroed(3)?, [0.0; 3]);
    /// assert!(matches!(Array::<f32>::zeroed(usize::MAX), Err(ArrayError::TooLong { .. })));
    /// # Ok::<(), ArrayError>(())
    /// ```
    pub fn zeroed(len: usize) -> Result<Self, ArrayError>
    where
        T: Zeroable,
    {
        Ok(Self { elements: Elements::zeroed(len)? })
    }

    /// Makes an array of clones of the elements.
    ///
    /// # Errors
    ///
    /// As [`zeroed`](Self::zeroed).
    ///
    /// # Examples
    ///
    /// ```
    /// let array = farptr::Array::try_from_slice(&[1, 2, 3])?;
    /// assert_eq!(array.iter().sum::<u32>(), 6);
    /// # Ok::<(), farptr::ArrayError>(())
    /// ```
    pub fn try_from_slice(slice: &[T]) -> Result<Self, ArrayError>
    where
        T: Clone,
    {
        convert::from_slice(slice).map(Self::of)
    }

    /// Moves the elements out of a vector, which is empty afterwards and keeps its capacity.
    ///
    /// # Errors
    ///
    /// As [`zeroed`](Self::zeroed). The vector then has its elements still.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut names = vec!["a".to_owned(), "b".to_owned()];
    /// let array = farptr::Array::try_from_vec(&mut names)?;
    /// assert_eq!(array.concat(), "ab");
    /// assert!(names.is_empty());
    /// # Ok::<(), farptr::ArrayError>(())
    /// ```
    pub fn try_from_vec(vec: &mut Vec<T>) -> Result<Self, ArrayError> {
        convert::from_vec(vec).map(Self::of)
    }

    /// Makes an array of all values of an iterator.
    ///
    /// The values go straight to the array, as many as the iterator promises
    /// ([`size_hint`](Iterator::size_hint)). If it yields another number, all of them are moved
    /// until they fit.
    ///
    /// # Errors
    ///
    /// As [`zeroed`](Self::zeroed); the values that the iterator had yielded are dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let odd = farptr::Array::try_from_iter((0..10).filter(|n| n % 2 == 1))?;
    /// assert_eq!(odd, [1, 3, 5, 7, 9]);
    /// # Ok::<(), farptr::ArrayError>(())
    /// ```
    pub fn try_from_iter(values: impl IntoIterator<Item = T>) -> Result<Self, ArrayError> {
        convert::from_iter(values.into_iter()).map(Self::of)
    }

    const fn of(elements: Elements<T>) -> Self {
        Self { elements }
    }
}
