//! Buffers of farptr's own that host and device look at together.

use super::{Device, Named};
use crate::VulkanError;
use ash::vk;
use gpu_allocator::{
    AllocationError, AllocationSizes, AllocatorDebugSettings, MemoryLocation,
    vulkan::{Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc},
};
use rustix::{
    io::Errno,
    mm::{Advice, madvise},
    process::{Resource, getrlimit},
};
use std::sync::atomic::AtomicU32;

/// Bytes of the allocations that small buffers share.
const BLOCK_BYTES: u64 = 4 << 20;

/// Makes the allocator of a device's buffers.
pub(crate) fn allocator(
    instance: &ash::Instance,
    device: &ash::Device,
    physical_device: vk::PhysicalDevice,
) -> Result<Allocator, VulkanError> {
    let made = Allocator::new(&AllocatorCreateDesc {
        instance: instance.clone(),
        device: device.clone(),
        physical_device,
        debug_settings: AllocatorDebugSettings::default(),
        buffer_device_address: true,
        allocation_sizes: AllocationSizes::new(BLOCK_BYTES, BLOCK_BYTES),
    });
    made.map_err(|error| refused(&error))
}

/// A buffer in coherent memory that is mapped for as long as it lives.
///
/// It does not destroy itself: its owner knows when the device has done with it.
pub(crate) struct SharedBuffer {
    // Invariant: made by `new` for one device and bound to `allocation`, which is mapped.
    raw: vk::Buffer,
    allocation: Allocation,
    address: u64,
    words: usize,
}

impl SharedBuffer {
    /// A buffer of this many bytes, a multiple of 4, with undefined content.
    pub(crate) fn new(device: &Device, bytes: u64) -> Result<Self, VulkanError> {
        let usage = vk::BufferUsageFlags::UNIFORM_BUFFER
            | vk::BufferUsageFlags::STORAGE_BUFFER
            | vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST
            | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS;
        let info = vk::BufferCreateInfo::default().size(bytes).usage(usage);
        // SAFETY: 1. the device is live; 3. its features include bufferDeviceAddress.
        let raw = unsafe { device.raw().create_buffer(&info, None) }.named("vkCreateBuffer")?;
        match allocate_and_bind(device, raw) {
            Ok((allocation, address)) => {
                let words = usize::try_from(bytes / 4).expect("what was mapped has an address");
                Ok(Self { raw, allocation, address, words })
            }
            Err(error) => {
                // SAFETY: 1. the buffer is live; 4. nothing has used it.
                unsafe { device.raw().destroy_buffer(raw, None) };
                Err(error)
            }
        }
    }

    pub(crate) fn raw(&self) -> vk::Buffer {
        self.raw
    }

    /// The device address of the first byte.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// The words of the buffer, which a kernel may change at any time.
    pub(crate) fn words(&self) -> &[AtomicU32] {
        let start = self.allocation.mapped_ptr().expect("the invariant: it is mapped");
        // SAFETY: 1. the allocation is mapped while `self` lives, at least as long as the buffer,
        // whose requirements it was made for, and aligned to more than a word; 2. every word is a
        // valid `AtomicU32`; 3. the host reads and writes it through this type only, and a device
        // is no thread of this process.
        unsafe { std::slice::from_raw_parts(start.as_ptr().cast::<AtomicU32>(), self.words) }
    }

    /// Gives the memory back.
    ///
    /// # Safety
    ///
    /// The buffer belongs to `device`, and no pending command uses it.
    pub(crate) unsafe fn destroy(self, device: &Device) {
        // SAFETY: 1. the buffer is live; 4. the caller's promise.
        unsafe { device.raw().destroy_buffer(self.raw, None) };
        device.with_allocator(|allocator| {
            // The only error is that of a foreign allocation, and this one came from here.
            let _ = allocator.free(self.allocation);
        });
    }
}

fn allocate_and_bind(device: &Device, raw: vk::Buffer) -> Result<(Allocation, u64), VulkanError> {
    // SAFETY: 1. the buffer is live.
    let requirements = unsafe { device.raw().get_buffer_memory_requirements(raw) };
    let desc = AllocationCreateDesc {
        name: "farptr",
        requirements,
        location: MemoryLocation::CpuToGpu,
        linear: true,
        allocation_scheme: AllocationScheme::GpuAllocatorManaged,
    };
    let allocation = allocate(device, &desc)?;
    // SAFETY: 1. the memory is live until the allocation is freed.
    let memory = unsafe { allocation.memory() };
    // SAFETY: 1. buffer and memory are live; 2. the buffer is new and bound once, to a part of the
    // memory that the allocator gave to nobody else.
    let bound = unsafe { device.raw().bind_buffer_memory(raw, memory, allocation.offset()) }
        .named("vkBindBufferMemory");
    if let Err(error) = bound {
        device.with_allocator(|allocator| {
            // As in `destroy`.
            let _ = allocator.free(allocation);
        });
        return Err(error);
    }
    let info = vk::BufferDeviceAddressInfo::default().buffer(raw);
    // SAFETY: 1. the buffer is live and bound to memory that was allocated for addresses.
    let address = unsafe { device.raw().get_buffer_device_address(&info) };
    Ok((allocation, address))
}

/// Allocates memory of which the mapped part can be touched.
pub(crate) fn allocate(
    device: &Device,
    desc: &AllocationCreateDesc<'_>,
) -> Result<Allocation, VulkanError> {
    let allocated = device.with_allocator(|allocator| allocator.allocate(desc));
    let allocation = allocated.map_err(|error| refused(&error))?;
    if is_there(&allocation) {
        return Ok(allocation);
    }
    device.with_allocator(|allocator| {
        // As in `destroy`.
        let _ = allocator.free(allocation);
    });
    let result = vk::Result::ERROR_OUT_OF_HOST_MEMORY;
    Err(VulkanError { call: "vkAllocateMemory", result })
}

/// Whether there are pages behind mapped memory.
///
/// Some drivers keep device memory in a file and do not look whether they could make it long enough
/// (Mesa 25); who touches the rest is ended by a signal. Files have an end where the process has a
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
