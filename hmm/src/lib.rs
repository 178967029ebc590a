//! A user-space view of a host address space, in the words of Linux's heterogeneous memory
//! management (HMM).
//!
//! A device that computes on host memory keeps a mirror of a part of the host page table:
//!
//! - [`range_fault`] says what the device may do with each page of an [`HmmRange`], and faults in
//!   what it wants; [`snapshot`] only looks. [`ProcessMm`] is the memory that they walk.
//! - [`Notifiers`] tell the device of every change before it happens, and tell it afterwards
//!   whether what it read in between still counts.
//! - A [`Mirror`] does the rest: it watches memory, says which pages were written, moves pages to
//!   the memory of a device (a [`DeviceMemory`]), and brings them home when the CPU touches them.
//!
//! Three questions can be asked about the process itself, without a device and without privilege:
//!
//! - *What is mapped where?* [`Maps`] finds the [`Vma`] at an address, as the kernel's `find_vma`
//!   does.
//! - *Which pages are there?* [`Pagemap`] reports the [`Residency`] of a range, run by run.
//! - *How many page faults did that cost?* [`fault_counts`] reads the process's counters.
//!
//! Memory whose mapping may change at any time is copied by [`read_bytes`] and [`write_bytes`]: a
//! page that is not there is an error, not a signal. Memory that shares neither page nor area with
//! anything else is an [`OwnMapping`].
//!
//! Under them lie the address types [`VirtAddr`], [`PageSize`], [`PageNumber`], [`PageCount`] and
//! [`VaRange`]: units that do not mix, with checked arithmetic.
//!
//! Every answer is a snapshot. Another thread may map, unmap or touch memory before the caller
//! looks at it, so code that acts on an answer must be able to bear that it is no longer true;
//! `DESIGN.md` says which code checks again.
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
mod device;
#[cfg(feature = "dmirror")]
mod dmirror;
mod error;
mod fatal;
mod host;
mod mirror;
mod notifier;
mod sync;
mod sys;
#[cfg(test)]
mod testing;
mod walk;

pub use addr::{PageCount, PageNumber, PageSize, VaRange, VirtAddr};
pub use device::{DeviceError, DeviceRun, Hold, Owner};
#[cfg(feature = "dmirror")]
pub use dmirror::{Code, CoherentMemory, Dmirror, DmirrorError, Reply};
pub use error::{
    FaultCountsError, FaultError, HostError, MapError, MapsError, PagemapError, ParseMapsError,
    RegisterError,
};
pub use host::residency::{PageState, Residency, ResidencyRun};
pub use host::vma::{Device, Vma, VmaFlags, parse_maps};
pub use host::{Detail, FaultInError, HostMm, PageAccess, PageEntry, PageRun};
pub use mirror::migrate::{MigrateError, Migration, Skip, Skipped};
pub use mirror::stats::MirrorStats;
pub use mirror::{
    AttachError, DeviceId, Mirror, MirrorBuildError, MirrorBuilder, TrackError, UnwatchError,
    WatchError,
};
pub use notifier::{
    Event, Invalidate, Invalidation, InvalidationGuard, Notifier, Notifiers, Seq, SeqSet,
    WouldBlock,
};
pub use sys::atfork::ForkMark;
pub use sys::copy::{CopyError, read_bytes, write_bytes};
pub use sys::device::{DeviceMemory, HostDevice, MirrorCall};
pub use sys::dirty::{DirtyError, DirtyTracker};
pub use sys::lease::Lease;
pub use sys::maps::{Maps, MapsSource};
pub use sys::memory::Memory;
pub use sys::own_mapping::OwnMapping;
pub use sys::pagemap::{Pagemap, PagemapSource};
pub use sys::rusage::{FaultCounts, fault_counts};
pub use sys::signals::file_limit_as_error;
pub use sys::uffd::{
    Capabilities, Feature, Features, MirrorTier, OpenUffdError, Route, Support, TierReport,
};
pub use walk::pfn::{Pfn, PfnFlags, PfnRun, Pfns, Request};
pub use walk::process::ProcessMm;
pub use walk::range::{HmmRange, RequestRun};
pub use walk::{range_fault, snapshot};
