//! The device's addresses: their highest bits, and whether they are those of the host.
//!
//! # Safety
//!
//! The import goes before the memory, and no kernel runs.
#![allow(unsafe_code, reason = "an import by hand, see above")]

use crate::{
    doctor::{
        finding::Finding,
        memory::{HostMemory, Kind},
        probe::Subject,
    },
    failure::{self, Failure},
    vulkan::{Device, HostBuffer, Imported},
};
use std::rc::Rc;

pub(super) const IMPORTED: &str = "addresses, imported memory";

/// Of a buffer in memory of one type.
pub(super) fn in_type(subject: &mut Subject, kind: u32) -> Result<Finding, Failure> {
    subject.at("making a buffer");
    let device = Rc::new(Device::open_at(subject.device)?);
    let buffer = HostBuffer::new_in(&device, &[0u32; 1024], kind)?;
    Ok(describe(buffer.host_address(), buffer.address()))
}

/// Of imported memory, where direct access needs equality.
pub(super) fn imported(subject: &mut Subject) -> Result<Finding, Failure> {
    subject.at("importing");
    let device = Rc::new(Device::open_at(subject.device)?);
    // As many bytes as any alignment in use.
    let memory = HostMemory::map(Kind::Huge, crate::doctor::memory::HUGE_BYTES)?;
    let start = memory.start();
    // SAFETY: `memory` lives longer than the import, which no kernel uses.
    let imported = match unsafe { Imported::new(&device, start, memory.len_bytes()) } {
        Ok(imported) => imported,
        Err(refused) => return Ok(Finding::refused(failure::chain(&refused))),
    };
    Ok(describe(start.expose_provenance() as u64, imported.address()))
}

fn describe(host: u64, device: u64) -> Finding {
    let page = rustix::param::page_size() as u64;
    let equal = host == device;
    let words = if equal { "equal" } else { "differ" };
    let high = 64 - device.leading_zeros();
    Finding::measured(format!("host {host:#x}, device {device:#x}: {words}; {high} bits"))
        .figure("host_address", format!("{host:#x}"))
        .figure("device_address", format!("{device:#x}"))
        .figure("equal", equal)
        .figure("address_bits", high)
        .figure("aligned_to_a_page", device.is_multiple_of(page))
}
