//! Attaching devices to a mirror, and detaching them.

#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use super::devices::{AttachError, DeviceId};
use super::migrator::Migrator;
use super::shared::Shared;
use crate::addr::VaRange;
use crate::sys::device::DeviceMemory;
use crate::sys::uffd::Modes;

/// Makes a device known.
pub(super) fn attach(
    shared: &Shared,
    device: Arc<dyn DeviceMemory>,
) -> Result<DeviceId, AttachError> {
    let _guard = shared.migration_lock.lock();
    let index = shared.lock().devices.free_place(&device)?;
    if device.as_host().is_some_and(|host| !host.take_for_mirror()) {
        return Err(AttachError::Attached);
    }
    if let Err(error) = watch_frames(shared, &*device) {
        release(&*device);
        return Err(error);
    }
    Ok(shared.lock().devices.attach(index, device))
}

/// Brings every page home that a device holds, and forgets the device.
pub(super) fn detach(migrator: &Migrator, id: DeviceId) {
    let shared = &*migrator.shared;
    let _guard = shared.migration_lock.lock();
    if shared.lock().devices.attached(id).is_none() {
        return;
    }
    migrator.bring_home(VaRange::USER, Some(id.index));
    let removed = shared.lock().devices.detach(id.index);
    if let Some(device) = &removed {
        unwatch_frames(shared, &**device);
    }
    // The handler may still be giving frames back. The handler must not drop the last reference to
    // the device: the device's memory would be unmapped, and the `munmap` would wait for the
    // handler to read its message.
    shared.drain();
    if let Some(device) = &removed {
        release(&**device);
    }
}

/// Lets other mirrors have the devices, once every page is home and the userfaultfd is closed.
pub(super) fn release_all(shared: &Shared) {
    let devices = shared.lock().devices.all();
    devices.iter().flatten().for_each(|device| release(&**device));
}

/// Watches the frames of a host device, but not for accesses to holes, because the handler itself
/// reads frames.
fn watch_frames(shared: &Shared, device: &dyn DeviceMemory) -> Result<(), AttachError> {
    let Some(host) = device.as_host() else {
        return Ok(());
    };
    shared
        .register(host.frames().range(), Modes::PROTECTED)
        .map_err(|error| AttachError::Frames { source: io::Error::other(error) })
}

fn unwatch_frames(shared: &Shared, device: &dyn DeviceMemory) {
    if let Some(host) = device.as_host() {
        // Frames that stay watched are unmapped later, with a message that concerns no device.
        let _ = shared.transfer.uffd().unregister(host.frames().range());
    }
}

fn release(device: &dyn DeviceMemory) {
    if let Some(host) = device.as_host() {
        host.release_from_mirror();
    }
}
