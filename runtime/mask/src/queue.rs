//! Submissions and waits: when the copies are carried over, and how a device is lost.
//!
//! # Safety
//!
//! As in the crate's documentation.

use crate::{
    counters::Count,
    device::{Device, nanoseconds},
    faults::Call,
    loader::array,
    objects,
    transfer::{Submission, waits_of},
};
use ash::vk;
use std::time::{Duration, Instant};

pub(crate) unsafe extern "system" fn get_device_queue(
    device: vk::Device,
    family: u32,
    index: u32,
    out: *mut vk::Queue,
) {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Device::of(device) };
    let next = owner.next.fp_v1_0().get_device_queue;
    let is_ours = owner.transfer.as_ref().filter(|transfer| transfer.family == family);
    if let Some(transfer) = is_ours {
        let mut behind = vk::Queue::null();
        // SAFETY: 1. the device is live; the program's other queue is the driver's first.
        unsafe { next(device, 0, 0, &raw mut behind) };
        let mut state = owner.state();
        state.late.behind = Some(behind);
        state.queues.insert(behind);
        // SAFETY: 1. the application's place.
        unsafe { *out = transfer.queue() };
        return;
    }
    // SAFETY: 1. the application's arguments.
    unsafe { next(device, family, index, out) };
}

pub(crate) unsafe extern "system" fn create_command_pool(
    device: vk::Device,
    info: *const vk::CommandPoolCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    made: *mut vk::CommandPool,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Device::of(device) };
    // SAFETY: 1. the application's structure.
    let mut own = unsafe { *info };
    if owner.transfer.as_ref().is_some_and(|transfer| transfer.family == own.queue_family_index) {
        own.queue_family_index = 0;
    }
    // SAFETY: 1. the application's arguments, with a family of the driver.
    unsafe { objects::create_command_pool(device, &raw const own, allocator, made) }
}

pub(crate) unsafe extern "system" fn queue_submit(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(queue) };
    if let Some(error) = device.failure(Call::Submit) {
        return error;
    }
    let mut state = device.state();
    let read_only = |import: crate::device::Import| !import.writable;
    let loses = device.options.read_only_loses
        && state.memory.values().any(|memory| memory.import.is_some_and(read_only));
    if loses {
        device.say("device lost: memory is imported that the host may only read");
        device.lose();
        return vk::Result::ERROR_DEVICE_LOST;
    }
    if device.is_transfer(queue) {
        if fence != vk::Fence::null() {
            device.say("a submission is refused: a queue that copies alone signals no fences here");
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        }
        device.counters.one_more(Count::TransferSubmissions);
        state.up();
        // SAFETY: 1. the application's structures.
        let infos = unsafe { array(infos, count) };
        // SAFETY: 1. the application's structures.
        infos.iter().for_each(|info| state.late.hold(unsafe { Submission::of(info) }));
        return vk::Result::SUCCESS;
    }
    state.queues.insert(queue);
    state.up();
    if device.transfer.is_some() {
        // SAFETY: 1. the application's structures.
        let infos = unsafe { array(infos, count) };
        // SAFETY: 1. the application's structures.
        let wanted: Vec<_> = infos.iter().flat_map(|info| unsafe { waits_of(info) }).collect();
        // SAFETY: 2. the device is live; whoever submits has the lock.
        let released = unsafe { state.late.release(&device.next, &wanted) };
        if released != vk::Result::SUCCESS {
            return released;
        }
        device.counters.add(Count::Late, state.late.passed());
    }
    // SAFETY: 1. the application's arguments.
    let result = unsafe { (device.next.fp_v1_0().queue_submit)(queue, count, infos, fence) };
    if result == vk::Result::SUCCESS && device.options.watchdog.is_some() {
        let watched = state.watchdog.watch(&device.next, queue);
        return watched.map_or_else(|error| error, |()| result);
    }
    result
}

/// Waits by a function that waits so long at most and says `TIMEOUT` then. After success the host
/// sees what the device wrote.
fn wait(
    device: &Device,
    at_most: Duration,
    attempt: impl Fn(Duration) -> vk::Result,
) -> vk::Result {
    if let Some(error) = device.failure(Call::Wait) {
        return error;
    }
    let begun = Instant::now();
    loop {
        let left = at_most.saturating_sub(begun.elapsed());
        let limit = device.options.watchdog;
        let of_watchdog = limit.map(|limit| device.state().watchdog.left(&device.next, limit));
        let result = attempt(of_watchdog.unwrap_or(left).min(left));
        if device.is_lost() {
            return vk::Result::ERROR_DEVICE_LOST;
        }
        if result == vk::Result::SUCCESS {
            device.state().down();
            return result;
        }
        if result != vk::Result::TIMEOUT {
            return result;
        }
        if watchdog_strikes(device) {
            return vk::Result::ERROR_DEVICE_LOST;
        }
        if left.is_zero() {
            return result;
        }
    }
}

