//! Host memory imported into a device (`VK_EXT_external_memory_host`).

use super::{
    Device,
    allocations::{Full, Purpose, Slot},
    external::{HANDLE, USAGE},
    handle::Handle,
    named::Named,
};
use crate::LendError;
use ash::vk;
use farptr_hmm::VaRange;
use std::{ffi::c_void, sync::Arc};

/// Host pages that a device can address, as one buffer bound to one imported allocation.
///
/// Imported memory has to stay mapped until it is given back, so that its end cannot be deferred:
/// the caller of [`new`](Self::new) promises that the device is done with it when it is dropped.
pub(crate) struct HostImport {
    // Invariant: buffer and memory were made from `handle`; they are destroyed by Drop only.
    range: VaRange,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    /// The device address of the first byte.
    address: u64,
    handle: Arc<Handle>,
    // Given back after Drop has freed the memory.
    _slot: Slot,
}

impl HostImport {
    /// Imports whole pages; with `identity`, checks that the device sees them at their host
    /// address.
    ///
    /// # Safety
    ///
    /// 1. The range is mapped, and stays so until the import was dropped.
    /// 2. It is aligned to the device's import alignment and no longer than its allocation limit.
    /// 3. When the import is dropped, no pending command uses it.
    pub(crate) unsafe fn new(
        device: &Device,
        range: VaRange,
        identity: bool,
        purpose: Purpose,
    ) -> Result<Self, LendError> {
        // An import that was left to a lost device is not made a second time.
        device.check().map_err(|source| LendError::DeviceLost { source })?;
        let failed = |source| LendError::Vulkan { range, source };
        let too_many = |Full { limit, used }| LendError::TooManyImports { range, limit, used };
        let slot = device.allocations().take(purpose).map_err(too_many)?;
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(HANDLE);
        let info = vk::BufferCreateInfo::default()
            .size(range.len_bytes())
            .usage(USAGE)
            .push_next(&mut external);
        // SAFETY: 1. the device is live; 3. its features include bufferDeviceAddress.
        let buffer = unsafe { device.raw().create_buffer(&info, None) }
            .named("vkCreateBuffer")
            .map_err(failed)?;
        let (memory, handle) = (vk::DeviceMemory::null(), Arc::clone(device.handle()));
        let mut import = Self { range, buffer, memory, address: 0, handle, _slot: slot };
        // SAFETY: the caller's promises.
        unsafe { import.allocate_and_bind(device) }?;
        import.look_up_address(device, identity)?;
        Ok(import)
    }

    /// # Safety
    ///
    /// As [`new`](Self::new).
    unsafe fn allocate_and_bind(&mut self, device: &Device) -> Result<(), LendError> {
        let range = self.range;
        let failed = |source| LendError::Vulkan { range, source };
        let pointer = std::ptr::with_exposed_provenance_mut(range_start(range));
        // SAFETY: the caller's promise 1.
        let memory_type = unsafe { self.memory_type(device, pointer) }?;
        let mut flags =
            vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let mut import =
            vk::ImportMemoryHostPointerInfoEXT::default().handle_type(HANDLE).host_pointer(pointer);
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().buffer(self.buffer);
        let mut info = vk::MemoryAllocateInfo::default()
            .allocation_size(range.len_bytes())
            .memory_type_index(memory_type)
            .push_next(&mut flags)
            .push_next(&mut import);
        if device.info.dedicated_imports {
            info = info.push_next(&mut dedicated);
        }
        // SAFETY: 1. the device is live, and so is the buffer; 3. pointer and size are aligned as
        // the import extension demands (caller's promise 2) and mapped (promise 1); the size of a
        // dedicated allocation is that of its buffer (`memory_type`).
        self.memory = unsafe { device.raw().allocate_memory(&info, None) }
            .named("vkAllocateMemory")
            .map_err(failed)?;
        // SAFETY: 1. buffer and memory are live, belong to this device and are bound once.
        unsafe { device.raw().bind_buffer_memory(self.buffer, self.memory, 0) }
            .named("vkBindBufferMemory")
            .map_err(failed)
    }

    /// A coherent memory type that both the buffer and the host pointer can have.
    ///
    /// # Safety
    ///
    /// `pointer` is mapped and aligned to the device's import alignment.
    unsafe fn memory_type(&self, device: &Device, pointer: *mut c_void) -> Result<u32, LendError> {
        let none = LendError::NoMemoryType { range: self.range };
        let Some(extension) = device.host_memory() else {
            return Err(none);
        };
        // SAFETY: 1. the buffer is live.
        let needs = unsafe { device.raw().get_buffer_memory_requirements(self.buffer) };
        let bytes = self.range.len_bytes();
        if needs.size > bytes || (device.info.dedicated_imports && needs.size != bytes) {
            return Err(none);
        }
        let mut properties = vk::MemoryHostPointerPropertiesEXT::default();
        let call = extension.fp().get_memory_host_pointer_properties_ext;
        // SAFETY: 1. the device is live and has the extension; `properties` is a live structure;
        // the pointer is mapped and aligned, as the caller promises.
        unsafe { call(extension.device(), HANDLE, pointer, &raw mut properties) }
            .result()
            .named("vkGetMemoryHostPointerPropertiesEXT")
            .map_err(|source| LendError::Vulkan { range: self.range, source })?;
        let allowed = needs.memory_type_bits & properties.memory_type_bits;
        let coherent = vk::MemoryPropertyFlags::HOST_COHERENT;
        (0u32..)
            .zip(device.memory_types())
            .find(|&(index, kind)| {
                allowed & (1 << index) != 0 && kind.property_flags.contains(coherent)
            })
            .map(|(index, _)| index)
            .ok_or(none)
    }

    fn look_up_address(&mut self, device: &Device, identity: bool) -> Result<(), LendError> {
        let info = vk::BufferDeviceAddressInfo::default().buffer(self.buffer);
        // SAFETY: 1. the buffer is live and bound to memory that was allocated for addresses.
        self.address = unsafe { device.raw().get_buffer_device_address(&info) };
        let host = self.range.start().get();
        if identity && self.address != host {
            return Err(LendError::AddressDiffers { host, device: self.address });
        }
        Ok(())
    }

    /// The distance from host address to device address, wrapping.
    pub(crate) fn delta(&self) -> u64 {
        self.address.wrapping_sub(self.range.start().get())
    }
}

impl Drop for HostImport {
    fn drop(&mut self) {
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the buffer is live; 4. promise 3 to `new`.
        unsafe { self.handle.raw().destroy_buffer(self.buffer, None) };
        // SAFETY: 1. the memory is live or null, which Vulkan ignores; 4. promise 3 to `new`.
        unsafe { self.handle.raw().free_memory(self.memory, None) };
    }
}

/// The start of a mapped range, as a pointer-sized number.
fn range_start(range: VaRange) -> usize {
    usize::try_from(range.start().get()).expect("a mapped address fits a pointer")
}
