//! Pointers as kernels see them.

use std::{fmt, marker::PhantomData};

/// Declares a pointer type whose value is a host address that stays valid for the scope `'s`.
macro_rules! pointer {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<'s, T> {
            address: u64,
            // Invariant in 's: a pointer belongs to one scope and fits no other, shorter or longer.
            scope: PhantomData<(fn(&'s ()) -> &'s (), fn() -> T)>,
        }

        impl<T> $name<'_, T> {
            /// Makes a pointer from an address in bytes.
            ///
            /// Any address will do: a launch decides what a kernel may touch, not this type.
            #[must_use]
            pub const fn from_address(address: u64) -> Self {
                Self { address, scope: PhantomData }
            }

            /// The address in bytes.
            #[must_use]
            pub const fn address(self) -> u64 {
                self.address
            }

            /// The pointer `count` elements further on, wrapping at the end of the address space.
            #[must_use]
            pub const fn add(self, count: u64) -> Self {
                let size_bytes = size_of::<T>() as u64;
                Self::from_address(self.address.wrapping_add(count.wrapping_mul(size_bytes)))
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
                write!(f, concat!(stringify!($name), "({:#x})"), self.address)
            }
        }

        /// The pointer as a kernel's `uvec2`: low word first.
        impl<T> From<$name<'_, T>> for [u32; 2] {
            #[allow(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
            fn from(pointer: $name<'_, T>) -> Self {
                [pointer.address as u32, (pointer.address >> 32) as u32]
            }
        }
    };
}

pointer! {
    /// The address of elements that a kernel may read, for use in a kernel's arguments.
    ///
    /// Its value is the host address. It carries no permission: what a kernel may touch is decided
    /// by what the scope lent.
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr_rewrite::Ptr;
    ///
    /// let x: Ptr<'_, f32> = Ptr::from_address(0x1_0000_0000);
    /// assert_eq!(x.add(3).address(), 0x1_0000_000c);
    /// assert_eq!(<[u32; 2]>::from(x), [0, 1]);
    /// ```
    Ptr
}
pointer! {
    /// The address of elements that a kernel may read and write, for use in a kernel's arguments.
    ///
    /// As [`Ptr`] otherwise.
    PtrMut
}

impl<'s, T> From<PtrMut<'s, T>> for Ptr<'s, T> {
    fn from(pointer: PtrMut<'s, T>) -> Self {
        Self::from_address(pointer.address)
    }
}
