//! Enums and unions cannot be lent.

#[derive(farptr::LendableMut)]
#[repr(C)]
enum State {
    Empty,
    Full,
}

#[derive(farptr::Lendable)]
#[repr(C)]
union Word {
    number: u32,
    small: u8,
}

fn main() {}
