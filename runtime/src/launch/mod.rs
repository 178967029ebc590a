//! Launches that check themselves: limits, control blocks, reports. All but [`rounds`] is pure.

pub(crate) mod control;
pub(crate) mod fault;
pub(crate) mod options;
pub(crate) mod pending;
pub(crate) mod report;
mod rounds;
pub(crate) mod variant;
