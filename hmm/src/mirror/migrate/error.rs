//! The failures of a migration as a whole.

use crate::addr::{VaRange, VirtAddr};
use crate::error::{HostError, debug_in_words};

/// A failure of a migration as a whole. A page that stays at home is not a failure.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// `EINVAL`: the range is empty or not made of whole pages.
    #[error("{range} is not made of whole pages")]
    Invalid {
        /// The range that was passed.
        range: VaRange,
    },

    /// `EINVAL`: nothing is mapped there, or it cannot be read, or it maps no memory.
    #[error("the page at {addr} cannot be migrated: no readable memory is mapped there")]
    NoMemory {
        /// The first such page.
        addr: VirtAddr,
    },

    /// This process may not keep pages away: a system call on them would fail.
    #[error(
        "cannot migrate {range}: this process cannot serve the page faults of system calls; run \
         as root or give access to /dev/userfaultfd"
    )]
    Unprivileged {
        /// The range that was passed.
        range: VaRange,
    },

    /// This process inherited the mirror by a fork: the mirror belongs to the parent.
    #[error("cannot migrate {range}: the mirror belongs to the parent process; build a new one")]
    Inherited {
        /// The range that was passed.
        range: VaRange,
    },

    /// The device is not attached.
    #[error("cannot migrate {range}: the device is not attached to the mirror")]
    NoDevice {
        /// The range that was passed.
        range: VaRange,
    },

    /// The device may allocate or wait while it gives pages back, and nothing says that an
    /// allocator has no part in the memory.
    #[error(
        "cannot migrate {range}: the device does not say that it is self-contained, so it may only \
         have memory that is a mapping of its own; pass the mapping (Memory), or implement \
         DeviceMemory::is_self_contained"
    )]
    MayAllocate {
        /// The range that was passed.
        range: VaRange,
    },

    /// The lease does not cover the range.
    #[error("the lease of {leased} does not cover {range}")]
    NotLeased {
        /// The range that was passed.
        range: VaRange,
        /// The range that the lease covers.
        leased: VaRange,
    },

    /// The host address space could not be examined.
    #[error("the migration of {range} could not begin")]
    Host {
        /// The range that was passed.
        range: VaRange,
        /// The failure.
        source: HostError,
    },
}

debug_in_words!(MigrateError);
