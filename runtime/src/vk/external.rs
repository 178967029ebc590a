//! What a driver promises about memory from outside Vulkan.

use super::Instance;
use ash::vk;

/// Host memory that the program has.
pub(super) const HANDLE: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

/// The uses of the buffers that imports are bound to.
pub(super) const USAGE: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(
    vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS.as_raw()
        | vk::BufferUsageFlags::STORAGE_BUFFER.as_raw(),
);

/// What a driver promises about the import of host memory for [`USAGE`].
#[derive(Clone, Copy)]
pub(super) struct Promise {
    /// An import has to be an allocation for one buffer alone.
    pub(super) dedicated: bool,
}

/// Asks whether a device imports host memory for buffers of farptr's.
pub(super) fn promised(instance: &Instance, raw: vk::PhysicalDevice) -> Option<Promise> {
    let info = vk::PhysicalDeviceExternalBufferInfo::default().usage(USAGE).handle_type(HANDLE);
    let mut properties = vk::ExternalBufferProperties::default();
    // SAFETY: 1. `raw` belongs to this live instance, which has Vulkan 1.1.
    unsafe {
        instance.raw().get_physical_device_external_buffer_properties(raw, &info, &mut properties);
    };
    let features = properties.external_memory_properties.external_memory_features;
    let dedicated = features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY);
    features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE).then_some(Promise { dedicated })
}
