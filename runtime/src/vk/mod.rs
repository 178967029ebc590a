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
//!    through [`retire`], which waits for the timeline; commands wait in their own `Drop`.
//!
//! The functions that this module gives to the rest of the crate are safe, or say in their own
//! `# Safety` what they need.
#![allow(unsafe_code, reason = "this is the layer that calls Vulkan")]

mod arena;
pub(crate) mod block;
pub(crate) mod buffer;
mod claim;
pub(crate) mod command;
pub(crate) mod descriptors;
mod device;
mod handle;
pub(crate) mod import;
pub(crate) mod info;
mod instance;
mod memory;
pub(crate) mod paged;
mod physical;
mod pipeline;
mod queue;
mod retire;
pub(crate) mod rounds;
pub(crate) mod transfer;
mod validation;

pub(crate) use device::Device;
use handle::Handle;
pub(crate) use instance::Instance;
pub(crate) use physical::Physical;
pub(crate) use pipeline::{Pipeline, PipelineCache, Shader};

use crate::VulkanError;
use ash::vk;

/// Names the call that a Vulkan result came from.
trait Named<T> {
    fn named(self, call: &'static str) -> Result<T, VulkanError>;
}

impl<T> Named<T> for Result<T, vk::Result> {
    fn named(self, call: &'static str) -> Result<T, VulkanError> {
        self.map_err(|result| VulkanError { call, result })
    }
}
