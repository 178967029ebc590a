//! Buffers that are bound to memory of their own.

use super::{Device, budget::Share, deferred::Deferred, memory::Memory, named::Named};
use crate::VulkanError;
use ash::vk;
use gpu_allocator::{MemoryLocation, vulkan::Allocation};
use std::sync::Arc;

/// A buffer bound to memory of its own, with a device address.
pub(crate) struct Buffer(Deferred<Bound>);

/// Destroys buffer and memory when it is dropped; so the device has to be done with it by then.
struct Bound {
    // Invariant: made from the device of `memory`, destroyed by Drop only; bound to `allocation`
    // if that is there.
    raw: vk::Buffer,
    allocation: Option<Allocation>,
    memory: Arc<Memory>,
    /// What the buffer takes of the device's memory. It is given back after the memory.
    share: Option<Share>,
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
        if bytes > device.info.limits.allocation_bytes {
            return Err(too_large());
        }
        let families = device.sharing_families();
        let mut info = vk::BufferCreateInfo::default().size(bytes).usage(usage);
        if let Some(families) = &families {
            // Drivers take no other path for buffers that are shared, so none changes its owner.
            info = info.sharing_mode(vk::SharingMode::CONCURRENT).queue_family_indices(families);
        }
        // SAFETY: 1. the device is live; 3. its features include bufferDeviceAddress.
        let raw = unsafe { device.raw().create_buffer(&info, None) }.named("vkCreateBuffer")?;
        let mut bound =
            Bound { raw, allocation: None, memory: Arc::clone(device.memory()), share: None };
        bound.allocate_and_bind(device, location)?;
        Ok(Self(Deferred::new(bound, device.queues())))
    }

    pub(crate) fn raw(&self) -> vk::Buffer {
        self.0.raw
    }

    /// Keeps the share of the device's budget that the buffer takes, until its memory is free.
    pub(crate) fn keep_share(&mut self, share: Share) {
        self.0.share = Some(share);
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
            return Err(too_large());
        }
        let allocation = self.memory.allocate(raw, requirements, location)?;
        // Copies have taken their share before.
        let local = allocation.memory_properties().contains(vk::MemoryPropertyFlags::DEVICE_LOCAL);
        let charged = local && location != MemoryLocation::GpuOnly;
        self.share = charged.then(|| device.budget().charge(allocation.size()));
        let allocation = self.allocation.insert(allocation);
        // SAFETY: 1. the memory is live until the allocation is freed.
        let memory = unsafe { allocation.memory() };
        // SAFETY: 1. buffer and memory are live; 2. the buffer is new and bound once, to a part of
        // the memory that no other allocation has.
        unsafe { device.raw().bind_buffer_memory(raw, memory, allocation.offset()) }
            .named("vkBindBufferMemory")
    }
}

/// The error of a buffer, or of its memory, that no allocation may be as long as.
fn too_large() -> VulkanError {
    VulkanError { call: "vkAllocateMemory", result: vk::Result::ERROR_OUT_OF_DEVICE_MEMORY }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let handle = self.memory.handle();
        if handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the buffer is live; 4. the device has done with it, which `Deferred` ensures,
        // or has never used it.
        unsafe { handle.raw().destroy_buffer(self.raw, None) };
        // Kernels of a lost device may be running although the driver calls it lost, so nobody gets
        // the memory. It goes with the device.
        let reused = handle.loss().why().is_none();
        if let Some(allocation) = self.allocation.take().filter(|_| reused) {
            self.memory.free(allocation);
        }
    }
}
