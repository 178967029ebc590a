//! A structure has padding.

use farptr::{Lendable, LendableMut};

#[derive(Lendable)]
#[repr(C)]
struct Behind {
    next: *const Behind,
    value: u32,
}

#[derive(LendableMut)]
#[repr(C)]
struct Between<'a> {
    small: u8,
    next: *const &'a u32,
}

#[derive(Lendable)]
#[repr(C, align(16))]
struct Aligned(*const u32);

fn main() {}
