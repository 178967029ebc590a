//! Sums of some pages as they are made without shared addresses: all pages go to the device, or
//! those that the host has gathered.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. Copies stay within buffers that have memory of their own.
//! The caller that runs the kernel promises that the page numbers are those of pages that exist.

use super::device_memory::{Buffer, DeviceLocalMemory};
use crate::{
    failure::Failure,
    line::Line,
    vulkan::{COPY_READS, COPY_WRITES, Device, HOST, KERNEL, KERNEL_WRITES, Kernel, Lane},
};
use farptr::{KernelDesc, Ptr, PtrMut, shaders::sparse};
use gpu_allocator::MemoryLocation;
use std::rc::Rc;

/// The size of a page in the kernel.
const PAGE_BYTES: usize = 4096;

/// The kernel `sparse` on arrays in device memory, with memory that copies go through.
///
/// Everything is allocated once. A run is one submission: words and page numbers in, the kernel,
/// the sums out.
pub(crate) struct StagedSparse {
    // Invariant: the buffers have the sizes in bytes that are beside them.
    lane: Lane,
    kernel: Kernel<sparse::Kernel>,
    memory: DeviceLocalMemory,
    words: (Buffer, usize),
    pages: (Buffer, usize),
    sums: (Buffer, usize),
    /// Host-visible, for words and page numbers on their way to the device.
    up: Buffer,
    /// Host-visible, for the sums on their way back.
    down: Buffer,
}

impl StagedSparse {
    /// Room for arrays of these sizes, in bytes: words, page numbers, sums; none of them empty.
    pub(crate) fn new(
        device: &Rc<Device>,
        [words, pages, sums]: [usize; 3],
    ) -> Result<Self, Failure> {
        let mut memory = DeviceLocalMemory::new(device)?;
        let (gpu, up, down) =
            (MemoryLocation::GpuOnly, MemoryLocation::CpuToGpu, MemoryLocation::GpuToCpu);
        Ok(Self {
            lane: Lane::new(device)?,
            kernel: Kernel::new(device)?,
            words: (memory.buffer("words", words as u64, gpu)?, words),
            pages: (memory.buffer("pages", pages as u64, gpu)?, pages),
            sums: (memory.buffer("sums", sums as u64, gpu)?, sums),
            up: memory.buffer("up", (words + pages) as u64, up)?,
            down: memory.buffer("down", sums as u64, down)?,
            memory,
        })
    }

    /// Adds up the pages on the device, from and to host memory, and waits. The slices have the
    /// sizes that there is room for.
    ///
    /// # Safety
    ///
    /// `invocations` is at most 64 for each page number and at most the sums, and every page number
    /// is that of a page of `words`.
    pub(crate) unsafe fn apply(
        &mut self,
        words: &[Line],
        pages: &[Line],
        sums: &mut [Line],
        invocations: u32,
    ) -> Result<(), Failure> {
        let (words, pages) = (bytemuck::cast_slice(words), bytemuck::cast_slice(pages));
        let sums: &mut [u8] = bytemuck::cast_slice_mut(sums);
        assert_eq!([words.len(), pages.len(), sums.len()], self.sizes(), "arrays that have room");
        let up = self.memory.mapped(self.up)?;
        up[..words.len()].copy_from_slice(words);
        up[words.len()..][..pages.len()].copy_from_slice(pages);
        // SAFETY: the caller's promise; the arrays have just been written.
        unsafe { self.run(invocations) }?;
        sums.copy_from_slice(&self.memory.mapped(self.down)?[..sums.len()]);
        Ok(())
    }

    /// As [`apply`](Self::apply), but the host gathers the pages that are touched, and no others go
    /// to the device, where they have the numbers from 0 on. There is room for just these pages.
    ///
    /// # Safety
    ///
    /// `invocations` is at most 64 for each page number and at most the sums.
    ///
    /// # Panics
    ///
    /// When there is no page with one of the numbers.
    pub(crate) unsafe fn apply_gathered(
        &mut self,
        words: &[Line],
        pages: &[u32],
        sums: &mut [Line],
        invocations: u32,
    ) -> Result<(), Failure> {
        let words: &[u8] = bytemuck::cast_slice(words);
        let sums: &mut [u8] = bytemuck::cast_slice_mut(sums);
        let numbers_bytes = size_of_val(pages).next_multiple_of(Line::BYTES);
        let gathered_bytes = pages.len() * PAGE_BYTES;
        let sizes = [gathered_bytes, numbers_bytes, sums.len()];
        assert_eq!(sizes, self.sizes(), "as many pages as there is room for");
        let (gathered, numbers) = self.memory.mapped(self.up)?.split_at_mut(gathered_bytes);
        for (to, &page) in gathered.chunks_exact_mut(PAGE_BYTES).zip(pages) {
            to.copy_from_slice(&words[page as usize * PAGE_BYTES..][..PAGE_BYTES]);
        }
        let numbers: &mut [u32] = bytemuck::cast_slice_mut(&mut numbers[..size_of_val(pages)]);
        numbers.iter_mut().zip(0..).for_each(|(number, at)| *number = at);
        // SAFETY: the caller's promise; the numbers are those of the pages that were gathered.
        unsafe { self.run(invocations) }?;
        sums.copy_from_slice(&self.memory.mapped(self.down)?[..sums.len()]);
        Ok(())
    }

    fn sizes(&self) -> [usize; 3] {
        [self.words.1, self.pages.1, self.sums.1]
    }

    /// # Safety
    ///
    /// As [`apply`](Self::apply), for the words and page numbers in `up`.
    unsafe fn run(&mut self, invocations: u32) -> Result<(), Failure> {
        let [words_bytes, pages_bytes, sums_bytes] = self.sizes().map(|bytes| bytes as u64);
        let (words, pages, sums) = (self.words.0, self.pages.0, self.sums.0);
        let push = sparse::Kernel::push(sparse::Args {
            words: Ptr::from_address(words.address),
            pages: Ptr::from_address(pages.address),
            sums: PtrMut::from_address(sums.address),
            n: invocations,
        });
        let (up, down, kernel) = (self.up.raw, self.down.raw, &self.kernel);
        let groups = self.lane.device().groups_for(invocations, kernel.width);
        self.lane.run(|recorder| {
            // SAFETY: all buffers are of `memory`, each bound to memory of its own, which lives as
            // long as `self`; offsets and sizes are within them (invariant).
            unsafe { recorder.copy((up, 0), (words.raw, 0), words_bytes) };
            // SAFETY: as above; the page numbers in `up` begin behind the words.
            unsafe { recorder.copy((up, words_bytes), (pages.raw, 0), pages_bytes) };
            recorder.barrier(COPY_WRITES, KERNEL);
            // SAFETY: 1. all is of one device, and `groups_for` keeps its limits; 2. the kernel
            // touches as many page numbers and sums as there are, and pages of `words`, as the
            // caller promises; they belong to `self`, which is borrowed mutably.
            unsafe { recorder.launch(kernel, &push, groups) };
            recorder.barrier(KERNEL_WRITES, COPY_READS);
            // SAFETY: as for the first copy.
            unsafe { recorder.copy((sums.raw, 0), (down, 0), sums_bytes) };
            recorder.barrier(COPY_WRITES, HOST);
        })
    }
}
