//! Lent memory: what a scope gives for a slice, and what becomes a kernel's argument.

use farptr_rewrite::{Ptr, PtrMut};
use std::{fmt, marker::PhantomData};

/// A slice that a scope has lent to the device for reading.
///
/// It is an inert token: dropping, copying or forgetting it changes nothing.
pub struct Lent<'scope, T> {
    ptr: Ptr<'scope, T>,
    len: usize,
}

impl<'scope, T> Lent<'scope, T> {
    pub(crate) fn new(memory: &[T]) -> Self {
        let address = memory.as_ptr().expose_provenance();
        Self { ptr: Ptr::from_address(address as u64), len: memory.len() }
    }

    /// The address of the first element, for a kernel's arguments. Its value is the host address.
    #[must_use]
    pub fn ptr(&self) -> Ptr<'scope, T> {
        self.ptr
    }
}

/// A slice that a scope has lent to the device for reading and writing.
///
/// It is an inert token, as [`Lent`] is. The host looks at the elements, before the scope ends,
/// through [`Idle`](crate::Idle).
pub struct LentMut<'scope, T> {
    // Invariant: the pointer and length of a `&'env mut [T]` whose scope has the brand 'scope.
    pointer: *mut T,
    len: usize,
    brand: PhantomData<fn(&'scope ()) -> &'scope ()>,
}

impl<'scope, T> LentMut<'scope, T> {
    pub(crate) fn new(memory: &mut [T]) -> Self {
        Self { pointer: memory.as_mut_ptr(), len: memory.len(), brand: PhantomData }
    }

    /// The address of the first element, for a kernel's arguments. Its value is the host address.
    #[must_use]
    pub fn ptr(&self) -> PtrMut<'scope, T> {
        PtrMut::from_address(self.pointer.expose_provenance() as u64)
    }

    pub(crate) fn raw(&self) -> *mut T {
        self.pointer
    }
}

/// The methods of both tokens, whatever `T` is: a length, copies, debug output.
macro_rules! token {
    ($name:ident) => {
        impl<T> $name<'_, T> {
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
