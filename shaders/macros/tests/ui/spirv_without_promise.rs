//! Words that the macro did not compile need a promise.

farptr::kernel! {
    mod kernel,
    spv: "kernel.spv",
}

fn main() {}
