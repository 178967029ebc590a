//! Memory: where it is said to be, and the second copy of what host and device share.
//!
//! # Safety
//!
//! As in the crate's documentation.

use crate::{
    counters::Count,
    device::{Device, Import, Memory, Place},
    faults::Call,
    imports::examine,
    loader::find,
    objects,
    options::Promise,
    shadow::Shadow,
};
use ash::vk;
use std::ffi::c_void;

/// What memory that nobody has written to holds, if the options ask for it.
const POISON: u8 = 0xa5;

pub(crate) unsafe extern "system" fn allocate_memory(
    device: vk::Device,
    info: *const vk::MemoryAllocateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    made: *mut vk::DeviceMemory,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    // SAFETY: 1. the application's structure.
    let info = unsafe { &*info };
    // SAFETY: 1. the application's chain.
    let imported = unsafe { find::<vk::ImportMemoryHostPointerInfoEXT<'_>>(info.p_next) };
    let result = match imported {
        // SAFETY: 1. the application's memory is mapped.
        Some(imported) => unsafe { import(&device, info, imported.p_host_pointer) },
        None => allocate(&device, info),
    };
    match result {
        Ok((memory, entry)) => {
            let mut state = device.state();
            state.memory.insert(memory, entry);
            device.counters.one_more(Count::Memory);
            device.counters.raise_to(Count::PeakMemory, state.memory.len() as u64);
            // SAFETY: 1. the application's place.
            unsafe { *made = memory };
            vk::Result::SUCCESS
        }
        Err(error) => error,
    }
}

pub(crate) unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    made: *mut vk::Buffer,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Device::of(device) };
    let most = owner.options.max_buffer.map_or(u64::MAX, |mib| mib << 20);
    // SAFETY: 1. the application's structure.
    let bytes = unsafe { (*info).size };
    if bytes > most {
        owner.say(&format!("buffer refused: it has {bytes} bytes, and {most} are the limit"));
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    // SAFETY: 1. the application's structure.
    let mut own = unsafe { *info };
    if owner.transfer.is_some() {
        // The driver has one family, so there is nobody to share with.
        own.sharing_mode = vk::SharingMode::EXCLUSIVE;
    }
    // SAFETY: 1. the application's arguments.
    unsafe { objects::create_buffer(device, &raw const own, allocator, made) }
}

/// Whether one more allocation of a size is within the limits that are said.
fn within_limits(device: &Device, info: &vk::MemoryAllocateInfo<'_>) -> Result<(), vk::Result> {
    let state = device.state();
    let most = device.options.allocations.unwrap_or(u32::MAX);
    if state.memory.len() as u64 >= u64::from(most) {
        device.say(&format!("there are {most} allocations, which is the limit"));
        return Err(vk::Result::ERROR_TOO_MANY_OBJECTS);
    }
    let heap = device.heaps.heap_of(info.memory_type_index);
    let used = state.used_of(&device.heaps, heap);
    let is_there = used.saturating_add(info.allocation_size) <= device.heaps.bytes_of(heap);
    is_there.then_some(()).ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)
}

fn allocate(
    device: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
) -> Result<(vk::DeviceMemory, Memory), vk::Result> {
    device.failure(Call::Allocation).map_or(Ok(()), Err)?;
    within_limits(device, info)?;
    let mut real = *info;
    real.memory_type_index = device.heaps.behind(info.memory_type_index);
    // The copies are made of words.
    real.allocation_size = info.allocation_size.next_multiple_of(4);
    // SAFETY: 1. the application's chain; the type is one that the driver allows.
    let memory = unsafe { device.next.allocate_memory(&real, None) }?;
    if device.options.poison {
        poison(device, memory, real.allocation_size);
    }
    let (said_type, bytes) = (info.memory_type_index, info.allocation_size);
    Ok((memory, Memory { said_type, bytes, shadow: None, import: None }))
}

fn poison(device: &Device, memory: vk::DeviceMemory, bytes: u64) {
    // Memory that cannot be mapped stays as it is.
    let Ok(at) = map(device, memory) else { return };
    let bytes = usize::try_from(bytes).expect("mapped memory has addresses");
    // SAFETY: the mapping has so many bytes, and nobody uses them yet.
    unsafe { at.cast::<u8>().write_bytes(POISON, bytes) };
    // SAFETY: 2. the memory is live and mapped.
    unsafe { device.next.unmap_memory(memory) };
}

