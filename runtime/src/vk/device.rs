//! An opened device: its queues, its memory, its free command buffers.

use super::{
    Instance, Physical,
    allocations::Allocations,
    budget::{Budget, Heap, Limit},
    command_buffer::CommandBuffer,
    handle::Handle,
    info::{DeviceInfo, SeenIn, Stopping, Traits},
    memory::Memory,
    queues::{Queues, Role},
    set_layout::SetLayout,
};
use crate::{VulkanError, stats::Counters, times::KernelTimes};
use ash::{ext, vk};
use crossbeam::queue::SegQueue;
use farptr_rewrite::Capability;
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// An opened device.
///
/// It can be dropped in any order with the objects that were made from it: each of them keeps the
/// parts that it needs.
pub(crate) struct Device {
    handle: Arc<Handle>,
    queues: Arc<Queues>,
    memory: Arc<Memory>,
    /// Those of `memory` and of imports.
    allocations: Arc<Allocations>,
    /// What copies may take of `memory`.
    budget: Arc<Budget>,
    control_layout: SetLayout,
    /// Command buffers that are free: lock-free lists, because threads launch side by side.
    free: SegQueue<CommandBuffer>,
    /// Those for the queue that copies alone.
    free_for_copies: SegQueue<CommandBuffer>,
    host_memory: Option<ext::external_memory_host::Device>,
    memory_types: Vec<vk::MemoryType>,
    family: u32,
    /// The family of the queue that copies alone.
    transfer_family: Option<u32>,
    /// After how many passes the device cuts loops short, if it does, once that was tried.
    cut_after: OnceLock<Option<u32>>,
    /// How running kernels are ended, once that was tried.
    stopping: OnceLock<Stopping>,
    /// Passes through a short loop that an invocation made in a second, once that was measured.
    passes_per_second: OnceLock<u64>,
    /// Whether it computes offsets in fewer bits than addresses have, once that was tried.
    narrow_offsets: OnceLock<bool>,
    /// Whether kernels have 64-bit integers.
    int64: bool,
    pub(crate) info: DeviceInfo,
    pub(crate) counters: Counters,
}

impl Device {
    /// Opens a device that `prove::judge` found fit. If asked to, it times kernels where it can. So
    /// many bytes of copies may be in its memory, or a part of what it has free now.
    pub(crate) fn open(
        instance: &Arc<Instance>,
        physical: &Physical,
        time_kernels: bool,
        copied_bytes: Option<u64>,
    ) -> Result<Self, VulkanError> {
        let family = physical.info.compute_family;
        let family = family.expect("devices without a compute queue are refused");
        let transfer_family = physical.info.transfer_family;
        let import = physical.info.import_alignment.is_some();
        let families = (family, transfer_family);
        let handle = Arc::new(Handle::open(instance, physical, families, import)?);
        // SAFETY: 1. `physical` was listed by this live instance.
        let memory = unsafe { instance.raw().get_physical_device_memory_properties(physical.raw) };
        let host_memory =
            import.then(|| ext::external_memory_host::Device::new(instance.raw(), handle.raw()));
        let allocations = Allocations::new(physical.info.limits.allocations);
        let heap = local_heap(instance, physical);
        let limit = copied_bytes.map_or(Limit::Derived(heap), Limit::Asked);
        let clock = physical.info.clock.filter(|_| time_kernels);
        Ok(Self {
            queues: Arc::new(Queues::new(&handle, family, transfer_family)?),
            memory: Arc::new(Memory::new(&handle, physical.raw, heap, &allocations)?),
            allocations,
            budget: Budget::new(limit),
            control_layout: SetLayout::new(&handle)?,
            free: SegQueue::new(),
            free_for_copies: SegQueue::new(),
            host_memory,
            memory_types: memory.memory_types_as_slice().to_vec(),
            family,
            transfer_family,
            cut_after: OnceLock::new(),
            stopping: OnceLock::new(),
            passes_per_second: OnceLock::new(),
            narrow_offsets: OnceLock::new(),
            int64: physical.info.capabilities.contains(&Capability::Int64),
            info: physical.info.clone(),
            counters: Counters::new(clock.map(KernelTimes::new)),
            handle,
        })
    }

    /// The traits that decide on the form of kernels.
    pub(crate) fn traits(&self) -> Traits {
        Traits {
            int64: self.int64,
            cuts_loops: self.cut_after.get().is_none_or(Option::is_some),
            narrow_offsets: self.narrow_offsets.get().copied().unwrap_or(false),
        }
    }

    /// Notes after how many passes the device cuts loops short, if it does.
    pub(crate) fn note_cut_after(&self, passes: Option<u32>) {
        // The first note is kept: every trial was made on the same device.
        let _ = self.cut_after.set(passes);
    }

    /// After how many passes the device cuts loops short; 0 where it was not seen to.
    pub(crate) fn cut_after(&self) -> u32 {
        self.cut_after.get().copied().flatten().unwrap_or(0)
    }

    /// Notes how running kernels are ended.
    pub(crate) fn note_stopping(&self, stopping: Stopping) {
        // As above.
        let _ = self.stopping.set(stopping);
    }

    /// How running kernels are ended, once that was tried.
    pub(crate) fn stopping(&self) -> Option<Stopping> {
        self.stopping.get().copied()
    }

    /// Notes how many passes through a short loop an invocation makes in a second.
    pub(crate) fn note_passes_per_second(&self, passes: u64) {
        // As above.
        let _ = self.passes_per_second.set(passes);
    }

