//! Any kernel on raw device addresses: its arrays lie in buffers that host and device share.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. The caller of a launch promises that the kernel touches
//! just the arrays; they belong to the value, which a launch borrows mutably, so that nothing
//! looks at an element while the device may change it.

use crate::{
    failure::Failure,
    line::Line,
    vulkan::{Device, HOST, HostBuffer, KERNEL, KERNEL_WRITES, Kernel, Lane},
};
use farptr::KernelDesc;
use std::rc::Rc;

/// A kernel and the arrays that it works on.
pub(crate) struct RawArrays<K> {
    // Invariant: all belongs to one device, and the groups keep its limits.
    lane: Lane,
    kernel: Kernel<K>,
    buffers: Vec<HostBuffer<Line>>,
    groups: [u32; 3],
}

impl<K: KernelDesc> RawArrays<K> {
    /// Copies arrays, none of them empty, into buffers, for a kernel with so many invocations.
    pub(crate) fn new(
        device: &Rc<Device>,
        arrays: &[Vec<Line>],
        invocations: u32,
    ) -> Result<Self, Failure> {
        let kernel = Kernel::new(device)?;
        let buffers = arrays.iter().map(|array| HostBuffer::new(device, array));
        Ok(Self {
            lane: Lane::new(device)?,
            groups: device.groups_for(invocations, kernel.width),
            kernel,
            buffers: buffers.collect::<Result<_, _>>()?,
        })
    }

    /// The arrays' device addresses.
    pub(crate) fn addresses(&self) -> Vec<u64> {
        self.buffers.iter().map(HostBuffer::address).collect()
    }

    /// An array as it is now.
    pub(crate) fn array(&self, index: usize) -> &[Line] {
        // SAFETY: runs begin and end within `launch`, which needs `&mut self`.
        unsafe { self.buffers[index].elements() }
    }

    /// An array, to be written.
    pub(crate) fn array_mut(&mut self, index: usize) -> &mut [Line] {
        // SAFETY: as in `array`.
        unsafe { self.buffers[index].elements_mut() }
    }

    /// Launches the kernel and waits.
    ///
    /// # Safety
    ///
    /// With these arguments, and the arrays as they are, the kernel touches just the arrays.
    pub(crate) unsafe fn launch(&mut self, args: K::Args<'_>) -> Result<(), Failure> {
        let (push, kernel, groups) = (K::push(args), &self.kernel, self.groups);
        self.lane.run(|recorder| {
            recorder.barrier(KERNEL_WRITES, KERNEL);
            // SAFETY: 1. all is of one device, within its limits (invariant); 2. the kernel touches
            // just the arrays, as the caller promises, which belong to `self`, borrowed mutably.
            unsafe { recorder.launch(kernel, &push, groups) };
            recorder.barrier(KERNEL_WRITES, HOST);
        })
    }

    /// Launches the kernel and another one in turn, so many times each, in one command buffer, and
    /// waits. A pair begins when the one before has ended.
    ///
    /// # Safety
    ///
    /// As for [`launch`](Self::launch), for both kernels. The other one belongs to the same device,
    /// takes one workgroup, and does not write what this one touches, or the other way round.
    pub(crate) unsafe fn launch_pairs<L: KernelDesc>(
        &mut self,
        push: &K::Push,
        (other, other_push): (&Kernel<L>, &L::Push),
        pairs: u32,
    ) -> Result<(), Failure> {
        let (kernel, groups) = (&self.kernel, self.groups);
        self.lane.run(|recorder| {
            for pair in 0..pairs {
                if pair > 0 {
                    recorder.barrier(KERNEL_WRITES, KERNEL);
                }
                // SAFETY: as in `launch`.
                unsafe { recorder.launch(kernel, push, groups) };
                // SAFETY: as above, with what the caller promises of the other kernel.
                unsafe { recorder.launch(other, other_push, [1, 1, 1]) };
            }
            recorder.barrier(KERNEL_WRITES, HOST);
        })
    }

    /// Launches the kernel several times in one command buffer and waits. If `ordered`, a launch
    /// begins when the one before has ended, and sees what it wrote; otherwise they may overlap.
    ///
    /// # Safety
    ///
    /// As for [`launch`](Self::launch), with each of these arguments; and where two launches touch
    /// the same element and one of them writes it, they are `ordered`.
    pub(crate) unsafe fn launch_all(
        &mut self,
        pushes: &[K::Push],
        ordered: bool,
    ) -> Result<(), Failure> {
        let (kernel, groups) = (&self.kernel, self.groups);
        let between = ordered.then_some((KERNEL_WRITES, KERNEL));
        self.lane.run(|recorder| {
            // SAFETY: as in `launch`; the caller says what needs an order.
            unsafe { recorder.launch_all(kernel, pushes, groups, between) };
            recorder.barrier(KERNEL_WRITES, HOST);
        })
    }
}
