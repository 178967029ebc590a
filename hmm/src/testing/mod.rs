//! Models for the tests of several modules: one of an address space, one of its threads.

#[cfg(loom)]
mod interleavings;
pub(crate) mod model;
