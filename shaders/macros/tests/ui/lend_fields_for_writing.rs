//! Fields that cannot be lent for writing: a kernel may leave any number there.

use std::ptr::NonNull;

#[derive(farptr::LendableMut)]
#[repr(C)]
struct Node<'a> {
    reference: &'a u64,
    may_be_null: Option<&'a u64>,
    not_null: NonNull<u64>,
    flag: bool,
    letter: char,
    object: *const dyn Fn(),
    flags: [bool; 8],
}

fn main() {}
