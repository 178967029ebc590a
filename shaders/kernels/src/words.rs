//! Gets a kernel's SPIR-V words out of what `vulkano_shaders::shader!` generates.

use std::sync::Arc;
use vulkano::{Validated, VulkanError, device::Device, shader::ShaderModule};

/// The `load` function that the macro generates.
type Load = fn(Arc<Device>) -> Result<Arc<ShaderModule>, Validated<VulkanError>>;

/// Calls a generated `load` function and returns the words that it would give to a device.
pub(crate) fn words(load: Load) -> &'static [u32] {
    match load(Arc::new(Device)) {
        Ok(module) => module.words(),
        Err(Validated(never)) => match never {},
    }
}
