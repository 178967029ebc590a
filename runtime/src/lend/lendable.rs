//! What may be lent: types whose bytes a kernel may read, and types whose bytes it may choose.
//!
//! # Safety
//!
//! Both traits promise something about the bytes of a type. Each implementation here says why it
//! keeps the promises. [`NoUninit`] and [`Pod`] are unsafe traits that promise the same; a type of
//! the user's is compared field by field, by the derives of `farptr-macros`.
//!
//! *Provenance.* A kernel has addresses as numbers, so what it writes into a pointer is a number.
//! The bytes reach the pointer in one of two ways: the device writes them, or the library copies
//! them there from memory that the device has written. Neither is a store of this program with a
//! provenance of its own: the writer is outside it, as a foreign function would be, and counts as
//! one that made the pointer by [`with_exposed_provenance`](std::ptr::with_exposed_provenance).
//! The library's copies are of bytes, not of integers (`copy_from_slice`), so they keep what the
//! bytes have. Hence a pointer that a kernel wrote may be used as one that was made from its
//! address: into memory whose address was exposed. Lending exposes that of what is lent. A page
//! comes home whole, so the same holds for pointers beside those that a kernel wrote.
//!
//! References are lent for reading alone, and no byte of such memory is written: a kernel's store
//! there is a fault, `Homes::bytes_mut` refuses it, and pages come home byte by byte, as they were
//! lent. So a reference keeps its provenance.
#![allow(unsafe_code, reason = "it implements the traits, with the argument above")]

use bytemuck::{NoUninit, Pod};
use std::{
    ptr::NonNull,
    sync::atomic::{
        AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicPtr, AtomicU8, AtomicU16,
        AtomicU32, AtomicU64, AtomicUsize,
    },
};

/// The [`Kind`](Lendable) of the types that are plain data by [`bytemuck`]: [`NoUninit`] can be
/// lent for reading, [`Pod`] for writing too.
#[derive(Debug)]
pub enum Plain {}

/// The [`Kind`](Lendable) of the types that say by an implementation that they can be lent:
/// pointers, and those with a derive.
#[derive(Debug)]
pub enum Declared {}

/// No type has this kind. With a second implementation for all types, rustc says that [`Lendable`]
/// is missing where it is, and prints its notes; with one, it says that `Pod` is.
#[derive(Debug)]
pub enum Never {}

/// Nothing implements it, and nothing can.
#[expect(unnameable_types, reason = "nothing can implement it")]
pub trait Unimplemented {}

/// Types that can be lent for reading: a kernel may read their bytes, and pointers among them.
///
/// These are: every [`bytemuck::NoUninit`], such as numbers and `Pod` structures of any crate; raw
/// pointers, [`NonNull`], references, and `Option` of the last two; arrays of those; and structures
/// of those by `#[derive(Lendable)]`. Pointers are to sized types, because only their addresses
/// have a layout that a kernel can know.
///
/// To a kernel a pointer is a number of 64 bits, and a kernel follows it if it leads into lent
/// memory. So lend the memory that they lead to, too. The pointers themselves need nothing.
///
/// `Kind` keeps two families of implementations apart, [`Plain`](crate::kind::Plain) and
/// [`Declared`](crate::kind::Declared), so that each covers types of crates that know nothing of
/// the other. It is inferred. A function that lends what it is given is generic over it, too:
///
/// ```
/// use farptr::{Error, Lendable, Runtime};
///
/// fn lend_all<T: Lendable<Kind>, Kind>(runtime: &Runtime, all: &[T]) -> Result<usize, Error> {
///     runtime.scope(|s| Ok(s.lend(all)?.len()))
/// }
/// # let runtime = Runtime::builder().build()?;
/// # assert_eq!((lend_all(&runtime, &[1.0])?, lend_all(&runtime, &[&1, &2])?), (1, 2));
/// # Ok::<(), Error>(())
/// ```
///
/// # Examples
///
/// ```
/// use farptr::{Lendable, Runtime};
///
/// #[derive(Lendable)]
/// #[repr(C)]
/// struct Node<'a> {
///     next: Option<&'a Node<'a>>,
///     value: u64,
/// }
///
/// let runtime = Runtime::builder().build()?;
/// let last = Node { next: None, value: 2 };
/// let first = Node { next: Some(&last), value: 1 };
/// runtime.scope(|s| {
///     let first = s.lend_value(&first)?; // a kernel follows `next`, because
///     s.lend_value(&last)?; // that node is lent, too
///     Ok(())
/// })?;
/// # Ok::<(), farptr::Error>(())
/// ```
///
/// # Safety
///
/// 1. No byte of a value is ever uninitialised: the type has no padding, and no unions.
/// 2. While a value is borrowed by `&`, its bytes do not change: it has no interior mutability.
///    Memory that it points to may have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be lent for reading",
    label = "not `Lendable`",
    note = "a structure of yours can be lent with `#[derive(farptr::Lendable)]` and `#[repr(C)]`",
    note = "numbers and other `bytemuck::NoUninit` can be lent, and raw pointers, `NonNull` and \
            references to sized types, `Option` of the last two, and arrays of all these",
    note = "of a `Vec`, `String`, `Box`, `&[T]` or `&str`, lend the contents, and keep their \
            address as `*const T` beside their length",
    note = "atomics can be lent by `lend_mut`, and are read through `Idle::write`"
)]
pub unsafe trait Lendable<Kind> {}

