//! Writing a form of a kernel: checked and translated accesses, the entry point, reports.

pub(crate) mod accesses;
pub(crate) mod entry;
pub(crate) mod fault;
pub(crate) mod grid;
pub(crate) mod offsets;
pub(crate) mod own_arrays;
mod page;
mod page_table;
pub(crate) mod physical;
pub(crate) mod proofs;
mod report;
mod segments;
pub(crate) mod shared;
pub(crate) mod size;
pub(crate) mod translate;
