//! The launch of an empty kernel.
//!
//! # Safety
//!
//! Rule 1 of the parent module. The kernel touches no memory.

use crate::{
    failure::Failure,
    vulkan::{Device, HOST, KERNEL, KERNEL_WRITES, Kernel, Lane},
};
use farptr::shaders::empty;
use std::rc::Rc;

/// An empty kernel, ready to be launched.
pub(crate) struct EmptyLaunch {
    lane: Lane,
    kernel: Kernel<empty::Kernel>,
}

impl EmptyLaunch {
    pub(crate) fn new(device: &Rc<Device>) -> Result<Self, Failure> {
        Ok(Self { lane: Lane::new(device)?, kernel: Kernel::new(device)? })
    }

    /// Launches one workgroup and waits for it.
    pub(crate) fn launch(&mut self) -> Result<(), Failure> {
        let kernel = &self.kernel;
        self.lane.run(|recorder| {
            recorder.barrier(KERNEL_WRITES, KERNEL);
            // SAFETY: 1. lane and kernel are of one device (`new`), and every device allows one
            // group; 2. the kernel touches no memory.
            unsafe { recorder.launch(kernel, &[], [1, 1, 1]) };
            recorder.barrier(KERNEL_WRITES, HOST);
        })
    }

    /// Whether the device says that every launch has completed.
    pub(crate) fn all_completed(&self) -> Result<bool, Failure> {
        let (submitted, completed) = self.lane.submitted_and_completed()?;
        Ok(submitted > 0 && submitted == completed)
    }
}
