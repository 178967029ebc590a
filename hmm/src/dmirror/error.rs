//! The answers of commands.

#![forbid(unsafe_code)]

use std::time::Duration;

use thiserror::Error;

use crate::addr::VirtAddr;
use crate::error::{FaultError, debug_in_words};
use crate::mirror::AttachError;
use crate::mirror::migrate::MigrateError;

/// How long a command is repeated while changes of the mappings keep interrupting it.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);

/// A failure of a command, by the error number that the kernel's driver answers.
#[derive(Error)]
#[non_exhaustive]
pub enum DmirrorError {
    /// `EFAULT`: a page cannot be accessed.
    #[error("EFAULT: the page at {addr} cannot be accessed")]
    Fault {
        /// The page.
        addr: VirtAddr,
    },
    /// `EPERM`: a page may not be written, or is still held exclusively.
    #[error("EPERM: not allowed for the page at {addr}")]
    Permission {
        /// The page.
        addr: VirtAddr,
    },
    /// `EBUSY`: the mappings changed again and again.
    #[error("EBUSY: the mapping at {addr} keeps changing")]
    Busy {
        /// The place.
        addr: VirtAddr,
    },
    /// `EINVAL`: the range cannot be migrated at all, or is not made of whole pages.
    #[error("EINVAL: {addr} is not the start of whole pages, or cannot be migrated")]
    Invalid {
        /// The first address that cannot.
        addr: VirtAddr,
    },
    /// `ENOENT`: a page did not get where it should.
    #[error("ENOENT: the page at {addr} did not move")]
    NotFound {
        /// The page.
        addr: VirtAddr,
    },
    /// The walk failed in a way of its own.
    #[error("the pages cannot be examined")]
    Walk {
        /// The failure.
        source: FaultError,
    },
    /// The migration failed in a way of its own.
    #[error("the pages cannot be migrated")]
    Migrate {
        /// The failure.
        source: MigrateError,
    },
    /// The device could not be made.
    #[error("the device cannot be attached")]
    Attach {
        /// The failure.
        #[from]
        source: AttachError,
    },
    /// The device failed.
    #[error("the device failed")]
    Device {
        /// The failure.
        #[from]
        source: crate::DeviceError,
    },
    /// There is no memory for the device's page table.
    #[error("no memory for the page table of the device")]
    NoMemory,
}

debug_in_words!(DmirrorError);

impl From<FaultError> for DmirrorError {
    fn from(source: FaultError) -> Self {
        match source {
            FaultError::Fault { addr } => Self::Fault { addr },
            FaultError::Permission { addr } => Self::Permission { addr },
            FaultError::Busy { addr } => Self::Busy { addr },
            source => Self::Walk { source },
        }
    }
}

impl From<MigrateError> for DmirrorError {
    fn from(source: MigrateError) -> Self {
        match source {
            MigrateError::NoMemory { addr } => Self::Invalid { addr },
            MigrateError::Invalid { range } => Self::Invalid { addr: range.start() },
            source => Self::Migrate { source },
        }
    }
}

/// The answer of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Pages copied or moved.
    pub cpages: u64,
    /// How often pages were faulted in: calls, not pages.
    pub faults: u64,
}
