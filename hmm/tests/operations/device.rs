//! A device that fails when it is told to.
//!
//! # Safety
//!
//! It keeps its pages in a device that gives back what it was given, as the trait asks for.

#![allow(unsafe_code)]

#[path = "../hmm_copies/forward.rs"]
mod forward;

use std::sync::atomic::{AtomicI32, Ordering};

use farptr_hmm::{DeviceError, HostDevice, Owner, PageCount};

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

    fn step(&self, call: &str) -> Result<(), DeviceError> {
        // A page that cannot be read back would be lost.
        if call == "copy_out" {
            return Ok(());
        }
        // Relaxed: as above.
        match self.countdown.load(Ordering::Relaxed) {
            ..0 => return Ok(()),
            left => self.countdown.store(left - 1, Ordering::Relaxed),
        }
        let failed = self.countdown.load(Ordering::Relaxed) < 0;
        if failed { Err(DeviceError::NoMemory) } else { Ok(()) }
    }
}

forward::forward!(Flaky, memory; step);
