//! The device that farptr chose, opened a second time and by hand.
//!
//! # Safety
//!
//! Rules 1 and 4 of the parent module. The loader is trusted as any library that is linked. The
//! device goes before its instance, and after all that was made from it, since its owners share it.

use super::{
    Named,
    physical::{self, Physical},
};
use crate::failure::Failure;
use ash::vk;

/// An opened device and its queue.
pub(crate) struct Device {
    // Invariant: `raw` was made from `physical` of `instance`, and both are destroyed by Drop only.
    raw: ash::Device,
    physical: Physical,
    instance: Instance,
    queue: vk::Queue,
}

impl Device {
    /// Opens the device that has this name.
    pub(crate) fn open(name: &str) -> Result<Self, Failure> {
        let instance = Instance::new()?;
        let physical = physical::find(&instance.raw, name)?;
        let raw = create(&instance.raw, &physical)?;
        // SAFETY: 1. the device lives and was made with one queue of this family.
        let queue = unsafe { raw.get_device_queue(physical.family, 0) };
        Ok(Self { raw, physical, instance, queue })
    }

    pub(super) fn raw(&self) -> &ash::Device {
        &self.raw
    }

    pub(super) fn instance(&self) -> &ash::Instance {
        &self.instance.raw
    }

    pub(super) fn physical(&self) -> &Physical {
        &self.physical
    }

    pub(super) fn queue(&self) -> vk::Queue {
        self.queue
    }

    /// Workgroups for `count` invocations of a kernel that finds its index as farptr's kernels do:
    /// folded into two dimensions when one is too short.
    pub(super) fn groups_for(&self, count: u32, width: u32) -> [u32; 3] {
        let groups = count.div_ceil(width);
        let rows = groups.div_ceil(self.physical.groups_max);
        [groups.div_ceil(rows), rows, 1]
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: 1. the device lives, and what was made from it is gone: its owners hold an Rc of
        // this. 3. It is idle.
        unsafe { self.raw.destroy_device(None) };
    }
}

/// An instance that destroys itself.
struct Instance {
    raw: ash::Instance,
    /// Keeps the library loaded.
    _entry: ash::Entry,
}

impl Instance {
    fn new() -> Result<Self, Failure> {
        // SAFETY: the system's Vulkan loader is trusted, as each library is that is linked.
        let entry = unsafe { ash::Entry::load() }?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_2);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: 4. the structure is built above; farptr has already run on this loader with
        // version 1.2.
        let raw = unsafe { entry.create_instance(&info, None) }.named("vkCreateInstance")?;
        Ok(Self { raw, _entry: entry })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: 1. the instance lives; the device made from it is gone, because `Device` drops
        // its own handle before its fields, and where opening failed there was none.
        unsafe { self.raw.destroy_instance(None) };
    }
}

fn create(instance: &ash::Instance, physical: &Physical) -> Result<ash::Device, Failure> {
    let priorities = [1.0];
    let queues = [vk::DeviceQueueCreateInfo::default()
        .queue_family_index(physical.family)
        .queue_priorities(&priorities)];
    let mut features = vk::PhysicalDeviceVulkan12Features::default()
        .buffer_device_address(true)
        .timeline_semaphore(true);
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).push_next(&mut features);
    // SAFETY: 1. the physical device was listed by this instance; 4. farptr uses the same device
    // with both features, so it has them.
    unsafe { instance.create_device(physical.raw, &info, None) }.named("vkCreateDevice")
}
