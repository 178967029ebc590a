//! From words to the module of one entry point, which remembers where its instructions came from.

mod freeze;
pub(crate) mod keep;
mod opaque;
pub(crate) mod places;
pub(crate) mod sieve;
