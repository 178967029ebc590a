//! Devices: their identities, what they hold of the host's memory, and how they fail.
//!
//! The memory that a device offers is in [`crate::sys::device`], because its trait is unsafe.

#![forbid(unsafe_code)]

mod error;
mod held;
mod owner;

pub use error::DeviceError;
pub use held::{DeviceRun, Hold};
pub use owner::Owner;
