//! Which pages were written since one looked: asked of the userfaultfd that watches for everything
//! else.
//!
//! A mirror remembers which pages were protected, and forgets a page when its mapping goes or
//! moves. So the answer never speaks of a mapping that is no more. `DESIGN.md` has the protocol.

#![forbid(unsafe_code)]

use std::io;

use super::Mirror;
use super::table::block_size;
use crate::addr::pages::{above, count_of};
use crate::addr::{PageSize, VaRange, VirtAddr};
use crate::error::{HostError, debug_in_words};
use crate::fatal::or_die;
use crate::host::HostMm;
use crate::mirror::shared::State;
use crate::sync::backoff::Backoff;
use crate::sys::mapped::is_mapped;
use crate::sys::survey::PageSet;
use crate::sys::uffd::{Modes, Resolution};
use crate::sys::written::{Then, Unknown};

/// Why it is not known, or will not be, which pages of a range were written.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The mirror cannot tell which pages are written.
    #[error(
        "cannot track stores to {range}: the kernel must be able to (Linux 6.7), and the mirror be \
         built with it (MirrorBuilder::track_stores)"
    )]
    Unavailable {
        /// The range that was passed.
        range: VaRange,
    },

    /// The ends of the range are not page boundaries.
    #[error("{range} does not begin and end at page boundaries")]
    Unaligned {
        /// The range that was passed.
        range: VaRange,
    },

    /// This process inherited the mirror by a fork.
    #[error("the mirror that tracks stores to {range} belongs to the parent process")]
    Inherited {
        /// The range that was passed.
        range: VaRange,
    },

    /// Nothing is mapped in a part of the range.
    #[error("cannot adopt {range}: nothing is mapped at {addr}")]
    NotMapped {
        /// The range that was passed.
        range: VaRange,
        /// The first address at which nothing is mapped.
        addr: VirtAddr,
    },

    /// A part of the range was not adopted, or was mapped anew since.
    #[error("a part of {range} was not adopted, or was unmapped or mapped anew since; adopt it")]
    NotAdopted {
        /// The range that was passed.
        range: VaRange,
    },

    /// A part of the range was not protected, or its mapping has changed since.
    #[error(
        "a part of {range} was not protected, or was mapped anew or moved since; take all of it \
         for written, and protect it"
    )]
    NotProtected {
        /// The range that was passed.
        range: VaRange,
    },

    /// The mirror has no room to note that another range is protected.
    #[error("the mirror has no room to note that {range} is protected")]
    NoRoom {
        /// The range that was passed.
        range: VaRange,
    },

    /// The kernel refused. An area that is adopted must not be watched by another userfaultfd, and
    /// a shared file must be open for writing.
    #[error("the kernel refused to track stores to {range}")]
    Refused {
        /// The range of the request.
        range: VaRange,
        /// The error of the kernel.
        source: io::Error,
    },

    /// The areas could not be listed.
    #[error("the areas of {range} could not be listed")]
    Host {
        /// The range that was passed.
        range: VaRange,
        /// The failure.
        source: HostError,
    },
}

debug_in_words!(TrackError);

impl Mirror {
    /// Watches the areas of which a range is a part, whole, so that stores to them can be tracked.
    /// Devices are told when they are unmapped, moved or dropped.
    ///
    /// No area is split by it, however many ranges are adopted, and an area that was adopted can
    /// grow by `mremap`. No access waits, and no page changes: the first touch of a hole is the
    /// kernel's. Memory of any kind can be adopted, also memory that pages cannot be moved from. An
    /// area that is mapped later, also in the place of one that was adopted, is not. The areas may
    /// contain other memory than the range, such as all of a heap, and no other mirror of the
    /// process can watch, move or adopt any of it: let one mirror serve the whole process.
    ///
    /// From now on a thread that unmaps, moves or drops (`MADV_DONTNEED`) a part of these areas
    /// waits until the mirror has read a message about it: so does an allocator that gives memory
    /// back to the system. Callbacks of devices, and `copy_out` and `free` of their memory, run on
    /// the thread that reads the messages. They must not do this either, nor free memory to an
    /// allocator that may.
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr_hmm::{Mirror, PageSize, VaRange};
    ///
    /// let mirror = Mirror::build()?;
    /// if !mirror.tracks_stores() {
    ///     println!("not here: Linux 6.7 is needed");
    ///     return Ok(());
    /// }
    /// let mut numbers = vec![1u32; 100_000];
    /// // Other values lie on the first and the last page.
    /// let whole = VaRange::of_slice(&numbers).whole_pages(PageSize::host());
    /// mirror.adopt(whole)?;
    /// mirror.protect(whole)?;
    /// assert_eq!(mirror.take_written(whole)?, []);
    ///
    /// numbers[50_000] = 2;
    /// let written = mirror.take_written(whole)?;
    /// assert_eq!(written.len(), 1);
    /// assert!(written[0].contains_range(&VaRange::of(&numbers[50_000])));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TrackError`] says why not. Some of the areas may be adopted.
    pub fn adopt(&self, range: VaRange) -> Result<(), TrackError> {
        self.check_tracking(range)?;
        let areas = self.migrator.host.vmas(range);
        let mut cursor = range.start();
        for vma in areas.map_err(|source| TrackError::Host { range, source })? {
            if vma.range.start() > cursor {
                break;
            }
            let registered = self.shared().register(vma.range, Modes::PROTECTED);
            registered.map_err(|error| TrackError::Refused {
                range: vma.range,
                source: io::Error::other(error),
            })?;
            cursor = cursor.max(vma.range.end());
        }
        if cursor < range.end() {
            return Err(TrackError::NotMapped { range, addr: cursor });
        }
        Ok(())
    }

