//! The functions of this layer by their names.
//!
//! # Safety
//!
//! As in the crate's documentation.

use crate::{
    commands, create, device::Device, instance, instance::Instance, memory, objects, queue,
};
use ash::vk;
use std::ffi::{CStr, c_char};

/// Looks up a function by its name.
macro_rules! function {
    ($name:expr; $($text:literal $kind:ident $function:path;)*) => {
        match $name {
            $($text => {
                // SAFETY: 3. the caller of a function that is looked up gives it the type of its
                // name, which is this one.
                Some(unsafe {
                    std::mem::transmute::<vk::$kind, unsafe extern "system" fn()>($function)
                })
            })*
            _ => None,
        }
    };
}

fn instance_function(name: &[u8]) -> vk::PFN_vkVoidFunction {
    function! { name;
        b"vkGetInstanceProcAddr" PFN_vkGetInstanceProcAddr get_instance_proc_addr;
        b"vkCreateInstance" PFN_vkCreateInstance instance::create_instance;
        b"vkDestroyInstance" PFN_vkDestroyInstance instance::destroy_instance;
        b"vkCreateDevice" PFN_vkCreateDevice create::create_device;
        b"vkEnumerateDeviceExtensionProperties" PFN_vkEnumerateDeviceExtensionProperties
            instance::enumerate_device_extension_properties;
        b"vkGetPhysicalDeviceProperties" PFN_vkGetPhysicalDeviceProperties
            instance::get_physical_device_properties;
        b"vkGetPhysicalDeviceProperties2" PFN_vkGetPhysicalDeviceProperties2
            instance::get_physical_device_properties2;
        b"vkGetPhysicalDeviceExternalBufferProperties"
            PFN_vkGetPhysicalDeviceExternalBufferProperties
            instance::get_physical_device_external_buffer_properties;
        b"vkGetPhysicalDeviceFeatures" PFN_vkGetPhysicalDeviceFeatures
            instance::get_physical_device_features;
        b"vkGetPhysicalDeviceFeatures2" PFN_vkGetPhysicalDeviceFeatures2
            instance::get_physical_device_features2;
        b"vkGetPhysicalDeviceQueueFamilyProperties" PFN_vkGetPhysicalDeviceQueueFamilyProperties
            instance::get_physical_device_queue_family_properties;
        b"vkGetPhysicalDeviceQueueFamilyProperties2" PFN_vkGetPhysicalDeviceQueueFamilyProperties2
            instance::get_physical_device_queue_family_properties2;
        b"vkGetPhysicalDeviceMemoryProperties" PFN_vkGetPhysicalDeviceMemoryProperties
            instance::get_physical_device_memory_properties;
        b"vkGetPhysicalDeviceMemoryProperties2" PFN_vkGetPhysicalDeviceMemoryProperties2
            instance::get_physical_device_memory_properties2;
    }
}

fn device_function(name: &[u8]) -> vk::PFN_vkVoidFunction {
    memory_function(name)
        .or_else(|| queue_function(name))
        .or_else(|| command_function(name))
        .or_else(|| object_function(name))
}

fn memory_function(name: &[u8]) -> vk::PFN_vkVoidFunction {
    function! { name;
        b"vkGetDeviceProcAddr" PFN_vkGetDeviceProcAddr get_device_proc_addr;
        b"vkDestroyDevice" PFN_vkDestroyDevice create::destroy_device;
        b"vkAllocateMemory" PFN_vkAllocateMemory memory::allocate_memory;
        b"vkFreeMemory" PFN_vkFreeMemory memory::free_memory;
        b"vkMapMemory" PFN_vkMapMemory memory::map_memory;
        b"vkUnmapMemory" PFN_vkUnmapMemory memory::unmap_memory;
        b"vkGetBufferMemoryRequirements" PFN_vkGetBufferMemoryRequirements
            memory::get_buffer_memory_requirements;
        b"vkGetBufferMemoryRequirements2" PFN_vkGetBufferMemoryRequirements2
            memory::get_buffer_memory_requirements2;
        b"vkGetMemoryHostPointerPropertiesEXT" PFN_vkGetMemoryHostPointerPropertiesEXT
            memory::get_memory_host_pointer_properties;
        b"vkBindBufferMemory" PFN_vkBindBufferMemory memory::bind_buffer_memory;
        b"vkBindBufferMemory2" PFN_vkBindBufferMemory2 memory::bind_buffer_memory2;
    }
}

