//! A user-space view of a host address space, in the words of Linux's heterogeneous memory
//! management (HMM).
//!
//! The crate answers three questions about the process it runs in, without a device and without
//! privilege:
//!
//! - *What is mapped where?* [`Maps`] finds the [`Vma`] at an address, as the kernel's `find_vma`
//!   does.
//! - *Which pages are there?* [`Pagemap`] reports the [`Residency`] of a range, run by run.
//! - *How many page faults did that cost?* [`fault_counts`] reads the process's counters.
//!
//! Under them lie the address types [`VirtAddr`], [`PageSize`], [`PageNumber`], [`PageCount`] and
//! [`VaRange`]: units that do not mix, with checked arithmetic.
//!
//! Every answer is a snapshot. Another thread may map, unmap or touch memory before the caller
//! looks at it, so whoever acts on an answer must be able to bear that it is no longer true;
//! `DESIGN.md` says who checks again.
//!
//! # Examples
//!
//! ```
//! use farptr_hmm::{Maps, PageSize, Pagemap, VaRange};
//!
//! // A fresh mapping has no pages until it is touched.
//! let mut buffer = memmap2::MmapMut::map_anon(64 * 1024)?;
//! let range = VaRange::of_slice(&buffer);
//! let pagemap = Pagemap::open()?;
//! assert_eq!(pagemap.residency(range)?.present_pages().get(), 0);
//!
//! buffer.fill(1);
//! let touched = pagemap.residency(range)?;
//! assert_eq!(touched.present_pages(), range.page_count(PageSize::host()));
//!
//! let vma = Maps::open()?.find_vma(range.start())?.ok_or("the buffer is mapped")?;
//! assert!(vma.range.contains_range(&range));
//! assert!(vma.flags.write && !vma.flags.shared);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("farptr-hmm reads the address space of a 64-bit Linux process");

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod addr;
mod error;
mod residency;
mod sys;
mod vma;

pub use addr::{PageCount, PageNumber, PageSize, VaRange, VirtAddr};
pub use error::{FaultCountsError, MapsError, PagemapError, ParseMapsError};
pub use residency::{PageState, Residency, ResidencyRun};
pub use sys::maps::{Maps, MapsSource};
pub use sys::pagemap::{Pagemap, PagemapSource};
pub use sys::rusage::{FaultCounts, fault_counts};
pub use vma::{Device, Vma, VmaFlags, parse_maps};
