//! Saxpy as it is done without shared addresses: copies in, the kernel, copies out.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. Copies stay within buffers that have memory of their own.
//! The kernel touches the elements below the length of both arrays, which belong to the value; a
//! run borrows it mutably.

use super::device_memory::{Buffer, DeviceLocalMemory};
use crate::{
    failure::Failure,
    vulkan::{COPY_READS, COPY_WRITES, Device, HOST, KERNEL, KERNEL_WRITES, Kernel, Lane},
};
use farptr::{KernelDesc, Ptr, PtrMut, shaders::saxpy};
use gpu_allocator::MemoryLocation;
use std::rc::Rc;

/// Saxpy over two arrays in device memory, with memory that copies go through.
///
/// Everything is allocated once. A run is one submission: both arrays in, the kernel, y out.
pub(crate) struct StagedSaxpy {
    // Invariant: x, y and down have `size_bytes` bytes, up has twice as many.
    lane: Lane,
    kernel: Kernel<saxpy::Kernel>,
    memory: DeviceLocalMemory,
    x: Buffer,
    y: Buffer,
    /// Host-visible, for both arrays on their way to the device.
    up: Buffer,
    /// Host-visible, for y on its way back.
    down: Buffer,
    count: u32,
    groups: [u32; 3],
}

impl StagedSaxpy {
    /// Room for `count` elements in each array, more than none.
    pub(crate) fn new(device: &Rc<Device>, count: u32) -> Result<Self, Failure> {
        let kernel = Kernel::new(device)?;
        let mut memory = DeviceLocalMemory::new(device)?;
        let size_bytes = 4 * u64::from(count);
        let (gpu, up, down) =
            (MemoryLocation::GpuOnly, MemoryLocation::CpuToGpu, MemoryLocation::GpuToCpu);
        Ok(Self {
            lane: Lane::new(device)?,
            groups: device.groups_for(count, kernel.width),
            kernel,
            x: memory.buffer("x", size_bytes, gpu)?,
            y: memory.buffer("y", size_bytes, gpu)?,
            up: memory.buffer("up", 2 * size_bytes, up)?,
            down: memory.buffer("down", size_bytes, down)?,
            memory,
            count,
        })
    }

    /// Adds `a * x` to y on the device, from and to host memory, and waits.
    pub(crate) fn apply(&mut self, a: f32, x: &[f32], y: &mut [f32]) -> Result<(), Failure> {
        let size = 4 * self.count as usize;
        let (x, y_bytes) = (bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
        let up = self.memory.mapped(self.up)?;
        up[..size].copy_from_slice(x);
        up[size..2 * size].copy_from_slice(y_bytes);
        self.run(a)?;
        y_bytes.copy_from_slice(&self.memory.mapped(self.down)?[..size]);
        Ok(())
    }

    fn run(&mut self, a: f32) -> Result<(), Failure> {
        let push = saxpy::Kernel::push(saxpy::Args {
            x: Ptr::from_address(self.x.address),
            y: PtrMut::from_address(self.y.address),
            n: self.count,
            a,
        });
        let size_bytes = 4 * u64::from(self.count);
        let (x, y, up, down) = (self.x.raw, self.y.raw, self.up.raw, self.down.raw);
        let (kernel, groups) = (&self.kernel, self.groups);
        self.lane.run(|recorder| {
            // SAFETY: all buffers are of `memory`, each bound to memory of its own, which lives as
            // long as `self`; offsets and sizes are within them (invariant).
            unsafe { recorder.copy((up, 0), (x, 0), size_bytes) };
            // SAFETY: as above; the second half of `up` begins at `size_bytes`.
            unsafe { recorder.copy((up, size_bytes), (y, 0), size_bytes) };
            recorder.barrier(COPY_WRITES, KERNEL);
            // SAFETY: 1. all is of one device, and `groups_for` keeps its limit; 2. the kernel
            // touches the elements below n of x and y, which have as many (invariant) and belong to
            // `self`, which is borrowed mutably.
            unsafe { recorder.launch(kernel, &push, groups) };
            recorder.barrier(KERNEL_WRITES, COPY_READS);
            // SAFETY: as for the first copy.
            unsafe { recorder.copy((y, 0), (down, 0), size_bytes) };
            recorder.barrier(COPY_WRITES, HOST);
        })
    }
}
