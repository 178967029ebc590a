//! The devices of a mirror: which are attached, under which numbers.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::table::DeviceIndex;
use crate::error::debug_in_words;
use crate::sys::device::DeviceMemory;

/// How many devices a mirror has room for.
pub(crate) const DEVICES: usize = 16;

/// The attachment of a device to a mirror.
///
/// It is valid until [`Mirror::detach`](crate::Mirror::detach). No other attachment in this process
/// has the same: a request in the name of a device that was detached, or that is attached to
/// another mirror, concerns no device.
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
        /// The error of the kernel.
        source: std::io::Error,
    },
}

debug_in_words!(AttachError);

/// A device and the number of its attachment, which no other attachment in this process has.
struct Attached {
    device: Arc<dyn DeviceMemory>,
    serial: u64,
}

/// The devices that are attached, each at its place. Allocates nothing.
#[derive(Default)]
pub(crate) struct Devices {
    places: [Option<Attached>; DEVICES],
}

impl Devices {
    /// Finds a place for a device that has none yet.
    pub(super) fn free_place(
        &self,
        device: &Arc<dyn DeviceMemory>,
    ) -> Result<DeviceIndex, AttachError> {
        let is_it =
            |held: &Attached| std::ptr::addr_eq(&raw const *held.device, &raw const **device);
        if self.places.iter().flatten().any(is_it) {
            return Err(AttachError::Attached);
        }
        let free = self.places.iter().position(Option::is_none);
        let index = free.and_then(|index| u8::try_from(index).ok());
        index.map(DeviceIndex).ok_or(AttachError::TooMany)
    }

    /// Attaches a device at a free place.
    pub(super) fn attach(&mut self, index: DeviceIndex, device: Arc<dyn DeviceMemory>) -> DeviceId {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        // Relaxed: the number is unique whatever the order.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.places.get_mut(usize::from(index.0)) {
            *place = Some(Attached { device, serial });
        }
        DeviceId { index, serial }
    }

    /// Takes a device from its place. Its caller drops it without the lock of the table.
    pub(super) fn detach(&mut self, index: DeviceIndex) -> Option<Arc<dyn DeviceMemory>> {
        let attached = self.places.get_mut(usize::from(index.0))?.take()?;
        Some(attached.device)
    }

    /// The device behind a number that is still valid.
    pub(super) fn attached(&self, id: DeviceId) -> Option<Arc<dyn DeviceMemory>> {
        let attached = self.places.get(usize::from(id.index.0))?.as_ref()?;
        (attached.serial == id.serial).then(|| Arc::clone(&attached.device))
    }

    /// The device at a place.
    pub(crate) fn get(&self, index: DeviceIndex) -> Option<Arc<dyn DeviceMemory>> {
        let attached = self.places.get(usize::from(index.0))?.as_ref()?;
        Some(Arc::clone(&attached.device))
    }

    /// All devices, for use without the lock of the table.
    pub(crate) fn all(&self) -> [Option<Arc<dyn DeviceMemory>>; DEVICES] {
        let places = self.places.each_ref();
        places.map(|place| place.as_ref().map(|held| Arc::clone(&held.device)))
    }

    /// All devices, under the lock of the table.
    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn DeviceMemory> {
        self.places.iter().flatten().map(|held| &*held.device)
    }
}
