//! A Vulkan layer for tests: it gives a software device the looks, the limits and the failures of
//! real ones, and counts what is asked of it.
//!
//! `VK_LAYER_FARPTR_mask` is an explicit layer (`VK_INSTANCE_LAYERS`), configured by the variable
//! `FARPTR_MASK`: rows (`nvidia`, `tiny`) and options (`watchdog=300`) between commas. `DESIGN.md`
//! lists them.
//!
//! # Safety
//!
//! Every function that the loader calls is unsafe, and so is every function that it calls. Three
//! things make them sound:
//!
//! 1. *What comes from the application* is valid: handles are live, structures and arrays are what
//!    Vulkan asks for. The validation layer checks it above this layer; what it does not check, the
//!    driver would have to trust as well. What the application must not use side by side (Vulkan
//!    specification, "Threading Behavior") this layer does not use side by side either.
//! 2. *What comes from the next layer* is what Vulkan says of it: functions have the type of their
//!    name, and objects of this layer's own live until it destroys them.
//! 3. *What the loader passes* has the form of `vulkan/vk_layer.h`.
#![allow(unsafe_code, reason = "a layer is called by, and calls, functions that are unsafe")]
#![allow(clippy::missing_safety_doc, reason = "the loader calls, by the argument above")]

mod commands;
mod counters;
mod create;
mod device;
mod entry;
mod faults;
mod heaps;
mod held;
mod imports;
mod instance;
mod loader;
mod memory;
mod objects;
mod options;
mod queue;
mod shadow;
mod transfer;
mod watchdog;

use ash::vk;
pub use loader::Negotiation;

/// The version of the interface between loader and layer that this layer knows.
const VERSION: u32 = 2;

/// Tells the loader where the layer's functions are.
///
/// # Safety
///
/// 1. The loader calls it, with a structure of its own.
// SAFETY: no other function of a layer has this name, by which the loader finds it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vkNegotiateLoaderLayerInterfaceVersion(
    negotiation: *mut Negotiation,
) -> vk::Result {
    // SAFETY: 3. the loader's structure, or null.
    let Some(negotiation) = (unsafe { negotiation.as_mut() }) else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    if negotiation.version < VERSION {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    }
    negotiation.version = VERSION;
    negotiation.get_instance_proc_addr = Some(entry::get_instance_proc_addr);
    negotiation.get_device_proc_addr = Some(entry::get_device_proc_addr);
    negotiation.get_physical_device_proc_addr = None;
    vk::Result::SUCCESS
}
