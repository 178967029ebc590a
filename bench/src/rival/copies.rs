//! Copies by the device between its own memory and memory that the host has mapped.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. Both buffers of a copy are of one device, have memory of
//! their own and as many bytes as are copied; a copy borrows them until it has ended.

use super::device_memory::{Buffer, DeviceLocalMemory};
use crate::{
    failure::Failure,
    vulkan::{COPY_READS, COPY_WRITES, Device, HOST, HostBuffer, Lane},
};
use bytemuck::Pod;
use gpu_allocator::MemoryLocation;
use std::rc::Rc;

/// Device memory that is copied to and from.
pub(crate) struct Copies {
    // Invariant: `local` is of `memory`, which is of `device`, and has `size_bytes` bytes.
    device: Rc<Device>,
    lane: Lane,
    local: Buffer,
    _memory: DeviceLocalMemory,
    size_bytes: u64,
}

impl Copies {
    /// Room for so many bytes.
    pub(crate) fn new(device: &Rc<Device>, size_bytes: u64) -> Result<Self, Failure> {
        let mut memory = DeviceLocalMemory::new(device)?;
        let local = memory.buffer_alone("local", size_bytes, MemoryLocation::GpuOnly)?;
        let (device, lane) = (Rc::clone(device), Lane::new(device)?);
        Ok(Self { device, lane, local, _memory: memory, size_bytes })
    }

    /// Copies all elements of a buffer of the same size to the device's memory.
    pub(crate) fn up<T: Pod>(&mut self, from: &HostBuffer<T>) -> Result<(), Failure> {
        self.compare(from);
        let (local, size_bytes) = (self.local.raw, self.size_bytes);
        self.lane.run(|recorder| {
            // SAFETY: both are of one device and have as many bytes (`compare`, invariant); `local`
            // has memory of its own, and both are borrowed until the run has ended.
            unsafe { recorder.copy((from.raw(), 0), (local, 0), size_bytes) };
            recorder.barrier(COPY_WRITES, COPY_READS);
        })
    }

    /// Copies the bytes in the device's memory to a buffer of the same size.
    pub(crate) fn down<T: Pod>(&mut self, to: &mut HostBuffer<T>) -> Result<(), Failure> {
        self.compare(to);
        let (local, size_bytes) = (self.local.raw, self.size_bytes);
        self.lane.run(|recorder| {
            // SAFETY: as in `up`; any bytes are elements (`Pod`).
            unsafe { recorder.copy((local, 0), (to.raw(), 0), size_bytes) };
            recorder.barrier(COPY_WRITES, HOST);
        })
    }

    fn compare<T: Pod>(&self, other: &HostBuffer<T>) {
        assert!(Rc::ptr_eq(&self.device, other.device()), "buffers of one device");
        assert_eq!(other.size_bytes(), self.size_bytes, "buffers of one size");
    }
}
