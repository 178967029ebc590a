//! Host memory that the device works on itself, by `VK_EXT_external_memory_host`.
//!
//! # Safety
//!
//! Rules 1, 3 and 4 of the parent module. The caller promises that the memory stays mapped for as
//! long as the value lives.

use super::{Device, Named};
use crate::failure::Failure;
use ash::vk;
use std::{ffi::c_void, rc::Rc};

const HOST_POINTER: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

/// A buffer over imported host memory.
pub(crate) struct Imported {
    // Invariant: buffer and memory are null or made from `device`, and destroyed by Drop only.
    device: Rc<Device>,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    address: u64,
}

impl Imported {
    /// Imports memory. Start and length are multiples of the device's import alignment.
    ///
    /// # Safety
    ///
    /// The range stays mapped until the value is dropped, and nothing reads or writes it while a
    /// kernel writes it.
    pub(crate) unsafe fn new(
        device: &Rc<Device>,
        start: *mut c_void,
        len_bytes: u64,
    ) -> Result<Self, Failure> {
        let none = Failure::NoMemoryType { kind: "imported", size_bytes: len_bytes };
        let import = device.import().ok_or(none)?;
        let mut pointer = vk::MemoryHostPointerPropertiesEXT::default();
        let call = import.fp().get_memory_host_pointer_properties_ext;
        // SAFETY: 1. the device lives, and has the extension; the pointer is mapped (caller).
        unsafe { call(import.device(), HOST_POINTER, start, &raw mut pointer) }
            .result()
            .named("vkGetMemoryHostPointerPropertiesEXT")?;
        let mut made = Self {
            device: Rc::clone(device),
            buffer: vk::Buffer::null(),
            memory: vk::DeviceMemory::null(),
            address: 0,
        };
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(HOST_POINTER);
        let info = vk::BufferCreateInfo::default()
            .size(len_bytes)
            .usage(
                vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS,
            )
            .push_next(&mut external);
        // SAFETY: 1. the device lives; 4. it was made with buffer device addresses and the
        // extension.
        made.buffer = unsafe { device.raw().create_buffer(&info, None) }.named("vkCreateBuffer")?;
        // SAFETY: 1. the buffer lives.
        let needs = unsafe { device.raw().get_buffer_memory_requirements(made.buffer) };
        let bits = needs.memory_type_bits & pointer.memory_type_bits;
        if bits == 0 || needs.size > len_bytes {
            return Err(Failure::NoMemoryType { kind: "imported", size_bytes: needs.size });
        }
        made.import(start, len_bytes, bits.trailing_zeros())?;
        let info = vk::BufferDeviceAddressInfo::default().buffer(made.buffer);
        // SAFETY: 1. the buffer lives and is bound to memory allocated for addresses.
        made.address = unsafe { device.raw().get_buffer_device_address(&info) };
        Ok(made)
    }

    fn import(&mut self, start: *mut c_void, len_bytes: u64, kind: u32) -> Result<(), Failure> {
        let raw = self.device.raw();
        let mut flags =
            vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let mut host = vk::ImportMemoryHostPointerInfoEXT::default()
            .handle_type(HOST_POINTER)
            .host_pointer(start);
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(len_bytes)
            .memory_type_index(kind)
            .push_next(&mut flags)
            .push_next(&mut host);
        // SAFETY: 1. the device lives; 4. the type is one that the driver gave for this pointer.
        self.memory = unsafe { raw.allocate_memory(&info, None) }
            .named("vkAllocateMemory, which imports,")?;
        // SAFETY: 1. buffer and memory live and are bound for the first time; 4. the memory has as
        // many bytes as the buffer needs, and a type that fits both.
        unsafe { raw.bind_buffer_memory(self.buffer, self.memory, 0) }.named("vkBindBufferMemory")
    }

    /// The device address of the first byte.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        // SAFETY: 1. the buffer lives or is null; 3. no command uses it.
        unsafe { self.device.raw().destroy_buffer(self.buffer, None) };
        // SAFETY: 1. the memory lives or is null; 3. no command uses it.
        unsafe { self.device.raw().free_memory(self.memory, None) };
    }
}
