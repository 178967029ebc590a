//! Compute pipelines and the driver's pipeline cache.

use super::{Device, deferred::Deferred, handle::Handle, named::Named};
use crate::{VulkanError, pace::Pace};
use ash::vk;
use std::{ffi::CString, fmt, sync::Arc};

/// A kernel as the driver gets it. It was compared with the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shader<'w> {
    pub(crate) words: &'w [u32],
    /// The name of the entry point.
    pub(crate) entry: &'w str,
    /// Bytes of push constants.
    pub(crate) push_bytes: u32,
    /// Whether it has a control block.
    pub(crate) controlled: bool,
}

/// A compute pipeline and its layout.
pub(crate) struct Pipeline {
    compiled: Deferred<Compiled>,
    /// The time that its launches take.
    pub(crate) pace: Pace,
}

/// Destroys pipeline and layout when it is dropped; so the device has to be done with them by then.
struct Compiled {
    // Invariant: made from `handle`, destroyed by Drop only.
    raw: vk::Pipeline,
    layout: Layout,
    handle: Arc<Handle>,
}

impl Pipeline {
    /// Compiles a kernel.
    pub(crate) fn new(
        device: &Device,
        cache: &PipelineCache,
        shader: &Shader<'_>,
    ) -> Result<Self, VulkanError> {
        let layout = Layout::new(device, shader)?;
        let raw = compile(device, cache, &layout, shader)?;
        let compiled = Compiled { raw, layout, handle: Arc::clone(device.handle()) };
        let compiled = Deferred::new(compiled, device.queues());
        Ok(Self { compiled, pace: Pace::default() })
    }

    pub(super) fn raw(&self) -> vk::Pipeline {
        self.compiled.raw
    }

    pub(super) fn layout(&self) -> vk::PipelineLayout {
        self.compiled.layout.raw
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("raw", &self.raw()).finish_non_exhaustive()
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the pipeline is live; 4. the device has done with it, which `Deferred`
        // ensures.
        unsafe { self.handle.raw().destroy_pipeline(self.raw, None) };
    }
}

/// A pipeline layout.
struct Layout {
    // Invariant: made from `handle`, destroyed by Drop only.
    raw: vk::PipelineLayout,
    handle: Arc<Handle>,
}

impl Layout {
    fn new(device: &Device, shader: &Shader<'_>) -> Result<Self, VulkanError> {
        let ranges = [vk::PushConstantRange::default()
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
            .size(shader.push_bytes)];
        let mut info = vk::PipelineLayoutCreateInfo::default();
        if shader.push_bytes > 0 {
            info = info.push_constant_ranges(&ranges);
        }
        let sets = [device.control_layout().raw()];
        if shader.controlled {
            info = info.set_layouts(&sets);
        }
        // SAFETY: 1. the device is live; 3. the size was checked against the device's limit.
        let raw = unsafe { device.raw().create_pipeline_layout(&info, None) }
            .named("vkCreatePipelineLayout")?;
        Ok(Self { raw, handle: Arc::clone(device.handle()) })
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the layout is live; 4. it goes with its pipeline, or was never used.
        unsafe { self.handle.raw().destroy_pipeline_layout(self.raw, None) };
    }
}

/// A shader module, which a pipeline does not need after it was made.
struct Module<'d> {
    // Invariant: made from `device`, destroyed by Drop only.
    raw: vk::ShaderModule,
    device: &'d Device,
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        // SAFETY: 1. the module is live, and no pipeline is being made of it.
        unsafe { self.device.raw().destroy_shader_module(self.raw, None) };
    }
}

fn compile(
    device: &Device,
    cache: &PipelineCache,
    layout: &Layout,
    shader: &Shader<'_>,
) -> Result<vk::Pipeline, VulkanError> {
    let info = vk::ShaderModuleCreateInfo::default().code(shader.words);
    // SAFETY: 1. the device is live; 3. the words are a module whose capabilities the device has
    // and whose descriptors are in the layout; that it is otherwise valid is the promise of
    // `KernelDesc` or `raw_kernel`, which the rewriting pass keeps.
    let raw =
        unsafe { device.raw().create_shader_module(&info, None) }.named("vkCreateShaderModule")?;
    let module = Module { raw, device };
    // Reflection ends the name at its first zero, so none is inside.
    let entry = CString::new(shader.entry).unwrap_or_default();
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module.raw)
        .name(&entry);
    let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout.raw)];
    // SAFETY: 1. module, layout and cache are live; 2. a cache made without the
    // EXTERNALLY_SYNCHRONIZED flag synchronises itself.
    match unsafe { device.raw().create_compute_pipelines(cache.raw, &info, None) } {
        Ok(pipelines) => Ok(pipelines[0]),
        Err((_, result)) => Err(VulkanError { call: "vkCreateComputePipelines", result }),
    }
}

/// The driver's cache of compiled kernels.
pub(crate) struct PipelineCache {
    // Invariant: made from `handle`, destroyed by Drop only.
    raw: vk::PipelineCache,
    handle: Arc<Handle>,
}

impl PipelineCache {
    /// A cache that starts with what [`data`](Self::data) gave to an earlier process, or empty.
    ///
    /// A driver recognises data of another driver or device by its header, and refuses it. The
    /// caller checks that the bytes are those that the driver returned earlier.
    pub(crate) fn new(device: &Device, data: &[u8]) -> Result<Self, VulkanError> {
        let info = vk::PipelineCacheCreateInfo::default().initial_data(data);
        // SAFETY: 1. the device is live; 3. `data` is empty or came from vkGetPipelineCacheData
        // unchanged, as its checksum shows.
        let raw = unsafe { device.raw().create_pipeline_cache(&info, None) }
            .named("vkCreatePipelineCache")?;
        Ok(Self { raw, handle: Arc::clone(device.handle()) })
    }

    /// The cache's contents, for a later process.
    pub(crate) fn data(&self) -> Result<Vec<u8>, VulkanError> {
        // SAFETY: 1. device and cache are live.
        unsafe { self.handle.raw().get_pipeline_cache_data(self.raw) }
            .named("vkGetPipelineCacheData")
    }
}

impl Drop for PipelineCache {
    fn drop(&mut self) {
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the cache is live, and `&mut self` shows that no compilation uses it.
        unsafe { self.handle.raw().destroy_pipeline_cache(self.raw, None) };
    }
}
