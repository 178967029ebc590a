//! The faults that a userfaultfd serves, and how it was made.

use std::fmt;

/// The faults that a userfaultfd serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MirrorTier {
    /// Faults that the CPU takes in user mode. A system call on a page that is not there fails
    /// with `EFAULT`. Needs no privilege.
    UserFaults,
    /// Faults taken by system calls too. Needs root, access to `/dev/userfaultfd`, or a system that
    /// allows it to every user.
    KernelFaults,
}

impl fmt::Display for MirrorTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserFaults => "user faults",
            Self::KernelFaults => "user and kernel faults",
        })
    }
}

/// How a userfaultfd was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// From `/dev/userfaultfd`, which Linux 6.1 has.
    DeviceNode,
    /// By the system call.
    SystemCall,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeviceNode => "/dev/userfaultfd",
            Self::SystemCall => "the system call",
        })
    }
}
