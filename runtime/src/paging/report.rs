//! The report of a round: the faults of its kernel, the pages that were missing, and the reasons
//! for which a page cannot be brought in.

use crate::{FaultReason, launch::log::FaultRecord};

/// Everything that a round left in its log and bitmaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Faults that were reported, whether or not the queue had room for them.
    pub(crate) total: u64,
    /// The pages of lends with faults, from the bitmaps: all of them, each once.
    pub(crate) missing: Vec<Missing>,
    /// The queue.
    pub(crate) faults: Vec<FaultRecord>,
    /// Invocations that had a loop cut short by the driver.
    pub(crate) cut: u32,
    /// Invocations that reached the loop limit.
    pub(crate) exhausted: u32,
}

impl Report {
    /// Whether every invocation did all that it was to do.
    pub(crate) fn is_clean(&self) -> bool {
        self.total == 0 && self.cut == 0 && self.exhausted == 0
    }
}

/// A page of a lend that the device missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Missing {
    /// The position of the lend.
    pub(crate) lend: usize,
    /// The page's place in it, from 0.
    pub(crate) page: usize,
    /// Whether it is to be written.
    pub(crate) write: bool,
}

/// Why a page cannot be brought in, or not be written home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// There is no memory.
    Unmapped,
    /// There is memory, but the process itself may not read, or not write it.
    Protected,
    /// The area allows the access, and system calls fail there: `process::host::Host::diagnose` may
    /// know more.
    Unreachable,
    /// A userfaultfd for user-mode faults only has the page.
    Userfaultfd,
    /// The kernel's own page for the clock.
    Vvar,
    /// A ring of performance events.
    PerfRing,
    /// Memory of a device or a driver.
    Special,
    /// The system call is refused by a sandbox.
    Refused,
    /// The kernel no longer shows what is mapped.
    NoMaps,
    /// The page is lent too, at this other address, and may be written at one of the two.
    Aliased(u64),
    /// The device has the page with the permission that the access needs, so the address is not
    /// aligned for the access.
    Misaligned,
}

impl From<Denial> for FaultReason {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Unmapped => Self::Unmapped,
            Denial::Protected => Self::Protected,
            Denial::Unreachable => Self::Unreachable,
            Denial::Userfaultfd => Self::Userfaultfd,
            Denial::Vvar => Self::Vvar,
            Denial::PerfRing => Self::PerfRing,
            Denial::Special => Self::Special,
            Denial::Refused => Self::Refused,
            Denial::NoMaps => Self::NoMaps,
            Denial::Aliased(other) => Self::Aliased { other },
            Denial::Misaligned => Self::Misaligned,
        }
    }
}
