//! Finding the accesses of a kernel, and how each is checked. Nothing is changed here.

pub(crate) mod access;
mod bases;
pub(crate) mod collect;
mod effects;
mod joint;
pub(crate) mod own_arrays;
pub(crate) mod pointers;
mod sites;
pub(crate) mod split;
