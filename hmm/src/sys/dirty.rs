//! Finding the pages that were written, by userfaultfd's asynchronous write protection and
//! `PAGEMAP_SCAN`.

#![forbid(unsafe_code)]

use std::io;

use thiserror::Error;

use super::uffd::{
    Feature, Features, MirrorTier, Modes, OpenUffdError, Resolution, Uffd, UffdError,
};
use super::written::{Then, Unknown, WrittenFinder};
use crate::addr::{PageSize, VaRange};
use crate::error::debug_in_words;

/// A failure to track which pages are written.
#[derive(Error)]
#[non_exhaustive]
pub enum DirtyError {
    /// The kernel does not offer what tracking needs.
    #[error("cannot track writes (Linux 6.7 can)")]
    Open {
        /// The feature that is missing.
        source: OpenUffdError,
    },

    /// The page table cannot be examined.
    #[error("cannot open /proc/self/pagemap; procfs must be mounted on /proc and show it")]
    Pagemap {
        /// The error of the operating system.
        source: io::Error,
    },

    /// The ends of the range are not page boundaries.
    #[error("{range} does not begin and end at page boundaries")]
    Unaligned {
        /// The range to track.
        range: VaRange,
    },

    /// The range cannot be tracked.
    #[error(
        "the kernel refused to track {range}; it must be mapped without a gap, and no other \
             userfaultfd may watch it"
    )]
    Track {
        /// The range to track.
        range: VaRange,
        /// The error of the kernel.
        source: io::Error,
    },

    /// A part of the range is not tracked, perhaps because it was mapped anew. The written pages
    /// there are not known.
    #[error("{range} is not tracked, or not all of it; take all of it for written")]
    NotTracked {
        /// The range asked about.
        range: VaRange,
    },

    /// The kernel refused to say which pages were written. The written pages are not known.
    #[error("the kernel refused to say which pages of {range} were written")]
    Collect {
        /// The range asked about.
        range: VaRange,
        /// The error of the kernel.
        source: io::Error,
    },

    /// The process is a child of the one that made the tracker.
    #[error("the tracker of {range} belongs to the parent process; make a new one")]
    Inherited {
        /// The range asked about.
        range: VaRange,
    },
}

debug_in_words!(DirtyError);

/// Knows which pages were written since it last looked, at the cost of a short fault for the first
/// store to each.
///
/// A page counts as written when a store reached it, from this process or from a system call that
/// it made, and also when it was dropped, as by `MADV_DONTNEED`. A page that is not there and that
/// is only read does not. Stores by other processes to shared memory, and by devices to memory
/// that they have pinned, are not seen.
///
/// No content changes and no access waits, so tracking is safe. It needs no privilege. A range has
/// one tracker, and none while another userfaultfd watches it. Dropping the tracker ends it
/// everywhere. A child made by `fork` is not tracked and makes a tracker of its own.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{DirtyTracker, PageSize, VaRange};
///
/// let page = PageSize::host();
/// let mut buffer = memmap2::MmapMut::map_anon(8 * page.bytes() as usize)?;
/// let range = VaRange::of_slice(&buffer);
/// let tracker = match DirtyTracker::open() {
///     Ok(tracker) => tracker,
///     Err(error) => {
///         println!("not here: {error}");
///         return Ok(());
///     }
/// };
/// tracker.track(range)?;
/// assert_eq!(tracker.take_written(range)?, []);
///
/// buffer[5000] = 1;
/// let second = range.pages(page).nth(1).ok_or("eight pages")?;
/// assert_eq!(tracker.take_written(range)?, [second]);
/// assert_eq!(tracker.take_written(range)?, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DirtyTracker {
    uffd: Uffd,
    finder: WrittenFinder,
    page_size: PageSize,
}

impl DirtyTracker {
    /// The features without which pages cannot be tracked.
    const REQUIRED: [Feature; 2] = [Feature::WpAsync, Feature::WpUnpopulated];

    /// Makes a tracker that tracks nothing yet.
    ///
    /// # Errors
    ///
    /// - [`DirtyError::Open`] if the kernel does not have the feature or a sandbox forbids it.
    /// - [`DirtyError::Pagemap`] if `/proc/self/pagemap` cannot be opened.
    pub fn open() -> Result<Self, DirtyError> {
        // Nothing is to be served, so the tier that needs no privilege does.
        let required: Features = Self::REQUIRED.into_iter().collect();
        let uffd = Uffd::open(MirrorTier::UserFaults, required, Features::NONE)
            .map_err(|source| DirtyError::Open { source })?;
        let finder = WrittenFinder::open().map_err(|source| DirtyError::Pagemap { source })?;
        Ok(Self { uffd, finder, page_size: PageSize::host() })
    }

