//! The words that end launches: kernels count failures in one, and the host ends kernels by
//! another.
//!
//! They are apart because the host can add to no word that kernels write: a processor has no atomic
//! operations on memory of a card, and a device may write back a word that it holds in its cache.

use crate::{
    VulkanError,
    vk::{
        Device,
        buffer::{SharedBuffer, WordAt},
        info::SeenIn,
    },
};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// The two words of the launches of one stream. 0 says that none has failed, and that none is to
/// end.
pub(crate) struct StopWord {
    /// Kernels add to it; the host reads it, and clears it while no kernel runs.
    failures: SharedBuffer,
    /// The host alone writes it, and never reads it; kernels read it.
    overdue: SharedBuffer,
    raised: AtomicBool,
}

impl StopWord {
    pub(crate) fn new(device: &Device) -> Result<Self, VulkanError> {
        Self::seen_in(device, device.stop_is_seen_in())
    }

    /// Words of which the host's is in one kind of memory.
    pub(crate) fn seen_in(device: &Device, memory: SeenIn) -> Result<Self, VulkanError> {
        let bytes = size_of::<AtomicU32>() as u64;
        let overdue = match memory {
            SeenIn::HostMemory => SharedBuffer::for_host(device, bytes),
            SeenIn::DeviceMemory => SharedBuffer::for_device(device, bytes),
        };
        let failures = SharedBuffer::for_host(device, bytes)?;
        let stop = Self { failures, overdue: overdue?, raised: AtomicBool::new(false) };
        stop.clear();
        Ok(stop)
    }

    /// Forgets failures, while no kernel runs.
    pub(crate) fn clear(&self) {
        self.failures.clear();
        self.overdue.clear();
        self.raised.store(false, Relaxed);
    }

    /// Makes all running kernels end, because their time is over.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Relaxed);
        self.overdue.words()[0].store(1, Relaxed);
    }

    /// How many invocations have failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.words()[0].load(Relaxed)
    }

    /// Whether kernels were told to end.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Relaxed)
    }

    /// The device addresses of the count of failures and of the host's word.
    pub(crate) fn addresses(&self) -> [u64; 2] {
        [self.failures.address(), self.overdue.address()]
    }

    /// The count of failures, for the device to copy.
    pub(crate) fn word_at(&self) -> WordAt {
        self.failures.word_at(0)
    }
}
