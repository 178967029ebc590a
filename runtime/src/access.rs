//! How a kernel reaches a host address.

use std::fmt;

/// How a kernel reaches a host address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AccessMode {
    /// The best mode that the device is proved to support.
    #[default]
    Auto,
    /// The device address of imported host memory equals the host address, so kernels run on host
    /// pointers as they are. A missing page is an ordinary CPU fault.
    Direct,
    /// The device has an address space of its own and kernels translate. Not part of this version.
    Mirrored,
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Mirrored => "mirrored",
        })
    }
}

/// Where a device keeps lent data between launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// Nowhere: kernels work on host memory itself, as they do in direct access.
    None,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
        })
    }
}
