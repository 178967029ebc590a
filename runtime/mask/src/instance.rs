//! Instances, and what physical devices are said to be.
//!
//! # Safety
//!
//! As in the crate's documentation.

use crate::{
    device::Device,
    heaps::Heaps,
    loader::{InstanceLink, Owners, find, take_link},
    options::{Options, Promise},
    transfer,
};
use ash::{ext, vk};
use std::{
    ffi::{c_char, c_void},
    io::Write,
    sync::Arc,
};

static INSTANCES: Owners<Instance> = Owners::new();

/// An instance: the functions of the next layer, and the options.
pub(crate) struct Instance {
    // Loaded inside `vkCreateInstance`: later the loader gives the functions on top of all layers,
    // and this one would call itself.
    pub(crate) next: ash::Instance,
    pub(crate) get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    pub(crate) options: Arc<Options>,
}

impl Instance {
    /// The instance of a handle, its own or that of a physical device.
    ///
    /// # Safety
    ///
    /// The handle is live.
    pub(crate) unsafe fn of(handle: impl vk::Handle) -> Option<Arc<Self>> {
        // SAFETY: the caller's promise.
        unsafe { INSTANCES.get(handle) }
    }

    /// The instance of a physical device; with options that change nothing, if the device is not
    /// one that is to be masked.
    ///
    /// # Safety
    ///
    /// The handle is live.
    pub(crate) unsafe fn of_physical(handle: vk::PhysicalDevice) -> Arc<Self> {
        // SAFETY: the caller's promise.
        let found = unsafe { Self::of(handle) };
        let found =
            found.expect("the loader calls this layer for devices of instances that it made");
        // SAFETY: the caller's promise.
        if unsafe { found.masks(handle) } {
            return found;
        }
        let (next, get_instance_proc_addr) = (found.next.clone(), found.get_instance_proc_addr);
        Arc::new(Self { next, get_instance_proc_addr, options: Arc::default() })
    }

    /// Whether the options are for this device.
    ///
    /// # Safety
    ///
    /// The handle is live.
    unsafe fn masks(&self, handle: vk::PhysicalDevice) -> bool {
        let Some(only) = &self.options.only else { return true };
        // SAFETY: the caller's promise.
        let real = unsafe { self.next.get_physical_device_properties(handle) };
        let name = real.device_name_as_c_str().unwrap_or_default();
        name.to_string_lossy().contains(only.as_str())
    }

    /// The index of the family that copies alone, if the options ask for one.
    ///
    /// # Safety
    ///
    /// The handle is live.
    pub(crate) unsafe fn transfer_family(&self, physical: vk::PhysicalDevice) -> Option<u32> {
        if !self.options.transfer_queue {
            return None;
        }
        // SAFETY: the caller's promise.
        let families = unsafe { self.next.get_physical_device_queue_family_properties(physical) };
        u32::try_from(families.len()).ok()
    }

    /// The heaps that a physical device is said to have.
    ///
    /// # Safety
    ///
    /// The handle is live.
    pub(crate) unsafe fn heaps(&self, physical: vk::PhysicalDevice) -> Heaps {
        // SAFETY: the caller's promise.
        let real = unsafe { self.next.get_physical_device_memory_properties(physical) };
        Heaps::new(&self.options, &real)
    }
}

