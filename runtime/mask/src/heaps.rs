//! Memory heaps and types that the device is said to have.

use crate::options::{Layout, Options};
use ash::vk;

/// The heaps and types, and the type of the driver that is behind all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heaps {
    pub(crate) said: vk::PhysicalDeviceMemoryProperties,
    /// None if the driver's own types are said.
    behind: Option<u32>,
}

type Flags = vk::MemoryPropertyFlags;
const LOCAL: Flags = Flags::DEVICE_LOCAL;
const CACHED: Flags = Flags::HOST_CACHED;
/// Memory that the host can map.
const HOST: Flags = Flags::from_raw(Flags::HOST_VISIBLE.as_raw() | Flags::HOST_COHERENT.as_raw());
const MIB: u64 = 1 << 20;

impl Heaps {
    /// From the driver's heaps and types.
    pub(crate) fn new(options: &Options, real: &vk::PhysicalDeviceMemoryProperties) -> Self {
        if options.layout == Layout::Driver {
            return Self { said: *real, behind: None };
        }
        let types = real.memory_types_as_slice();
        let behind = (0u32..).zip(types).find(|(_, kind)| kind.property_flags.contains(HOST));
        let (behind, kind) = behind.expect("every driver has memory that the host can map");
        let host = real.memory_heaps[kind.heap_index as usize].size;
        let (vram, bar) = (options.vram * MIB, options.bar * MIB);
        // Bytes of heaps, of which all but the second are the device's; flags and heap of types.
        let (heaps, types): (&[u64], &[(Flags, u32)]) = match options.layout {
            Layout::Driver | Layout::Shared => (&[host], &[(LOCAL | HOST | CACHED, 0)]),
            Layout::Bar if bar == 0 => {
                (&[vram, host], &[(LOCAL, 0), (HOST, 1), (HOST | CACHED, 1)])
            }
            Layout::Bar => (
                &[vram, host, bar],
                &[(LOCAL, 0), (HOST, 1), (HOST | CACHED, 1), (LOCAL | HOST, 2)],
            ),
            Layout::Rebar | Layout::Carved => {
                (&[vram, host], &[(LOCAL, 0), (HOST, 1), (LOCAL | HOST, 0), (HOST | CACHED, 1)])
            }
        };
        Self { said: properties(heaps, types), behind: Some(behind) }
    }

    /// The driver's type for one that is said to be there.
    pub(crate) fn behind(&self, said: u32) -> u32 {
        self.behind.unwrap_or(said)
    }

    /// The types that are said, for types of the driver: all if there are any.
    pub(crate) fn types(&self, real: u32) -> u32 {
        let all = (1 << self.said.memory_type_count) - 1;
        if self.behind.is_none() || real == 0 { real } else { all }
    }

    /// The types for imported memory, for those of the driver: of them the host's own.
    pub(crate) fn types_of_imports(&self, real: u32) -> u32 {
        if self.behind.is_none() || real == 0 {
            return real;
        }
        let types = self.said.memory_types_as_slice();
        let all_local = types.iter().all(|kind| kind.property_flags.contains(LOCAL));
        let fits = |kind: &vk::MemoryType| {
            kind.property_flags.contains(HOST)
                && (all_local || !kind.property_flags.contains(LOCAL))
        };
        (0..)
            .zip(types)
            .filter(|(_, kind)| fits(kind))
            .fold(0, |bits, (index, _)| bits | 1 << index)
    }

    pub(crate) fn heap_of(&self, said: u32) -> usize {
        self.said.memory_types[said as usize].heap_index as usize
    }

    pub(crate) fn bytes_of(&self, heap: usize) -> u64 {
        self.said.memory_heaps[heap].size
    }

    pub(crate) fn is_local(&self, heap: usize) -> bool {
        self.said.memory_heaps[heap].flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL)
    }

    /// Whether the host can map memory of a type.
    pub(crate) fn is_host_visible(&self, said: u32) -> bool {
        self.said.memory_types[said as usize].property_flags.contains(Flags::HOST_VISIBLE)
    }
}

fn properties(heaps: &[u64], types: &[(Flags, u32)]) -> vk::PhysicalDeviceMemoryProperties {
    let mut said = vk::PhysicalDeviceMemoryProperties::default();
    for (index, &size) in heaps.iter().enumerate() {
        let flags = match index {
            1 => vk::MemoryHeapFlags::empty(),
            _ => vk::MemoryHeapFlags::DEVICE_LOCAL,
        };
        said.memory_heaps[index] = vk::MemoryHeap { size, flags };
        said.memory_heap_count += 1;
    }
    for (index, &(property_flags, heap_index)) in types.iter().enumerate() {
        said.memory_types[index] = vk::MemoryType { property_flags, heap_index };
        said.memory_type_count += 1;
    }
    said
}
