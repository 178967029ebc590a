//! Errors, one type per family of operations.
//!
//! All of them are about the environment: a `/proc` that is not there, a sandbox that refuses a
//! call, an address that is not user memory. Each names the address or range it is about where
//! there is one, says what would help, and keeps the operating system's error as its source.

#![forbid(unsafe_code)]

use std::{fmt, io};

use thiserror::Error;

use crate::addr::{VaRange, VirtAddr};

/// Makes `Debug` print the message of an error and its causes: Rust prints `Debug` of an error that
/// `main` returns or that `unwrap` finds.
macro_rules! debug_in_words {
    ($($error:ty),* $(,)?) => {
        $(impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::error::write_causes(self, f)
            }
        })*
    };
}
pub(crate) use debug_in_words;

/// A failure to look up the areas of the address space with [`Maps`](crate::Maps).
#[derive(Error)]
#[non_exhaustive]
pub enum MapsError {
    /// `/proc/self/maps` could not be opened.
    #[error("cannot open /proc/self/maps; procfs must be mounted on /proc")]
    Open {
        /// The error of the operating system.
        source: io::Error,
    },

    /// `PROCMAP_QUERY` was asked for by name and the kernel or a sandbox does not offer it.
    #[error("PROCMAP_QUERY is not available (Linux 6.11 has it); use MapsSource::Text instead")]
    QueryUnavailable {
        /// The error of the operating system.
        source: io::Error,
    },

    /// The kernel refused to look up an address.
    #[error("the kernel refused to look up the area at {addr}")]
    Query {
        /// The address to look up.
        addr: VirtAddr,
        /// The error of the operating system.
        source: io::Error,
    },

    /// `/proc/self/maps` could not be read.
    #[error("cannot read /proc/self/maps to look up the area at {addr}")]
    Read {
        /// The address to look up.
        addr: VirtAddr,
        /// The error of the operating system.
        source: io::Error,
    },

    /// `/proc/self/maps` did not have the form that Linux gives it.
    #[error("/proc/self/maps is not in the form that Linux writes")]
    Parse {
        /// The line, by number and content.
        #[from]
        source: ParseMapsError,
    },
}

/// A line of `/proc/<pid>/maps` that [`parse_maps`](crate::parse_maps) did not understand.
#[derive(Error, Clone, PartialEq, Eq)]
#[error("line {line_number} does not describe a memory area: {line:?}")]
pub struct ParseMapsError {
    line_number: usize,
    line: String,
}

impl ParseMapsError {
    pub(crate) fn new(line_number: usize, line: &[u8]) -> Self {
        Self { line_number, line: String::from_utf8_lossy(line).into_owned() }
    }

    /// Returns the number of the line, counted from one.
    #[must_use]
    pub fn line_number(&self) -> usize {
        self.line_number
    }
}

/// A failure to examine pages with [`Pagemap`](crate::Pagemap).
#[derive(Error)]
#[non_exhaustive]
pub enum PagemapError {
    /// `/proc/self/pagemap` could not be opened.
    #[error("cannot open /proc/self/pagemap; procfs must be mounted on /proc and show it")]
    Open {
        /// The error of the operating system.
        source: io::Error,
    },

    /// `PAGEMAP_SCAN` was asked for by name and the kernel or a sandbox does not offer it.
    #[error("PAGEMAP_SCAN is not available (Linux 6.7 has it); use PagemapSource::Entries instead")]
    ScanUnavailable {
        /// The error of the operating system.
        source: io::Error,
    },

    /// The range reaches past the addresses that this machine gives to a process.
    #[error("{range} is not user memory on this machine; check the address and the length")]
    OutsideUserSpace {
        /// The range asked about, in whole pages.
        range: VaRange,
    },

    /// The kernel refused to examine a range.
    #[error("the kernel refused to examine the pages of {range}")]
    Examine {
        /// The range asked about, in whole pages.
        range: VaRange,
        /// The error of the operating system.
        source: io::Error,
    },

    /// The areas behind a range could not be looked up, which reading page by page needs.
    #[error("cannot find out what is mapped in {range}")]
    Maps {
        /// The range asked about, in whole pages.
        range: VaRange,
        /// Why the lookup failed.
        source: MapsError,
    },
}

