//! The device as its driver describes it.

use crate::{
    failure::Failure,
    vulkan::{Facts, Listing, Modern, text},
};
use ash::vk;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A device in Vulkan's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) index: usize,
    pub(super) name: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub(super) kind: String,
}

/// A device as its driver describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Inventory {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) vendor_id: u32,
    pub(super) device_id: u32,
    pub(super) api_version: String,
    /// As the driver counts.
    pub(super) driver_version: u32,
    /// The number of `VkDriverId`, and the driver's name for itself.
    pub(super) driver_id: i32,
    pub(super) driver_name: String,
    pub(super) driver_info: String,
    /// The version of the conformance tests that it passed.
    pub(super) conformance: String,
    pub(super) heaps: Vec<Heap>,
    pub(super) memory_types: Vec<MemoryType>,
    /// Bytes of the largest heap of the device that the host can map, where there is one.
    pub(super) bar_bytes: Option<u64>,
    /// Bytes; absent if host memory cannot be imported.
    pub(super) import_alignment: Option<u64>,
    pub(super) limits: BTreeMap<String, u64>,
    pub(super) features: BTreeMap<String, bool>,
    pub(super) queue_families: Vec<QueueFamily>,
    /// Those that farptr has a use for.
    pub(super) extensions: BTreeMap<String, bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heap {
    pub(super) index: usize,
    pub(super) size_bytes: u64,
    /// Absent without `VK_EXT_memory_budget`.
    pub(super) budget_bytes: Option<u64>,
    pub(super) device_local: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemoryType {
    pub(super) index: u32,
    pub(super) heap: u32,
    /// Such as `device_local` and `host_visible`.
    pub(super) flags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueueFamily {
    pub(super) index: usize,
    pub(super) queues: u32,
    /// Such as `compute` and `transfer`.
    pub(super) flags: Vec<String>,
    pub(super) timestamp_bits: u32,
}

/// The extensions that farptr or this program has a use for.
const EXTENSIONS: [&str; 7] = [
    "VK_EXT_external_memory_host",
    "VK_EXT_memory_budget",
    "VK_EXT_device_fault",
    "VK_AMD_device_coherent_memory",
    "VK_AMD_memory_overallocation_behavior",
    "VK_KHR_maintenance4",
    "VK_KHR_pipeline_executable_properties",
];

/// The devices in Vulkan's order.
pub(super) fn list() -> Result<Vec<Listed>, Failure> {
    let listing = Listing::open()?;
    let describe = |index| {
        let basic = listing.basic(index);
        Listed { index, name: text(&basic.device_name), kind: kind(basic.device_type).to_owned() }
    };
    Ok((0..listing.len()).map(describe).collect())
}

/// The device that was asked for, by its index or a part of its name; of several, and without a
/// wish, the first of the best kind, in the order in which farptr tries them.
pub(super) fn choose<'l>(devices: &'l [Listed], wanted: &str) -> Option<&'l Listed> {
    let wanted = wanted.trim().to_lowercase();
    if let Ok(index) = wanted.parse::<usize>() {
        return devices.iter().find(|device| device.index == index);
    }
    let rank = |device: &&Listed| KINDS.iter().position(|kind| **kind == device.kind);
    let named = devices.iter().filter(|device| device.name.to_lowercase().contains(&wanted));
    named.min_by_key(rank)
}

/// Kinds in the order in which farptr tries them.
const KINDS: [&str; 5] = ["discrete", "integrated", "virtual", "cpu", "other"];

fn kind(kind: vk::PhysicalDeviceType) -> &'static str {
    match kind {
        vk::PhysicalDeviceType::DISCRETE_GPU => "discrete",
        vk::PhysicalDeviceType::INTEGRATED_GPU => "integrated",
        vk::PhysicalDeviceType::VIRTUAL_GPU => "virtual",
        vk::PhysicalDeviceType::CPU => "cpu",
        _ => "other",
    }
}

impl Inventory {
    /// Looks at a device.
    pub(super) fn of(index: usize) -> Result<Self, Failure> {
        let listing = Listing::open()?;
        if index >= listing.len() {
            return Err(Failure::DeviceNotFound { name: index.to_string() });
        }
        Ok(describe(index, &listing.facts(index)?))
    }

    /// The device and its driver, in a few words.
    pub(super) fn title(&self) -> String {
        let driver = format!("{} {}", self.driver_name, self.driver_info);
        format!("{} ({})", self.name, driver.trim())
    }