fn queue_function(name: &[u8]) -> vk::PFN_vkVoidFunction {
    function! { name;
        b"vkGetDeviceQueue" PFN_vkGetDeviceQueue queue::get_device_queue;
        b"vkQueueSubmit" PFN_vkQueueSubmit queue::queue_submit;
        b"vkWaitSemaphores" PFN_vkWaitSemaphores queue::wait_semaphores;
        b"vkWaitForFences" PFN_vkWaitForFences queue::wait_for_fences;
        b"vkQueueWaitIdle" PFN_vkQueueWaitIdle queue::queue_wait_idle;
        b"vkDeviceWaitIdle" PFN_vkDeviceWaitIdle queue::device_wait_idle;
        b"vkGetSemaphoreCounterValue" PFN_vkGetSemaphoreCounterValue
            queue::get_semaphore_counter_value;
        b"vkGetFenceStatus" PFN_vkGetFenceStatus queue::get_fence_status;
    }
}

fn command_function(name: &[u8]) -> vk::PFN_vkVoidFunction {
    function! { name;
        b"vkBeginCommandBuffer" PFN_vkBeginCommandBuffer commands::begin_command_buffer;
        b"vkEndCommandBuffer" PFN_vkEndCommandBuffer commands::end_command_buffer;
        b"vkCmdBindPipeline" PFN_vkCmdBindPipeline commands::cmd_bind_pipeline;
        b"vkCmdBindDescriptorSets" PFN_vkCmdBindDescriptorSets
            commands::cmd_bind_descriptor_sets;
        b"vkCmdPushConstants" PFN_vkCmdPushConstants commands::cmd_push_constants;
        b"vkCmdDispatch" PFN_vkCmdDispatch commands::cmd_dispatch;
        b"vkCmdPipelineBarrier" PFN_vkCmdPipelineBarrier commands::cmd_pipeline_barrier;
        b"vkCmdCopyBuffer" PFN_vkCmdCopyBuffer commands::cmd_copy_buffer;
        b"vkCmdWriteTimestamp" PFN_vkCmdWriteTimestamp commands::cmd_write_timestamp;
        b"vkCmdResetQueryPool" PFN_vkCmdResetQueryPool commands::cmd_reset_query_pool;
    }
}

