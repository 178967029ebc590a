//! Buffers of farptr's own that host and device look at together.

use super::{Device, bound::Buffer};
use crate::VulkanError;
use ash::vk;
use gpu_allocator::MemoryLocation;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A word of a buffer.
#[derive(Clone, Copy)]
pub(crate) struct WordAt {
    pub(super) buffer: vk::Buffer,
    /// In bytes.
    pub(super) offset: u64,
}

/// A buffer in coherent memory that is mapped for as long as it lives.
pub(crate) struct SharedBuffer {
    // Invariant: the buffer's memory is mapped, and has so many words.
    buffer: Buffer,
    address: u64,
    words: usize,
}

impl SharedBuffer {
    /// A buffer of this many bytes, a multiple of 4, with undefined content, that the host writes
    /// and the device reads: on a card of its own it is memory of the card, and a read by the host
    /// crosses the bus for every word.
    pub(crate) fn for_device(device: &Device, bytes: u64) -> Result<Self, VulkanError> {
        Self::new(device, bytes, MemoryLocation::CpuToGpu)
    }

    /// As [`for_device`](Self::for_device), for words that the device writes and the host reads: it
    /// is memory of the host, in its caches. All words are 0.
    pub(crate) fn for_host(device: &Device, bytes: u64) -> Result<Self, VulkanError> {
        let buffer = Self::new(device, bytes, MemoryLocation::GpuToCpu)?;
        buffer.clear();
        Ok(buffer)
    }

    fn new(device: &Device, bytes: u64, location: MemoryLocation) -> Result<Self, VulkanError> {
        let usage = vk::BufferUsageFlags::UNIFORM_BUFFER;
        let buffer = Buffer::new(device, bytes, usage, location)?;
        let address = buffer.look_up_address(device);
        let words = usize::try_from(bytes / 4).expect("mapped memory has addresses");
        Ok(Self { buffer, address, words })
    }

    /// The properties of its memory.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> vk::MemoryPropertyFlags {
        self.buffer.allocation().memory_properties()
    }

    pub(crate) fn raw(&self) -> vk::Buffer {
        self.buffer.raw()
    }

    /// The device address of the first byte.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// The words of the buffer, which a kernel may change at any time.
    pub(crate) fn words(&self) -> &[AtomicU32] {
        let start = self.buffer.allocation().mapped_ptr().expect("the invariant: it is mapped");
        // SAFETY: 1. the allocation is mapped while `self` lives, at least as long as the buffer,
        // whose requirements it was made for, and aligned to more than a word; 2. every word is a
        // valid `AtomicU32`; 3. the host reads and writes it through this type only, and a device
        // is no thread of this process.
        unsafe { std::slice::from_raw_parts(start.as_ptr().cast::<AtomicU32>(), self.words) }
    }

    /// Sets all words to 0, while no kernel runs.
    pub(crate) fn clear(&self) {
        self.words().iter().for_each(|word| word.store(0, Relaxed));
    }

    /// A word, for the device to copy.
    pub(crate) fn word_at(&self, index: u32) -> WordAt {
        assert!((index as usize) < self.words, "the word is in the buffer");
        WordAt { buffer: self.raw(), offset: u64::from(index) * 4 }
    }
}
