//! The words are no SPIR-V.

farptr::kernel! {
    mod kernel,
    unsafe words: [1, 2, 3],
}

fn main() {}
