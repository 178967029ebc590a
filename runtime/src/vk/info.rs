//! The properties of a device, as plain data.

use crate::times::Clock;
use farptr_rewrite::Capability;
use std::fmt;

/// The oldest Vulkan version that farptr works with.
pub(crate) const OLDEST_VULKAN: Version = Version { major: 1, minor: 2 };

/// A Vulkan version without its patch number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The kinds of devices, in the order in which farptr tries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeviceKind {
    Discrete,
    Integrated,
    Virtual,
    Cpu,
    Other,
}

impl DeviceKind {
    /// Whether a driver of such a device may reset it if a submission takes some seconds. Drivers
    /// do not say.
    pub(crate) fn has_watchdog(self) -> bool {
        self != Self::Cpu
    }
}

/// The limits that launches, buffers and imports have to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Workgroups per dimension.
    pub(crate) groups: [u32; 3],
    /// Invocations per workgroup and dimension.
    pub(crate) group_size: [u32; 3],
    /// Invocations per workgroup.
    pub(crate) group_invocations: u32,
    /// Bytes that the invocations of a workgroup share.
    pub(crate) shared_bytes: u32,
    /// Bytes of push constants.
    pub(crate) push_bytes: u32,
    /// Bytes of one buffer and its allocation or import.
    pub(crate) allocation_bytes: u64,
    /// Allocations and imports at a time.
    pub(crate) allocations: u32,
}

/// The kind of memory in which running kernels see what the host writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeenIn {
    /// The host's, which its caches keep.
    HostMemory,
    /// The device's, as far as the host can map it; else the host's.
    DeviceMemory,
}

/// How a kernel that is running is ended, as was tried at start-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// It sees a word that the host writes.
    Seen(SeenIn),
    /// The driver ends its loops by itself after so many passes.
    Cut,
    /// It sees no such word. An invocation makes so many passes in a second, or fewer.
    Unseen { passes_per_second: u64 },
}

/// A device as the Vulkan layer found it.
#[derive(Clone, Debug)]
pub(crate) struct DeviceInfo {
    /// The position in Vulkan's own list, which `FARPTR_DEVICE` counts from 0.
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) kind: DeviceKind,
    pub(crate) version: Version,
    /// The queue family whose queue runs kernels, if the device can compute.
    pub(crate) compute_family: Option<u32>,
    /// The queue family whose queue copies and does nothing else, if the device has one.
    pub(crate) transfer_family: Option<u32>,
    /// The clock of the first family's timestamps, if it has some.
    pub(crate) clock: Option<Clock>,
    pub(crate) buffer_device_address: bool,
    pub(crate) timeline_semaphore: bool,
    /// The alignment in bytes of imported host memory; absent if the driver does not promise to
    /// import any.
    pub(crate) import_alignment: Option<u64>,
    /// An import has to be an allocation for one buffer alone.
    pub(crate) dedicated_imports: bool,
    /// The SPIR-V capabilities that farptr enables on the device.
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) limits: Limits,
    /// Names the device and its driver's build: what a pipeline cache is good for.
    pub(crate) cache_key: String,
}

/// The traits of a device that decide on a kernel's form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// It has 64-bit integers in kernels.
    pub(crate) int64: bool,
    /// It cuts long loops short without an error.
    pub(crate) cuts_loops: bool,
    /// It computes offsets of access chains in fewer bits than addresses have.
    pub(crate) narrow_offsets: bool,
}