/// Maps all of an allocation, in the driver.
fn map(device: &Device, memory: vk::DeviceMemory) -> Result<*mut c_void, vk::Result> {
    let flags = vk::MemoryMapFlags::empty();
    // SAFETY: 2. the memory is live, of a type that the host can map, and not mapped yet.
    unsafe { device.next.map_memory(memory, 0, vk::WHOLE_SIZE, flags) }
}

/// # Safety
///
/// `at` points to memory of the host as `vkAllocateMemory` asks for it.
unsafe fn import(
    device: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
    at: *mut c_void,
) -> Result<(vk::DeviceMemory, Memory), vk::Result> {
    device.failure(Call::Import).map_or(Ok(()), Err)?;
    within_limits(device, info)?;
    // SAFETY: 1. the application's chain.
    let dedicated = unsafe { find::<vk::MemoryDedicatedAllocateInfo<'_>>(info.p_next) };
    let for_one = dedicated.is_some_and(|dedicated| dedicated.buffer != vk::Buffer::null());
    if device.options.promise == Promise::Dedicated && !for_one {
        device.say("import refused: it is not for one buffer alone");
        return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
    }
    let live: Vec<_> = device.state().memory.values().filter_map(|memory| memory.import).collect();
    let live = live.into_iter().map(|import| import.range);
    let examined = examine(&device.options, at.addr() as u64, info.allocation_size, live);
    let (range, writable) = examined.map_err(|refusal| {
        device.say(&refusal);
        vk::Result::ERROR_INVALID_EXTERNAL_HANDLE
    })?;
    let import = Some(Import { range, writable });
    let (said_type, bytes) = (info.memory_type_index, info.allocation_size);
    let mut real = *info;
    real.memory_type_index = device.heaps.behind(said_type);
    if !device.options.shadow {
        // SAFETY: 1. the application's chain.
        let memory = unsafe { device.next.allocate_memory(&real, None) }?;
        return Ok((memory, Memory { said_type, bytes, shadow: None, import }));
    }
    // The driver's memory is ordinary, so the import is taken out of the chain.
    // SAFETY: 1. the application's chain.
    let flags = unsafe { find::<vk::MemoryAllocateFlagsInfo<'_>>(info.p_next) };
    let mut flags = vk::MemoryAllocateFlagsInfo {
        p_next: std::ptr::null(),
        ..flags.map_or_else(vk::MemoryAllocateFlagsInfo::default, |flags| *flags)
    };
    real.p_next = (&raw mut flags).cast();
    // SAFETY: 1. the structure and its chain are valid.
    let memory = unsafe { device.next.allocate_memory(&real, None) }?;
    let shadow = map(device, memory).and_then(|device_side| {
        // SAFETY: the mapping lives as long as the memory, the host's side longer, as the caller
        // promises; it was seen that it can be read.
        unsafe { Shadow::of_import(at.cast(), device_side.cast(), bytes, writable) }
            .map_err(|_| vk::Result::ERROR_OUT_OF_HOST_MEMORY)
    });
    match shadow {
        Ok(shadow) => Ok((memory, Memory { said_type, bytes, shadow: Some(shadow), import })),
        Err(error) => {
            // SAFETY: 2. the memory was just made, and nobody uses it.
            unsafe { device.next.free_memory(memory, None) };
            Err(error)
        }
    }
}

pub(crate) unsafe extern "system" fn free_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    let Some(entry) = device.state().memory.remove(&memory) else { return };
    device.counters.one_less(Count::Memory);
    if entry.import.is_some() && entry.shadow.is_none() && device.is_lost() {
        // The driver may be using the host's memory, which is not the device's to keep.
        // SAFETY: 2. the device is live.
        let _ = unsafe { device.next.device_wait_idle() };
    }
    // SAFETY: 1. the application is done with it, and so is the driver.
    device.end(move |next| unsafe { next.free_memory(memory, None) });
}

pub(crate) unsafe extern "system" fn map_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    offset: u64,
    bytes: u64,
    flags: vk::MemoryMapFlags,
    out: *mut *mut c_void,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    device.counters.one_more(Count::Maps);
    let mut state = device.state();
    let failed = vk::Result::ERROR_MEMORY_MAP_FAILED;
    let Some(entry) = state.memory.get_mut(&memory) else { return failed };
    if !device.heaps.is_host_visible(entry.said_type) {
        device.say("the host cannot map memory of this type");
        return failed;
    }
    if !device.options.shadow {
        // SAFETY: 1. the application's arguments.
        return unsafe {
            (device.next.fp_v1_0().map_memory)(
                device.next.handle(),
                memory,
                offset,
                bytes,
                flags,
                out,
            )
        };
    }
    if entry.shadow.is_none() {
        let Ok(device_side) = map(&device, memory) else { return failed };
        // SAFETY: the mapping lives as long as the memory, and has whole words.
        let shadow = unsafe { Shadow::of_mapping(device_side.cast(), entry.bytes) };
        let Ok(shadow) = shadow else { return vk::Result::ERROR_OUT_OF_HOST_MEMORY };
        entry.shadow = Some(shadow);
    }
    let Some(shadow) = &entry.shadow else { return failed };
    let offset = usize::try_from(offset).expect("an offset in mapped memory");
    // SAFETY: 1. the application's place.
    unsafe { *out = shadow.host_address().wrapping_byte_add(offset).cast() };
    vk::Result::SUCCESS
}

