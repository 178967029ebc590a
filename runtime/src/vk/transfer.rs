//! Copies by the device between its blocks and the host's, collected to share a submission.

use super::{
    Device,
    block::Place,
    command::{Recording, Submitted},
};
use crate::{VulkanError, stats::Counters};
use ash::vk;
use std::sync::Arc;

/// A copy from a place to another.
pub(crate) struct Region<'b> {
    pub(crate) from: Place<'b>,
    pub(crate) to: Place<'b>,
    pub(crate) bytes: u64,
}

/// Copies that are handed to the device together, in steps. Copies of one step have no order, so
/// they must not overlap; each step sees what those before it have written.
#[derive(Default)]
pub(crate) struct Transfer<'b> {
    steps: Vec<Vec<Region<'b>>>,
}

impl<'b> Transfer<'b> {
    /// Adds a step behind the others.
    pub(crate) fn step(&mut self, regions: impl IntoIterator<Item = Region<'b>>) {
        let regions: Vec<_> = regions.into_iter().collect();
        if !regions.is_empty() {
            self.steps.push(regions);
        }
    }

    /// Hands the copies to the device, in the queue for copies. They see what submissions did that
    /// are known to have completed, and are in order with no others: nothing that is pending uses
    /// their bytes. When they have completed, the host sees the bytes that were copied to it.
    ///
    /// An error means that nothing was submitted, or that the device is lost.
    pub(crate) fn submit(&self, device: &Arc<Device>) -> Result<Submitted, VulkanError> {
        let recording = Recording::begin_copies(device)?;
        self.hand_over(recording, |_| {})
    }

    /// As [`submit`](Self::submit), in the queue for kernels, with those that `then` records: they
    /// see what was copied.
    pub(crate) fn submit_before(
        &self,
        device: &Arc<Device>,
        then: impl FnOnce(&mut Recording),
    ) -> Result<Submitted, VulkanError> {
        self.hand_over(Recording::begin(device)?, then)
    }

    fn hand_over(
        &self,
        mut recording: Recording,
        then: impl FnOnce(&mut Recording),
    ) -> Result<Submitted, VulkanError> {
        let device = Arc::clone(recording.device());
        self.record(&mut recording);
        then(&mut recording);
        let submitted = recording.submit(None)?;
        if !self.steps.is_empty() {
            let regions = self.steps.iter().map(Vec::len).sum::<usize>() as u64;
            Counters::add(&device.counters.transfers, 1);
            Counters::add(&device.counters.transfer_regions, regions);
        }
        Ok(submitted)
    }

    fn record(&self, recording: &mut Recording) {
        for regions in &self.steps {
            recording.full_barrier();
            let buffers = |region: &Region<'_>| (region.from.buffer(), region.to.buffer());
            for regions in regions.chunk_by(|a, b| buffers(a) == buffers(b)) {
                let copies: Vec<_> = regions.iter().map(Region::copy).collect();
                let (from, to) = buffers(&regions[0]);
                // SAFETY: both buffers belong to blocks that `self` borrows until the commands were
                // submitted; each has the bytes, which `copy` compares.
                unsafe { recording.copy(from, to, &copies) };
            }
        }
        if !self.steps.is_empty() {
            recording.full_barrier();
        }
    }
}

impl Region<'_> {
    /// The copy, between the buffers of the two places.
    fn copy(&self) -> vk::BufferCopy {
        let [src_offset, dst_offset] = [self.from, self.to].map(|at| at.offset_of(self.bytes));
        vk::BufferCopy { src_offset, dst_offset, size: self.bytes }
    }
}
