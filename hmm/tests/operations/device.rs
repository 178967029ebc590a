//! A device that fails when it is told to.
//!
//! # Safety
//!
//! It keeps its pages in a device that gives back what it was given, as the trait asks for.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicI32, Ordering};

use farptr_hmm::{
    DeviceError, DeviceMemory, HostDevice, MirrorCall, Owner, PageCount, PageNumber, PageSize,
};

/// Memory to which everything is copied, because it hides that it is memory of the host.
#[derive(Debug)]
pub(crate) struct Flaky {
    memory: HostDevice,
    /// Counts calls down; the one that finds zero fails. Negative never fails.
    countdown: AtomicI32,
}

impl Flaky {
    pub(crate) fn new(count: PageCount) -> Self {
        let memory = HostDevice::new(Owner::new(), count).expect("memory");
        Self { memory, countdown: AtomicI32::new(-1) }
    }

    /// Has a call fail, that many calls from now.
    pub(crate) fn fail_after(&self, calls: u8) {
        // Relaxed: only the thread of the operations migrates.
        self.countdown.store(calls.into(), Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> PageCount {
        self.memory.used()
    }

    fn step(&self) -> Result<(), DeviceError> {
        // Relaxed: as above.
        match self.countdown.load(Ordering::Relaxed) {
            ..0 => return Ok(()),
            left => self.countdown.store(left - 1, Ordering::Relaxed),
        }
        let failed = self.countdown.load(Ordering::Relaxed) < 0;
        if failed { Err(DeviceError::NoMemory) } else { Ok(()) }
    }
}

// SAFETY: 1. and 2. As `HostDevice`, which does it all.
unsafe impl DeviceMemory for Flaky {
    fn owner(&self) -> Owner {
        self.memory.owner()
    }

    fn is_self_contained(&self) -> bool {
        true
    }

    fn alloc(
        &self,
        call: &MirrorCall,
        count: PageCount,
        page_size: PageSize,
    ) -> Result<PageNumber, DeviceError> {
        self.step()?;
        self.memory.alloc(call, count, page_size)
    }

    fn free(&self, call: &MirrorCall, first: PageNumber, count: PageCount) {
        self.memory.free(call, first, count);
    }

    fn copy_in(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        self.step()?;
        self.memory.copy_in(call, first, bytes)
    }

    fn copy_out(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        self.memory.copy_out(call, first, bytes)
    }

    fn zero(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        count: PageCount,
    ) -> Result<(), DeviceError> {
        self.step()?;
        self.memory.zero(call, first, count)
    }
}
