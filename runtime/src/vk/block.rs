//! Stretches of device memory with device addresses, on page boundaries.

use super::{
    Device,
    bound::Buffer,
    budget::{BESIDE_BYTES, Share},
};
use crate::VulkanError;
use ash::vk;
use farptr_rewrite::control::PAGE_BYTES;
use gpu_allocator::MemoryLocation;
use std::{marker::PhantomData, ptr::NonNull};

/// Whole pages of memory that kernels reach by address, as one buffer.
pub(crate) struct Block {
    // Invariant: the buffer has a page more than `bytes`, and `mapped` is in its memory.
    buffer: Buffer,
    /// The device address of the first page.
    address: u64,
    /// Bytes from the start of the buffer to the first page.
    skipped: u64,
    bytes: u64,
    /// The first page as the host sees it, if it does so coherently.
    mapped: Option<NonNull<u8>>,
}

/// A byte of a block, with those behind it. The block is there as long as the place is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'b> {
    buffer: vk::Buffer,
    /// From the start of the buffer.
    offset: u64,
    /// From here to the end of the block.
    bytes: u64,
    block: PhantomData<&'b Buffer>,
}

// SAFETY: the mapping is memory of the process, and not of a thread; it is accessed through
// `&self` and `&mut self` alone.
unsafe impl Send for Block {}

impl Block {
    /// A block of whole pages with undefined content.
    pub(crate) fn new(
        device: &Device,
        bytes: u64,
        location: MemoryLocation,
    ) -> Result<Self, VulkanError> {
        // A page more, because nothing says how far addresses are aligned.
        let none = vk::BufferUsageFlags::empty();
        let buffer = Buffer::new(device, bytes + BESIDE_BYTES, none, location)?;
        let start = buffer.look_up_address(device);
        let address = start.next_multiple_of(PAGE_BYTES);
        let skipped = address - start;
        let coherent = vk::MemoryPropertyFlags::HOST_COHERENT;
        let shared = buffer.allocation().memory_properties().contains(coherent);
        let mapped = buffer.allocation().mapped_ptr().filter(|_| shared).map(|start| {
            let skipped = usize::try_from(skipped).expect("less than a page");
            // SAFETY: the mapping is as long as the buffer, which is more than a page.
            unsafe { start.cast::<u8>().byte_add(skipped) }
        });
        Ok(Self { buffer, address, skipped, bytes, mapped })
    }

    /// As [`Buffer::keep_share`].
    pub(crate) fn keep_share(&mut self, share: Share) {
        self.buffer.keep_share(share);
    }

    /// The device address of the first page.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The place of a byte of the pages, for commands that copy.
    pub(crate) fn place(&self, offset: u64) -> Place<'_> {
        let bytes = self.bytes.checked_sub(offset).expect("the byte is in the block");
        let (buffer, offset) = (self.buffer.raw(), self.skipped + offset);
        Place { buffer, offset, bytes, block: PhantomData }
    }

    /// A byte of the pages as the host sees it, if it does. Whoever uses the pointer sees to it
    /// that the block is still there, and that nobody else uses the bytes.
    pub(super) fn mapped_at(&self, offset: u64) -> Option<NonNull<u8>> {
        assert!(offset <= self.bytes, "the byte is in the block");
        let offset = usize::try_from(offset).expect("mapped memory has addresses");
        // SAFETY: the mapping has all bytes of the block, and the offset is not beyond them.
        self.mapped.map(|start| unsafe { start.byte_add(offset) })
    }

    /// Whether the host reads the pages through its caches. Other memory that it sees lies on a
    /// card, and is read word by word over the bus.
    pub(crate) fn is_cached(&self) -> bool {
        let cached = vk::MemoryPropertyFlags::HOST_CACHED;
        self.mapped.is_some() && self.buffer.allocation().memory_properties().contains(cached)
    }

    /// The bytes of the pages as the host sees them, if it does. No kernel is writing them.
    pub(crate) fn host(&self) -> Option<&[u8]> {
        let length = usize::try_from(self.bytes).expect("mapped memory has addresses");
        // SAFETY: 1. the memory is mapped while `self` lives, and initialised as far as the host
        // can tell; 2. writing needs `&mut self`, and kernels run only while no slice lives.
        self.mapped.map(|start| unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
    }

    /// As [`host`](Self::host), for writing.
    pub(crate) fn host_mut(&mut self) -> Option<&mut [u8]> {
        let length = usize::try_from(self.bytes).expect("mapped memory has addresses");
        // SAFETY: as in `host`; `&mut self` shows that no other slice lives.
        self.mapped.map(|start| unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) })
    }
}

impl<'b> Place<'b> {
    pub(super) fn buffer(self) -> vk::Buffer {
        self.buffer
    }

    /// The place in the buffer, if so many bytes from here on are in the block.
    pub(super) fn offset_of(self, bytes: u64) -> u64 {
        assert!(bytes <= self.bytes, "the bytes are in the block");
        self.offset
    }

    /// The place with as many bytes as a part of the block has from there on.
    pub(super) fn within(self, bytes: u64) -> Self {
        assert!(bytes <= self.bytes, "the part is in the block");
        Self { bytes, ..self }
    }
}
