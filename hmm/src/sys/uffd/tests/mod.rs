//! Facts about the kernel on which the rest of the crate relies, tested on the real kernel in every
//! tier that works here.

mod events;
mod fill;
mod fork;
mod kernel_access;
mod marks;
mod moves;
mod open;
pub(in crate::sys) mod rig;
mod watched;
