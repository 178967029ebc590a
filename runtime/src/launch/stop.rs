//! The word that ends launches: kernels count failures in it, the host ends kernels by it.

use super::channel::OVERDUE;
use crate::{
    VulkanError,
    vk::{
        Device,
        buffer::{SharedBuffer, WordAt},
    },
};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The stop word of the launches of one stream. 0 says that none has failed.
pub(crate) struct StopWord(SharedBuffer);

impl StopWord {
    pub(crate) fn new(device: &Device) -> Result<Self, VulkanError> {
        let stop = Self(SharedBuffer::for_device(device, size_of::<AtomicU32>() as u64)?);
        stop.clear();
        Ok(stop)
    }

    /// Forgets failures, while no kernel runs.
    pub(crate) fn clear(&self) {
        self.word().store(0, Relaxed);
    }

    /// Makes all running kernels end, because their time is over.
    pub(crate) fn raise(&self) {
        self.word().fetch_or(OVERDUE, Relaxed);
    }

    /// How many invocations have failed; not 0 if kernels were told to end.
    pub(crate) fn failures(&self) -> u32 {
        self.word().load(Relaxed)
    }

    /// The device address.
    pub(crate) fn address(&self) -> u64 {
        self.0.address()
    }

    /// The word, for the device to copy.
    pub(crate) fn word_at(&self) -> WordAt {
        self.0.word_at(0)
    }

    fn word(&self) -> &AtomicU32 {
        &self.0.words()[0]
    }
}
