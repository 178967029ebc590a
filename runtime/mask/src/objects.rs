//! Objects whose number is counted.
//!
//! # Safety
//!
//! As in the crate's documentation.

use crate::{counters::Count, device::Device};
use ash::vk;

macro_rules! objects {
    ($(
        $count:ident: $create:ident($info:ident), $destroy:ident($handle:ident), $forget:expr;
    )*) => {$(
        pub(crate) unsafe extern "system" fn $create(
            device: vk::Device,
            info: *const vk::$info<'_>,
            _allocator: *const vk::AllocationCallbacks<'_>,
            made: *mut vk::$handle,
        ) -> vk::Result {
            // SAFETY: 1. the handle is live.
            let device = unsafe { Device::of(device) };
            let next = device.next.fp_v1_0().$create;
            // SAFETY: 1. the application's arguments.
            let result = unsafe { next(device.next.handle(), info, std::ptr::null(), made) };
            if result == vk::Result::SUCCESS {
                device.counters.one_more(Count::$count);
            }
            result
        }

        pub(crate) unsafe extern "system" fn $destroy(
            device: vk::Device,
            object: vk::$handle,
            _allocator: *const vk::AllocationCallbacks<'_>,
        ) {
            // SAFETY: 1. the handle is live.
            let device = unsafe { Device::of(device) };
            if object == vk::$handle::null() {
                return;
            }
            device.counters.one_less(Count::$count);
            $forget(&device, object);
            // SAFETY: 1. the application is done with it, and so is the driver.
            device.end(move |next| unsafe { next.$destroy(object, None) });
        }
    )*};
}

objects! {
    Buffers: create_buffer(BufferCreateInfo), destroy_buffer(Buffer), forget_buffer;
    Semaphores: create_semaphore(SemaphoreCreateInfo), destroy_semaphore(Semaphore),
        forget_semaphore;
    Fences: create_fence(FenceCreateInfo), destroy_fence(Fence), nothing;
    CommandPools: create_command_pool(CommandPoolCreateInfo), destroy_command_pool(CommandPool),
        nothing;
    QueryPools: create_query_pool(QueryPoolCreateInfo), destroy_query_pool(QueryPool), nothing;
    DescriptorPools: create_descriptor_pool(DescriptorPoolCreateInfo),
        destroy_descriptor_pool(DescriptorPool), nothing;
    SetLayouts: create_descriptor_set_layout(DescriptorSetLayoutCreateInfo),
        destroy_descriptor_set_layout(DescriptorSetLayout), nothing;
    ShaderModules: create_shader_module(ShaderModuleCreateInfo),
        destroy_shader_module(ShaderModule), nothing;
    PipelineLayouts: create_pipeline_layout(PipelineLayoutCreateInfo),
        destroy_pipeline_layout(PipelineLayout), nothing;
    PipelineCaches: create_pipeline_cache(PipelineCacheCreateInfo),
        destroy_pipeline_cache(PipelineCache), nothing;
}

fn nothing<T>(_: &Device, _: T) {}

fn forget_buffer(device: &Device, buffer: vk::Buffer) {
    device.state().buffers.remove(&buffer);
}

fn forget_semaphore(device: &Device, semaphore: vk::Semaphore) {
    device.state().seen.remove(&semaphore);
}

pub(crate) unsafe extern "system" fn create_compute_pipelines(
    device: vk::Device,
    cache: vk::PipelineCache,
    count: u32,
    infos: *const vk::ComputePipelineCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    made: *mut vk::Pipeline,
) -> vk::Result {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    let next = device.next.fp_v1_0().create_compute_pipelines;
    // SAFETY: 1. the application's arguments.
    let result = unsafe { next(device.next.handle(), cache, count, infos, std::ptr::null(), made) };
    // SAFETY: 1. the next layer has written the array, with null where it failed.
    let made = unsafe { std::slice::from_raw_parts(made, count as usize) };
    let made = made.iter().filter(|&&pipeline| pipeline != vk::Pipeline::null()).count();
    device.counters.add(Count::Pipelines, made as u64);
    result
}

pub(crate) unsafe extern "system" fn destroy_pipeline(
    device: vk::Device,
    pipeline: vk::Pipeline,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    if pipeline == vk::Pipeline::null() {
        return;
    }
    device.counters.one_less(Count::Pipelines);
    // SAFETY: 1. the application is done with it, and so is the driver.
    device.end(move |next| unsafe { next.destroy_pipeline(pipeline, None) });
}
