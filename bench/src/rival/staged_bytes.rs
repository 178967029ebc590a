//! Kernels of any words on bytes in device memory, with copies in and out.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. Copies stay within buffers that have memory of their own.
//! The caller promises that kernels stay within the bytes.

use super::device_memory::{Buffer, DeviceLocalMemory};
use crate::{
    failure::Failure,
    vulkan::{COPY_READS, COPY_WRITES, Device, HOST, KERNEL, KERNEL_WRITES, Lane, Pipeline},
};
use gpu_allocator::MemoryLocation;
use std::rc::Rc;

/// Bytes in device memory, with memory that copies go through.
pub(crate) struct StagedBytes {
    // Invariant: all buffers have `size_bytes` bytes.
    lane: Lane,
    memory: DeviceLocalMemory,
    inside: Buffer,
    /// Host-visible, for bytes on their way to the device.
    up: Buffer,
    /// Host-visible, for bytes on their way back.
    down: Buffer,
    size_bytes: usize,
}

/// A run of a pipeline: its push constants and its workgroups.
pub(crate) struct Run<'r> {
    pub(crate) push: &'r [u8],
    pub(crate) groups: [u32; 3],
}

impl StagedBytes {
    /// Room for so many bytes.
    pub(crate) fn new(device: &Rc<Device>, size_bytes: usize) -> Result<Self, Failure> {
        let mut memory = DeviceLocalMemory::new(device)?;
        let (gpu, up, down) =
            (MemoryLocation::GpuOnly, MemoryLocation::CpuToGpu, MemoryLocation::GpuToCpu);
        Ok(Self {
            lane: Lane::new(device)?,
            inside: memory.buffer_alone("inside", size_bytes as u64, gpu)?,
            up: memory.buffer_alone("up", size_bytes as u64, up)?,
            down: memory.buffer_alone("down", size_bytes as u64, down)?,
            memory,
            size_bytes,
        })
    }

    /// The number of bytes that there is room for.
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The device address of the first byte.
    pub(crate) fn address(&self) -> u64 {
        self.inside.address
    }

    /// Copies bytes in, from the first on, runs a pipeline some times in order, and copies them
    /// out.
    ///
    /// # Safety
    ///
    /// 1. The pipeline belongs to this device; the groups are within its limits.
    /// 2. With these push constants it touches only the bytes that are given, from
    ///    [`address`](Self::address) on.
    pub(crate) unsafe fn run(
        &mut self,
        pipeline: &Pipeline,
        runs: &[Run<'_>],
        bytes: &mut [u8],
    ) -> Result<(), Failure> {
        assert!(bytes.len() <= self.size_bytes, "there is room for them");
        self.memory.mapped(self.up)?[..bytes.len()].copy_from_slice(bytes);
        let (inside, up, down) = (self.inside.raw, self.up.raw, self.down.raw);
        let count = bytes.len() as u64;
        self.lane.run(|recorder| {
            // SAFETY: all buffers are of `memory`, each bound to memory of its own, which lives as
            // long as `self`, and have as many bytes, as compared above.
            unsafe { recorder.copy((up, 0), (inside, 0), count) };
            recorder.barrier(COPY_WRITES, KERNEL);
            for run in runs {
                // SAFETY: 1. and 2. the caller's promises; the bytes belong to `self`, which is
                // borrowed mutably, and the pipeline is borrowed.
                unsafe { recorder.dispatch(pipeline, run.push, run.groups) };
                recorder.barrier(KERNEL_WRITES, KERNEL);
            }
            recorder.barrier(KERNEL_WRITES, COPY_READS);
            // SAFETY: as for the first copy.
            unsafe { recorder.copy((inside, 0), (down, 0), count) };
            recorder.barrier(COPY_WRITES, HOST);
        })?;
        bytes.copy_from_slice(&self.memory.mapped(self.down)?[..bytes.len()]);
        Ok(())
    }
}
