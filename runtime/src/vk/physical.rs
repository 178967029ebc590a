//! Physical devices and what they can do.

use super::{
    Instance, external,
    families::QueueFamilies,
    info::{DeviceInfo, DeviceKind, Limits, OLDEST_VULKAN, Version},
    named::Named,
};
use crate::{VulkanError, times::Clock};
use ash::{amd, ext, khr, vk};
use farptr_rewrite::Capability;
use std::{ffi::CStr, fmt::Write};

/// A device that is listed but not opened.
#[derive(Clone)]
pub(crate) struct Physical {
    pub(crate) raw: vk::PhysicalDevice,
    pub(crate) features: Features,
    pub(crate) extensions: Extensions,
    pub(crate) info: DeviceInfo,
}

/// The extensions that farptr uses where they exist.
#[derive(Clone, Copy)]
pub(crate) struct Extensions {
    /// Host memory can be imported.
    pub(crate) host_memory: bool,
    /// The driver says how long buffers may be.
    pub(crate) maintenance_4: bool,
    /// The driver says how much memory is free.
    pub(crate) memory_budget: bool,
    /// The driver can be told not to promise more memory than there is.
    pub(crate) overallocation: bool,
}

/// The features that farptr enables where they exist. The first two are required.
#[derive(Clone, Copy, Default)]
pub(crate) struct Features {
    pub(crate) core: vk::PhysicalDeviceFeatures,
    pub(crate) storage_16: bool,
    pub(crate) push_16: bool,
    pub(crate) v12: Features12,
    /// The operations of compute kernels across a subgroup.
    pub(crate) subgroups: vk::SubgroupFeatureFlags,
}

/// The part of `VkPhysicalDeviceVulkan12Features` that farptr knows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Features12 {
    pub(crate) buffer_device_address: bool,
    pub(crate) timeline_semaphore: bool,
    /// Structures may be laid out as C lays them out.
    pub(crate) scalar_layout: bool,
    pub(crate) storage_8: bool,
    pub(crate) push_8: bool,
    pub(crate) float_16: bool,
    pub(crate) int_8: bool,
    pub(crate) int64_atomics: bool,
    pub(crate) memory_model: bool,
    pub(crate) memory_model_device_scope: bool,
}

impl Physical {
    /// Lists the devices that Vulkan knows, in its order.
    pub(crate) fn list(instance: &Instance) -> Result<Vec<Self>, VulkanError> {
        // SAFETY: 1. the instance is live.
        let devices = unsafe { instance.raw().enumerate_physical_devices() }
            .named("vkEnumeratePhysicalDevices")?;
        devices
            .into_iter()
            .enumerate()
            .map(|(index, raw)| Self::describe(instance, index, raw))
            .collect()
    }

    fn describe(
        instance: &Instance,
        index: usize,
        raw: vk::PhysicalDevice,
    ) -> Result<Self, VulkanError> {
        // SAFETY: 1. `raw` was listed by this live instance.
        let basic = unsafe { instance.raw().get_physical_device_properties(raw) };
        let version = Version {
            major: vk::api_version_major(basic.api_version),
            minor: vk::api_version_minor(basic.api_version),
        };
        let modern = version >= OLDEST_VULKAN;
        let extensions = Extensions::of(instance, raw)?;
        let features = if modern { features(instance, raw) } else { Features::default() };
        let kind = kind(basic.device_type);
        let details = modern.then(|| details(instance, raw, (kind, version), extensions));
        let families = QueueFamilies::of(instance, raw);
        let info = DeviceInfo {
            index,
            name: text(&basic.device_name),
            driver: details.as_ref().map_or_else(String::new, |details| details.driver.clone()),
            kind,
            version,
            compute_family: families.compute,
            transfer_family: families.transfer,
            clock: Clock::new(families.timestamp_bits, basic.limits.timestamp_period),
            buffer_device_address: features.v12.buffer_device_address,
            timeline_semaphore: features.v12.timeline_semaphore,
            import_alignment: details.as_ref().and_then(|details| details.import_alignment),
            dedicated_imports: details.as_ref().is_some_and(|details| details.dedicated_imports),
            capabilities: capabilities(&features),
            limits: limits(&basic.limits, details.as_ref()),
            cache_key: cache_key(&basic),
        };
        Ok(Self { raw, features, extensions, info })
    }
}

