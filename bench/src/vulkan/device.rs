//! A device, opened by hand: for rivals the one that farptr chose, opened a second time.
//!
//! # Safety
//!
//! Rules 1 and 4 of the parent module. The loader is trusted as any library that is linked. The
//! device goes before its instance, and after all that was made from it, since its owners share it.

use super::{
    Named,
    physical::{self, Extras, Physical},
};
use crate::failure::Failure;
use ash::{ext, vk};

/// An opened device and its queue.
pub(crate) struct Device {
    // Invariant: `raw` was made from `physical` of `instance`, and both are destroyed by Drop only.
    raw: ash::Device,
    physical: Physical,
    instance: Instance,
    queue: vk::Queue,
    /// Absent if host memory cannot be imported.
    import: Option<Import>,
}

/// The functions that import host memory, and the alignment of what is imported.
struct Import {
    functions: ext::external_memory_host::Device,
    alignment_bytes: u64,
}

impl Device {
    /// Opens the device that has this name, with what farptr needs, and imports if it has them.
    pub(crate) fn open(name: &str) -> Result<Self, Failure> {
        let instance = Instance::new()?;
        let physical = physical::find(&instance.raw, name)?;
        let import = physical::extras(&instance.raw, &physical)?.import;
        Self::with(instance, physical, Extras { import, ..Extras::default() })
    }

    /// Opens the device at this place in Vulkan's list, with imports and the features that farptr
    /// switches on, where it has them.
    pub(crate) fn open_at(index: usize) -> Result<Self, Failure> {
        let instance = Instance::new()?;
        let physical = physical::at(&instance.raw, index)?;
        let extras = physical::extras(&instance.raw, &physical)?;
        Self::with(instance, physical, extras)
    }

    fn with(instance: Instance, physical: Physical, extras: Extras) -> Result<Self, Failure> {
        let raw = create(&instance.raw, &physical, extras)?;
        // SAFETY: 1. the device lives and was made with one queue of this family.
        let queue = unsafe { raw.get_device_queue(physical.family, 0) };
        let import = || Import {
            functions: ext::external_memory_host::Device::new(&instance.raw, &raw),
            alignment_bytes: physical::import_alignment(&instance.raw, &physical),
        };
        let import = extras.import.then(import);
        Ok(Self { raw, physical, instance, queue, import })
    }

    /// The functions that import host memory, if the device has them.
    pub(super) fn import(&self) -> Option<&ext::external_memory_host::Device> {
        self.import.as_ref().map(|import| &import.functions)
    }

    /// Starts and lengths of imported memory are multiples of so many bytes; absent if none can be
    /// imported.
    pub(crate) fn import_alignment(&self) -> Option<u64> {
        self.import.as_ref().map(|import| import.alignment_bytes)
    }

    pub(crate) fn raw(&self) -> &ash::Device {
        &self.raw
    }

    pub(crate) fn instance(&self) -> &ash::Instance {
        &self.instance.raw
    }

    pub(crate) fn physical(&self) -> &Physical {
        &self.physical
    }

    pub(crate) fn queue(&self) -> vk::Queue {
        self.queue
    }

    /// Workgroups for `count` invocations of a kernel that finds its index as farptr's kernels do:
    /// folded into two dimensions when one is too short.
    pub(crate) fn groups_for(&self, count: u32, width: u32) -> [u32; 3] {
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
pub(super) struct Instance {
    raw: ash::Instance,
    /// Keeps the library loaded.
    _entry: ash::Entry,
}

impl Instance {
    pub(super) fn new() -> Result<Self, Failure> {
        // SAFETY: the system's Vulkan loader is trusted, as each library is that is linked.
        let entry = unsafe { ash::Entry::load() }?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_2);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: 4. the structure is built above; a loader that knows Vulkan 1.0 alone refuses.
        let raw = unsafe { entry.create_instance(&info, None) }.named("vkCreateInstance")?;
        Ok(Self { raw, _entry: entry })
    }

    pub(super) fn raw(&self) -> &ash::Instance {
        &self.raw
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: 1. the instance lives; the device made from it is gone, because `Device` drops
        // its own handle before its fields, and where opening failed there was none.
        unsafe { self.raw.destroy_instance(None) };
    }
}

fn create(
    instance: &ash::Instance,
    physical: &Physical,
    extras: Extras,
) -> Result<ash::Device, Failure> {
    let priorities = [1.0];
    let queues = [vk::DeviceQueueCreateInfo::default()
        .queue_family_index(physical.family)
        .queue_priorities(&priorities)];
    let mut v11 = extras.v11;
    let mut v12 = extras.v12.buffer_device_address(true).timeline_semaphore(true);
    let mut features = vk::PhysicalDeviceFeatures2::default().features(extras.core);
    let import = [ext::external_memory_host::NAME.as_ptr()];
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&import[..usize::from(extras.import)])
        .push_next(&mut v11)
        .push_next(&mut v12)
        .push_next(&mut features);
    // SAFETY: 1. the physical device was listed by this instance; 4. the driver refuses features
    // that it has not, and the extras are those that it has.
    unsafe { instance.create_device(physical.raw, &info, None) }.named("vkCreateDevice")
}
