//! The devices that Vulkan lists, with their properties, none of them opened.
//!
//! # Safety
//!
//! Rules 1 and 4 of the parent module. Physical devices are those that the instance listed, and the
//! listing keeps it. Structures of Vulkan 1.2 are asked of devices that have that version alone,
//! and those of an extension of devices that name it.

use super::{Named, device::Instance};
use crate::failure::Failure;
use ash::{ext, vk};
use std::ffi::{CStr, c_char};

/// The devices, in Vulkan's order.
pub(crate) struct Listing {
    instance: Instance,
    devices: Vec<vk::PhysicalDevice>,
}

/// A device as it describes itself.
pub(crate) struct Facts {
    pub(crate) basic: vk::PhysicalDeviceProperties,
    pub(crate) name: String,
    pub(crate) extensions: Vec<String>,
    pub(crate) families: Vec<vk::QueueFamilyProperties>,
    pub(crate) memory: vk::PhysicalDeviceMemoryProperties,
    /// Bytes of each heap that this process may use, where the device says.
    pub(crate) budgets: Option<[u64; vk::MAX_MEMORY_HEAPS]>,
    /// Absent below Vulkan 1.2.
    pub(crate) modern: Option<Modern>,
}

/// The part that structures of Vulkan 1.1 and 1.2 say.
pub(crate) struct Modern {
    pub(crate) driver_id: vk::DriverId,
    pub(crate) driver_name: String,
    pub(crate) driver_info: String,
    pub(crate) conformance: String,
    pub(crate) allocation_bytes_max: u64,
    /// Absent without `VK_EXT_external_memory_host`.
    pub(crate) import_alignment: Option<u64>,
    pub(crate) core: vk::PhysicalDeviceFeatures,
    pub(crate) v11: vk::PhysicalDeviceVulkan11Features<'static>,
    pub(crate) v12: vk::PhysicalDeviceVulkan12Features<'static>,
    pub(crate) subgroup_size: u32,
}

impl Listing {
    pub(crate) fn open() -> Result<Self, Failure> {
        let instance = Instance::new()?;
        // SAFETY: 1. the instance lives.
        let devices = unsafe { instance.raw().enumerate_physical_devices() };
        Ok(Self { devices: devices.named("vkEnumeratePhysicalDevices")?, instance })
    }

    /// How many devices there are.
    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    /// A device's name, kind and version.
    pub(crate) fn basic(&self, index: usize) -> vk::PhysicalDeviceProperties {
        // SAFETY: 1. the instance lives and has listed the device.
        unsafe { self.instance.raw().get_physical_device_properties(self.devices[index]) }
    }

    /// All that a device says of itself.
    pub(crate) fn facts(&self, index: usize) -> Result<Facts, Failure> {
        let (raw, device, basic) = (self.instance.raw(), self.devices[index], self.basic(index));
        // SAFETY: 1. the instance lives and has listed the device.
        let extensions = unsafe { raw.enumerate_device_extension_properties(device) }
            .named("vkEnumerateDeviceExtensionProperties")?;
        let extensions: Vec<_> =
            extensions.iter().map(|extension| text(&extension.extension_name)).collect();
        // SAFETY: as above.
        let families = unsafe { raw.get_physical_device_queue_family_properties(device) };
        // SAFETY: as above.
        let memory = unsafe { raw.get_physical_device_memory_properties(device) };
        let has = |name: &CStr| extensions.iter().any(|found| found.as_bytes() == name.to_bytes());
        let (budget, import) =
            (has(ext::memory_budget::NAME), has(ext::external_memory_host::NAME));
        let is_modern = basic.api_version >= vk::API_VERSION_1_2;
        Ok(Facts {
            name: text(&basic.device_name),
            budgets: (is_modern && budget).then(|| self.budgets(index)),
            modern: is_modern.then(|| self.modern(index, import)),
            basic,
            extensions,
            families,
            memory,
        })
    }

    fn budgets(&self, index: usize) -> [u64; vk::MAX_MEMORY_HEAPS] {
        let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
        let mut all = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
        let raw = self.instance.raw();
        // SAFETY: 1. as above; 4. the device has the extension of the chained structure.
        unsafe { raw.get_physical_device_memory_properties2(self.devices[index], &mut all) };
        budget.heap_budget
    }

    fn modern(&self, index: usize, import: bool) -> Modern {
        let (raw, device) = (self.instance.raw(), self.devices[index]);
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut maintenance = vk::PhysicalDeviceMaintenance3Properties::default();
        let mut subgroup = vk::PhysicalDeviceSubgroupProperties::default();
        let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
        let mut all = vk::PhysicalDeviceProperties2::default()
            .push_next(&mut driver)
            .push_next(&mut maintenance)
            .push_next(&mut subgroup);
        if import {
            all = all.push_next(&mut host);
        }
        // SAFETY: 1. as above; 4. the device has Vulkan 1.2, which knows the first three, and the
        // last is chained only where the device has its extension.
        unsafe { raw.get_physical_device_properties2(device, &mut all) };
        let mut v11 = vk::PhysicalDeviceVulkan11Features::default();
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut features =
            vk::PhysicalDeviceFeatures2::default().push_next(&mut v11).push_next(&mut v12);
        // SAFETY: 1. as above; 4. the device has Vulkan 1.2, which knows both structures.
        unsafe { raw.get_physical_device_features2(device, &mut features) };
        let core = features.features;
        // They point at each other, and this function ends.
        (v11.p_next, v12.p_next) = (std::ptr::null_mut(), std::ptr::null_mut());
        let tested = driver.conformance_version;
        Modern {
            driver_id: driver.driver_id,
            driver_name: text(&driver.driver_name),
            driver_info: text(&driver.driver_info),
            conformance: format!(
                "{}.{}.{}.{}",
                tested.major, tested.minor, tested.subminor, tested.patch
            ),
            allocation_bytes_max: maintenance.max_memory_allocation_size,
            import_alignment: import.then_some(host.min_imported_host_pointer_alignment),
            core,
            v11,
            v12,
            subgroup_size: subgroup.subgroup_size,
        }
    }
}

/// A zero-ended string in a fixed array.
pub(crate) fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&char| char.to_ne_bytes()[0]).collect();
    CStr::from_bytes_until_nul(&bytes)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}
