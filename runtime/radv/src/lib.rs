//! Compiles kernels as on an AMD GPU, on a machine without one: for tests and measurements.
//!
//! RADV, Mesa's Vulkan driver for AMD GPUs, has a *null device*: it is listed and opened as a GPU
//! of a family that the environment names, it compiles kernels with the compiler of that family,
//! and it runs nothing. farptr's runtime cannot open it, because it has no queue to wait for. So a
//! [`Compiler`] makes pipelines of words, as the runtime would, and returns what the driver says
//! about each: registers, spills, bytes.
//!
//! The driver reads the environment as it starts. A program that wants several [`Target`]s
//! therefore starts a process for each, with the environment of [`Target::apply`].

mod compiler;
mod features;
mod statistics;
mod target;

pub use compiler::{Call, Compiler, OpenError};
pub use statistics::Statistics;
pub use target::{NoDriver, Release, Target};