    /// The memory types that the host can map.
    pub(super) fn host_visible(&self) -> impl Iterator<Item = &MemoryType> {
        self.memory_types.iter().filter(|kind| kind.has("host_visible"))
    }

    /// A limit; 0 if the device did not say.
    pub(super) fn limit(&self, name: &str) -> u64 {
        self.limits.get(name).copied().unwrap_or(0)
    }

    /// Whether the device has a feature.
    pub(super) fn has(&self, feature: &str) -> bool {
        self.features.get(feature).copied().unwrap_or(false)
    }
}

impl MemoryType {
    /// Whether it has a flag.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|found| found == flag)
    }
}

fn describe(index: usize, facts: &Facts) -> Inventory {
    let (basic, modern) = (&facts.basic, facts.modern.as_ref());
    let version = basic.api_version;
    let word = |word: fn(&Modern) -> &String| modern.map_or_else(String::new, |m| word(m).clone());
    Inventory {
        index,
        name: facts.name.clone(),
        kind: kind(basic.device_type).to_owned(),
        vendor_id: basic.vendor_id,
        device_id: basic.device_id,
        api_version: format!(
            "{}.{}.{}",
            vk::api_version_major(version),
            vk::api_version_minor(version),
            vk::api_version_patch(version)
        ),
        driver_version: basic.driver_version,
        driver_id: modern.map_or(0, |modern| modern.driver_id.as_raw()),
        driver_name: word(|modern| &modern.driver_name),
        driver_info: word(|modern| &modern.driver_info),
        conformance: word(|modern| &modern.conformance),
        heaps: heaps(facts),
        memory_types: memory_types(facts),
        bar_bytes: bar_bytes(&facts.memory),
        import_alignment: modern.and_then(|modern| modern.import_alignment),
        limits: limits(basic, modern),
        features: modern.map_or_else(BTreeMap::new, features),
        queue_families: facts.families.iter().enumerate().map(family).collect(),
        extensions: EXTENSIONS
            .map(|name| (name.to_owned(), facts.extensions.iter().any(|found| found == name)))
            .into(),
    }
}

fn heaps(facts: &Facts) -> Vec<Heap> {
    let describe = |(index, heap): (usize, &vk::MemoryHeap)| Heap {
        index,
        size_bytes: heap.size,
        budget_bytes: facts.budgets.map(|budgets| budgets[index]),
        device_local: heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL),
    };
    facts.memory.memory_heaps_as_slice().iter().enumerate().map(describe).collect()
}

fn memory_types(facts: &Facts) -> Vec<MemoryType> {
    let types = (0u32..).zip(facts.memory.memory_types_as_slice());
    let describe = |(index, kind): (u32, &vk::MemoryType)| MemoryType {
        index,
        heap: kind.heap_index,
        flags: names(
            kind.property_flags.as_raw(),
            &[
                (vk::MemoryPropertyFlags::DEVICE_LOCAL.as_raw(), "device_local"),
                (vk::MemoryPropertyFlags::HOST_VISIBLE.as_raw(), "host_visible"),
                (vk::MemoryPropertyFlags::HOST_COHERENT.as_raw(), "host_coherent"),
                (vk::MemoryPropertyFlags::HOST_CACHED.as_raw(), "host_cached"),
                (vk::MemoryPropertyFlags::LAZILY_ALLOCATED.as_raw(), "lazily_allocated"),
                (vk::MemoryPropertyFlags::PROTECTED.as_raw(), "protected"),
                (vk::MemoryPropertyFlags::DEVICE_COHERENT_AMD.as_raw(), "device_coherent"),
                (vk::MemoryPropertyFlags::DEVICE_UNCACHED_AMD.as_raw(), "device_uncached"),
            ],
        ),
    };
    types.map(describe).collect()
}

fn bar_bytes(memory: &vk::PhysicalDeviceMemoryProperties) -> Option<u64> {
    let both = vk::MemoryPropertyFlags::DEVICE_LOCAL | vk::MemoryPropertyFlags::HOST_VISIBLE;
    let types = memory.memory_types_as_slice().iter();
    let mapped = types.filter(|kind| kind.property_flags.contains(both));
    mapped.map(|kind| memory.memory_heaps[kind.heap_index as usize].size).max()
}

