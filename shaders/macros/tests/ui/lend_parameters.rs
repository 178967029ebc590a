//! Types with parameters have a size for each use.

#[derive(farptr::Lendable)]
#[repr(C)]
struct Node<T> {
    next: *const Node<T>,
    value: T,
}

#[derive(farptr::LendableMut)]
#[repr(C)]
struct Many<const N: usize> {
    next: [*const u32; N],
}

fn main() {}
