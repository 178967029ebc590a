//! Kernels of the probes, each compiled from the file of its name.

farptr::kernel! {
    /// `y = 3 * x + k`.
    pub(super) mod triple, path: "src/doctor/kernels/triple.comp",
}
farptr::kernel! {
    /// `y = number of the element, mixed with k`: it reads nothing.
    pub(super) mod stamp, path: "src/doctor/kernels/stamp.comp",
}
farptr::kernel! {
    /// Works until a word is not 0, or until so many turns are over.
    pub(super) mod watch, path: "src/doctor/kernels/watch.comp",
}
farptr::kernel! {
    /// Adds 1 to a word, 64 times each invocation.
    pub(super) mod count, path: "src/doctor/kernels/count.comp",
}
farptr::kernel! {
    /// As `count`, with a word of 64 bits.
    pub(super) mod count_long, path: "src/doctor/kernels/count_long.comp",
}

/// The element that `triple` makes.
pub(super) fn tripled(x: u32, k: u32) -> u32 {
    x.wrapping_mul(3).wrapping_add(k)
}

/// The element that `stamp` writes.
pub(super) fn stamped(index: u32, k: u32) -> u32 {
    index.wrapping_mul(0x9e37_79b9) ^ k
}

/// Additions of an invocation of `count`.
pub(super) const COUNTED: u32 = 64;
