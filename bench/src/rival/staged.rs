//! Saxpy as it is done without shared addresses: copies in, the kernel, copies out.

use super::{
    Device, Named,
    kernel::Kernel,
    launch::{HOST, KERNEL, KERNEL_WRITES, Lane, Side},
};
use crate::failure::Failure;
use ash::vk;
use farptr::{KernelDesc, Ptr, PtrMut, shaders::saxpy};
use gpu_allocator::{
    MemoryLocation,
    vulkan::{Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc},
};
use std::rc::Rc;

const COPY_READS: Side = (vk::PipelineStageFlags::TRANSFER, vk::AccessFlags::TRANSFER_READ);
const COPY_WRITES: Side = (vk::PipelineStageFlags::TRANSFER, vk::AccessFlags::TRANSFER_WRITE);

/// Saxpy over two arrays in device memory, with memory that copies go through.
///
/// Everything is allocated once. A run is one submission: both arrays in, the kernel, y out.
pub(crate) struct StagedSaxpy {
    // Invariant: x, y and down have `size_bytes` bytes, up has twice as many.
    lane: Lane,
    kernel: Kernel<saxpy::Kernel>,
    memory: Memory,
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
        let mut memory = Memory::new(device)?;
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

/// A buffer of a [`Memory`].
#[derive(Clone, Copy)]
struct Buffer {
    raw: vk::Buffer,
    address: u64,
    /// The position of its memory in `Memory::owned`.
    index: usize,
}

/// Buffers and their memory, from gpu-allocator.
struct Memory {
    // Invariant: the buffers were made from `device` and are bound to the allocation beside them,
    // which came from `allocator`; both are given back by Drop only. The allocator is there until
    // Drop.
    device: Rc<Device>,
    owned: Vec<(vk::Buffer, Option<Allocation>)>,
    allocator: Option<Allocator>,
}

impl Memory {
    fn new(device: &Rc<Device>) -> Result<Self, Failure> {
        let allocator = Allocator::new(&AllocatorCreateDesc {
            instance: device.instance().clone(),
            device: device.raw().clone(),
            physical_device: device.physical().raw,
            debug_settings: gpu_allocator::AllocatorDebugSettings::default(),
            buffer_device_address: true,
            allocation_sizes: gpu_allocator::AllocationSizes::default(),
        })?;
        Ok(Self { device: Rc::clone(device), owned: Vec::new(), allocator: Some(allocator) })
    }

    fn buffer(
        &mut self,
        name: &'static str,
        size_bytes: u64,
        location: MemoryLocation,
    ) -> Result<Buffer, Failure> {
        let raw = self.device.raw();
        let info = vk::BufferCreateInfo::default().size(size_bytes).usage(
            vk::BufferUsageFlags::STORAGE_BUFFER
                | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
                | vk::BufferUsageFlags::TRANSFER_SRC
                | vk::BufferUsageFlags::TRANSFER_DST,
        );
        // SAFETY: 1. the device lives; 4. it was made with buffer device addresses.
        let buffer = unsafe { raw.create_buffer(&info, None) }.named("vkCreateBuffer")?;
        let index = self.owned.len();
        self.owned.push((buffer, None));
        // SAFETY: 1. the buffer lives.
        let requirements = unsafe { raw.get_buffer_memory_requirements(buffer) };
        let allocation =
            self.allocator.as_mut().expect("there until Drop").allocate(&AllocationCreateDesc {
                name,
                requirements,
                location,
                linear: true,
                allocation_scheme: AllocationScheme::GpuAllocatorManaged,
            })?;
        let offset = allocation.offset();
        // SAFETY: `self` owns the allocation until Drop, which destroys the buffer first.
        let memory = unsafe { allocation.memory() };
        self.owned[index].1 = Some(allocation);
        // SAFETY: 1. buffer and memory live and are bound for the first time; 4. the allocator kept
        // the buffer's requirements.
        unsafe { raw.bind_buffer_memory(buffer, memory, offset) }.named("vkBindBufferMemory")?;
        let info = vk::BufferDeviceAddressInfo::default().buffer(buffer);
        // SAFETY: 1. the buffer lives and is bound; the allocator was asked for addresses.
        let address = unsafe { raw.get_buffer_device_address(&info) };
        Ok(Buffer { raw: buffer, address, index })
    }

    /// A host-visible buffer's bytes; between runs, the host's alone.
    fn mapped(&mut self, buffer: Buffer) -> Result<&mut [u8], Failure> {
        let allocation = self.owned[buffer.index].1.as_mut();
        let size_bytes = allocation.as_ref().map_or(0, |allocation| allocation.size());
        allocation
            .and_then(Allocation::mapped_slice_mut)
            .ok_or(Failure::NoMemoryType { kind: "host-visible", size_bytes })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Some(mut allocator) = self.allocator.take() else {
            return;
        };
        for (buffer, allocation) in self.owned.drain(..) {
            // SAFETY: 1. the buffer lives and this is its end; 3. no command uses it.
            unsafe { self.device.raw().destroy_buffer(buffer, None) };
            if let Some(allocation) = allocation {
                // It came from this allocator, which is the one way that this could fail.
                let _ = allocator.free(allocation);
            }
        }
    }
}
