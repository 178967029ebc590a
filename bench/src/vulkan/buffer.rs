//! Buffers in host-visible memory that kernels address.
//!
//! # Safety
//!
//! Rules 1, 3 and 4 of the parent module. A buffer, its memory and the mapping are made and
//! destroyed together. Code that takes the elements as a slice promises that the device does not
//! use them meanwhile.

use super::{Device, Named};
use crate::failure::Failure;
use ash::vk;
use bytemuck::Pod;
use std::{
    ptr::NonNull,
    rc::Rc,
    sync::atomic::{AtomicU32, AtomicU64},
};

/// Elements that host and device share, mapped for good.
///
/// Without a wish the memory is cached by the CPU where the device offers that, as ordinary memory
/// is.
pub(crate) struct HostBuffer<T> {
    // Invariant: buffer and memory are null or made from `device`, and destroyed by Drop only.
    // Once `new` has returned, `mapped` points to `count` elements in `memory`, all written.
    device: Rc<Device>,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    mapped: NonNull<T>,
    /// How many elements there are.
    count: usize,
    address: u64,
}

impl<T: Pod> HostBuffer<T> {
    /// A buffer that holds a copy of `elements`, cached by the CPU where the device offers that.
    pub(crate) fn new(device: &Rc<Device>, elements: &[T]) -> Result<Self, Failure> {
        Self::made(device, elements, None)
    }

    /// As [`new`](Self::new), in memory of one type, which the host sees without flushes.
    pub(crate) fn new_in(
        device: &Rc<Device>,
        elements: &[T],
        memory_type: u32,
    ) -> Result<Self, Failure> {
        Self::made(device, elements, Some(memory_type))
    }

    fn made(
        device: &Rc<Device>,
        elements: &[T],
        memory_type: Option<u32>,
    ) -> Result<Self, Failure> {
        let mut made = Self {
            device: Rc::clone(device),
            buffer: vk::Buffer::null(),
            memory: vk::DeviceMemory::null(),
            mapped: NonNull::dangling(),
            count: 0,
            address: 0,
        };
        let info = vk::BufferCreateInfo::default().size(size_of_val(elements) as u64).usage(
            vk::BufferUsageFlags::STORAGE_BUFFER
                | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
                | vk::BufferUsageFlags::TRANSFER_SRC
                | vk::BufferUsageFlags::TRANSFER_DST,
        );
        // SAFETY: 1. the device lives; 4. it was made with buffer device addresses.
        made.buffer = unsafe { device.raw().create_buffer(&info, None) }.named("vkCreateBuffer")?;
        made.allocate(memory_type)?;
        made.fill(elements)?;
        let info = vk::BufferDeviceAddressInfo::default().buffer(made.buffer);
        // SAFETY: 1. the buffer lives and is bound to memory allocated for addresses.
        made.address = unsafe { device.raw().get_buffer_device_address(&info) };
        Ok(made)
    }

    fn allocate(&mut self, wanted: Option<u32>) -> Result<(), Failure> {
        let raw = self.device.raw();
        // SAFETY: 1. the buffer lives.
        let needs = unsafe { raw.get_buffer_memory_requirements(self.buffer) };
        let mut flags =
            vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(memory_type(&self.device, &needs, wanted)?)
            .push_next(&mut flags);
        // SAFETY: 1. the device lives; 4. the type is one of its own.
        self.memory = unsafe { raw.allocate_memory(&info, None) }.named("vkAllocateMemory")?;
        // SAFETY: 1. buffer and memory live and are bound for the first time; 4. size, alignment
        // and type are those that the buffer asked for.
        unsafe { raw.bind_buffer_memory(self.buffer, self.memory, 0) }.named("vkBindBufferMemory")
    }

    // Not for alignments that a mapping may lack.
    const ALIGNED: () = assert!(align_of::<T>() <= 64);

