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
pub(super) struct Physical {
    pub(super) raw: vk::PhysicalDevice,
    /// A queue family that can compute.
    pub(super) family: u32,
    /// Workgroups in the first dimension.
    pub(super) groups_max: u32,
    pub(super) memory: vk::PhysicalDeviceMemoryProperties,
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
