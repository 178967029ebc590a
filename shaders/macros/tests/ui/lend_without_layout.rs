//! A structure has no layout that a kernel could know.

#[derive(farptr::Lendable)]
struct Node {
    next: *const Node,
}

#[derive(farptr::LendableMut)]
#[repr(align(8))]
struct Other(*const Node);

fn main() {}
