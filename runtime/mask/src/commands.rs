//! Commands as command buffers record them: they are counted, and dispatches are held back.
//!
//! # Safety
//!
//! As in the crate's documentation.

use crate::{
    counters::Count,
    device::Device,
    held::{Pushed, Recording, Sets},
    loader::array,
};
use ash::vk;

/// Records what a command buffer holds, the latest dispatch first.
///
/// # Safety
///
/// The command buffer is live, and is being recorded.
unsafe fn release(device: &Device, commands: vk::CommandBuffer) {
    let held = device.recordings.with(commands, Recording::take).unwrap_or_default();
    device.counters.add(Count::Reordered, held.len().saturating_sub(1) as u64);
    for dispatch in held.iter().rev() {
        // SAFETY: the caller's promise; it was recorded in this command buffer.
        unsafe { dispatch.record(&device.next, commands) };
    }
}

pub(crate) unsafe extern "system" fn begin_command_buffer(
    commands: vk::CommandBuffer,
    info: *const vk::CommandBufferBeginInfo<'_>,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    if device.options.reorder {
        device.recordings.begin(commands);
    }
    // SAFETY: 1. the application's arguments.
    unsafe { (device.next.fp_v1_0().begin_command_buffer)(commands, info) }
}

pub(crate) unsafe extern "system" fn end_command_buffer(commands: vk::CommandBuffer) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    // SAFETY: 1. the command buffer is being recorded.
    unsafe { release(&device, commands) };
    device.recordings.end(commands);
    // SAFETY: 1. the application's handle.
    unsafe { (device.next.fp_v1_0().end_command_buffer)(commands) }
}

pub(crate) unsafe extern "system" fn cmd_bind_pipeline(
    commands: vk::CommandBuffer,
    point: vk::PipelineBindPoint,
    pipeline: vk::Pipeline,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    let bind = |recording: &mut Recording| recording.bind(pipeline);
    if is_compute(point) && device.recordings.with(commands, bind).is_some() {
        return;
    }
    // SAFETY: 1. the application's arguments.
    unsafe { device.next.cmd_bind_pipeline(commands, point, pipeline) };
}

fn is_compute(point: vk::PipelineBindPoint) -> bool {
    point == vk::PipelineBindPoint::COMPUTE
}

pub(crate) unsafe extern "system" fn cmd_bind_descriptor_sets(
    commands: vk::CommandBuffer,
    point: vk::PipelineBindPoint,
    layout: vk::PipelineLayout,
    first: u32,
    count: u32,
    sets: *const vk::DescriptorSet,
    offset_count: u32,
    offsets: *const u32,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    let bind = |recording: &mut Recording| {
        // SAFETY: 1. the application's array.
        let sets = unsafe { array(sets, count) };
        // SAFETY: 1. the application's array.
        let offsets = unsafe { array(offsets, offset_count) };
        recording.bind_sets(Sets { layout, first, sets, offsets });
    };
    if is_compute(point) && device.recordings.with(commands, bind).is_some() {
        return;
    }
    let next = device.next.fp_v1_0().cmd_bind_descriptor_sets;
    // SAFETY: 1. the application's arguments.
    unsafe { next(commands, point, layout, first, count, sets, offset_count, offsets) };
}

pub(crate) unsafe extern "system" fn cmd_push_constants(
    commands: vk::CommandBuffer,
    layout: vk::PipelineLayout,
    stages: vk::ShaderStageFlags,
    offset: u32,
    count: u32,
    values: *const std::ffi::c_void,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    let push = |recording: &mut Recording| {
        // SAFETY: 1. the application's bytes.
        let bytes = unsafe { array(values.cast(), count) };
        recording.push(Pushed { layout, stages, offset, bytes });
    };
    if device.recordings.with(commands, push).is_some() {
        return;
    }
    let next = device.next.fp_v1_0().cmd_push_constants;
    // SAFETY: 1. the application's arguments.
    unsafe { next(commands, layout, stages, offset, count, values) };
}

pub(crate) unsafe extern "system" fn cmd_dispatch(
    commands: vk::CommandBuffer,
    x: u32,
    y: u32,
    z: u32,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    device.counters.one_more(Count::Dispatches);
    if device.recordings.with(commands, |recording| recording.hold([x, y, z])).is_some() {
        return;
    }
    // SAFETY: 1. the application's arguments.
    unsafe { device.next.cmd_dispatch(commands, x, y, z) };
}

pub(crate) unsafe extern "system" fn cmd_pipeline_barrier(
    commands: vk::CommandBuffer,
    from: vk::PipelineStageFlags,
    to: vk::PipelineStageFlags,
    flags: vk::DependencyFlags,
    memory_count: u32,
    memory: *const vk::MemoryBarrier<'_>,
    buffer_count: u32,
    buffers: *const vk::BufferMemoryBarrier<'_>,
    image_count: u32,
    images: *const vk::ImageMemoryBarrier<'_>,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    // SAFETY: 1. the command buffer is being recorded.
    unsafe { release(&device, commands) };
    let next = device.next.fp_v1_0().cmd_pipeline_barrier;
    // SAFETY: 1. the application's arguments.
    unsafe {
        next(
            commands,
            from,
            to,
            flags,
            memory_count,
            memory,
            buffer_count,
            buffers,
            image_count,
            images,
        );
    }
}

pub(crate) unsafe extern "system" fn cmd_copy_buffer(
    commands: vk::CommandBuffer,
    from: vk::Buffer,
    to: vk::Buffer,
    count: u32,
    regions: *const vk::BufferCopy,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    // SAFETY: 1. the command buffer is being recorded.
    unsafe { release(&device, commands) };
    // SAFETY: 1. the application's array.
    let bytes = unsafe { std::slice::from_raw_parts(regions, count as usize) };
    device.counters.one_more(Count::CopyCalls);
    device.counters.add(Count::CopyRegions, u64::from(count));
    device.counters.add(Count::CopyBytes, bytes.iter().map(|region| region.size).sum());
    let next = device.next.fp_v1_0().cmd_copy_buffer;
    // SAFETY: 1. the application's arguments.
    unsafe { next(commands, from, to, count, regions) };
}

pub(crate) unsafe extern "system" fn cmd_write_timestamp(
    commands: vk::CommandBuffer,
    stage: vk::PipelineStageFlags,
    pool: vk::QueryPool,
    query: u32,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    // SAFETY: 1. the command buffer is being recorded.
    unsafe { release(&device, commands) };
    // SAFETY: 1. the application's arguments.
    unsafe { device.next.cmd_write_timestamp(commands, stage, pool, query) };
}

pub(crate) unsafe extern "system" fn cmd_reset_query_pool(
    commands: vk::CommandBuffer,
    pool: vk::QueryPool,
    first: u32,
    count: u32,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(commands) };
    // SAFETY: 1. the command buffer is being recorded.
    unsafe { release(&device, commands) };
    // SAFETY: 1. the application's arguments.
    unsafe { device.next.cmd_reset_query_pool(commands, pool, first, count) };
}
