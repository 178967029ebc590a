//! Launches that check themselves: limits, control blocks, reports. Pure.

pub(crate) mod allowance;
pub(crate) mod control;
pub(crate) mod fault;
pub(crate) mod options;
pub(crate) mod pending;
pub(crate) mod report;
pub(crate) mod variant;