    /// Passes through a short loop that an invocation made in a second; absent before that was
    /// measured.
    pub(crate) fn passes_per_second(&self) -> Option<u64> {
        self.passes_per_second.get().copied()
    }

    /// The memory for the word by which the host ends kernels.
    pub(crate) fn stop_is_seen_in(&self) -> SeenIn {
        match self.stopping() {
            Some(Stopping::Seen(memory)) => memory,
            _ => SeenIn::HostMemory,
        }
    }

    /// Notes whether the device computes offsets in fewer bits than addresses have.
    pub(crate) fn note_narrow_offsets(&self, narrow: bool) {
        // As above.
        let _ = self.narrow_offsets.set(narrow);
    }

    /// Whether this process was forked from the one that opened the device, so that no call works.
    pub(crate) fn is_inherited(&self) -> bool {
        self.handle.is_inherited()
    }

    /// Whether all that is tried on a device at start-up was tried; offsets come last.
    pub(super) fn is_tried(&self) -> bool {
        self.narrow_offsets.get().is_some()
    }

    /// The loss of the device as an error, if it is lost.
    pub(crate) fn check(&self) -> Result<(), VulkanError> {
        self.queues.check()
    }

    /// Whether everything that a lost device was given has completed, as far as it can be known
    /// after a grace.
    pub(crate) fn has_ended(&self) -> bool {
        self.queues.has_ended()
    }

    /// The times of kernels, if they are taken.
    pub(crate) fn times(&self) -> Option<&KernelTimes> {
        self.counters.kernel_times.as_ref()
    }

    /// A command buffer for a queue that is free.
    pub(super) fn take_commands(&self, role: Role) -> Result<CommandBuffer, VulkanError> {
        let (family, timed) = match role {
            Role::Compute => (Some(self.family), self.times().is_some()),
            Role::Transfer => (self.transfer_family, false),
        };
        let family = family.expect("this queue was asked for because the device has it");
        match self.free(role).pop() {
            Some(commands) => Ok(commands),
            None => CommandBuffer::new(&self.handle, (role, family), timed),
        }
    }

    fn free(&self, role: Role) -> &SegQueue<CommandBuffer> {
        match role {
            Role::Compute => &self.free,
            Role::Transfer => &self.free_for_copies,
        }
    }

    /// Takes back a command buffer.
    pub(super) fn recycle(&self, commands: CommandBuffer) {
        // In a child made by `fork` the list may be half changed.
        if !self.is_inherited() {
            self.free(commands.role()).push(commands);
        }
    }

    /// Runs `act` while nothing is pending and nothing can be submitted; absent if something was
    /// pending for so long.
    pub(crate) fn while_idle<R>(
        &self,
        at_most: Duration,
        act: impl FnOnce() -> R,
    ) -> Result<Option<R>, VulkanError> {
        self.queues.while_idle(at_most, act)
    }

    /// Takes the device for lost because an import failed in [`while_idle`](Self::while_idle).
    pub(crate) fn lose_while_idle(&self) {
        self.queues.lose_while_idle("vkAllocateMemory");
    }

    /// Bytes of device memory that farptr's own buffers have taken.
    #[cfg(test)]
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.memory.allocated_bytes()
    }

    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(super) fn raw(&self) -> &ash::Device {
        self.handle.raw()
    }

    pub(super) fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    /// The families of the queues, if there are two: buffers that both use name them.
    pub(super) fn sharing_families(&self) -> Option<[u32; 2]> {
        self.transfer_family.map(|transfer| [self.family, transfer])
    }

    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The memory of the device that copies may take.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The memory allocations of the device, for those that are made beside [`Memory`].
    pub(super) fn allocations(&self) -> &Arc<Allocations> {
        &self.allocations
    }

    pub(super) fn control_layout(&self) -> &SetLayout {
        &self.control_layout
    }

    pub(super) fn host_memory(&self) -> Option<&ext::external_memory_host::Device> {
        self.host_memory.as_ref()
    }

    pub(super) fn memory_types(&self) -> &[vk::MemoryType] {
        &self.memory_types
    }
}

/// The heap of the memory that kernels reach fastest, as it is now.
///
/// Of all types that are device-local, the allocator takes the first one, which has no property
/// that others lack.
fn local_heap(instance: &Instance, physical: &Physical) -> Heap {
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut all = vk::PhysicalDeviceMemoryProperties2::default();
    if physical.extensions.memory_budget {
        all = all.push_next(&mut budget);
    }
    // SAFETY: 1. `physical` was listed by this live instance; 2. the device has Vulkan 1.2, and the
    // extension of the chained structure.
    unsafe { instance.raw().get_physical_device_memory_properties2(physical.raw, &mut all) };
    let memory = all.memory_properties;
    let is_local = |kind: &&vk::MemoryType| {
        kind.property_flags.contains(vk::MemoryPropertyFlags::DEVICE_LOCAL)
    };
    let local = memory.memory_types_as_slice().iter().find(is_local);
    let index = local.map_or(0, |kind| kind.heap_index as usize);
    // A driver that reports nothing reports 0.
    let reported = Some(budget.heap_budget[index]).filter(|&bytes| bytes > 0);
    let free_bytes = reported.map(|bytes| bytes.saturating_sub(budget.heap_usage[index]));
    Heap { bytes: memory.memory_heaps[index].size, free_bytes }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.info.name).finish_non_exhaustive()
    }
}