    fn fill(&mut self, elements: &[T]) -> Result<(), Failure> {
        let () = Self::ALIGNED;
        let (raw, all) = (self.device.raw(), vk::WHOLE_SIZE);
        let none = vk::MemoryMapFlags::empty();
        // SAFETY: 1. the memory lives, is host-visible and was not mapped before.
        let mapped = unsafe { raw.map_memory(self.memory, 0, all, none) }.named("vkMapMemory")?;
        let mapped = NonNull::new(mapped.cast::<T>()).ok_or(Failure::Vulkan {
            call: "vkMapMemory",
            result: vk::Result::ERROR_MEMORY_MAP_FAILED,
        })?;
        // SAFETY: the source is a slice; the mapping has at least as many bytes, because the buffer
        // was made for the slice's size; mappings are aligned to 64 bytes or more
        // (minMemoryMapAlignment), and no element here to more; both are apart, as the slice is not
        // device memory; 3. idle.
        unsafe { mapped.copy_from_nonoverlapping(NonNull::from(elements).cast(), elements.len()) };
        (self.mapped, self.count) = (mapped, elements.len());
        Ok(())
    }

    /// The buffer, made for kernels and for copies.
    pub(crate) fn raw(&self) -> vk::Buffer {
        self.buffer
    }

    /// The device that it was made from.
    pub(crate) fn device(&self) -> &Rc<Device> {
        &self.device
    }

    /// Bytes of all elements.
    pub(crate) fn size_bytes(&self) -> u64 {
        (self.count * size_of::<T>()) as u64
    }

    /// The device address of the first element.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// The host address of the first element.
    pub(crate) fn host_address(&self) -> u64 {
        self.mapped.as_ptr().expose_provenance() as u64
    }

    /// The elements as they are between runs.
    ///
    /// # Safety
    ///
    /// No run that writes them is pending while the slice lives.
    pub(crate) unsafe fn elements(&self) -> &[T] {
        // SAFETY: `mapped` points to `count` written elements that live as long as `self`
        // (invariant), every bit pattern is one (Pod), and nothing writes them, as the caller
        // promises.
        unsafe { std::slice::from_raw_parts(self.mapped.as_ptr(), self.count) }
    }

    /// The elements, to be written between runs.
    ///
    /// # Safety
    ///
    /// No run that touches them is pending while the slice lives.
    pub(crate) unsafe fn elements_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `elements`; the borrow is exclusive, and the device is no other user, as
        // the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.mapped.as_ptr(), self.count) }
    }
}

impl<T> Drop for HostBuffer<T> {
    fn drop(&mut self) {
        // SAFETY: 1. the buffer lives or is null; 3. no command uses it.
        unsafe { self.device.raw().destroy_buffer(self.buffer, None) };
        // SAFETY: 1. the memory lives or is null, and unmaps itself; 3. no command uses it.
        unsafe { self.device.raw().free_memory(self.memory, None) };
    }
}

impl HostBuffer<u32> {
    /// A word that the device may use meanwhile.
    pub(crate) fn word(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.count, "no such word");
        // SAFETY: the buffer has `count` words at `mapped` (invariant).
        let word = unsafe { self.mapped.add(index) };
        // SAFETY: the word lives as long as `self` and is aligned; code of this crate that makes
        // other references promises that nothing writes meanwhile.
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }
}

impl HostBuffer<u64> {
    /// As for words of 32 bits.
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count, "no such word");
        // SAFETY: the buffer has `count` words at `mapped` (invariant).
        let word = unsafe { self.mapped.add(index) };
        // SAFETY: as for words of 32 bits.
        unsafe { AtomicU64::from_ptr(word.as_ptr()) }
    }
}

/// A coherent memory type for the buffer: the one that is wanted, or one that is cached by the CPU
/// if there is one.
fn memory_type(
    device: &Device,
    needs: &vk::MemoryRequirements,
    wanted: Option<u32>,
) -> Result<u32, Failure> {
    let shared = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let cached = shared | vk::MemoryPropertyFlags::HOST_CACHED;
    let types = device.physical().memory.memory_types_as_slice();
    let first_with = |flags| {
        (0u32..)
            .zip(types)
            .find(|&(index, kind)| {
                wanted.is_none_or(|wanted| wanted == index)
                    && needs.memory_type_bits & (1 << index) != 0
                    && kind.property_flags.contains(flags)
            })
            .map(|(index, _)| index)
    };
    first_with(cached)
        .or_else(|| first_with(shared))
        .ok_or(Failure::NoMemoryType { kind: "host-visible", size_bytes: needs.size })
}
