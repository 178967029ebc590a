//! The file does not exist.

farptr::kernel! {
    mod kernel,
    path: "kernels/missing.comp",
}

fn main() {}