/// Properties that need Vulkan 1.2's structures.
struct Details {
    driver: String,
    allocation_bytes: u64,
    import_alignment: Option<u64>,
    dedicated_imports: bool,
}

fn details(
    instance: &Instance,
    raw: vk::PhysicalDevice,
    (kind, version): (DeviceKind, Version),
    extensions: Extensions,
) -> Details {
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut maintenance_3 = vk::PhysicalDeviceMaintenance3Properties::default();
    let mut maintenance_4 = vk::PhysicalDeviceMaintenance4Properties::default();
    let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default()
        .push_next(&mut driver)
        .push_next(&mut maintenance_3);
    if extensions.host_memory {
        properties = properties.push_next(&mut host);
    }
    let limits_buffers = extensions.maintenance_4 || version >= Version { major: 1, minor: 3 };
    if limits_buffers {
        properties = properties.push_next(&mut maintenance_4);
    }
    // SAFETY: 1. `raw` belongs to this live instance; 2. the device has Vulkan 1.2, which knows the
    // first two structures, and each other one is chained only when its extension is there, or the
    // version that it became a part of.
    unsafe {
        instance.raw().get_physical_device_properties2(raw, &mut properties);
    };
    let (name, info) = (text(&driver.driver_name), text(&driver.driver_info));
    // 0 stands where the driver did not answer.
    let buffer_bytes = match maintenance_4.max_buffer_size {
        0 => u64::MAX,
        bytes => bytes,
    };
    // SwiftShader imports all host memory, and answers that buffers cannot have any.
    let promised = match external::promised(instance, raw) {
        None if kind == DeviceKind::Cpu => Some(external::Promise { dedicated: false }),
        promised => promised,
    };
    let promised = promised.filter(|_| extensions.host_memory);
    Details {
        driver: if info.is_empty() { name } else { format!("{name} {info}") },
        allocation_bytes: maintenance_3.max_memory_allocation_size.min(buffer_bytes),
        import_alignment: promised.map(|_| host.min_imported_host_pointer_alignment),
        dedicated_imports: promised.is_some_and(|promised| promised.dedicated),
    }
}

impl Extensions {
    fn of(instance: &Instance, raw: vk::PhysicalDevice) -> Result<Self, VulkanError> {
        // SAFETY: 1. `raw` belongs to this live instance.
        let all = unsafe { instance.raw().enumerate_device_extension_properties(raw) }
            .named("vkEnumerateDeviceExtensionProperties")?;
        let has = |name: &CStr| all.iter().any(|each| each.extension_name_as_c_str() == Ok(name));
        Ok(Self {
            host_memory: has(ext::external_memory_host::NAME),
            maintenance_4: has(khr::maintenance4::NAME),
            memory_budget: has(ext::memory_budget::NAME),
            overallocation: has(amd::memory_overallocation_behavior::NAME),
        })
    }
}

fn features(instance: &Instance, raw: vk::PhysicalDevice) -> Features {
    let mut v11 = vk::PhysicalDeviceVulkan11Features::default();
    let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
    let mut all = vk::PhysicalDeviceFeatures2::default().push_next(&mut v11).push_next(&mut v12);
    // SAFETY: 1. `raw` belongs to this live instance; 2. the device has Vulkan 1.2, which knows
    // both chained structures.
    unsafe {
        instance.raw().get_physical_device_features2(raw, &mut all);
    };
    let all = all.features;
    let mut subgroups = vk::PhysicalDeviceSubgroupProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut subgroups);
    // SAFETY: 1. `raw` belongs to this live instance; 2. the device has Vulkan 1.2, which knows
    // the chained structure.
    unsafe {
        instance.raw().get_physical_device_properties2(raw, &mut properties);
    };
    let in_compute = subgroups.supported_stages.contains(vk::ShaderStageFlags::COMPUTE);
    Features {
        core: vk::PhysicalDeviceFeatures {
            shader_int64: all.shader_int64,
            shader_float64: all.shader_float64,
            shader_int16: all.shader_int16,
            ..Default::default()
        },
        storage_16: v11.storage_buffer16_bit_access != 0,
        push_16: v11.storage_push_constant16 != 0,
        v12: Features12 {
            buffer_device_address: v12.buffer_device_address != 0,
            timeline_semaphore: v12.timeline_semaphore != 0,
            scalar_layout: v12.scalar_block_layout != 0,
            storage_8: v12.storage_buffer8_bit_access != 0,
            push_8: v12.storage_push_constant8 != 0,
            float_16: v12.shader_float16 != 0,
            int_8: v12.shader_int8 != 0,
            int64_atomics: v12.shader_buffer_int64_atomics != 0,
            memory_model: v12.vulkan_memory_model != 0,
            memory_model_device_scope: v12.vulkan_memory_model_device_scope != 0,
        },
        subgroups: if in_compute { subgroups.supported_operations } else { Default::default() },
    }
}

