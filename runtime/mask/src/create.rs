//! The beginning and the end of devices.
//!
//! # Safety
//!
//! As in the crate's documentation.

use crate::{
    device::Device,
    instance::Instance,
    loader::{DeviceLink, array, take_link},
    transfer::TransferQueue,
};
use ash::vk;
use std::ffi::c_void;

pub(crate) unsafe extern "system" fn create_device(
    physical: vk::PhysicalDevice,
    info: *const vk::DeviceCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    made: *mut vk::Device,
) -> vk::Result {
    let failed = vk::Result::ERROR_INITIALIZATION_FAILED;
    // SAFETY: 1. the handle is live.
    let instance = unsafe { Instance::of_physical(physical) };
    // SAFETY: 1. the application's structure is valid.
    let chain = unsafe { (*info).p_next };
    // SAFETY: this is the chain that the loader passed.
    let Some(link) = (unsafe { take_link::<DeviceLink>(chain) }) else { return failed };
    let create = instance.next.fp_v1_0().create_device;
    // SAFETY: 1. the handle is live.
    let family = unsafe { instance.transfer_family(physical) };
    // SAFETY: 1. the application's structure.
    let mut info = unsafe { *info };
    // SAFETY: 1. the application's array.
    let mut queues = unsafe { array(info.p_queue_create_infos, info.queue_create_info_count) };
    queues.retain(|queue| Some(queue.queue_family_index) != family);
    info = info.queue_create_infos(&queues);
    // SAFETY: 1. the application's arguments, without the family that the driver does not have.
    let result = unsafe { create(physical, &raw const info, std::ptr::null(), made) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    // SAFETY: 1. the next layer wrote it.
    let device = unsafe { *made };
    let load = |name: &std::ffi::CStr| {
        // SAFETY: 2. the function is the next layer's, for a device that it made.
        let found = unsafe { (link.get_device_proc_addr)(device, name.as_ptr()) };
        found.map_or(std::ptr::null(), |found| found as *const c_void)
    };
    // SAFETY: 2. the functions are those of these names.
    let next = unsafe { ash::Device::load_with(load, device) };
    // SAFETY: 1. the handle is live.
    let heaps = unsafe { instance.heaps(physical) };
    let (options, proc_addr) = (&instance.options, link.get_device_proc_addr);
    // SAFETY: 2. the device was just made.
    let transfer = family.map(|family| unsafe { TransferQueue::new(family, device) });
    let owner = Device::new(physical, next, proc_addr, options, heaps, transfer);
    // SAFETY: 2. the device was just made.
    unsafe { owner.enter() };
    vk::Result::SUCCESS
}

pub(crate) unsafe extern "system" fn destroy_device(
    device: vk::Device,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if device == vk::Device::null() {
        return;
    }
    // SAFETY: 1. the device is live until the end of this function.
    let Some(owner) = (unsafe { Device::leave(device) }) else { return };
    owner.report();
    // The driver may go on with what a lost device was doing.
    if owner.is_lost() && !owner.settle() {
        owner.say("the driver is still at work on a lost device, which is left as it is");
        return;
    }
    owner.end_kept();
    owner.state().watchdog.end(&owner.next);
    // SAFETY: 1. the application is done with it.
    unsafe { owner.next.destroy_device(None) };
}

/// Reports of devices that nobody destroyed.
///
/// It runs when the process ends by `exit`, or the library is unloaded.
#[used]
// SAFETY: the section holds functions of this type, which run at exit.
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = {
    extern "C" fn at_exit() {
        Device::all().iter().for_each(|device| device.report());
    }
    at_exit
};
