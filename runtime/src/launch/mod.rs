//! Launches: grids, limits, control blocks, batches, reports.

pub(crate) mod allowance;
pub(crate) mod batch;
pub(crate) mod channel;
pub(crate) mod checked;
pub(crate) mod control_block;
pub(crate) mod decided;
pub(crate) mod explanation;
pub(crate) mod fault;
pub(crate) mod grid;
pub(crate) mod launcher;
pub(crate) mod log;
pub(crate) mod options;
pub(crate) mod order;
pub(crate) mod pending;
pub(crate) mod pool;
pub(crate) mod proof;
pub(crate) mod stop;
pub(crate) mod stream;
pub(crate) mod tables;
pub(crate) mod variant;
pub(crate) mod wait;
