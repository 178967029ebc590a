//! Lent memory: tokens for the program, segments byte by byte, imports for the device.

pub(crate) mod areas;
pub(crate) mod homes;
pub(crate) mod imports;
pub(crate) mod kinds;
pub(crate) mod lendable;
pub(crate) mod lends;
mod list;
pub(crate) mod process;
mod registry;
pub(crate) mod shown;
pub(crate) mod token;
