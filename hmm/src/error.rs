//! Errors, one type per family of operations.
//!
//! All of them are about the environment: a `/proc` that is not there, a sandbox that refuses a
//! call, an address that is not user memory. Each names the address or range it is about where
//! there is one, says what would help, and keeps the operating system's error as its source.

#![forbid(unsafe_code)]

use std::io;

use thiserror::Error;

use crate::addr::{VaRange, VirtAddr};

/// A failure to look up the areas of the address space with [`Maps`](crate::Maps).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapsError {
    /// `/proc/self/maps` could not be opened.
    #[error("cannot open /proc/self/maps; procfs must be mounted on /proc")]
    Open {
        /// What the operating system said.
        source: io::Error,
    },

    /// `PROCMAP_QUERY` was asked for by name and the kernel or a sandbox does not offer it.
    #[error("PROCMAP_QUERY is not available (Linux 6.11 has it); use MapsSource::Text instead")]
    QueryUnavailable {
        /// What the operating system said.
        source: io::Error,
    },

    /// The kernel refused to look up an address.
    #[error("the kernel refused to look up the area at {addr}")]
    Query {
        /// The address to look up.
        addr: VirtAddr,
        /// What the operating system said.
        source: io::Error,
    },

    /// `/proc/self/maps` could not be read.
    #[error("cannot read /proc/self/maps to look up the area at {addr}")]
    Read {
        /// The address to look up.
        addr: VirtAddr,
        /// What the operating system said.
        source: io::Error,
    },

    /// `/proc/self/maps` did not have the form that Linux gives it.
    #[error("/proc/self/maps is not in the form that Linux writes")]
    Parse {
        /// Which line, and what it said.
        #[from]
        source: ParseMapsError,
    },
}

/// A line of `/proc/<pid>/maps` that [`parse_maps`](crate::parse_maps) did not understand.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
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
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PagemapError {
    /// `/proc/self/pagemap` could not be opened.
    #[error("cannot open /proc/self/pagemap; procfs must be mounted on /proc and show it")]
    Open {
        /// What the operating system said.
        source: io::Error,
    },

    /// `PAGEMAP_SCAN` was asked for by name and the kernel or a sandbox does not offer it.
    #[error("PAGEMAP_SCAN is not available (Linux 6.7 has it); use PagemapSource::Entries instead")]
    ScanUnavailable {
        /// What the operating system said.
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
        /// What the operating system said.
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

/// A failure to read the process's page fault counters.
#[derive(Debug, Error)]
#[error("getrusage did not give the page fault counters; a sandbox must allow the call")]
pub struct FaultCountsError {
    #[from]
    source: io::Error,
}