pub(crate) unsafe extern "system" fn create_instance(
    info: *const vk::InstanceCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    made: *mut vk::Instance,
) -> vk::Result {
    let failed = vk::Result::ERROR_INITIALIZATION_FAILED;
    let options = match Options::from_environment() {
        Ok(options) => Arc::new(options),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "farptr-mask: {error}");
            return failed;
        }
    };
    // SAFETY: 1. the application's structure is valid.
    let chain = unsafe { (*info).p_next };
    // SAFETY: this is the chain that the loader passed.
    let Some(link) = (unsafe { take_link::<InstanceLink>(chain) }) else { return failed };
    let create = c"vkCreateInstance".as_ptr();
    // SAFETY: 2. the function is the next layer's.
    let create = unsafe { (link.get_instance_proc_addr)(vk::Instance::null(), create) };
    // SAFETY: the function of this name has this type.
    let create = unsafe {
        std::mem::transmute::<vk::PFN_vkVoidFunction, Option<vk::PFN_vkCreateInstance>>(create)
    };
    let Some(create) = create else { return failed };
    // SAFETY: 1. the application's arguments.
    let result = unsafe { create(info, std::ptr::null(), made) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    // SAFETY: 1. the next layer wrote it.
    let instance = unsafe { *made };
    let load = |name: &std::ffi::CStr| {
        // SAFETY: 2. the function is the next layer's, for an instance that it made.
        let found = unsafe { (link.get_instance_proc_addr)(instance, name.as_ptr()) };
        found.map_or(std::ptr::null(), |found| found as *const c_void)
    };
    // SAFETY: 2. the functions are those of these names.
    let next = unsafe { ash::Instance::load_with(load, instance) };
    let get_instance_proc_addr = link.get_instance_proc_addr;
    let owner = Arc::new(Instance { next, get_instance_proc_addr, options });
    // SAFETY: 2. the instance was just made.
    unsafe { INSTANCES.insert(instance, owner) };
    vk::Result::SUCCESS
}

pub(crate) unsafe extern "system" fn destroy_instance(
    instance: vk::Instance,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if instance == vk::Instance::null() {
        return;
    }
    // SAFETY: 1. the instance is live until the call below.
    let Some(owner) = (unsafe { INSTANCES.remove(instance) }) else { return };
    // SAFETY: 1. the application is done with it.
    unsafe { owner.next.destroy_instance(None) };
}

fn mask_properties(options: &Options, properties: &mut vk::PhysicalDeviceProperties) {
    if let Some(kind) = options.kind {
        properties.device_type = kind;
    }
    let limits = &mut properties.limits;
    if let Some(push) = options.push {
        limits.max_push_constants_size = push;
    }
    if let Some(allocations) = options.allocations {
        limits.max_memory_allocation_count = allocations;
    }
}

pub(crate) unsafe extern "system" fn get_physical_device_properties(
    physical: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceProperties,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    // SAFETY: 1. the application's arguments.
    unsafe { (owner.next.fp_v1_0().get_physical_device_properties)(physical, out) };
    // SAFETY: 1. the application's structure.
    mask_properties(&owner.options, unsafe { &mut *out });
}

