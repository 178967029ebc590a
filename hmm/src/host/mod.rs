//! The host address space as the walk sees it: the trait [`HostMm`], and areas, pages and their
//! states.
//!
//! [`range_fault`](crate::range_fault) decides from the reports of a [`HostMm`] alone, and changes
//! the host through it alone. [`ProcessMm`](crate::ProcessMm) implements it for the memory of this
//! process, and tests use a model.

#![forbid(unsafe_code)]

pub(crate) mod residency;
pub(crate) mod vma;

use thiserror::Error;

use crate::addr::{PageSize, VaRange};
use crate::device::DeviceRun;
use crate::error::{HostError, debug_in_words};
use crate::host::vma::Vma;

/// The accesses that a page is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageAccess {
    /// Loads.
    Read,
    /// Loads and stores.
    Write,
}

/// How closely [`HostMm::pages`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detail {
    /// Whether pages are there. A page that a store would first have to copy may be reported as
    /// writable, because a store through its address succeeds all the same.
    Presence,
    /// Also whether pages can be written as they are, without being copied first.
    Writability,
}

/// The entry of the host page table for a page, as far as the walk distinguishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageEntry {
    /// Nothing.
    Empty,
    /// The entry maps no page and is not empty: the page is in swap or being moved by the kernel,
    /// or the entry is a marker.
    Swapped,
    /// A page.
    Present {
        /// Whether a store finds it writable. Means nothing in an area that forbids writing.
        writable: bool,
    },
}

/// A run of neighbouring pages that the host page table treats alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRun {
    /// The pages, never none.
    pub range: VaRange,
    /// The state that they share.
    pub entry: PageEntry,
    /// The size of the pages that map them. May be larger than the run.
    pub mapping: PageSize,
}

/// Why pages could not be faulted in.
#[derive(Error)]
#[non_exhaustive]
pub enum FaultInError {
    /// A temporary condition cut the attempt short; the pages may or may not be there.
    #[error("the attempt to fault in pages was interrupted")]
    Again,

    /// There was no memory, or no area any more.
    #[error("no memory or no area to fault pages in")]
    NoMemory,

    /// The area does not allow it: its permissions have changed, or it maps no memory.
    #[error("the area does not let pages be faulted in")]
    Refused,

    /// A page exists that cannot be accessed: poisoned, a guard, past the end of the file.
    #[error("a page cannot be accessed")]
    BadPage,

    /// The host could not be examined.
    #[error("the host address space cannot be changed")]
    Host {
        /// The failure.
        #[from]
        source: HostError,
    },
}

debug_in_words!(FaultInError);

/// A host address space as the walk sees it and acts on it.
///
/// Each answer describes one moment, and different answers different moments. The walk allows for
/// that: it looks again after each change that it makes, and its result counts only if `read_retry`
/// says `false`.
pub trait HostMm {
    /// Lists the areas that share an address with `range`, lowest first, none twice.
    ///
    /// # Errors
    ///
    /// - [`HostError`] if the areas cannot be listed.
    fn vmas(&self, range: VaRange) -> Result<Vec<Vma>, HostError>;

    /// Tells whether an area maps something other than memory: device registers, pages that the
    /// kernel keeps no record of.
    ///
    /// # Errors
    ///
    /// - [`HostError`] if it cannot be found out.
    fn is_special(&self, vma: &Vma) -> Result<bool, HostError>;

    /// Reports the pages of `range`, which is page aligned and lies in `vma`, as runs that adjoin
    /// and together are exactly `range`.
    ///
    /// Has no side effect: no page is faulted in or marked.
    ///
    /// # Errors
    ///
    /// - [`HostError`] if the page table cannot be examined.
    fn pages(&self, vma: &Vma, range: VaRange, detail: Detail) -> Result<Vec<PageRun>, HostError>;

    /// Lists the pages of `range` that a device holds, lowest first and cut to the range.
    ///
    /// Their entries in the host page table are not considered. A host on which no device holds
    /// pages needs not implement this.
    fn device_pages(&self, range: VaRange) -> Vec<DeviceRun> {
        let _ = range;
        Vec::new()
    }

    /// Makes the pages of `range` present for `access`, as if the CPU had touched each.
    ///
    /// Success is not an answer: the walk looks at the pages again. On failure some of the pages
    /// may be present.
    ///
    /// # Errors
    ///
    /// - [`FaultInError`] says what the walk has to find out.
    fn fault_in(&self, range: VaRange, access: PageAccess) -> Result<(), FaultInError>;

    /// Takes the pages of `range` back from the device that holds them, and makes them present for
    /// `access`.
    ///
    /// The default touches them as the CPU does, which is enough where a touch of a page that a
    /// device holds brings it home.
    ///
    /// # Errors
    ///
    /// - As [`HostMm::fault_in`].
    fn bring_home(&self, range: VaRange, access: PageAccess) -> Result<(), FaultInError> {
        self.fault_in(range, access)
    }
}
