//! Saxpy on raw device addresses: buffers that host and device share, nothing copied.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. The kernel touches the elements below the length of both
//! buffers, which belong to the value; a run borrows it mutably.

use crate::{
    failure::Failure,
    vulkan::{Device, HOST, HostBuffer, KERNEL, KERNEL_WRITES, Kernel, Lane},
};
use farptr::{KernelDesc, Ptr, PtrMut, shaders::saxpy};
use std::rc::Rc;

/// Saxpy over two arrays that live in buffers.
pub(crate) struct RawSaxpy {
    // Invariant: x and y hold `count` elements each, and all belongs to one device.
    lane: Lane,
    kernel: Kernel<saxpy::Kernel>,
    x: HostBuffer<f32>,
    y: HostBuffer<f32>,
    count: u32,
    groups: [u32; 3],
}

impl RawSaxpy {
    /// Starts with these elements; both slices are equally long and not empty.
    pub(crate) fn new(device: &Rc<Device>, x: &[f32], y: &[f32]) -> Result<Self, Failure> {
        assert_eq!(x.len(), y.len(), "saxpy takes arrays of one length");
        let count = u32::try_from(x.len()).expect("the sizes have fewer elements");
        let kernel = Kernel::new(device)?;
        Ok(Self {
            lane: Lane::new(device)?,
            groups: device.groups_for(count, kernel.width),
            kernel,
            x: HostBuffer::new(device, x)?,
            y: HostBuffer::new(device, y)?,
            count,
        })
    }

    /// Adds `a * x` to y on the device and waits.
    pub(crate) fn apply(&mut self, a: f32) -> Result<(), Failure> {
        let push = saxpy::Kernel::push(saxpy::Args {
            x: Ptr::from_address(self.x.address()),
            y: PtrMut::from_address(self.y.address()),
            n: self.count,
            a,
        });
        let (kernel, groups) = (&self.kernel, self.groups);
        self.lane.run(|recorder| {
            recorder.barrier(KERNEL_WRITES, KERNEL);
            // SAFETY: 1. all is of one device, and `groups_for` keeps its limit; 2. the kernel
            // touches the elements below n of both buffers, which have as many (invariant) and
            // belong to `self`, which is borrowed mutably.
            unsafe { recorder.launch(kernel, &push, groups) };
            recorder.barrier(KERNEL_WRITES, HOST);
        })
    }

    /// The elements of y.
    pub(crate) fn y(&self) -> &[f32] {
        // SAFETY: runs begin and end within `apply`, which needs `&mut self`.
        unsafe { self.y.elements() }
    }
}
