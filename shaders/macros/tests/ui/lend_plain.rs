//! What is plain data needs no derive, and a second implementation would be ambiguous.

use bytemuck::{Pod, Zeroable};
use farptr::{Lendable, LendableMut};

#[derive(Clone, Copy, Pod, Zeroable, Lendable, LendableMut)]
#[repr(C)]
struct Pair {
    a: u32,
    b: u32,
}

fn main() {}
