//! Writes to device memory that wait for a submission: their bytes lie in a staging block.

use crate::{
    VulkanError,
    vk::{Device, block::Block},
};
use gpu_allocator::MemoryLocation;
use std::collections::BTreeMap;

/// Bytes of a staging block.
pub(super) const STAGING_BYTES: u64 = 4 << 20;

/// Writes in their order.
pub(super) struct Queue {
    staging: Block,
    used: u64,
    /// Writes of one step do not overlap: in each, the length and the place in the staging block by
    /// device address.
    steps: Vec<BTreeMap<u64, (u64, u64)>>,
}

/// A write: the device address, the length, and the place of the bytes in the staging block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) device: u64,
    pub(super) bytes: u64,
    pub(super) at: u64,
}

impl Queue {
    pub(super) fn new(device: &Device) -> Result<Self, VulkanError> {
        let staging = Block::new(device, STAGING_BYTES, MemoryLocation::CpuToGpu)?;
        Ok(Self { staging, used: 0, steps: Vec::new() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether the staging block has no room.
    pub(super) fn is_full(&self) -> bool {
        self.used == STAGING_BYTES
    }

    /// Adds as many bytes as there is room for, and returns how many. They go to one block, which
    /// starts at an address.
    pub(super) fn push(&mut self, block: u64, device: u64, bytes: &[u8]) -> usize {
        let start = usize::try_from(self.used).expect("staging is small");
        let host = self.staging.host_mut().expect("staging was made for the host");
        let length = bytes.len().min(host.len() - start);
        host[start..start + length].copy_from_slice(&bytes[..length]);
        add(&mut self.steps, block, Queued { device, bytes: length as u64, at: self.used });
        self.used += length as u64;
        length
    }

    /// The writes, step by step, and the staging block.
    pub(super) fn steps(
        &self,
    ) -> impl Iterator<Item = (&Block, impl Iterator<Item = Queued> + use<'_>)> {
        self.steps.iter().map(|step| {
            let queued =
                |(&device, &(bytes, at)): (&u64, &(u64, u64))| Queued { device, bytes, at };
            (&self.staging, step.iter().map(queued))
        })
    }

    /// Drops all writes. Commands that copy from the staging block have completed before the next
    /// [`push`](Self::push).
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.steps.clear();
    }
}

/// Adds a write to the last step, or to a new one if it overlaps another write there. A write that
/// goes on where the one before it ends, on both sides and in the same block, lengthens that.
fn add(steps: &mut Vec<BTreeMap<u64, (u64, u64)>>, block: u64, write: Queued) {
    let Queued { device, bytes, at } = write;
    if let Some(step) = steps.last_mut() {
        match step.range_mut(..device + bytes).next_back() {
            Some((&start, (length, from))) if start + *length == device => {
                if start >= block && *from + *length == at {
                    *length += bytes;
                } else {
                    step.insert(device, (bytes, at));
                }
                return;
            }
            Some((&start, &mut (length, _))) if start + length > device => {}
            _ => {
                step.insert(device, (bytes, at));
                return;
            }
        }
    }
    steps.push(BTreeMap::from([(device, (bytes, at))]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_in_one_block_are_one_write() {
        let mut steps = Vec::new();
        for (block, device, at) in [(100, 100, 0), (100, 110, 10), (120, 120, 20), (120, 140, 30)] {
            add(&mut steps, block, Queued { device, bytes: 10, at });
        }
        assert_eq!(steps, [BTreeMap::from([(100, (20, 0)), (120, (10, 20)), (140, (10, 30))])]);
    }

    proptest! {
        /// Staged bytes are numbers, so each byte of memory tells which write came last.
        #[test]
        fn later_writes_win(
            writes in prop::collection::vec((0u64..60, 1u64..12, any::<bool>()), 0..20),
        ) {
            let (mut steps, mut used) = (Vec::new(), 0u64);
            let mut expected = [None; 80];
            for (device, bytes, new_block) in writes {
                let block = if new_block { device } else { 0 };
                add(&mut steps, block, Queued { device, bytes, at: used });
                for byte in 0..bytes {
                    expected[usize::try_from(device + byte).unwrap()] = Some(used + byte);
                }
                used += bytes;
            }
            let mut memory = [None; 80];
            for step in &steps {
                let mut end = 0;
                for (&device, &(bytes, at)) in step {
                    prop_assert!(device >= end, "copies of one step do not overlap");
                    end = device + bytes;
                    for byte in 0..bytes {
                        memory[usize::try_from(device + byte).unwrap()] = Some(at + byte);
                    }
                }
            }
            prop_assert_eq!(memory, expected);
        }
    }
}
