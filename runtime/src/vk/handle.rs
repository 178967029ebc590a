//! The handle of an opened device, which goes after everything that was made from it.

use super::{Instance, Physical, lost::Loss, named::Named, physical::Features};
use crate::VulkanError;
use ash::{amd, ext, vk};
use std::{fmt, sync::Arc};

/// The handle of an opened device. Everything that was made from it has an [`Arc`] of it.
pub(crate) struct Handle {
    raw: ash::Device,
    loss: Loss,
    // Vulkan has to be there until the device is destroyed.
    instance: Arc<Instance>,
}

impl Handle {
    /// Opens a device with one queue of a family, and of another one if it is given; and with the
    /// import of host memory if asked.
    pub(crate) fn open(
        instance: &Arc<Instance>,
        physical: &Physical,
        families: (u32, Option<u32>),
        import: bool,
    ) -> Result<Self, VulkanError> {
        let raw = create(instance, physical, families, import)?;
        instance.keep();
        Ok(Self { raw, loss: Loss::default(), instance: Arc::clone(instance) })
    }

    pub(crate) fn raw(&self) -> &ash::Device {
        &self.raw
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Whether this process was forked from the one that opened the device, so that no call works.
    pub(crate) fn is_inherited(&self) -> bool {
        self.instance.is_inherited()
    }

    /// Whether the device is lost, and what follows from it.
    pub(super) fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Whether an object that is dropped now stays with the device: in a child made by `fork` it
    /// is the parent's, and a lost device may be using it.
    pub(super) fn leaves_object(&self) -> bool {
        self.is_inherited() || self.loss.leaves_object()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.is_inherited() {
            return;
        }
        if self.loss.leaves_object() || self.loss.has_left_objects() {
            // What was left belongs to the device, and the device to its instance.
            std::mem::forget(Arc::clone(&self.instance));
            return;
        }
        // SAFETY: 1. every object that was made from the device had an Arc of this handle and is
        // destroyed; 4. `Submitted` waits in its own Drop, so nothing is pending.
        unsafe { self.raw.destroy_device(None) };
    }
}

fn create(
    instance: &Instance,
    physical: &Physical,
    (family, other): (u32, Option<u32>),
    import: bool,
) -> Result<ash::Device, VulkanError> {
    let priorities = [1.0];
    let queue = |family| {
        vk::DeviceQueueCreateInfo::default()
            .queue_family_index(family)
            .queue_priorities(&priorities)
    };
    let queues: Vec<_> = std::iter::once(family).chain(other).map(queue).collect();
    let overallocation = physical.extensions.overallocation;
    let wanted = [
        (import, ext::external_memory_host::NAME),
        (overallocation, amd::memory_overallocation_behavior::NAME),
    ];
    let extensions: Vec<_> =
        wanted.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name.as_ptr()).collect();
    let mut no_overallocation = vk::DeviceMemoryOverallocationCreateInfoAMD::default()
        .overallocation_behavior(vk::MemoryOverallocationBehaviorAMD::DISALLOWED);
    let Features { core, storage_16, push_16, v12, .. } = physical.features;
    let mut v11 = vk::PhysicalDeviceVulkan11Features::default()
        .storage_buffer16_bit_access(storage_16)
        .storage_push_constant16(push_16);
    let mut v12 = vk::PhysicalDeviceVulkan12Features::default()
        .buffer_device_address(v12.buffer_device_address)
        .timeline_semaphore(v12.timeline_semaphore)
        .scalar_block_layout(v12.scalar_layout)
        .storage_buffer8_bit_access(v12.storage_8)
        .storage_push_constant8(v12.push_8)
        .shader_float16(v12.float_16)
        .shader_int8(v12.int_8)
        .shader_buffer_int64_atomics(v12.int64_atomics)
        .vulkan_memory_model(v12.memory_model)
        .vulkan_memory_model_device_scope(v12.memory_model_device_scope);
    let mut info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&extensions)
        .enabled_features(&core)
        .push_next(&mut v11)
        .push_next(&mut v12);
    if overallocation {
        info = info.push_next(&mut no_overallocation);
    }
    // SAFETY: 1. `physical` was listed by this live instance; 3. only features and the extension
    // that it reports are enabled.
    unsafe { instance.raw().create_device(physical.raw, &info, None) }.named("vkCreateDevice")
}
