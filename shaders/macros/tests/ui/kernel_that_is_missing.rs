//! There is no kernel.

farptr::kernel! {
    mod kernel,
    args: { x: f32 },
}

fn main() {}
