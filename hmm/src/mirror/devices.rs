//! The devices of a mirror: which are attached, under which numbers.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Mirror;
use crate::addr::VaRange;
use crate::mirror::shared::Attached;
use crate::mirror::table::DeviceIndex;
use crate::sys::device::DeviceMemory;
use crate::sys::uffd::Modes;

/// The attachment of a device to a mirror.
///
/// It is valid until [`Mirror::detach`]. No other attachment in this process has the same: what is
/// asked in the name of a device that was detached, or that is attached to another mirror, concerns
/// no device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    pub(crate) index: DeviceIndex,
    serial: u64,
}

/// A device that could not be attached.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The mirror belongs to the parent process.
    #[error("cannot attach a device: the mirror belongs to the parent process")]
    Inherited,

    /// There are too many devices.
    #[error("cannot attach a device: the mirror has as many as it can")]
    TooMany,

    /// The device is attached already.
    #[error(
        "cannot attach the device: it is attached already, to this mirror or to another; use the \
         number that it got then, or detach it first"
    )]
    Attached,

    /// The frames of the device cannot be watched.
    #[error("cannot attach a device: its frames cannot be watched")]
    Frames {
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl Mirror {
    /// Makes a device known, so that pages can be moved to it.
    ///
    /// A device is attached to a mirror once at a time. One whose memory is memory of this process
    /// ([`HostDevice`](crate::HostDevice)) is attached to one mirror at a time.
    ///
    /// # Errors
    ///
    /// - [`AttachError`] says why not.
    pub fn attach(&self, device: Arc<dyn DeviceMemory>) -> Result<DeviceId, AttachError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        if self.is_inherited() {
            return Err(AttachError::Inherited);
        }
        let _guard = self.core().migration_lock.lock();
        let index = self.free_index(&device)?;
        if device.as_host().is_some_and(|host| !host.take_for_mirror()) {
            return Err(AttachError::Attached);
        }
        if let Err(error) = self.watch_frames(&*device) {
            release(&*device);
            return Err(error);
        }
        // Relaxed: the number is unique whatever the order.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.core().lock().devices.get_mut(usize::from(index.0)) {
            *place = Some(Attached { device, serial });
        }
        Ok(DeviceId { index, serial })
    }

    /// Finds a place for a device that has none yet.
    fn free_index(&self, device: &Arc<dyn DeviceMemory>) -> Result<DeviceIndex, AttachError> {
        let state = self.core().lock();
        let is_it =
            |held: &Attached| std::ptr::addr_eq(&raw const *held.device, &raw const **device);
        if state.devices.iter().flatten().any(is_it) {
            return Err(AttachError::Attached);
        }
        let free = state.devices.iter().position(Option::is_none);
        let index = free.and_then(|index| u8::try_from(index).ok());
        index.map(DeviceIndex).ok_or(AttachError::TooMany)
    }

    /// Has the frames of a host device watched. Not for accesses to holes: the handler itself reads
    /// frames.
    fn watch_frames(&self, device: &dyn DeviceMemory) -> Result<(), AttachError> {
        let Some(host) = device.as_host() else {
            return Ok(());
        };
        let watched = self.register(host.frames().range(), Modes::PROTECTED);
        watched.map_err(|error| AttachError::Frames { source: error.source })
    }

    /// Brings every page home that the device holds, and forgets the device. Nothing happens if it
    /// is not attached, or not any more.
    pub fn detach(&self, device: DeviceId) {
        if self.is_inherited() {
            return;
        }
        let _guard = self.core().migration_lock.lock();
        if self.attached(device).is_none() {
            return;
        }
        self.shared.bring_home(VaRange::USER, Some(device.index));
        let index = usize::from(device.index.0);
        let removed = self.core().lock().devices.get_mut(index).and_then(Option::take);
        if let Some(removed) = &removed {
            self.unwatch_frames(&*removed.device);
        }
        // The handler may still be giving frames back. It must not be the last to have the device,
        // whose memory it would have to wait for itself to unmap.
        self.core().drain();
        if let Some(removed) = &removed {
            release(&*removed.device);
        }
    }

    /// The device behind a number that is still valid.
    pub(super) fn attached(&self, id: DeviceId) -> Option<Arc<dyn DeviceMemory>> {
        let state = self.core().lock();
        let attached = state.devices.get(usize::from(id.index.0))?.as_ref()?;
        (attached.serial == id.serial).then(|| Arc::clone(&attached.device))
    }

    /// Lets other mirrors have the devices, once every page is home and nobody answers faults.
    pub(super) fn release_devices(&self) {
        let devices = self.core().lock().attached();
        // The devices themselves go after the userfaultfd: what they unmap may be watched, and
        // nobody reads messages any more.
        for device in devices.iter().flatten() {
            self.unwatch_frames(&**device);
            release(&**device);
        }
    }

    fn unwatch_frames(&self, device: &dyn DeviceMemory) {
        if let Some(host) = device.as_host() {
            // What stays watched is unmapped later, with a message that concerns nobody.
            let _ = self.core().transfer.uffd().unregister(host.frames().range());
        }
    }
}

fn release(device: &dyn DeviceMemory) {
    if let Some(host) = device.as_host() {
        host.release_from_mirror();
    }
}
