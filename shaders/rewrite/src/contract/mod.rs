//! What the host and a rewritten kernel agree on: what is known of a kernel, which form of it is
//! made, and the memory through which the two talk.

pub(crate) mod analysis;
pub mod control;
pub(crate) mod error;
pub(crate) mod variant;
