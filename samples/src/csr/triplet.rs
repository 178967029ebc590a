//! Entries of a matrix before it is compressed.

/// One entry: row, column (both from 0), value.
pub type Triplet = (u32, u32, f32);