fn family((index, family): (usize, &vk::QueueFamilyProperties)) -> QueueFamily {
    QueueFamily {
        index,
        queues: family.queue_count,
        flags: names(
            family.queue_flags.as_raw(),
            &[
                (vk::QueueFlags::GRAPHICS.as_raw(), "graphics"),
                (vk::QueueFlags::COMPUTE.as_raw(), "compute"),
                (vk::QueueFlags::TRANSFER.as_raw(), "transfer"),
                (vk::QueueFlags::SPARSE_BINDING.as_raw(), "sparse_binding"),
            ],
        ),
        timestamp_bits: family.timestamp_valid_bits,
    }
}

/// The names of the bits that are set; those without one by their number.
fn names(bits: u32, known: &[(u32, &str)]) -> Vec<String> {
    let named = known.iter().filter(|(bit, _)| bits & bit != 0);
    let mut names: Vec<_> = named.map(|(_, name)| (*name).to_owned()).collect();
    let unknown = known.iter().fold(bits, |left, (bit, _)| left & !bit);
    names.extend((unknown != 0).then(|| format!("{unknown:#x}")));
    names
}

fn limits(basic: &vk::PhysicalDeviceProperties, modern: Option<&Modern>) -> BTreeMap<String, u64> {
    let limits = &basic.limits;
    let mut all: BTreeMap<_, _> = [
        ("workgroups_x", limits.max_compute_work_group_count[0].into()),
        ("workgroups_y", limits.max_compute_work_group_count[1].into()),
        ("workgroups_z", limits.max_compute_work_group_count[2].into()),
        ("workgroup_size_x", limits.max_compute_work_group_size[0].into()),
        ("workgroup_invocations", limits.max_compute_work_group_invocations.into()),
        ("shared_memory_bytes", limits.max_compute_shared_memory_size.into()),
        ("push_constant_bytes", limits.max_push_constants_size.into()),
        ("memory_allocations", limits.max_memory_allocation_count.into()),
        ("storage_buffer_bytes", limits.max_storage_buffer_range.into()),
        ("non_coherent_atom_bytes", limits.non_coherent_atom_size),
        ("memory_map_alignment", limits.min_memory_map_alignment as u64),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(modern) = modern {
        all.insert("allocation_bytes".to_owned(), modern.allocation_bytes_max);
        all.insert("subgroup_size".to_owned(), modern.subgroup_size.into());
    }
    all
}

fn features(modern: &Modern) -> BTreeMap<String, bool> {
    let (core, v11, v12) = (&modern.core, &modern.v11, &modern.v12);
    [
        ("buffer_device_address", v12.buffer_device_address),
        ("timeline_semaphore", v12.timeline_semaphore),
        ("scalar_block_layout", v12.scalar_block_layout),
        ("shader_int64", core.shader_int64),
        ("shader_float64", core.shader_float64),
        ("shader_int16", core.shader_int16),
        ("shader_int8", v12.shader_int8),
        ("shader_float16", v12.shader_float16),
        ("shader_buffer_int64_atomics", v12.shader_buffer_int64_atomics),
        ("storage_buffer_16bit", v11.storage_buffer16_bit_access),
        ("storage_buffer_8bit", v12.storage_buffer8_bit_access),
        ("vulkan_memory_model", v12.vulkan_memory_model),
        ("vulkan_memory_model_device_scope", v12.vulkan_memory_model_device_scope),
    ]
    .map(|(name, value)| (name.to_owned(), value != 0))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_chosen_by_index_name_and_kind() {
        let device =
            |index, name: &str, kind: &str| Listed { index, name: name.into(), kind: kind.into() };
        let devices =
            [device(0, "llvmpipe", "cpu"), device(1, "Card 7", "discrete"), device(2, "7", "cpu")];
        let chosen = |wanted| choose(&devices, wanted).map(|device| device.index);
        assert_eq!(chosen(""), Some(1));
        assert_eq!(chosen(" 2 "), Some(2));
        assert_eq!(chosen("CARD"), Some(1));
        assert_eq!(chosen("7"), None);
        assert_eq!(chosen("radeon"), None);
        assert_eq!(choose(&[], ""), None);
    }

    #[test]
    fn bits_without_a_name_are_shown_by_number() {
        assert_eq!(names(0b1101, &[(1, "one"), (2, "two"), (4, "four")]), ["one", "four", "0x8"]);
    }
}
