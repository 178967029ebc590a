//! Memory of a device, and buffers that are bound to it.

use super::{Device, Handle, Named, retire::Deferred};
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
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of the allocations that small buffers share.
const BLOCK_BYTES: u64 = 4 << 20;

/// The memory of a device.
pub(crate) struct Memory {
    /// There until Drop.
    allocator: Mutex<Option<Allocator>>,
    handle: Arc<Handle>,
}

impl Memory {
    pub(crate) fn new(
        handle: &Arc<Handle>,
        physical_device: vk::PhysicalDevice,
    ) -> Result<Self, VulkanError> {
        let made = Allocator::new(&AllocatorCreateDesc {
            instance: handle.instance().raw().clone(),
            device: handle.raw().clone(),
            physical_device,
            debug_settings: AllocatorDebugSettings::default(),
            buffer_device_address: true,
            allocation_sizes: AllocationSizes::new(BLOCK_BYTES, BLOCK_BYTES),
        });
        let allocator = Mutex::new(Some(made.map_err(|error| refused(&error))?));
        Ok(Self { allocator, handle: Arc::clone(handle) })
    }

    /// Bytes that were taken from the device, in use or not.
    #[cfg(test)]
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.with_allocator(|allocator| allocator.generate_report().total_allocated_bytes)
    }

    fn with_allocator<R>(&self, act: impl FnOnce(&mut Allocator) -> R) -> R {
        // The allocator's own state may be half changed after a panic in it; it has none but that
        // of a wrong call, which would be found by tests.
        let mut allocator = self.allocator.lock().unwrap_or_else(PoisonError::into_inner);
        let allocator = allocator.as_mut().expect("there until Drop");
        // Some drivers have files for the memory of their devices.
        file_limit_as_error(|| act(allocator))
    }

    /// Allocates memory of which the mapped part can be touched.
    fn allocate(&self, desc: &AllocationCreateDesc<'_>) -> Result<Allocation, VulkanError> {
        let allocated = self.with_allocator(|allocator| allocator.allocate(desc));
        let allocation = allocated.map_err(|error| refused(&error))?;
        if is_there(&allocation) {
            return Ok(allocation);
        }
        self.free(allocation);
        let result = vk::Result::ERROR_OUT_OF_HOST_MEMORY;
        Err(VulkanError { call: "vkAllocateMemory", result })
    }

    fn free(&self, allocation: Allocation) {
        self.with_allocator(|allocator| {
            // The only error is that of a foreign allocation, and this one came from here.
            let _ = allocator.free(allocation);
        });
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.handle.is_inherited() {
            // Everything is the parent's.
            let allocator = self.allocator.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(allocator.take());
        }
        // Otherwise the allocator gives its memory back to the device, which `handle` keeps live.
    }
}

/// A buffer bound to memory of its own, with a device address.
pub(crate) struct Buffer(Deferred<Bound>);

/// Destroys buffer and memory when it is dropped; so the device has to be done with it by then.
struct Bound {
    // Invariant: made from the device of `memory`, destroyed by Drop only; bound to `allocation`
    // if that is there.
    raw: vk::Buffer,
    allocation: Option<Allocation>,
    memory: Arc<Memory>,
}

impl Buffer {
    /// A buffer of so many bytes with undefined content.
    pub(crate) fn new(
        device: &Device,
        bytes: u64,
        usage: vk::BufferUsageFlags,
        location: MemoryLocation,
    ) -> Result<Self, VulkanError> {
        let usage = usage
            | vk::BufferUsageFlags::STORAGE_BUFFER
            | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
            | vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST;
        let info = vk::BufferCreateInfo::default().size(bytes).usage(usage);
        // SAFETY: 1. the device is live; 3. its features include bufferDeviceAddress.
        let raw = unsafe { device.raw().create_buffer(&info, None) }.named("vkCreateBuffer")?;
        let mut bound = Bound { raw, allocation: None, memory: Arc::clone(device.memory()) };
        bound.allocate_and_bind(device, location)?;
        Ok(Self(Deferred::new(bound, device.queue())))
    }

    pub(crate) fn raw(&self) -> vk::Buffer {
        self.0.raw
    }

    /// The memory that the buffer is bound to.
    pub(crate) fn allocation(&self) -> &Allocation {
        self.0.allocation.as_ref().expect("`new` has bound the buffer")
    }

    /// The device address of the first byte.
    pub(crate) fn look_up_address(&self, device: &Device) -> u64 {
        let info = vk::BufferDeviceAddressInfo::default().buffer(self.raw());
        // SAFETY: 1. the buffer is live and bound to memory that was allocated for addresses.
        unsafe { device.raw().get_buffer_device_address(&info) }
    }
}

impl Bound {
    fn allocate_and_bind(
        &mut self,
        device: &Device,
        location: MemoryLocation,
    ) -> Result<(), VulkanError> {
        let raw = self.raw;
        // SAFETY: 1. the buffer is live.
        let requirements = unsafe { device.raw().get_buffer_memory_requirements(raw) };
        if requirements.size > device.info.limits.allocation_bytes {
            let result = vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
            return Err(VulkanError { call: "vkAllocateMemory", result });
        }
        let allocation = self.allocation.insert(self.memory.allocate(&AllocationCreateDesc {
            name: "farptr",
            requirements,
            location,
            linear: true,
            allocation_scheme: AllocationScheme::GpuAllocatorManaged,
        })?);
        // SAFETY: 1. the memory is live until the allocation is freed.
        let memory = unsafe { allocation.memory() };
        // SAFETY: 1. buffer and memory are live; 2. the buffer is new and bound once, to a part of
        // the memory that the allocator gave to nobody else.
        unsafe { device.raw().bind_buffer_memory(raw, memory, allocation.offset()) }
            .named("vkBindBufferMemory")
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let handle = &self.memory.handle;
        if handle.is_inherited() {
            return;
        }
        // SAFETY: 1. the buffer is live; 4. the device has done with it, as `Deferred` sees to, or
        // has never used it.
        unsafe { handle.raw().destroy_buffer(self.raw, None) };
        if let Some(allocation) = self.allocation.take() {
            self.memory.free(allocation);
        }
    }
}

/// Whether there are pages behind mapped memory.
///
/// Some drivers keep device memory in a file and do not look whether they could make it long enough
/// (Mesa 25); a process that touches the rest is ended by a signal. Files have an end where the process has a
/// limit for them.
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

/// The allocator's errors in Vulkan's words.
fn refused(error: &AllocationError) -> VulkanError {
    let result = match error {
        AllocationError::OutOfMemory => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
        AllocationError::FailedToMap(_) => vk::Result::ERROR_MEMORY_MAP_FAILED,
        _ => vk::Result::ERROR_FEATURE_NOT_PRESENT,
    };
    VulkanError { call: "vkAllocateMemory", result }
}
