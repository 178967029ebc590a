//! Copies by the device, which the host waits for.

use super::{Device, block::Block, command::Recording};
use crate::VulkanError;
use std::sync::Arc;

/// A copy from block to block: each block with the offset of the first byte of its pages.
pub(crate) struct Region<'b> {
    pub(crate) from: (&'b Block, u64),
    pub(crate) to: (&'b Block, u64),
    pub(crate) bytes: u64,
}

/// Runs copies that do not overlap, after all earlier commands, and waits for them.
pub(crate) fn transfer(device: &Arc<Device>, regions: &[Region<'_>]) -> Result<(), VulkanError> {
    let mut recording = Recording::begin(device)?;
    recording.full_barrier();
    for region in regions {
        let side = |(block, offset): (&Block, u64)| {
            let end = offset.checked_add(region.bytes);
            assert!(end.is_some_and(|end| end <= block.bytes()), "the bytes are in the block");
            (block.raw(), block.place(offset))
        };
        let (from, to) = (side(region.from), side(region.to));
        // SAFETY: both buffers hold the bytes, and live until the wait below.
        unsafe { recording.copy(from, to, region.bytes) };
    }
    recording.full_barrier();
    recording.submit(None)?.finish();
    Ok(())
}
