//! Choosing a device, and proving by running kernels what it can do.

pub(crate) mod judge;
pub(crate) mod kernels;
pub(crate) mod litmus;
pub(crate) mod proof;
pub(crate) mod stopping;
