//! The steps to run words for the first time: a pipeline, and a launch.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. The caller of a launch promises that the words are valid
//! and touch just the arrays; they belong to the value, which a launch borrows mutably, so that
//! nothing looks at an element while the device may change it. The pipeline ends behind the run
//! that used it.

use crate::{
    failure::Failure,
    line::Line,
    vulkan::{Device, HOST, HostBuffer, KERNEL, KERNEL_WRITES, Kernel, Lane},
};
use farptr::KernelDesc;
use std::{
    marker::PhantomData,
    rc::Rc,
    time::{Duration, Instant},
};

/// The arrays of a kernel whose words change with every launch.
pub(crate) struct RawFirstUse<K> {
    // Invariant: all belongs to one device.
    device: Rc<Device>,
    lane: Lane,
    buffers: Vec<HostBuffer<Line>>,
    invocations: u32,
    kernel: PhantomData<fn() -> K>,
}

impl<K: KernelDesc> RawFirstUse<K> {
    /// Copies arrays, none of them empty, into buffers, for kernels with so many invocations.
    pub(crate) fn new(
        device: &Rc<Device>,
        arrays: &[Vec<Line>],
        invocations: u32,
    ) -> Result<Self, Failure> {
        let buffers = arrays.iter().map(|array| HostBuffer::new(device, array));
        Ok(Self {
            device: Rc::clone(device),
            lane: Lane::new(device)?,
            buffers: buffers.collect::<Result<_, _>>()?,
            invocations,
            kernel: PhantomData,
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

    /// Makes a pipeline, launches it once and waits; returns the time. The pipeline's end is not
    /// timed.
    ///
    /// # Safety
    ///
    /// The words are as valid as the kernel's own and declare the same push constants. With these
    /// arguments, and the arrays as they are, they touch just the arrays.
    pub(crate) unsafe fn launch(
        &mut self,
        words: &[u32],
        args: K::Args<'_>,
    ) -> Result<Duration, Failure> {
        let push = K::push(args);
        let start = Instant::now();
        // SAFETY: the caller's promise.
        let kernel = unsafe { Kernel::<K>::from_words(&self.device, words) }?;
        let groups = self.device.groups_for(self.invocations, kernel.width);
        self.lane.run(|recorder| {
            recorder.barrier(KERNEL_WRITES, KERNEL);
            // SAFETY: 1. all is of one device, and `groups_for` keeps its limits; 2. the words
            // touch just the arrays, as the caller promises, which belong to `self`, borrowed
            // mutably.
            unsafe { recorder.launch(&kernel, &push, groups) };
            recorder.barrier(KERNEL_WRITES, HOST);
        })?;
        Ok(start.elapsed())
    }
}
