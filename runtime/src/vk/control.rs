//! Control buffers: kernels see them as a uniform buffer, by a descriptor set.

use super::{
    Device,
    buffer::{SharedBuffer, WordAt},
    deferred::Deferred,
    handle::Handle,
    named::Named,
    set_layout::SetLayout,
};
use crate::VulkanError;
use ash::vk;
use std::sync::{Arc, atomic::AtomicU32};

/// A pool with room for one set. Destroyed when it is dropped; the device has to be done with it.
struct Pool {
    // Invariant: made from `handle`, destroyed by Drop only.
    raw: vk::DescriptorPool,
    handle: Arc<Handle>,
}

impl Pool {
    fn new(handle: &Arc<Handle>) -> Result<Self, VulkanError> {
        let sizes = [vk::DescriptorPoolSize::default()
            .ty(vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC)
            .descriptor_count(1)];
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(1).pool_sizes(&sizes);
        // SAFETY: 1. the device is live.
        let raw = unsafe { handle.raw().create_descriptor_pool(&info, None) }
            .named("vkCreateDescriptorPool")?;
        Ok(Self { raw, handle: Arc::clone(handle) })
    }

    /// The one set that there is room for.
    fn allocate(&mut self, layout: &SetLayout) -> Result<vk::DescriptorSet, VulkanError> {
        let layouts = [layout.raw()];
        let info = vk::DescriptorSetAllocateInfo::default()
            .descriptor_pool(self.raw)
            .set_layouts(&layouts);
        // SAFETY: 1. pool and layout are live; 2. `&mut` shows that no other code uses the pool.
        let sets = unsafe { self.handle.raw().allocate_descriptor_sets(&info) }
            .named("vkAllocateDescriptorSets")?;
        Ok(sets[0])
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the pool is live; 4. the device has done with its set, which `Deferred`
        // ensures, or has never used it. The set goes with the pool.
        unsafe { self.handle.raw().destroy_descriptor_pool(self.raw, None) };
    }
}

/// A buffer that kernels see from an offset on, as far as a window is long.
pub(crate) struct ControlBuffer {
    // Invariant: `set` came from the pool and names `buffer`.
    set: vk::DescriptorSet,
    buffer: SharedBuffer,
    window_bytes: u64,
    _pool: Deferred<Pool>,
}

/// A place in a control buffer, from which on a kernel sees it.
#[derive(Clone, Copy)]
pub(crate) struct BlockAt {
    pub(super) set: vk::DescriptorSet,
    /// In bytes.
    pub(super) offset: u32,
}

impl ControlBuffer {
    /// A buffer of so many bytes, a multiple of 4, with undefined content.
    pub(crate) fn new(device: &Device, bytes: u64, window_bytes: u64) -> Result<Self, VulkanError> {
        let buffer = SharedBuffer::for_device(device, bytes)?;
        let mut pool = Pool::new(device.handle())?;
        let set = pool.allocate(device.control_layout())?;
        let blocks = [vk::DescriptorBufferInfo::default().buffer(buffer.raw()).range(window_bytes)];
        let write = [vk::WriteDescriptorSet::default()
            .dst_set(set)
            .descriptor_type(vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC)
            .buffer_info(&blocks)];
        // SAFETY: 1. set and buffer are live; 2. this function alone knows the set, and no command
        // uses it.
        unsafe { device.raw().update_descriptor_sets(&write, &[]) };
        Ok(Self { set, buffer, window_bytes, _pool: Deferred::new(pool, device.queues()) })
    }

    /// The words of the buffer.
    pub(crate) fn words(&self) -> &[AtomicU32] {
        self.buffer.words()
    }

    /// A word, for the device to copy.
    pub(crate) fn word_at(&self, index: u32) -> WordAt {
        self.buffer.word_at(index)
    }

    /// The block that starts at a word.
    pub(crate) fn block_at(&self, word: u32) -> BlockAt {
        let offset = u64::from(word) * 4;
        let bytes = self.words().len() as u64 * 4;
        assert!(offset + self.window_bytes <= bytes, "the window is in the buffer");
        BlockAt { set: self.set, offset: word * 4 }
    }
}
