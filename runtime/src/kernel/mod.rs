//! Kernels: their words, the forms of them that are compiled, and the driver's cache on disk.

pub(crate) mod cache_file;
pub(crate) mod code;
pub(crate) mod handle;
pub(crate) mod kernels;
pub(crate) mod known;
pub(crate) mod options;
pub(crate) mod pipelines;
