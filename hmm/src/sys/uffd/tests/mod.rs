//! Facts about the kernel that the rest of the crate relies on, asked of the real one, in every
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
