//! The agreement between the host and a rewritten kernel: facts about the kernel, the variants of
//! it, and the memory through which the two exchange data.

pub(crate) mod analysis;
pub(crate) mod bases;
pub mod control;
pub(crate) mod error;
pub(crate) mod proved;
pub(crate) mod variant;
