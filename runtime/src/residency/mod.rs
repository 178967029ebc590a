//! Device memory for copies of host pages: frames and tables.

pub(crate) mod memory;
