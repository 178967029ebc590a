//! The memory of a device.

use super::{
    allocations::{Allocations, Purpose, Slot},
    budget::Heap,
    handle::Handle,
};
use crate::VulkanError;
use ash::vk;
use farptr_hmm::file_limit_as_error;
use gpu_allocator::{
    AllocationError, AllocationSizes, AllocatorDebugSettings, MemoryLocation,
    vulkan::{Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc},
};
use rustix::{
    io::Errno,
    mm::{Advice, madvise},
    process::{Resource, getrlimit},
};
use std::{
    cmp::Ordering,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of the allocations that small buffers share.
const BLOCK_BYTES: u64 = 4 << 20;
/// Memory of fewer blocks is not given out in blocks.
const SMALL_BLOCKS: u64 = 16;

/// The memory of a device.
pub(crate) struct Memory {
    /// There until Drop.
    allocator: Mutex<Option<Blocks>>,
    allocations: Arc<Allocations>,
    /// The device's memory is too small for blocks that buffers share.
    small: bool,
    handle: Arc<Handle>,
}

/// The allocator, and a slot for each block that it has taken from the device.
struct Blocks {
    allocator: Allocator,
    slots: Vec<Slot>,
}

impl Blocks {
    /// Lets the allocator take one block at most from the device, or give one back, and keeps
    /// count: it tells how many bytes all its blocks have.
    fn change<R>(&mut self, slot: Option<Slot>, act: impl FnOnce(&mut Allocator) -> R) -> R {
        let before = self.allocator.capacity();
        let done = act(&mut self.allocator);
        match self.allocator.capacity().cmp(&before) {
            Ordering::Greater => self.slots.extend(slot),
            Ordering::Equal => {}
            Ordering::Less => drop(self.slots.pop()),
        }
        done
    }
}

impl Memory {
    pub(crate) fn new(
        handle: &Arc<Handle>,
        physical_device: vk::PhysicalDevice,
        heap: Heap,
        allocations: &Arc<Allocations>,
    ) -> Result<Self, VulkanError> {
        let made = Allocator::new(&AllocatorCreateDesc {
            instance: handle.instance().raw().clone(),
            device: handle.raw().clone(),
            physical_device,
            debug_settings: AllocatorDebugSettings::default(),
            buffer_device_address: true,
            allocation_sizes: AllocationSizes::new(BLOCK_BYTES, BLOCK_BYTES),
        });
        let allocator = made.map_err(|error| refused(&error))?;
        Ok(Self {
            allocator: Mutex::new(Some(Blocks { allocator, slots: Vec::new() })),
            allocations: Arc::clone(allocations),
            small: heap.bytes < SMALL_BLOCKS * BLOCK_BYTES,
            handle: Arc::clone(handle),
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Bytes that were taken from the device, in use or not.
    #[cfg(test)]
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.with_blocks(|blocks| blocks.allocator.generate_report().total_allocated_bytes)
    }

    fn with_blocks<R>(&self, act: impl FnOnce(&mut Blocks) -> R) -> R {
        // The allocator's own state may be half changed after a panic in it; it has none but that
        // of a wrong call, which would be found by tests.
        let mut blocks = self.allocator.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = blocks.as_mut().expect("there until Drop");
        // Some drivers have files for the memory of their devices.
        file_limit_as_error(|| act(blocks))
    }

    /// Allocates memory for a buffer, of which the mapped part can be touched.
    pub(super) fn allocate(
        &self,
        buffer: vk::Buffer,
        requirements: vk::MemoryRequirements,
        location: MemoryLocation,
    ) -> Result<Allocation, VulkanError> {
        let alone = self.small && location == MemoryLocation::GpuOnly;
        let allocation_scheme = match alone {
            true => AllocationScheme::DedicatedBuffer(buffer),
            false => AllocationScheme::GpuAllocatorManaged,
        };
        let (name, linear) = ("farptr", true);
        let desc = AllocationCreateDesc { name, requirements, location, linear, allocation_scheme };
        // The allocator does not say beforehand whether it has room.
        let large = alone || requirements.size > BLOCK_BYTES;
        let slot = self.allocations.take(if large { Purpose::Large } else { Purpose::Shared });
        let slot = slot.map_err(|_| too_many())?;
        let allocate = |allocator: &mut Allocator| allocator.allocate(&desc);
        let allocated = self.with_blocks(|blocks| blocks.change(Some(slot), allocate));
        let allocation = allocated.map_err(|error| refused(&error))?;
        if is_there(&allocation) {
            return Ok(allocation);
        }
        self.free(allocation);
        let result = vk::Result::ERROR_OUT_OF_HOST_MEMORY;
        Err(VulkanError { call: "vkAllocateMemory", result })
    }

    /// Takes back memory that came from [`allocate`](Self::allocate).
    pub(super) fn free(&self, allocation: Allocation) {
        self.with_blocks(|blocks| {
            // The only error is that of a foreign allocation, and this one came from here.
            let _ = blocks.change(None, |allocator| allocator.free(allocation));
        });
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.handle.leaves_object() || self.handle.loss().has_left_objects() {
            // Everything is the parent's, or the lost device's.
            let allocator = self.allocator.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(allocator.take());
        }
        // Otherwise the allocator gives its memory back to the device, which `handle` keeps live.
    }
}

/// Whether there are pages behind mapped memory.
///
/// Some drivers keep device memory in a file and do not look whether they could make it long enough
/// (Mesa 25); a process that touches the rest is ended by a signal. Files may be too short only if
/// the process has a limit on their length.
fn is_there(allocation: &Allocation) -> bool {
    let limited = getrlimit(Resource::Fsize).current.is_some();
    let Some(start) = allocation.mapped_ptr().filter(|_| limited) else { return true };
    let page_bytes = usize::try_from(farptr_hmm::PageSize::host().bytes()).unwrap_or(1);
    let before = start.as_ptr().addr() % page_bytes;
    let bytes = usize::try_from(allocation.size()).unwrap_or(0) + before;
    let start = start.as_ptr().wrapping_byte_sub(before);
    // SAFETY: the pages are mapped, from the one of the first byte to that of the last; reading
    // them as the call does changes nothing.
    let populated = unsafe { madvise(start, bytes, Advice::LinuxPopulateRead) };
    // Other errors: memory of a card, or a kernel that does not know the advice (Linux 5.14 does).
    populated != Err(Errno::FAULT)
}

/// The error of an allocation beyond the device's limit on their number, as drivers have it.
fn too_many() -> VulkanError {
    VulkanError { call: "vkAllocateMemory", result: vk::Result::ERROR_TOO_MANY_OBJECTS }
}

/// The allocator's errors in Vulkan's words.
fn refused(error: &AllocationError) -> VulkanError {
    let result = match error {
        AllocationError::OutOfMemory => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
        AllocationError::FailedToMap(_) => vk::Result::ERROR_MEMORY_MAP_FAILED,
        _ => vk::Result::ERROR_FEATURE_NOT_PRESENT,
    };
    VulkanError { call: "vkAllocateMemory", result }
}
