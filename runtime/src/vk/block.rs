//! Stretches of device memory with device addresses, on page boundaries.

use super::{Device, Named, buffer::allocate};
use crate::VulkanError;
use ash::vk;
use farptr_rewrite::control::PAGE_BYTES;
use gpu_allocator::{
    MemoryLocation,
    vulkan::{Allocation, AllocationCreateDesc, AllocationScheme},
};
use std::ptr::NonNull;

/// Whole pages of memory that kernels reach by address, as one buffer.
///
/// A block does not destroy itself: its owner knows when the device has done with it.
pub(crate) struct Block {
    // Invariant: made by `new` for one device and bound to `allocation`.
    raw: vk::Buffer,
    allocation: Allocation,
    /// The device address of the first page.
    address: u64,
    /// Bytes from the start of the buffer to the first page.
    skipped: u64,
    bytes: u64,
    /// Where the host sees the first page, if it does so coherently.
    mapped: Option<NonNull<u8>>,
}

// SAFETY: the mapping is memory of the process, and not of a thread; it is accessed through
// `&self` and `&mut self` alone.
unsafe impl Send for Block {}

impl Block {
    /// A block of whole pages with undefined content.
    pub(crate) fn new(
        device: &Device,
        bytes: u64,
        location: MemoryLocation,
    ) -> Result<Self, VulkanError> {
        // A page more, because nothing says how far addresses are aligned.
        let size = bytes + PAGE_BYTES;
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER
            | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
            | vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST;
        let info = vk::BufferCreateInfo::default().size(size).usage(usage);
        // SAFETY: 1. the device is live; 3. its features include bufferDeviceAddress.
        let raw = unsafe { device.raw().create_buffer(&info, None) }.named("vkCreateBuffer")?;
        let allocation = match allocate_and_bind(device, raw, location) {
            Ok(allocation) => allocation,
            Err(error) => {
                // SAFETY: 1. the buffer is live; 4. nothing has used it.
                unsafe { device.raw().destroy_buffer(raw, None) };
                return Err(error);
            }
        };
        let info = vk::BufferDeviceAddressInfo::default().buffer(raw);
        // SAFETY: 1. the buffer is live and bound to memory that was allocated for addresses.
        let start = unsafe { device.raw().get_buffer_device_address(&info) };
        let address = start.next_multiple_of(PAGE_BYTES);
        let skipped = address - start;
        let coherent = vk::MemoryPropertyFlags::HOST_COHERENT;
        let shared = allocation.memory_properties().contains(coherent);
        let mapped = allocation.mapped_ptr().filter(|_| shared).map(|start| {
            let skipped = usize::try_from(skipped).expect("less than a page");
            // SAFETY: the mapping is as long as the buffer, which is more than a page.
            unsafe { start.cast::<u8>().byte_add(skipped) }
        });
        Ok(Self { raw, allocation, address, skipped, bytes, mapped })
    }

    /// The device address of the first page.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn raw(&self) -> vk::Buffer {
        self.raw
    }

    /// The place in the buffer of a byte of the pages.
    pub(crate) fn place(&self, offset: u64) -> u64 {
        self.skipped + offset
    }

    /// The bytes of the pages as the host sees them, if it does. No kernel is writing them.
    pub(crate) fn host(&self) -> Option<&[u8]> {
        let length = usize::try_from(self.bytes).expect("what was mapped has addresses");
        // SAFETY: 1. the memory is mapped while `self` lives, and initialised as far as the host
        // can tell; 2. writing needs `&mut self`, and kernels run only while nobody looks.
        self.mapped.map(|start| unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
    }

    /// As [`host`](Self::host), for writing.
    pub(crate) fn host_mut(&mut self) -> Option<&mut [u8]> {
        let length = usize::try_from(self.bytes).expect("what was mapped has addresses");
        // SAFETY: as in `host`; `&mut self` shows that nobody else looks.
        self.mapped.map(|start| unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) })
    }

    /// Gives the memory back.
    ///
    /// # Safety
    ///
    /// The block belongs to `device`, and no pending command uses it.
    pub(crate) unsafe fn destroy(self, device: &Device) {
        // SAFETY: 1. the buffer is live; 4. the caller's promise.
        unsafe { device.raw().destroy_buffer(self.raw, None) };
        device.with_allocator(|allocator| {
            // The only error is that of a foreign allocation, and this one came from here.
            let _ = allocator.free(self.allocation);
        });
    }
}

fn allocate_and_bind(
    device: &Device,
    raw: vk::Buffer,
    location: MemoryLocation,
) -> Result<Allocation, VulkanError> {
    // SAFETY: 1. the buffer is live.
    let requirements = unsafe { device.raw().get_buffer_memory_requirements(raw) };
    if requirements.size > device.info.limits.allocation_bytes {
        let result = vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
        return Err(VulkanError { call: "vkAllocateMemory", result });
    }
    let desc = AllocationCreateDesc {
        name: "farptr frames",
        requirements,
        location,
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
    Ok(allocation)
}
