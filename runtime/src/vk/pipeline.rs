//! Compute pipelines and the driver's pipeline cache.

use super::{Device, Named};
use crate::VulkanError;
use ash::vk;
use farptr_rewrite::Reflection;
use std::{ffi::CString, fmt, sync::Arc};

/// A compute pipeline and its layout.
pub(crate) struct Pipeline {
    // Invariant: made from `device`, destroyed by Drop only.
    raw: vk::Pipeline,
    layout: vk::PipelineLayout,
    device: Arc<Device>,
}

impl Pipeline {
    /// Compiles words whose reflection was checked against the device: a kernel's own, or with
    /// `controlled` its rewritten ones, which have a control block.
    pub(crate) fn new(
        device: &Arc<Device>,
        cache: &PipelineCache,
        words: &[u32],
        reflection: &Reflection,
        controlled: bool,
    ) -> Result<Self, VulkanError> {
        let layout = create_layout(device, reflection.push_bytes, controlled)?;
        match compile(device, cache, layout, words, &reflection.entry) {
            Ok(raw) => Ok(Self { raw, layout, device: Arc::clone(device) }),
            Err(source) => {
                // SAFETY: 1. the layout is live and unused.
                unsafe { device.raw().destroy_pipeline_layout(layout, None) };
                Err(source)
            }
        }
    }

    pub(crate) fn raw(&self) -> vk::Pipeline {
        self.raw
    }

    pub(crate) fn layout(&self) -> vk::PipelineLayout {
        self.layout
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("raw", &self.raw).finish_non_exhaustive()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.device.is_inherited() {
            return;
        }
        // SAFETY: 1. the pipeline is live; 4. scopes hold an Arc of the pipelines that they use
        // until their launches have completed.
        unsafe { self.device.raw().destroy_pipeline(self.raw, None) };
        // SAFETY: as above.
        unsafe { self.device.raw().destroy_pipeline_layout(self.layout, None) };
    }
}

fn create_layout(
    device: &Device,
    push_bytes: u32,
    controlled: bool,
) -> Result<vk::PipelineLayout, VulkanError> {
    let ranges = [vk::PushConstantRange::default()
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
        .size(push_bytes)];
    let mut info = vk::PipelineLayoutCreateInfo::default();
    if push_bytes > 0 {
        info = info.push_constant_ranges(&ranges);
    }
    let sets = [device.control_layout()];
    if controlled {
        info = info.set_layouts(&sets);
    }
    // SAFETY: 1. the device is live; 3. the size was checked against the device's limit.
    unsafe { device.raw().create_pipeline_layout(&info, None) }.named("vkCreatePipelineLayout")
}

fn compile(
    device: &Device,
    cache: &PipelineCache,
    layout: vk::PipelineLayout,
    words: &[u32],
    entry: &str,
) -> Result<vk::Pipeline, VulkanError> {
    let info = vk::ShaderModuleCreateInfo::default().code(words);
    // SAFETY: 1. the device is live; 3. the words are a module whose capabilities the device has
    // and whose descriptors are in the layout; that it is otherwise valid is the promise of
    // `KernelDesc` or `raw_kernel`, which the rewriting pass keeps.
    let module =
        unsafe { device.raw().create_shader_module(&info, None) }.named("vkCreateShaderModule")?;
    // Reflection ends the name at its first zero, so none is inside.
    let entry = CString::new(entry).unwrap_or_default();
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(&entry);
    let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
    // SAFETY: 1. module, layout and cache are live; 2. a cache made without the
    // EXTERNALLY_SYNCHRONIZED flag synchronises itself.
    let made = unsafe { device.raw().create_compute_pipelines(cache.raw, &info, None) };
    // SAFETY: 1. the module is live; a pipeline does not need it after its creation.
    unsafe { device.raw().destroy_shader_module(module, None) };
    match made {
        Ok(pipelines) => Ok(pipelines[0]),
        Err((_, result)) => Err(VulkanError { call: "vkCreateComputePipelines", result }),
    }
}

/// The driver's cache of compiled kernels.
pub(crate) struct PipelineCache {
    // Invariant: made from `device`, destroyed by Drop only.
    raw: vk::PipelineCache,
    device: Arc<Device>,
}

impl PipelineCache {
    /// A cache that starts with what [`data`](Self::data) gave to an earlier process, or empty.
    ///
    /// The driver refuses data of another driver or device by its header; that the bytes are those
    /// that it once gave is for the caller to check.
    pub(crate) fn new(device: &Arc<Device>, data: &[u8]) -> Result<Self, VulkanError> {
        let info = vk::PipelineCacheCreateInfo::default().initial_data(data);
        // SAFETY: 1. the device is live; 3. `data` is empty or came from vkGetPipelineCacheData
        // unchanged, as its checksum shows.
        let raw = unsafe { device.raw().create_pipeline_cache(&info, None) }
            .named("vkCreatePipelineCache")?;
        Ok(Self { raw, device: Arc::clone(device) })
    }

    /// The cache's contents, for a later process.
    pub(crate) fn data(&self) -> Result<Vec<u8>, VulkanError> {
        // SAFETY: 1. device and cache are live.
        unsafe { self.device.raw().get_pipeline_cache_data(self.raw) }
            .named("vkGetPipelineCacheData")
    }
}

impl Drop for PipelineCache {
    fn drop(&mut self) {
        if self.device.is_inherited() {
            return;
        }
        // SAFETY: 1. the cache is live, and `&mut self` shows that no compilation uses it.
        unsafe { self.device.raw().destroy_pipeline_cache(self.raw, None) };
    }
}