/// A failure to map memory as an [`OwnMapping`](crate::OwnMapping).
#[derive(Error)]
#[non_exhaustive]
pub enum MapError {
    /// The system has no addresses, no mapping or no memory left for the process.
    #[error(
        "cannot map {len_bytes} bytes of memory; free some, or raise the limit that is reached: \
         of addresses (ulimit -v), of mappings (sysctl vm.max_map_count), of memory \
         (vm.overcommit_memory)"
    )]
    Refused {
        /// The length asked for.
        len_bytes: usize,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A failure to register for invalidations with [`Notifiers`](crate::Notifiers).
#[derive(Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The range contains no address.
    #[error("the range to watch at {addr} is empty")]
    EmptyRange {
        /// The address at which the range starts and ends.
        addr: VirtAddr,
    },
}

/// A failure to examine or to change a host address space.
#[derive(Error)]
#[non_exhaustive]
pub enum HostError {
    /// The areas could not be looked up.
    #[error("cannot find out what is mapped")]
    Maps {
        /// Why the lookup failed.
        #[from]
        source: MapsError,
    },

    /// The page table could not be examined.
    #[error("cannot find out which pages are there")]
    Pagemap {
        /// Why the examination failed.
        #[from]
        source: PagemapError,
    },

    /// `/proc/self/smaps` could not be read, which tells the size of huge pages and whether an
    /// area maps memory at all.
    #[error("cannot read /proc/self/smaps; procfs must be mounted on /proc and show it")]
    Smaps {
        /// The error of the operating system.
        source: io::Error,
    },

    /// The kernel or a sandbox does not offer `MADV_POPULATE_READ`.
    #[error("MADV_POPULATE_READ is not available (Linux 5.14 has it)")]
    PopulateUnavailable {
        /// The error of the operating system.
        source: io::Error,
    },

    /// The kernel refused to fault pages in, in a way that says nothing about the pages.
    #[error("the kernel refused to fault in {range}")]
    Populate {
        /// The pages.
        range: VaRange,
        /// The error of the operating system.
        source: io::Error,
    },

    /// Another implementation of [`HostMm`](crate::HostMm) failed in a way of its own.
    #[error("the host address space failed")]
    Other {
        /// The failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A walk by [`range_fault`](crate::range_fault) that did not answer for every page.
///
/// The names in capitals are those of the kernel's error numbers.
#[derive(Error)]
#[non_exhaustive]
pub enum FaultError {
    /// `EFAULT`: a requested page cannot be made available. Nothing is mapped there, the area does
    /// not allow reading, or the page is poisoned, a guard, or past the end of its file.
    #[error("the page at {addr} cannot be accessed")]
    Fault {
        /// The first such page.
        addr: VirtAddr,
    },

    /// `EPERM`: a page is wanted for writing in an area that does not allow it.
    #[error("the page at {addr} may not be written")]
    Permission {
        /// The first such page.
        addr: VirtAddr,
    },

    /// `EBUSY`: the range was invalidated since its sequence number was taken, or its pages go as
    /// fast as they are faulted in. Take a new number and walk again.
    #[error("the pages from {addr} on changed during the walk; begin another attempt")]
    Busy {
        /// How far the walk had come.
        addr: VirtAddr,
    },

    /// `EINVAL`: the range is empty, or not made of whole pages, or not watched by its notifier.
    #[error("{range} is not a range of whole pages inside the range of the notifier")]
    Invalid {
        /// The range that was passed.
        range: VaRange,
    },

    /// `ENOMEM`: there is no memory for a page.
    #[error("no memory to fault in the page at {addr}")]
    NoMemory {
        /// The first page for which there was no memory.
        addr: VirtAddr,
    },

    /// The host address space could not be examined or changed; this says nothing about the pages.
    #[error("the walk could not go on")]
    Host {
        /// The failure.
        #[from]
        source: HostError,
    },
}

/// A failure to read the process's page fault counters.
#[derive(Error)]
#[error("getrusage did not give the page fault counters; a sandbox must allow the call")]
pub struct FaultCountsError {
    #[from]
    source: io::Error,
}

debug_in_words!(
    MapsError,
    ParseMapsError,
    PagemapError,
    MapError,
    RegisterError,
    HostError,
    FaultError,
    FaultCountsError,
);

/// Writes a message, and each cause on a line of its own.
pub(crate) fn write_causes(
    error: &dyn std::error::Error,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "{error}")?;
    let mut causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.try_for_each(|cause| write!(f, "\n  cause: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_main_returns_is_printed_in_words() {
        let source = io::Error::other("no such mount");
        let error: Box<dyn std::error::Error> = MapsError::Open { source }.into();
        assert_eq!(
            format!("Error: {error:?}"),
            "Error: cannot open /proc/self/maps; procfs must be mounted on /proc\n  \
             cause: no such mount"
        );
    }
}
