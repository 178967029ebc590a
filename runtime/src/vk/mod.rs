//! The Vulkan layer: the only place of this crate that calls Vulkan.
//!
//! # Safety
//!
//! Every file below calls functions of ash, which are unsafe because Vulkan checks nothing. All
//! calls need four things:
//!
//! 1. *Handles are live.* A handle is a private field of the type that made it, whose `Drop` alone
//!    destroys it, and that type holds an `Arc` of the type it was made from.
//! 2. *External synchronisation* (Vulkan specification, "Threading Behavior"): queues and pools
//!    are used under `&mut` or a mutex.
//! 3. *Structures are valid*: they are built by ash's builders, whose lifetimes keep what they
//!    point to alive, and extension structures are chained only for extensions and versions that
//!    were checked before.
//! 4. *Nothing is destroyed while the device uses it*: objects that commands use are dropped
//!    through [`deferred`], which waits for the timeline of kernels; commands wait in their own
//!    `Drop`.
//!
//! The functions that this module gives to the rest of the crate are safe, or say in their own
//! `# Safety` what they need.
#![allow(unsafe_code, reason = "this is the layer that calls Vulkan")]

pub(crate) mod allocations;
pub(crate) mod block;
mod bound;
pub(crate) mod budget;
pub(crate) mod buffer;
mod claim;
pub(crate) mod command;
mod command_buffer;
pub(crate) mod control;
mod deferred;
mod device;
mod external;
mod families;
pub(crate) mod frames;
mod handle;
pub(crate) mod import;
pub(crate) mod info;
mod instance;
pub(crate) mod lost;
mod memory;
mod named;
mod physical;
mod pipeline;
mod queue;
mod queues;
mod retire;
mod set_layout;
mod timeline;
mod timestamps;
pub(crate) mod transfer;
mod validation;

pub(crate) use device::Device;
pub(crate) use instance::Instance;
pub(crate) use physical::Physical;
pub(crate) use pipeline::{Pipeline, PipelineCache, Shader};