pub(crate) unsafe extern "system" fn get_physical_device_properties2(
    physical: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    // SAFETY: 1. the application's arguments.
    unsafe { (owner.next.fp_v1_1().get_physical_device_properties2)(physical, out) };
    // SAFETY: 1. the application's structure.
    let out = unsafe { &mut *out };
    mask_properties(&owner.options, &mut out.properties);
    type HostMemory<'a> = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT<'a>;
    // SAFETY: 1. the application's chain.
    let imports = unsafe { find::<HostMemory<'_>>(out.p_next) };
    if let (Some(imports), Some(bytes)) = (imports, owner.options.import_alignment) {
        imports.min_imported_host_pointer_alignment = bytes;
    }
    type Buffers<'a> = vk::PhysicalDeviceMaintenance4Properties<'a>;
    // SAFETY: 1. the application's chain.
    let buffers = unsafe { find::<Buffers<'_>>(out.p_next) };
    if let (Some(buffers), Some(mib)) = (buffers, owner.options.max_buffer) {
        buffers.max_buffer_size = mib << 20;
    }
}

pub(crate) unsafe extern "system" fn get_physical_device_external_buffer_properties(
    physical: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalBufferInfo<'_>,
    out: *mut vk::ExternalBufferProperties<'_>,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    let next = owner.next.fp_v1_1().get_physical_device_external_buffer_properties;
    // SAFETY: 1. the application's arguments.
    unsafe { next(physical, info, out) };
    // SAFETY: 1. the application's structure.
    let handle = unsafe { (*info).handle_type };
    if handle != vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT {
        return;
    }
    let features = match owner.options.promise {
        Promise::Driver => return,
        Promise::Yes => vk::ExternalMemoryFeatureFlags::IMPORTABLE,
        Promise::No => vk::ExternalMemoryFeatureFlags::empty(),
        Promise::Dedicated => {
            vk::ExternalMemoryFeatureFlags::IMPORTABLE
                | vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY
        }
    };
    // SAFETY: 1. the application's structure.
    let said = unsafe { &mut (*out).external_memory_properties };
    said.external_memory_features = features;
    said.compatible_handle_types = handle;
}

pub(crate) unsafe extern "system" fn get_physical_device_features(
    physical: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceFeatures,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    // SAFETY: 1. the application's arguments.
    unsafe { (owner.next.fp_v1_0().get_physical_device_features)(physical, out) };
    if !owner.options.int64 {
        // SAFETY: 1. the application's structure.
        unsafe { (*out).shader_int64 = vk::FALSE };
    }
}

pub(crate) unsafe extern "system" fn get_physical_device_features2(
    physical: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceFeatures2<'_>,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    // SAFETY: 1. the application's arguments.
    unsafe { (owner.next.fp_v1_1().get_physical_device_features2)(physical, out) };
    if owner.options.int64 {
        return;
    }
    // SAFETY: 1. the application's structure.
    let out = unsafe { &mut *out };
    out.features.shader_int64 = vk::FALSE;
    // SAFETY: 1. the application's chain.
    if let Some(v12) = unsafe { find::<vk::PhysicalDeviceVulkan12Features<'_>>(out.p_next) } {
        v12.shader_buffer_int64_atomics = vk::FALSE;
        v12.shader_shared_int64_atomics = vk::FALSE;
    }
    type Atomics<'a> = vk::PhysicalDeviceShaderAtomicInt64Features<'a>;
    // SAFETY: 1. the application's chain.
    if let Some(atomics) = unsafe { find::<Atomics<'_>>(out.p_next) } {
        atomics.shader_buffer_int64_atomics = vk::FALSE;
        atomics.shader_shared_int64_atomics = vk::FALSE;
    }
}

/// Has the next layer list families, and adds the one that copies alone, if there is one and room.
///
/// # Safety
///
/// The handle is live; the number is that of the application, and `out` is null or an array of so
/// many. `list` calls the next layer with the handle and these arguments.
unsafe fn list_families<T>(
    owner: &Instance,
    physical: vk::PhysicalDevice,
    (count, out): (*mut u32, *mut T),
    list: impl FnOnce(*mut u32, *mut T),
    add: impl FnOnce(&mut T),
) {
    // SAFETY: the caller's promise.
    let Some(family) = (unsafe { owner.transfer_family(physical) }) else {
        return list(count, out);
    };
    // SAFETY: the caller's promise.
    let count = unsafe { &mut *count };
    if out.is_null() {
        *count = family + 1;
        return;
    }
    let room = *count;
    *count = room.min(family);
    list(count, out);
    if room > family {
        // SAFETY: the caller's promise, and there is room for one more.
        add(unsafe { &mut *out.wrapping_add(family as usize) });
        *count = family + 1;
    }
}

pub(crate) unsafe extern "system" fn get_physical_device_queue_family_properties(
    physical: vk::PhysicalDevice,
    count: *mut u32,
    out: *mut vk::QueueFamilyProperties,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    let next = owner.next.fp_v1_0().get_physical_device_queue_family_properties;
    // SAFETY: 1. the application's arguments.
    let list = |count: *mut u32, out| unsafe { next(physical, count, out) };
    let add = |family: &mut vk::QueueFamilyProperties| *family = transfer::FAMILY;
    // SAFETY: 1. the application's arguments.
    unsafe { list_families(&owner, physical, (count, out), list, add) };
}

pub(crate) unsafe extern "system" fn get_physical_device_queue_family_properties2(
    physical: vk::PhysicalDevice,
    count: *mut u32,
    out: *mut vk::QueueFamilyProperties2<'_>,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    let next = owner.next.fp_v1_1().get_physical_device_queue_family_properties2;
    // SAFETY: 1. the application's arguments.
    let list = |count: *mut u32, out| unsafe { next(physical, count, out) };
    let add = |family: &mut vk::QueueFamilyProperties2<'_>| {
        family.queue_family_properties = transfer::FAMILY;
    };
    // SAFETY: 1. the application's arguments.
    unsafe { list_families(&owner, physical, (count, out), list, add) };
}

pub(crate) unsafe extern "system" fn get_physical_device_memory_properties(
    physical: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceMemoryProperties,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    // SAFETY: 1. the handle is live.
    let heaps = unsafe { owner.heaps(physical) };
    // SAFETY: 1. the application's structure.
    unsafe { *out = heaps.said };
}

pub(crate) unsafe extern "system" fn get_physical_device_memory_properties2(
    physical: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceMemoryProperties2<'_>,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    // SAFETY: 1. the application's arguments.
    unsafe { (owner.next.fp_v1_1().get_physical_device_memory_properties2)(physical, out) };
    // SAFETY: 1. the application's structure.
    let out = unsafe { &mut *out };
    let heaps = Heaps::new(&owner.options, &out.memory_properties);
    out.memory_properties = heaps.said;
    type Budget<'a> = vk::PhysicalDeviceMemoryBudgetPropertiesEXT<'a>;
    // SAFETY: 1. the application's chain.
    let Some(budget) = (unsafe { find::<Budget<'_>>(out.p_next) }) else { return };
    let devices = Device::all().into_iter().filter(|device| device.physical == physical);
    let devices: Vec<_> = devices.collect();
    for heap in 0..heaps.said.memory_heap_count as usize {
        let used = devices.iter().map(|device| device.state().used_of(&heaps, heap)).sum();
        let asked = owner.options.budget.filter(|_| heaps.is_local(heap)).map(|mib| mib << 20);
        budget.heap_budget[heap] = asked.unwrap_or_else(|| heaps.bytes_of(heap));
        budget.heap_usage[heap] = used;
    }
}

pub(crate) unsafe extern "system" fn enumerate_device_extension_properties(
    physical: vk::PhysicalDevice,
    layer: *const c_char,
    count: *mut u32,
    out: *mut vk::ExtensionProperties,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of_physical(physical) };
    if owner.options.import {
        let next = owner.next.fp_v1_0().enumerate_device_extension_properties;
        // SAFETY: 1. the application's arguments.
        return unsafe { next(physical, layer, count, out) };
    }
    // SAFETY: 1. the handle is live.
    let found = unsafe { owner.next.enumerate_device_extension_properties(physical) };
    let mut found = match found {
        Ok(found) => found,
        Err(error) => return error,
    };
    found.retain(|one| one.extension_name_as_c_str() != Ok(ext::external_memory_host::NAME));
    let all = u32::try_from(found.len()).unwrap_or(u32::MAX);
    // SAFETY: 1. the application's number.
    let count = unsafe { &mut *count };
    let room = if out.is_null() { 0 } else { (*count).min(all) };
    for (index, one) in found.into_iter().take(room as usize).enumerate() {
        // SAFETY: 1. the application's array is as long as it says.
        unsafe { out.wrapping_add(index).write(one) };
    }
    let complete = out.is_null() || room == all;
    *count = if out.is_null() { all } else { room };
    if complete { vk::Result::SUCCESS } else { vk::Result::INCOMPLETE }
}
