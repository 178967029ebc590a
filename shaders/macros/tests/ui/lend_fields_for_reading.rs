//! Fields that cannot be lent for reading, each with a reason of its own.

use std::cell::Cell;
use std::sync::atomic::AtomicU32;

struct Unknown(u32);

#[derive(farptr::Lendable)]
#[repr(C)]
struct Node<'a> {
    cell: Cell<u64>,
    atomic: AtomicU32,
    unknown: Unknown,
    text: &'a str,
    slice: *const [u32],
    owner: Box<u64>,
    many: Vec<u64>,
    call: fn(),
    exclusive: &'a mut u64,
    boxes: [Box<u64>; 2],
}

fn main() {}
