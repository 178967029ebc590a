//! A device, and the objects that all launches on it share.

use super::{
    channel::Channel,
    pool::{Pool, Pooled},
    stop::StopWord,
};
use crate::{
    VulkanError,
    lend::{areas::ProcessAreas, imports::DeviceImports},
    residency::kept::Kept,
    vk::{Device, buffer::SharedBuffer, frames::FrameStore},
};
use farptr_rewrite::control::SPARE_BYTES;
use std::{fmt, sync::Arc};

/// A device, and the objects that all launches on it share.
pub(crate) struct Launcher {
    /// The memory that refused accesses use: zeroes to read, and the sink to write.
    spare: SharedBuffer,
    channels: Arc<Pool<Channel>>,
    stops: Arc<Pool<StopWord>>,
    imports: Arc<DeviceImports>,
    areas: Arc<ProcessAreas>,
    frames: Arc<FrameStore>,
    kept: Arc<Kept>,
    device: Arc<Device>,
}

impl Launcher {
    pub(crate) fn new(device: &Arc<Device>) -> Result<Self, VulkanError> {
        let spare = SharedBuffer::for_device(device, 2 * SPARE_BYTES)?;
        spare.clear();
        Ok(Self {
            spare,
            channels: Arc::new(Pool::new(device)),
            stops: Arc::new(Pool::new(device)),
            imports: Arc::default(),
            areas: Arc::default(),
            frames: Arc::new(FrameStore::new(device)),
            kept: Arc::default(),
            device: Arc::clone(device),
        })
    }

    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// The host memory that scopes of the device have imported.
    pub(crate) fn imports(&self) -> &Arc<DeviceImports> {
        &self.imports
    }

    /// The memory areas of the process.
    pub(crate) fn areas(&self) -> &Arc<ProcessAreas> {
        &self.areas
    }

    /// The device memory that scopes take for frames.
    pub(crate) fn frames(&self) -> &Arc<FrameStore> {
        &self.frames
    }

    /// The copies that scopes have left in it.
    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// Pages of host memory that are imported now; 0 in a child made by `fork`.
    pub(crate) fn pages_imported(&self) -> u64 {
        if self.device.is_inherited() { 0 } else { self.imports.pages() }
    }

    /// The device addresses of zeroes to read and of memory to write.
    pub(crate) fn spare(&self) -> [u64; 2] {
        [self.spare.address(), self.spare.address() + SPARE_BYTES]
    }

    /// An empty channel.
    pub(crate) fn take_channel(&self) -> Result<Pooled<Channel>, VulkanError> {
        let mut channel = self.channels.take(Channel::new)?;
        channel.clear();
        Ok(channel)
    }

    /// A stop word that says that no launch has failed.
    pub(crate) fn take_stop(&self) -> Result<Pooled<StopWord>, VulkanError> {
        let stop = self.stops.take(StopWord::new)?;
        stop.clear();
        Ok(stop)
    }
}

impl fmt::Debug for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launcher").field("device", &self.device).finish_non_exhaustive()
    }
}