/// Loses the device if a submission has had all its time.
fn watchdog_strikes(device: &Device) -> bool {
    let Some(limit) = device.options.watchdog else { return false };
    if !device.state().watchdog.left(&device.next, limit).is_zero() {
        return false;
    }
    device.say(&format!("device lost: a submission took more than {} ms", limit.as_millis()));
    device.lose();
    true
}

fn result<T>(of: Result<T, vk::Result>) -> vk::Result {
    of.map_or_else(|error| error, |_| vk::Result::SUCCESS)
}

pub(crate) unsafe extern "system" fn wait_semaphores(
    device: vk::Device,
    info: *const vk::SemaphoreWaitInfo<'_>,
    timeout: u64,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    // SAFETY: 1. the application's structure.
    let info = unsafe { &*info };
    let count = info.semaphore_count;
    // SAFETY: 1. the application's array.
    let semaphores = unsafe { array(info.p_semaphores, count) };
    // SAFETY: 1. the application's array, of as many.
    let values = unsafe { array(info.p_values, count) };
    let wanted: Vec<_> = semaphores.into_iter().zip(values).collect();
    wait(&device, Duration::from_nanos(timeout), |left| {
        let released = device.release(&wanted);
        if released != vk::Result::SUCCESS {
            return released;
        }
        // SAFETY: 1. the application's structure.
        result(unsafe { device.next.wait_semaphores(info, nanoseconds(left)) })
    })
}

pub(crate) unsafe extern "system" fn wait_for_fences(
    device: vk::Device,
    count: u32,
    fences: *const vk::Fence,
    all: vk::Bool32,
    timeout: u64,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    let next = device.next.fp_v1_0().wait_for_fences;
    wait(&device, Duration::from_nanos(timeout), |left| {
        // SAFETY: 1. the application's arguments.
        unsafe { next(device.next.handle(), count, fences, all, nanoseconds(left)) }
    })
}

pub(crate) unsafe extern "system" fn queue_wait_idle(queue: vk::Queue) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(queue) };
    let released = device.release_all();
    if released != vk::Result::SUCCESS {
        return released;
    }
    let Some(queue) = device.behind(queue) else { return vk::Result::SUCCESS };
    wait(&device, Duration::MAX, |left| device.idle(&[queue], left))
}

pub(crate) unsafe extern "system" fn device_wait_idle(device: vk::Device) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    let released = device.release_all();
    if released != vk::Result::SUCCESS {
        return released;
    }
    let queues: Vec<_> = device.state().queues.iter().copied().collect();
    wait(&device, Duration::MAX, |left| device.idle(&queues, left))
}

pub(crate) unsafe extern "system" fn get_semaphore_counter_value(
    device: vk::Device,
    semaphore: vk::Semaphore,
    out: *mut u64,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    if let Some(error) = device.failure(Call::Query) {
        return error;
    }
    let released = device.release(&[(semaphore, u64::MAX)]);
    if released != vk::Result::SUCCESS {
        return released;
    }
    // SAFETY: 1. the application's handle.
    let value = match unsafe { device.next.get_semaphore_counter_value(semaphore) } {
        Ok(value) => value,
        Err(error) => return error,
    };
    if watchdog_strikes(&device) {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    let mut state = device.state();
    if state.seen.insert(semaphore, value).unwrap_or(0) < value {
        state.down();
    }
    // SAFETY: 1. the application's place.
    unsafe { *out = value };
    vk::Result::SUCCESS
}

pub(crate) unsafe extern "system" fn get_fence_status(
    device: vk::Device,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    if let Some(error) = device.failure(Call::Query) {
        return error;
    }
    // SAFETY: 1. the application's handles.
    let result = unsafe { (device.next.fp_v1_0().get_fence_status)(device.next.handle(), fence) };
    if result == vk::Result::NOT_READY && watchdog_strikes(&device) {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    if result == vk::Result::SUCCESS {
        device.state().down();
    }
    result
}
