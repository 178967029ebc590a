//! A compute pipeline made from a kernel's words.
//!
//! # Safety
//!
//! Rules 1, 3 and 4 of the parent module. Words are a shipped kernel's own, or the caller that
//! gives them promises that they are valid.

use super::{Device, Named};
use crate::failure::Failure;
use ash::vk;
use farptr::{KernelDesc, rewrite::Reflection};
use std::{marker::PhantomData, rc::Rc};

/// A pipeline and its layout.
pub(crate) struct Pipeline {
    // Invariant: both are null or made from `device`, and destroyed by Drop only. The layout has
    // room for `push_bytes` of push constants.
    raw: vk::Pipeline,
    layout: vk::PipelineLayout,
    push_bytes: u32,
    device: Rc<Device>,
}

impl Pipeline {
    /// A pipeline from words.
    ///
    /// # Safety
    ///
    /// The words are a valid module with the entry point `main`, which needs no feature that is not
    /// switched on, no more than `push_bytes` of push constants, and no descriptors.
    pub(crate) unsafe fn new(
        device: &Rc<Device>,
        words: &[u32],
        push_bytes: u32,
    ) -> Result<Self, Failure> {
        let mut made = Self {
            raw: vk::Pipeline::null(),
            layout: vk::PipelineLayout::null(),
            push_bytes,
            device: Rc::clone(device),
        };
        made.layout = create_layout(device.raw(), push_bytes)?;
        made.raw = compile(device.raw(), made.layout, words)?;
        Ok(made)
    }

    pub(super) fn raw(&self) -> vk::Pipeline {
        self.raw
    }

    pub(super) fn layout(&self) -> vk::PipelineLayout {
        self.layout
    }

    /// Bytes of its push constants.
    pub(super) fn push_bytes(&self) -> u32 {
        self.push_bytes
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // SAFETY: 1. the pipeline lives or is null; 3. no command uses it.
        unsafe { self.device.raw().destroy_pipeline(self.raw, None) };
        // SAFETY: 1. the layout lives or is null; 3. no command uses it.
        unsafe { self.device.raw().destroy_pipeline_layout(self.layout, None) };
    }
}

/// The pipeline of a typed kernel: the same words that farptr gives to the driver.
pub(crate) struct Kernel<K> {
    // Invariant: it has room for one `K::Push`.
    pipeline: Pipeline,
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
        let width = Reflection::of(words)?.local_size[0];
        let push_bytes = u32::try_from(size_of::<K::Push>()).expect("shipped kernels push few");
        // SAFETY: shipped kernels enter at `main`, need the features that every device of this
        // crate has or that the probe has asked for, push one `K::Push`, and have no descriptors;
        // other words are like them (caller).
        let pipeline = unsafe { Pipeline::new(device, words, push_bytes) }?;
        Ok(Self { pipeline, width, desc: PhantomData })
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }
}

fn create_layout(device: &ash::Device, push_bytes: u32) -> Result<vk::PipelineLayout, Failure> {
    let ranges = [vk::PushConstantRange::default()
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
        .size(push_bytes)];
    let used = usize::from(push_bytes > 0);
    let info = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&ranges[..used]);
    // SAFETY: 1. the device lives; 4. an empty range is left out, and kernels push no more than the
    // 128 bytes that every device allows.
    unsafe { device.create_pipeline_layout(&info, None) }.named("vkCreatePipelineLayout")
}

fn compile(
    device: &ash::Device,
    layout: vk::PipelineLayout,
    words: &[u32],
) -> Result<vk::Pipeline, Failure> {
    let info = vk::ShaderModuleCreateInfo::default().code(words);
    // SAFETY: 1. the device lives; 4. the words are valid, and the features that they need are
    // enabled (caller of `Pipeline::new`).
    let module =
        unsafe { device.create_shader_module(&info, None) }.named("vkCreateShaderModule")?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(c"main");
    let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
    let cache = vk::PipelineCache::null();
    // SAFETY: 1. module and layout live; 4. the module enters at `main` (as above).
    let made = unsafe { device.create_compute_pipelines(cache, &info, None) };
    // SAFETY: 1. the module lives; a finished pipeline does without it.
    unsafe { device.destroy_shader_module(module, None) };
    made.map(|pipelines| pipelines[0])
        .map_err(|(_, result)| result)
        .named("vkCreateComputePipelines")
}
