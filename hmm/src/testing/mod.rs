//! What tests of several modules use: a model of an address space, and a model of its threads.

#[cfg(loom)]
mod interleavings;
pub(crate) mod model;
