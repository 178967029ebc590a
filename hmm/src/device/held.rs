//! The pages of a host address space that devices hold.

#![forbid(unsafe_code)]

use crate::addr::{PageNumber, PageSize, VaRange};
use crate::device::Owner;

/// How a device holds a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// The only valid copy lies in the device's memory.
    Private,
    /// The device has the page for itself alone until a CPU or another device accesses it.
    Exclusive,
}

/// A run of neighbouring pages that a device holds in consecutive frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceRun {
    /// The host addresses, page aligned, never empty.
    pub range: VaRange,
    /// The owner of the device.
    pub owner: Owner,
    /// The number of the first page in the device's memory.
    pub frame: PageNumber,
    /// How the pages are held.
    pub hold: Hold,
    /// The size of the device's pages. May be larger than the run.
    pub mapping: PageSize,
}