/// Types that can be lent for writing: a kernel may leave any bytes there.
///
/// These are: every [`bytemuck::Pod`]; raw pointers and `Option<NonNull<T>>` to sized types;
/// atomics; arrays of those; and structures of those by `#[derive(LendableMut)]`. References,
/// `NonNull`, `bool`, enums and `Box` are not, because not every number is one of them. Atomics are
/// not [`Lendable`], since the host could write them while the device reads.
///
/// A pointer in such memory is afterwards as one that was made from a number, by
/// [`with_exposed_provenance`](std::ptr::with_exposed_provenance): it may be used where it leads
/// into memory that is or was lent, or whose address the program exposed itself. So are
/// pointers that no kernel wrote, since whole pages go to a device and come home. A kernel may
/// leave any number, so to follow a pointer in Rust takes `unsafe`, and a look at where it leads.
/// An index takes neither: that of a node in a slice is the distance of the pointer's address from
/// the slice's, divided by the size.
///
/// # Examples
///
/// ```
/// use farptr::{Lendable, LendableMut};
/// use std::ptr::NonNull;
///
/// #[derive(Lendable, LendableMut)]
/// #[repr(C)]
/// struct Node {
///     left: Option<NonNull<Node>>,
///     right: Option<NonNull<Node>>,
///     parent: *const Node,
///     value: u64,
/// }
/// ```
///
/// # Safety
///
/// 1. No byte of a value is ever uninitialised: the type has no padding, and no unions.
/// 2. Any bytes are a value of the type, and nothing that safe code does with such a value is
///    undefined behaviour. A type whose unsafe code relies on what is in its fields keeps neither
///    promise, nor may it derive this trait: a kernel chooses what is there.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be lent for writing",
    label = "not `LendableMut`",
    note = "a structure of yours can be lent with `#[derive(farptr::LendableMut)]` and \
            `#[repr(C)]`",
    note = "numbers and other `bytemuck::Pod` can be lent, and raw pointers and \
            `Option<NonNull<T>>` to sized types, atomics, and arrays of all these",
    note = "a kernel could leave a number that is no `bool`, no `char`, no enum, no reference and \
            no `NonNull`: hold an integer or a raw pointer in its place"
)]
pub unsafe trait LendableMut<Kind> {}

// SAFETY: 1. and 2. are promises of `NoUninit`.
unsafe impl<T: NoUninit> Lendable<Plain> for T {}
// SAFETY: 1. `Pod` is `NoUninit`; 2. it promises that any bytes are a value, of a type all of whose
// bytes safe code may set (`bytes_of_mut`).
unsafe impl<T: Pod> LendableMut<Plain> for T {}

// SAFETY: no type is `Unimplemented`.
unsafe impl<T: Unimplemented> Lendable<Never> for T {}
// SAFETY: no type is `Unimplemented`.
unsafe impl<T: Unimplemented> LendableMut<Never> for T {}

/// Implements the traits for types with a sized `T`.
macro_rules! declared {
    ($trait:ident: $($of:ty),*) => {
        $(
            // SAFETY: 1. the type is one address of 8 bytes, since `T` is sized, with 0 for `None`;
            // 2. for `Lendable`, it has no interior mutability; for `LendableMut`, each number is
            // an address or null, and following it takes `unsafe`.
            unsafe impl<T> $trait<Declared> for $of {}
        )*
    };
}

declared!(Lendable: *const T, *mut T, NonNull<T>, Option<NonNull<T>>, &T, Option<&T>);
declared!(LendableMut: *const T, *mut T, Option<NonNull<T>>, AtomicPtr<T>);

/// Implements [`LendableMut`] for atomic integers.
macro_rules! atomics {
    ($($of:ty),*) => {
        $(
            // SAFETY: 1. and 2. it has the bytes of an integer, and each number is one of it.
            unsafe impl LendableMut<Declared> for $of {}
        )*
    };
}

atomics!(AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize);
atomics!(AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize);

// SAFETY: 1. there is nothing between elements; 2. each element keeps the promise.
unsafe impl<T: Lendable<Declared>, const N: usize> Lendable<Declared> for [T; N] {}
// SAFETY: as above.
unsafe impl<T: LendableMut<Declared>, const N: usize> LendableMut<Declared> for [T; N] {}