pub(crate) unsafe extern "system" fn unmap_memory(device: vk::Device, memory: vk::DeviceMemory) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    // A second copy stays for as long as the memory.
    if !device.options.shadow {
        // SAFETY: 1. the application's arguments.
        unsafe { device.next.unmap_memory(memory) };
    }
}

pub(crate) unsafe extern "system" fn get_buffer_memory_requirements(
    device: vk::Device,
    buffer: vk::Buffer,
    out: *mut vk::MemoryRequirements,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    // SAFETY: 1. the application's arguments.
    let mut needs = unsafe { device.next.get_buffer_memory_requirements(buffer) };
    needs.memory_type_bits = device.heaps.types(needs.memory_type_bits);
    // SAFETY: 1. the application's place.
    unsafe { *out = needs };
}

pub(crate) unsafe extern "system" fn get_buffer_memory_requirements2(
    device: vk::Device,
    info: *const vk::BufferMemoryRequirementsInfo2<'_>,
    out: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    let next = device.next.fp_v1_1().get_buffer_memory_requirements2;
    // SAFETY: 1. the application's arguments.
    unsafe { next(device.next.handle(), info, out) };
    // SAFETY: 1. the application's structure.
    let needs = unsafe { &mut (*out).memory_requirements };
    needs.memory_type_bits = device.heaps.types(needs.memory_type_bits);
}

pub(crate) unsafe extern "system" fn get_memory_host_pointer_properties(
    device: vk::Device,
    kind: vk::ExternalMemoryHandleTypeFlags,
    at: *const c_void,
    out: *mut vk::MemoryHostPointerPropertiesEXT<'_>,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    let Some(next) = device.host_pointer_properties else {
        return vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
    };
    // SAFETY: 1. the application's arguments.
    let result = unsafe { next(device.next.handle(), kind, at, out) };
    if result == vk::Result::SUCCESS {
        // SAFETY: 1. the application's structure.
        let types = unsafe { &mut (*out).memory_type_bits };
        *types = device.heaps.types_of_imports(*types);
    }
    result
}

pub(crate) unsafe extern "system" fn bind_buffer_memory(
    device: vk::Device,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    offset: u64,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    // SAFETY: 1. the application's arguments.
    let bound = unsafe { device.next.bind_buffer_memory(buffer, memory, offset) };
    note_bound(&device, buffer, memory, offset);
    bound.map_or_else(|error| error, |()| vk::Result::SUCCESS)
}

pub(crate) unsafe extern "system" fn bind_buffer_memory2(
    device: vk::Device,
    count: u32,
    infos: *const vk::BindBufferMemoryInfo<'_>,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    // SAFETY: 1. the application's array.
    let infos = unsafe { std::slice::from_raw_parts(infos, count as usize) };
    // SAFETY: 1. the application's arguments.
    let bound = unsafe { device.next.bind_buffer_memory2(infos) };
    for info in infos {
        note_bound(&device, info.buffer, info.memory, info.memory_offset);
    }
    bound.map_or_else(|error| error, |()| vk::Result::SUCCESS)
}

fn note_bound(device: &Device, buffer: vk::Buffer, memory: vk::DeviceMemory, offset: u64) {
    // SAFETY: 2. the buffer is live.
    let needs = unsafe { device.next.get_buffer_memory_requirements(buffer) };
    device.state().buffers.insert(buffer, Place { memory, offset, bytes: needs.size });
}
