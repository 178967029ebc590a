//! Functions that the code of [`kernel!`](crate::kernel) and of the derives calls. Programs have no
//! use for them.

use crate::{Lendable, LendableMut};
use bytemuck::{NoUninit, Pod};
use std::marker::PhantomData;

/// Copies the first bytes of a value into push constants, from a byte on: all of them, or so many.
///
/// Bytes that the push constants have no room for are left out. The macro asserts that there are
/// none.
pub fn put<T: NoUninit>(push: &mut [u32], at: usize, value: &T, most: usize) {
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(push);
    let room = bytes.get_mut(at..).unwrap_or_default();
    let value = bytemuck::bytes_of(value).iter().take(most);
    room.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
}

/// The size of a field, from a function that borrows it.
#[must_use]
pub const fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Asks that a field can be lent for reading.
pub const fn lendable<T: Lendable<Kind>, Kind>() {}

/// Asks that a field can be lent for writing.
pub const fn lendable_mut<T: LendableMut<Kind>, Kind>() {}

/// What a derive proves of a structure that kernels may read, or write.
///
/// The trait is here, so that the generated code has no names that could hide the user's.
pub trait Proof<const WRITTEN: bool> {
    /// Its evaluation shows that no byte is padding.
    const NO_PADDING: ();

    /// Compiles if each field can be lent.
    fn fields();
}

/// Whether a type is plain data: the constants of [`NotPlain`], unless the type has its own.
#[derive(Debug)]
pub struct Plainness<T>(PhantomData<T>);

/// The answers for every type.
pub trait NotPlain {
    /// Whether it is [`NoUninit`].
    const NO_UNINIT: bool = false;
    /// Whether it is [`Pod`].
    const POD: bool = false;
}

impl<T> NotPlain for Plainness<T> {}

impl<T: NoUninit> Plainness<T> {
    /// It is.
    pub const NO_UNINIT: bool = true;
}

impl<T: Pod> Plainness<T> {
    /// It is.
    pub const POD: bool = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_to_their_bytes() {
        let mut push = [0u32; 2];
        put(&mut push, 1, &0x0102_u16, 2);
        put(&mut push, 4, &[1u8, 2, 3, 4, 5, 6], 3);
        assert_eq!(push, [0x0001_0200, 0x0003_0201].map(u32::from_le));
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let mut push = [0u32; 1];
        put(&mut push, 2, &u32::MAX, 4);
        put(&mut push, 8, &u32::MAX, 4);
        assert_eq!(push, [0xffff_0000_u32.to_le()]);
    }
}
