//! A compute pipeline made from a kernel's words.
//!
//! # Safety
//!
//! Rules 1, 3 and 4 of the parent module. Words are a shipped kernel's own, or the caller that
//! gives them promises that they are as valid.

use super::{Device, Named};
use crate::failure::Failure;
use ash::vk;
use farptr::{KernelDesc, rewrite::Reflection};
use std::{marker::PhantomData, rc::Rc};

/// A pipeline and its layout: the same words that farptr gives to the driver.
pub(crate) struct Kernel<K> {
    // Invariant: both are null or made from `device`, and destroyed by Drop only. The layout has
    // room for one `K::Push`.
    pipeline: vk::Pipeline,
    layout: vk::PipelineLayout,
    device: Rc<Device>,
    /// Invocations per workgroup in the first dimension.
    pub(crate) width: u32,
    desc: PhantomData<fn() -> K>,
}

impl<K: KernelDesc> Kernel<K> {
    pub(crate) fn new(device: &Rc<Device>) -> Result<Self, Failure> {
        // SAFETY: the words are the kernel's own.
        unsafe { Self::from_words(device, K::words()) }
    }

    /// A pipeline from words that differ from the kernel's own.
    ///
    /// # Safety
    ///
    /// The words are as valid as the kernel's own, and declare the same push constants.
    pub(crate) unsafe fn from_words(device: &Rc<Device>, words: &[u32]) -> Result<Self, Failure> {
        let reflection = Reflection::of(words)?;
        let mut kernel = Self {
            pipeline: vk::Pipeline::null(),
            layout: vk::PipelineLayout::null(),
            device: Rc::clone(device),
            width: reflection.local_size[0],
            desc: PhantomData,
        };
        kernel.layout = create_layout::<K>(device.raw())?;
        kernel.pipeline = compile(device.raw(), kernel.layout, words)?;
        Ok(kernel)
    }

    pub(crate) fn pipeline(&self) -> vk::Pipeline {
        self.pipeline
    }

    pub(crate) fn layout(&self) -> vk::PipelineLayout {
        self.layout
    }
}

impl<K> Drop for Kernel<K> {
    fn drop(&mut self) {
        // SAFETY: 1. the pipeline lives or is null; 3. no command uses it.
        unsafe { self.device.raw().destroy_pipeline(self.pipeline, None) };
        // SAFETY: 1. the layout lives or is null; 3. no command uses it.
        unsafe { self.device.raw().destroy_pipeline_layout(self.layout, None) };
    }
}

fn create_layout<K: KernelDesc>(device: &ash::Device) -> Result<vk::PipelineLayout, Failure> {
    let push_bytes = u32::try_from(size_of::<K::Push>()).expect("shipped kernels push few bytes");
    let ranges = [vk::PushConstantRange::default()
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
        .size(push_bytes)];
    let used = usize::from(push_bytes > 0);
    let info = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&ranges[..used]);
    // SAFETY: 1. the device lives; 4. an empty range is left out, and shipped kernels push less
    // than the 128 bytes that every device allows.
    unsafe { device.create_pipeline_layout(&info, None) }.named("vkCreatePipelineLayout")
}

fn compile(
    device: &ash::Device,
    layout: vk::PipelineLayout,
    words: &[u32],
) -> Result<vk::Pipeline, Failure> {
    let info = vk::ShaderModuleCreateInfo::default().code(words);
    // SAFETY: 1. the device lives; 4. the words are shipped ones, or as valid as those, and the
    // features that they need are enabled.
    let module =
        unsafe { device.create_shader_module(&info, None) }.named("vkCreateShaderModule")?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(c"main");
    let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
    let cache = vk::PipelineCache::null();
    // SAFETY: 1. module and layout live; 4. shipped kernels enter at `main`.
    let made = unsafe { device.create_compute_pipelines(cache, &info, None) };
    // SAFETY: 1. the module lives; a finished pipeline does without it.
    unsafe { device.destroy_shader_module(module, None) };
    made.map(|pipelines| pipelines[0])
        .map_err(|(_, result)| result)
        .named("vkCreateComputePipelines")
}
