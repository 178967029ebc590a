//! Device selection: what a device must have, and which of several is taken. Pure.

use crate::vk::info::{DeviceInfo, OLDEST_VULKAN, Version};
use std::fmt;

/// Why a device was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its Vulkan version is too old; its other properties were not queried.
    Version(Version),
    /// It lacks features, extensions or a compute queue.
    Missing(Vec<&'static str>),
    /// `FARPTR_DEVICE` or the builder asked for another one.
    NotAskedFor,
    /// An earlier device in the order of preference was taken.
    RankedLower,
    /// It failed on the way: the reason in words.
    Failed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "has Vulkan {version}, farptr needs {OLDEST_VULKAN}")
            }
            Self::Missing(what) => write!(f, "lacks {}", what.join(", ")),
            Self::NotAskedFor => f.write_str("another device was asked for"),
            Self::RankedLower => f.write_str("an earlier device was taken"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// The device that the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wanted {
    #[default]
    Any,
    Index(usize),
    /// A part of the name, in any case.
    Name(String),
}

impl Wanted {
    /// Reads a user's word: a number is an index, empty is anything, the rest is part of a name.
    pub(crate) fn parse(word: &str) -> Self {
        let word = word.trim();
        match word.parse() {
            Ok(index) => Self::Index(index),
            Err(_) if word.is_empty() => Self::Any,
            Err(_) => Self::Name(word.to_lowercase()),
        }
    }

    fn fits(&self, device: &DeviceInfo) -> bool {
        match self {
            Self::Any => true,
            Self::Index(index) => *index == device.index,
            Self::Name(part) => device.name.to_lowercase().contains(part),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("device"),
            Self::Index(index) => write!(f, "device {index}"),
            Self::Name(part) => write!(f, "device named like `{part}`"),
        }
    }
}

/// Says what a device lacks, or nothing when it is fit to be tried. With `needs_import` it
/// has to import host memory.
pub(crate) fn judge(device: &DeviceInfo, wanted: &Wanted, needs_import: bool) -> Option<Refusal> {
    if !wanted.fits(device) {
        return Some(Refusal::NotAskedFor);
    }
    if device.version < OLDEST_VULKAN {
        return Some(Refusal::Version(device.version));
    }
    let missing: Vec<_> = [
        (device.compute_family.is_none(), "a compute queue"),
        (!device.buffer_device_address, "bufferDeviceAddress"),
        (!device.timeline_semaphore, "timelineSemaphore"),
        (needs_import && device.import_alignment.is_none(), "VK_EXT_external_memory_host"),
    ]
    .into_iter()
    .filter_map(|(lacking, what)| lacking.then_some(what))
    .collect();
    (!missing.is_empty()).then_some(Refusal::Missing(missing))
}

/// The order in which fit devices are tried: by kind, then as Vulkan lists them.
pub(crate) fn preference(devices: &[DeviceInfo]) -> Vec<&DeviceInfo> {
    let mut order: Vec<_> = devices.iter().collect();
    order.sort_by_key(|device| (device.kind, device.index));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vk::info::{DeviceKind, Limits};

    fn device(index: usize, name: &str, kind: DeviceKind) -> DeviceInfo {
        DeviceInfo {
            index,
            name: name.to_owned(),
            driver: "test".to_owned(),
            kind,
            version: Version { major: 1, minor: 3 },
            clock: None,
            compute_family: Some(0),
            transfer_family: None,
            buffer_device_address: true,
            timeline_semaphore: true,
            import_alignment: Some(4096),
            dedicated_imports: false,
            capabilities: Vec::new(),
            limits: Limits {
                groups: [65_535; 3],
                group_size: [1024, 1024, 64],
                group_invocations: 1024,
                shared_bytes: 32 << 10,
                push_bytes: 128,
                allocation_bytes: 1 << 30,
                allocations: 4096,
            },
            cache_key: String::new(),
        }
    }

    #[test]
    fn a_word_is_an_index_or_part_of_a_name() {
        assert_eq!(Wanted::parse(" 1 "), Wanted::Index(1));
        assert_eq!(Wanted::parse("LLVM"), Wanted::Name("llvm".to_owned()));
        assert_eq!(Wanted::parse(""), Wanted::Any);
    }

    #[test]
    fn a_fit_device_is_not_refused() {
        let fit = device(0, "llvmpipe", DeviceKind::Cpu);
        assert_eq!(judge(&fit, &Wanted::Any, true), None);
        assert_eq!(judge(&fit, &Wanted::parse("LLVMpipe"), true), None);
        assert_eq!(judge(&fit, &Wanted::Index(0), true), None);
    }

    #[test]
    fn every_missing_feature_is_named() {
        let mut poor = device(0, "poor", DeviceKind::Discrete);
        poor.compute_family = None;
        poor.buffer_device_address = false;
        poor.timeline_semaphore = false;
        poor.import_alignment = None;
        let all = ["a compute queue", "bufferDeviceAddress", "timelineSemaphore"];
        let refusal = judge(&poor, &Wanted::Any, false);
        assert_eq!(refusal, Some(Refusal::Missing(all.to_vec())));
        let refusal = judge(&poor, &Wanted::Any, true).unwrap().to_string();
        assert!(refusal.ends_with("timelineSemaphore, VK_EXT_external_memory_host"), "{refusal}");
    }

    #[test]
    fn an_old_device_is_asked_nothing_else() {
        let mut old = device(0, "old", DeviceKind::Discrete);
        old.version = Version { major: 1, minor: 1 };
        old.buffer_device_address = false;
        let refusal = judge(&old, &Wanted::Any, true).unwrap().to_string();
        assert_eq!(refusal, "has Vulkan 1.1, farptr needs 1.2");
    }

    #[test]
    fn another_device_was_asked_for() {
        let other = device(0, "llvmpipe", DeviceKind::Cpu);
        let wanted = Wanted::parse("swift");
        assert_eq!(judge(&other, &wanted, true), Some(Refusal::NotAskedFor));
    }

    #[test]
    fn devices_are_tried_by_kind_then_by_index() {
        let devices = [
            device(0, "cpu a", DeviceKind::Cpu),
            device(1, "card", DeviceKind::Discrete),
            device(2, "cpu b", DeviceKind::Cpu),
            device(3, "chip", DeviceKind::Integrated),
        ];
        let order: Vec<_> = preference(&devices).iter().map(|device| device.index).collect();
        assert_eq!(order, [1, 3, 0, 2]);
    }
}
