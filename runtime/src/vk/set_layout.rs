//! The layout of the descriptor set that names a control buffer.

use super::{handle::Handle, named::Named};
use crate::VulkanError;
use ash::vk;
use std::sync::Arc;

/// The layout of the set that names a control buffer.
pub(crate) struct SetLayout {
    // Invariant: made from `handle`, destroyed by Drop only.
    raw: vk::DescriptorSetLayout,
    handle: Arc<Handle>,
}

impl SetLayout {
    pub(crate) fn new(handle: &Arc<Handle>) -> Result<Self, VulkanError> {
        let bindings = [vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)];
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: 1. the device is live.
        let raw = unsafe { handle.raw().create_descriptor_set_layout(&info, None) }
            .named("vkCreateDescriptorSetLayout")?;
        Ok(Self { raw, handle: Arc::clone(handle) })
    }

    pub(crate) fn raw(&self) -> vk::DescriptorSetLayout {
        self.raw
    }
}

impl Drop for SetLayout {
    fn drop(&mut self) {
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the layout is live; the sets and pipelines that were made with it do not need
        // it any more (Vulkan specification, "Object Lifetime").
        unsafe { self.handle.raw().destroy_descriptor_set_layout(self.raw, None) };
    }
}
