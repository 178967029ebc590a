//! What a scope has lent: tokens for the program, segments byte by byte, imports for the device.

pub(crate) mod imports;
pub(crate) mod lends;
pub(crate) mod token;
