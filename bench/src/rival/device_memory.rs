//! Buffers in memory of any kind, from gpu-allocator.
//!
//! # Safety
//!
//! Rules 1, 3 and 4 of the parent module. A buffer and the allocation that it is bound to are owned
//! side by side and end together, the buffer first. The host's bytes of a buffer are lent out
//! through `&mut self`, while no run is under way.

use crate::{
    failure::Failure,
    vulkan::{Device, Named},
};
use ash::vk;
use gpu_allocator::{
    MemoryLocation,
    vulkan::{Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc},
};
use std::rc::Rc;

/// A buffer of a [`DeviceLocalMemory`].
#[derive(Clone, Copy)]
pub(super) struct Buffer {
    pub(super) raw: vk::Buffer,
    pub(super) address: u64,
    /// The position of its memory in `DeviceLocalMemory::owned`.
    index: usize,
}

/// Buffers and their memory, from gpu-allocator.
pub(super) struct DeviceLocalMemory {
    // Invariant: the buffers were made from `device` and are bound to the allocation beside them,
    // which came from `allocator`; both are given back by Drop only. The allocator is there until
    // Drop.
    device: Rc<Device>,
    owned: Vec<(vk::Buffer, Option<Allocation>)>,
    allocator: Option<Allocator>,
}

impl DeviceLocalMemory {
    pub(super) fn new(device: &Rc<Device>) -> Result<Self, Failure> {
        let allocator = Allocator::new(&AllocatorCreateDesc {
            instance: device.instance().clone(),
            device: device.raw().clone(),
            physical_device: device.physical().raw,
            debug_settings: gpu_allocator::AllocatorDebugSettings::default(),
            buffer_device_address: true,
            allocation_sizes: gpu_allocator::AllocationSizes::default(),
        })?;
        Ok(Self { device: Rc::clone(device), owned: Vec::new(), allocator: Some(allocator) })
    }

    /// A buffer, in a block of memory that is shared with others.
    pub(super) fn buffer(
        &mut self,
        name: &'static str,
        size_bytes: u64,
        location: MemoryLocation,
    ) -> Result<Buffer, Failure> {
        self.made(name, size_bytes, location, |_| AllocationScheme::GpuAllocatorManaged)
    }

    /// A buffer with an allocation of its own, no larger than it has to be: blocks have hundreds of
    /// MiB, which not every device has.
    pub(super) fn buffer_alone(
        &mut self,
        name: &'static str,
        size_bytes: u64,
        location: MemoryLocation,
    ) -> Result<Buffer, Failure> {
        self.made(name, size_bytes, location, AllocationScheme::DedicatedBuffer)
    }

    fn made(
        &mut self,
        name: &'static str,
        size_bytes: u64,
        location: MemoryLocation,
        scheme: impl FnOnce(vk::Buffer) -> AllocationScheme,
    ) -> Result<Buffer, Failure> {
        let raw = self.device.raw();
        let info = vk::BufferCreateInfo::default().size(size_bytes).usage(
            vk::BufferUsageFlags::STORAGE_BUFFER
                | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
                | vk::BufferUsageFlags::TRANSFER_SRC
                | vk::BufferUsageFlags::TRANSFER_DST,
        );
        // SAFETY: 1. the device lives; 4. it was made with buffer device addresses.
        let buffer = unsafe { raw.create_buffer(&info, None) }.named("vkCreateBuffer")?;
        let index = self.owned.len();
        self.owned.push((buffer, None));
        // SAFETY: 1. the buffer lives.
        let requirements = unsafe { raw.get_buffer_memory_requirements(buffer) };
        let allocation =
            self.allocator.as_mut().expect("there until Drop").allocate(&AllocationCreateDesc {
                name,
                requirements,
                location,
                linear: true,
                allocation_scheme: scheme(buffer),
            })?;
        let offset = allocation.offset();
        // SAFETY: `self` owns the allocation until Drop, which destroys the buffer first.
        let memory = unsafe { allocation.memory() };
        self.owned[index].1 = Some(allocation);
        // SAFETY: 1. buffer and memory live and are bound for the first time; 4. the allocator kept
        // the buffer's requirements.
        unsafe { raw.bind_buffer_memory(buffer, memory, offset) }.named("vkBindBufferMemory")?;
        let info = vk::BufferDeviceAddressInfo::default().buffer(buffer);
        // SAFETY: 1. the buffer lives and is bound; the allocator was asked for addresses.
        let address = unsafe { raw.get_buffer_device_address(&info) };
        Ok(Buffer { raw: buffer, address, index })
    }

    /// A host-visible buffer's bytes; between runs, the host's alone.
    pub(super) fn mapped(&mut self, buffer: Buffer) -> Result<&mut [u8], Failure> {
        let allocation = self.owned[buffer.index].1.as_mut();
        let size_bytes = allocation.as_ref().map_or(0, |allocation| allocation.size());
        allocation
            .and_then(Allocation::mapped_slice_mut)
            .ok_or(Failure::NoMemoryType { kind: "host-visible", size_bytes })
    }
}

impl Drop for DeviceLocalMemory {
    fn drop(&mut self) {
        let Some(mut allocator) = self.allocator.take() else {
            return;
        };
        for (buffer, allocation) in self.owned.drain(..) {
            // SAFETY: 1. the buffer lives and this is its end; 3. no command uses it.
            unsafe { self.device.raw().destroy_buffer(buffer, None) };
            if let Some(allocation) = allocation {
                // Freeing fails only for memory of another allocator, and this memory came from
                // this one.
                let _ = allocator.free(allocation);
            }
        }
    }
}