/// The SPIR-V capabilities that the enabled features allow (Vulkan specification, appendix A,
/// "Capabilities").
fn capabilities(features: &Features) -> Vec<Capability> {
    let (core, v12) = (&features.core, &features.v12);
    let across = |operations| features.subgroups.contains(operations);
    [
        (true, Capability::Matrix),
        (true, Capability::Shader),
        (v12.buffer_device_address, Capability::PhysicalStorageBufferAddresses),
        (core.shader_int64 != 0, Capability::Int64),
        (core.shader_float64 != 0, Capability::Float64),
        (core.shader_int16 != 0, Capability::Int16),
        (features.storage_16, Capability::StorageBuffer16BitAccess),
        (v12.storage_8, Capability::StorageBuffer8BitAccess),
        (features.push_16, Capability::StoragePushConstant16),
        (v12.push_8, Capability::StoragePushConstant8),
        (v12.float_16, Capability::Float16),
        (v12.int_8, Capability::Int8),
        (v12.int64_atomics, Capability::Int64Atomics),
        (v12.memory_model, Capability::VulkanMemoryModel),
        (v12.memory_model_device_scope, Capability::VulkanMemoryModelDeviceScope),
        (across(vk::SubgroupFeatureFlags::BASIC), Capability::GroupNonUniform),
        (across(vk::SubgroupFeatureFlags::VOTE), Capability::GroupNonUniformVote),
        (across(vk::SubgroupFeatureFlags::ARITHMETIC), Capability::GroupNonUniformArithmetic),
        (across(vk::SubgroupFeatureFlags::BALLOT), Capability::GroupNonUniformBallot),
        (across(vk::SubgroupFeatureFlags::SHUFFLE), Capability::GroupNonUniformShuffle),
        (
            across(vk::SubgroupFeatureFlags::SHUFFLE_RELATIVE),
            Capability::GroupNonUniformShuffleRelative,
        ),
        (across(vk::SubgroupFeatureFlags::CLUSTERED), Capability::GroupNonUniformClustered),
        (across(vk::SubgroupFeatureFlags::QUAD), Capability::GroupNonUniformQuad),
    ]
    .into_iter()
    .filter_map(|(enabled, capability)| enabled.then_some(capability))
    .collect()
}

fn limits(limits: &vk::PhysicalDeviceLimits, details: Option<&Details>) -> Limits {
    Limits {
        groups: limits.max_compute_work_group_count,
        group_size: limits.max_compute_work_group_size,
        group_invocations: limits.max_compute_work_group_invocations,
        shared_bytes: limits.max_compute_shared_memory_size,
        push_bytes: limits.max_push_constants_size,
        allocation_bytes: details.map_or(0, |details| details.allocation_bytes),
        allocations: limits.max_memory_allocation_count,
    }
}

fn kind(kind: vk::PhysicalDeviceType) -> DeviceKind {
    match kind {
        vk::PhysicalDeviceType::DISCRETE_GPU => DeviceKind::Discrete,
        vk::PhysicalDeviceType::INTEGRATED_GPU => DeviceKind::Integrated,
        vk::PhysicalDeviceType::VIRTUAL_GPU => DeviceKind::Virtual,
        vk::PhysicalDeviceType::CPU => DeviceKind::Cpu,
        _ => DeviceKind::Other,
    }
}

/// Vendor, device, driver version and the driver's own cache identity, as one file name.
fn cache_key(properties: &vk::PhysicalDeviceProperties) -> String {
    let mut key = format!(
        "{:08x}-{:08x}-{:08x}-",
        properties.vendor_id, properties.device_id, properties.driver_version
    );
    for byte in properties.pipeline_cache_uuid {
        // Writing into a String cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// A zero-ended string in a fixed array.
fn text(chars: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&char| char.to_ne_bytes()[0]).collect();
    CStr::from_bytes_until_nul(&bytes)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}