    /// Write-protects the pages of a range that was adopted: from now on they count as not written.
    ///
    /// The first store to each page takes some microseconds longer, and a huge page of which a page
    /// is stored to becomes small pages. A page that is not there takes an entry of the page table,
    /// eight bytes.
    ///
    /// # Errors
    ///
    /// - [`TrackError`] says why not. The whole range counts as not protected then.
    pub fn protect(&self, range: VaRange) -> Result<(), TrackError> {
        self.check_tracking(range)?;
        let protected = blocks(range).try_for_each(|block| self.protect_block(range, block));
        protected.inspect_err(|_| self.shared().lock().sets.armed.remove(range))
    }

    fn protect_block(&self, range: VaRange, block: VaRange) -> Result<(), TrackError> {
        let shared = self.shared();
        let mut backoff = Backoff::default();
        loop {
            let mut state = shared.lock();
            let protected = self.arm_at_home(&state, block);
            match protected {
                // The request passes over what is not mapped.
                Resolution::Done if !is_mapped(block) => {
                    return Err(TrackError::NotAdopted { range });
                }
                Resolution::Done if state.sets.armed.insert(block) => {
                    state.sets.dropped.remove(block);
                    return Ok(());
                }
                Resolution::Done => return Err(TrackError::NoRoom { range }),
                Resolution::Vanished => return Err(TrackError::NotAdopted { range }),
                Resolution::Retry => {}
                Resolution::AlreadyThere | Resolution::Refused(_) => {
                    let source = io::Error::other(format!("write protection: {protected:?}"));
                    return Err(TrackError::Refused { range: block, source });
                }
            }
            drop(state);
            shared.stats.retries.add(1);
            backoff.pause();
        }
    }

    /// Protects the pages of a block that are at home. Those that are away have marks of their own,
    /// and those in transit must not get any: a mark is in the way of a move.
    fn arm_at_home(&self, state: &State, block: VaRange) -> Resolution {
        let arm = |part| self.shared().transfer.arm(part);
        let mut ended = AtHome::new(state, block).map(arm);
        ended.find(|&ended| ended != Resolution::Done).unwrap_or(Resolution::Done)
    }

    /// Returns the runs of pages that were written since the range was protected or since this
    /// method last returned them, lowest first, and counts them as not written from now on.
    ///
    /// For each page the two are one step: a store is in this answer or in the next, and a thread
    /// that reads the page after this method returned sees every store of this answer. A page
    /// counts as written when a store reached it, from this process or from a system call that it
    /// made, when it was dropped, while a device holds it, and when it has come home. Not seen are
    /// stores to shared memory through another mapping, changes of a file under a private mapping,
    /// stores of devices that have pinned the page, and `MADV_FREE`.
    ///
    /// An answer never speaks of a mapping that has come in the place of another: that is an error,
    /// also if the new mapping was adopted, and also if it was protected where it was before. If it
    /// was protected in its new place, the answer is about it, and devices were told of the end of
    /// the old one ([`Event::Unmap`](crate::Event::Unmap)) before it could be. Not to be called
    /// from a callback of a device.
    ///
    /// # Errors
    ///
    /// Each of them means that any page may have been written. The range counts as not protected
    /// from then on.
    ///
    /// - [`TrackError::NotProtected`] if a part of the range was not protected, or was unmapped,
    ///   mapped anew or moved since.
    /// - [`TrackError::NotAdopted`], [`TrackError::Refused`] and the errors of [`Mirror::adopt`]
    ///   about the arguments.
    pub fn take_written(&self, range: VaRange) -> Result<Vec<VaRange>, TrackError> {
        self.check_tracking(range)?;
        // Devices that keep copies of pages know by then what was unmapped before this call.
        self.shared().drain();
        let mut runs = Vec::new();
        for block in blocks(range) {
            let taken = self.take_block(range, block);
            let taken = taken.inspect_err(|_| self.shared().lock().sets.armed.remove(range))?;
            append(&mut runs, block, &taken);
        }
        Ok(runs)
    }

