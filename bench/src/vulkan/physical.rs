//! Finds the physical device that farptr chose.
//!
//! # Safety
//!
//! Rule 1 of the parent module. Physical devices are those that the instance listed, and it
//! outlives the calls.

use super::Named;
use crate::failure::Failure;
use ash::vk;
use std::ffi::CStr;

/// farptr's way to choose a device, by a part of its name or by its index.
const DEVICE_VARIABLE: &str = "FARPTR_DEVICE";

/// A physical device and what the rivals need to know of it.
pub(crate) struct Physical {
    pub(crate) raw: vk::PhysicalDevice,
    /// A queue family that can compute.
    pub(crate) family: u32,
    /// Workgroups in the first dimension.
    pub(crate) groups_max: u32,
    pub(crate) memory: vk::PhysicalDeviceMemoryProperties,
}

/// The device with this name; of several, the one whose index `FARPTR_DEVICE` gives, or the first.
pub(super) fn find(instance: &ash::Instance, name: &str) -> Result<Physical, Failure> {
    // SAFETY: 1. the caller's reference shows that the instance lives.
    let listed =
        unsafe { instance.enumerate_physical_devices() }.named("vkEnumeratePhysicalDevices")?;
    let wanted: Option<usize> =
        std::env::var(DEVICE_VARIABLE).ok().and_then(|word| word.trim().parse().ok());
    let mut matching: Vec<_> =
        listed.into_iter().enumerate().filter(|&(_, raw)| has_name(instance, raw, name)).collect();
    matching.sort_by_key(|&(index, _)| wanted != Some(index));
    let described = matching.first().and_then(|&(_, raw)| describe(instance, raw));
    described.ok_or_else(|| Failure::DeviceNotFound { name: name.to_owned() })
}

/// The device at this place in Vulkan's list.
pub(super) fn at(instance: &ash::Instance, index: usize) -> Result<Physical, Failure> {
    // SAFETY: 1. the caller's reference shows that the instance lives.
    let listed =
        unsafe { instance.enumerate_physical_devices() }.named("vkEnumeratePhysicalDevices")?;
    let described = listed.get(index).and_then(|&raw| describe(instance, raw));
    described.ok_or_else(|| Failure::DeviceNotFound { name: index.to_string() })
}

/// Features and extensions of a device, beside those that farptr cannot do without.
#[derive(Clone, Copy, Default)]
pub(super) struct Extras {
    /// `VK_EXT_external_memory_host`.
    pub(super) import: bool,
    pub(super) core: vk::PhysicalDeviceFeatures,
    pub(super) v11: vk::PhysicalDeviceVulkan11Features<'static>,
    pub(super) v12: vk::PhysicalDeviceVulkan12Features<'static>,
}

/// The extras that a device has, of those that farptr switches on; it has Vulkan 1.2.
pub(super) fn extras(instance: &ash::Instance, device: &Physical) -> Result<Extras, Failure> {
    // SAFETY: 1. the device was listed by this instance.
    let extensions = unsafe { instance.enumerate_device_extension_properties(device.raw) }
        .named("vkEnumerateDeviceExtensionProperties")?;
    let wanted = Ok(ash::ext::external_memory_host::NAME);
    let mut v11 = vk::PhysicalDeviceVulkan11Features::default();
    let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
    let mut all = vk::PhysicalDeviceFeatures2::default().push_next(&mut v11).push_next(&mut v12);
    // SAFETY: 1. as above; 4. the device has Vulkan 1.2, which knows both structures.
    unsafe { instance.get_physical_device_features2(device.raw, &mut all) };
    let core = all.features;
    Ok(Extras {
        import: extensions.iter().any(|found| found.extension_name_as_c_str() == wanted),
        core: vk::PhysicalDeviceFeatures {
            shader_int64: core.shader_int64,
            shader_float64: core.shader_float64,
            shader_int16: core.shader_int16,
            ..Default::default()
        },
        v11: vk::PhysicalDeviceVulkan11Features {
            storage_buffer16_bit_access: v11.storage_buffer16_bit_access,
            storage_push_constant16: v11.storage_push_constant16,
            ..Default::default()
        },
        v12: vk::PhysicalDeviceVulkan12Features {
            scalar_block_layout: v12.scalar_block_layout,
            storage_buffer8_bit_access: v12.storage_buffer8_bit_access,
            storage_push_constant8: v12.storage_push_constant8,
            shader_float16: v12.shader_float16,
            shader_int8: v12.shader_int8,
            shader_buffer_int64_atomics: v12.shader_buffer_int64_atomics,
            vulkan_memory_model: v12.vulkan_memory_model,
            vulkan_memory_model_device_scope: v12.vulkan_memory_model_device_scope,
            ..Default::default()
        },
    })
}

/// The alignment of host memory that a device with `VK_EXT_external_memory_host` imports.
pub(super) fn import_alignment(instance: &ash::Instance, device: &Physical) -> u64 {
    let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut host);
    // SAFETY: 1. the device was listed by this instance; 4. it has the extension.
    unsafe { instance.get_physical_device_properties2(device.raw, &mut all) };
    host.min_imported_host_pointer_alignment
}

fn has_name(instance: &ash::Instance, raw: vk::PhysicalDevice, name: &str) -> bool {
    // SAFETY: 1. the device was listed by this instance.
    let properties = unsafe { instance.get_physical_device_properties(raw) };
    properties.device_name_as_c_str().is_ok_and(|found: &CStr| found.to_string_lossy() == name)
}

/// The facts that are needed of a device; nothing when it has no queue that can compute.
fn describe(instance: &ash::Instance, raw: vk::PhysicalDevice) -> Option<Physical> {
    // SAFETY: 1. the device was listed by this instance.
    let families = unsafe { instance.get_physical_device_queue_family_properties(raw) };
    let can_compute =
        |family: &vk::QueueFamilyProperties| family.queue_flags.contains(vk::QueueFlags::COMPUTE);
    let family = families.iter().position(can_compute)?;
    // SAFETY: as above.
    let properties = unsafe { instance.get_physical_device_properties(raw) };
    // SAFETY: as above.
    let memory = unsafe { instance.get_physical_device_memory_properties(raw) };
    Some(Physical {
        raw,
        family: u32::try_from(family).ok()?,
        groups_max: properties.limits.max_compute_work_group_count[0],
        memory,
    })
}