fn object_function(name: &[u8]) -> vk::PFN_vkVoidFunction {
    function! { name;
        b"vkCreateBuffer" PFN_vkCreateBuffer memory::create_buffer;
        b"vkDestroyBuffer" PFN_vkDestroyBuffer objects::destroy_buffer;
        b"vkCreateSemaphore" PFN_vkCreateSemaphore objects::create_semaphore;
        b"vkDestroySemaphore" PFN_vkDestroySemaphore objects::destroy_semaphore;
        b"vkCreateFence" PFN_vkCreateFence objects::create_fence;
        b"vkDestroyFence" PFN_vkDestroyFence objects::destroy_fence;
        b"vkCreateCommandPool" PFN_vkCreateCommandPool queue::create_command_pool;
        b"vkDestroyCommandPool" PFN_vkDestroyCommandPool objects::destroy_command_pool;
        b"vkCreateQueryPool" PFN_vkCreateQueryPool objects::create_query_pool;
        b"vkDestroyQueryPool" PFN_vkDestroyQueryPool objects::destroy_query_pool;
        b"vkCreateDescriptorPool" PFN_vkCreateDescriptorPool objects::create_descriptor_pool;
        b"vkDestroyDescriptorPool" PFN_vkDestroyDescriptorPool objects::destroy_descriptor_pool;
        b"vkCreateDescriptorSetLayout" PFN_vkCreateDescriptorSetLayout
            objects::create_descriptor_set_layout;
        b"vkDestroyDescriptorSetLayout" PFN_vkDestroyDescriptorSetLayout
            objects::destroy_descriptor_set_layout;
        b"vkCreateShaderModule" PFN_vkCreateShaderModule objects::create_shader_module;
        b"vkDestroyShaderModule" PFN_vkDestroyShaderModule objects::destroy_shader_module;
        b"vkCreatePipelineLayout" PFN_vkCreatePipelineLayout objects::create_pipeline_layout;
        b"vkDestroyPipelineLayout" PFN_vkDestroyPipelineLayout objects::destroy_pipeline_layout;
        b"vkCreatePipelineCache" PFN_vkCreatePipelineCache objects::create_pipeline_cache;
        b"vkDestroyPipelineCache" PFN_vkDestroyPipelineCache objects::destroy_pipeline_cache;
        b"vkCreateComputePipelines" PFN_vkCreateComputePipelines
            objects::create_compute_pipelines;
        b"vkDestroyPipeline" PFN_vkDestroyPipeline objects::destroy_pipeline;
    }
}

/// Functions that would go around this layer. Nobody gets them.
const REFUSED: [&[u8]; 5] = [
    b"vkQueueSubmit2",
    b"vkQueueBindSparse",
    b"vkMapMemory2",
    b"vkUnmapMemory2",
    b"vkGetDeviceQueue2",
];

/// Commands that would have to wait for dispatches that are held, or to find what these had bound.
/// Nobody gets them on a device whose dispatches are reordered.
const REFUSED_IF_REORDERED: [&[u8]; 13] = [
    b"vkCmdBindDescriptorSets2",
    b"vkCmdDispatchBase",
    b"vkCmdDispatchIndirect",
    b"vkCmdExecuteCommands",
    b"vkCmdPipelineBarrier2",
    b"vkCmdPushConstants2",
    b"vkCmdPushDescriptorSet",
    b"vkCmdPushDescriptorSet2",
    b"vkCmdSetEvent",
    b"vkCmdSetEvent2",
    b"vkCmdWaitEvents",
    b"vkCmdWaitEvents2",
    b"vkCmdWriteTimestamp2",
];

/// A function that Vulkan took over has its name, and this ending.
fn without_ending(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"KHR").unwrap_or(name)
}

pub(crate) unsafe extern "system" fn get_device_proc_addr(
    device: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: 1. the application's text.
    let text = without_ending(unsafe { CStr::from_ptr(name) }.to_bytes());
    // SAFETY: 1. the handle is live.
    let device = unsafe { Device::of(device) };
    // SAFETY: 2. the function is the next layer's.
    let next = unsafe { (device.get_device_proc_addr)(device.next.handle(), name) };
    let is_around = device.options.reorder && REFUSED_IF_REORDERED.contains(&text);
    if next.is_none() || is_around || REFUSED.contains(&text) {
        return None;
    }
    device_function(text).or(next)
}

pub(crate) unsafe extern "system" fn get_instance_proc_addr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: 1. the application's text.
    let text = without_ending(unsafe { CStr::from_ptr(name) }.to_bytes());
    if let Some(function) = instance_function(text).or_else(|| device_function(text)) {
        return Some(function);
    }
    if instance == vk::Instance::null() || REFUSED.contains(&text) {
        return None;
    }
    // SAFETY: 1. the handle is live.
    let owner = unsafe { Instance::of(instance) }?;
    // SAFETY: 2. the function is the next layer's.
    unsafe { (owner.get_instance_proc_addr)(instance, name) }
}