    /// The pages of a block that were written, by their places. Nothing is allocated under the
    /// lock.
    fn take_block(&self, range: VaRange, block: VaRange) -> Result<PageSet, TrackError> {
        let mut state = self.shared().lock();
        if !state.sets.armed.contains(block) {
            return Err(TrackError::NotProtected { range });
        }
        let mut written = PageSet::default();
        // Not every kernel that tracks stores tells of holes whose page tables went with them.
        let mut rest = block;
        while let Some(dropped) = state.sets.dropped.first_in(rest) {
            insert_between(&mut written, block, dropped.start(), dropped.end());
            rest = VaRange::new(dropped.end(), block.end()).unwrap_or_default();
        }
        state.sets.dropped.remove(block);
        let mut away = block;
        for part in AtHome::new(&state, block) {
            insert_between(&mut written, block, away.start(), part.start());
            away = VaRange::new(part.end(), block.end()).unwrap_or_default();
            let finder = &self.shared().written;
            let taken = finder.find(part, Then::Protect, |run| {
                insert_between(&mut written, block, run.start(), run.end());
            });
            taken.map_err(|unknown| match unknown {
                Unknown::NotTracked => TrackError::NotAdopted { range },
                Unknown::Refused(errno) => {
                    TrackError::Refused { range: part, source: errno.into() }
                }
            })?;
        }
        if !away.is_empty() {
            insert_between(&mut written, block, away.start(), away.end());
        }
        Ok(written)
    }

    fn check_tracking(&self, range: VaRange) -> Result<(), TrackError> {
        if !range.is_aligned(PageSize::host()) {
            return Err(TrackError::Unaligned { range });
        }
        if self.is_inherited() {
            return Err(TrackError::Inherited { range });
        }
        if !self.tracks_stores() {
            return Err(TrackError::Unavailable { range });
        }
        Ok(())
    }
}

/// The parts of a range of one block each.
fn blocks(range: VaRange) -> impl Iterator<Item = VaRange> {
    range.pages(block_size()).filter_map(move |block| block.intersection(&range))
}

/// The parts of a range whose pages are at home, neither away nor in transit.
struct AtHome<'s> {
    state: &'s State,
    rest: VaRange,
}

impl<'s> AtHome<'s> {
    fn new(state: &'s State, range: VaRange) -> Self {
        Self { state, rest: range }
    }
}

impl Iterator for AtHome<'_> {
    type Item = VaRange;

    fn next(&mut self) -> Option<VaRange> {
        while !self.rest.is_empty() {
            let away = self.state.table.next_away(self.rest).map(|(at, _)| at);
            let end = away.unwrap_or(self.rest.end());
            let part = VaRange::new(self.rest.start(), end)?;
            let next = away.map_or(end, |at| above(at, 1));
            self.rest = VaRange::new(next, self.rest.end())?;
            if !part.is_empty() {
                return Some(part);
            }
        }
        None
    }
}

/// Inserts the pages of a block between two addresses, by their places.
fn insert_between(set: &mut PageSet, block: VaRange, start: VirtAddr, end: VirtAddr) {
    let place = |at| VaRange::new(block.start(), at).map(count_of);
    let [first, end] = [start, end].map(|at| or_die(place(at), "a page is not in its block"));
    (first..end).for_each(|page| set.insert(page));
}

/// Appends the pages of a block to runs, the last of which they may lengthen.
fn append(runs: &mut Vec<VaRange>, block: VaRange, pages: &PageSet) {
    for (place, page) in block.pages(PageSize::host()).enumerate() {
        if !pages.contains(place) {
            continue;
        }
        match runs.last_mut() {
            Some(last) if last.end() == page.start() => {
                *last = VaRange::new(last.start(), page.end()).unwrap_or(*last);
            }
            _ => runs.push(page),
        }
    }
}
