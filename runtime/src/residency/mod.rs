//! Device memory for copies of host pages: frames and tables.

#![allow(clippy::cast_possible_truncation, reason = "hosts are 64-bit: `farptr_hmm` sees to it")]

pub(crate) mod frames;
pub(crate) mod kept;
pub(crate) mod memory;
mod queue;
pub(crate) mod stores;