    /// Tracks a range from now on: all of its pages count as not written.
    ///
    /// A range that is tracked already may be tracked anew. Pages that are not there are tracked
    /// too, which takes an entry of the page table, eight bytes, for each.
    ///
    /// # Errors
    ///
    /// - [`DirtyError::Unaligned`] if an end of the range is not a page boundary.
    /// - [`DirtyError::Track`] if the kernel refuses; a part of the range may be tracked then.
    /// - [`DirtyError::Inherited`] in a child process.
    pub fn track(&self, range: VaRange) -> Result<(), DirtyError> {
        self.check(range)?;
        if range.is_empty() {
            return Ok(());
        }
        self.uffd.register(range, Modes::PROTECTED).map_err(|error| tracking(range, error))?;
        loop {
            match self.uffd.write_protect(range) {
                Resolution::Done => return Ok(()),
                Resolution::Retry => std::thread::yield_now(),
                other => {
                    let source = io::Error::other(format!("write protection: {other:?}"));
                    return Err(DirtyError::Track { range, source });
                }
            }
        }
    }

    /// Stops tracking a range.
    ///
    /// # Errors
    ///
    /// - [`DirtyError::Unaligned`] if an end of the range is not a page boundary.
    /// - [`DirtyError::Track`] if the kernel refuses.
    /// - [`DirtyError::Inherited`] in a child process.
    pub fn untrack(&self, range: VaRange) -> Result<(), DirtyError> {
        self.check(range)?;
        if range.is_empty() {
            return Ok(());
        }
        self.uffd.unregister(range).map_err(|error| tracking(range, error))
    }

    /// Returns the runs of pages that were written since the range was tracked or since this
    /// method last returned them, lowest first, and counts them as not written from now on.
    ///
    /// For each page the two are one step: a store is in this answer or in the next, and a thread
    /// that reads the page after this method returned sees every store of this answer.
    ///
    /// # Errors
    ///
    /// Each of them means that any page may have been written.
    ///
    /// - [`DirtyError::Unaligned`] if an end of the range is not a page boundary.
    /// - [`DirtyError::NotTracked`] if a part of the range is not tracked, or not mapped any more.
    /// - [`DirtyError::Collect`] if the kernel refuses for another reason.
    /// - [`DirtyError::Inherited`] in a child process.
    pub fn take_written(&self, range: VaRange) -> Result<Vec<VaRange>, DirtyError> {
        self.collect(range, Then::Protect)
    }

    /// Returns what [`DirtyTracker::take_written`] would, and leaves it to be taken.
    ///
    /// # Errors
    ///
    /// As [`DirtyTracker::take_written`].
    pub fn written(&self, range: VaRange) -> Result<Vec<VaRange>, DirtyError> {
        self.collect(range, Then::Stay)
    }

    fn collect(&self, range: VaRange, then: Then) -> Result<Vec<VaRange>, DirtyError> {
        self.check(range)?;
        let mut runs: Vec<VaRange> = Vec::new();
        match self.finder.find(range, then, |run| append(&mut runs, run)) {
            Ok(()) => Ok(runs),
            Err(Unknown::NotTracked) => Err(DirtyError::NotTracked { range }),
            Err(Unknown::Refused(errno)) => {
                Err(DirtyError::Collect { range, source: errno.into() })
            }
        }
    }

    fn check(&self, range: VaRange) -> Result<(), DirtyError> {
        if !range.is_aligned(self.page_size) {
            return Err(DirtyError::Unaligned { range });
        }
        if self.uffd.is_inherited() {
            return Err(DirtyError::Inherited { range });
        }
        Ok(())
    }
}

/// Appends a run, or lengthens the last one if they adjoin.
fn append(runs: &mut Vec<VaRange>, run: VaRange) {
    match runs.last_mut() {
        Some(last) if last.end() == run.start() => {
            *last = VaRange::new(last.start(), run.end()).unwrap_or(*last);
        }
        _ => runs.push(run),
    }
}

fn tracking(range: VaRange, error: UffdError) -> DirtyError {
    match error {
        UffdError::Inherited { .. } => DirtyError::Inherited { range },
        UffdError::Register { source, .. } | UffdError::Unregister { source, .. } => {
            DirtyError::Track { range, source }
        }
        other => DirtyError::Track { range, source: io::Error::other(other) },
    }
}
