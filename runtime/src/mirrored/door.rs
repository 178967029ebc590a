//! Pages of the process that were not lent one by one: copied in by address, written home by
//! comparison.
//!
//! Other threads may change the mapping at any time; what is done about it is in `DESIGN.md`, "The
//! door to the process". Between launches nothing is kept.

use super::{
    PAGE_BYTES,
    notes::Notes,
    pages::Pages,
    rounds::{Fault, Memory},
    table::Entry,
};
use farptr_hmm::{VaRange, VirtAddr, Vma};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// The memory of the process, through system calls that fail instead of crashing.
pub(crate) trait Host: Send {
    /// What is mapped, lowest first. Nothing if the kernel does not say.
    fn areas(&mut self) -> Vec<Vma>;

    /// Reads memory and returns whether all of it could be read.
    fn read(&mut self, from: u64, bytes: &mut [u8]) -> bool;

    /// Writes memory and returns whether all of it could be written.
    fn write(&mut self, to: u64, bytes: &[u8]) -> bool;
}

/// Why a page cannot be brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// There is no memory.
    Unmapped,
    /// There is, but the process itself may not read, or not write it.
    Protected,
}

/// Whether the host memory that a round was computed from is still what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is; what the round wrote is home.
    Nothing,
    /// Some pages are not, and were dropped; the round does not count.
    Pages,
}

/// The door: what the device has of the process's memory during a launch.
pub(crate) struct Door {
    host: Box<dyn Host>,
    notes: Arc<Notes>,
    pages: BTreeMap<u64, Page>,
    /// Frames that no page has.
    free: Vec<u64>,
    /// How often pages were dropped during this launch because they had changed.
    dropped: BTreeMap<u64, u32>,
    /// The launch has written to a page: those that follow come for writing, if that is allowed.
    written: bool,
}

/// How often the change of any byte of a page has a launch run again. After that somebody writes
/// to it all the time, and only the bytes count that the kernel writes too.
const PATIENCE: u32 = 2;

/// A stretch of a page that a round wrote.
struct Written {
    page: u64,
    offset: usize,
    bytes: Vec<u8>,
}

/// What the device has of a page.
struct Page {
    frame: u64,
    identity: Identity,
    /// The bytes that were copied in.
    snapshot: Vec<u8>,
    write: bool,
}

/// What a page is a part of. An area that was mapped anew differs, or its bytes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    flags: farptr_hmm::VmaFlags,
    /// The file and where in it the page is. Areas without file split and merge freely.
    file: Option<(farptr_hmm::Device, u64, u64)>,
}

impl Identity {
    fn of(areas: &[Vma], page: u64) -> Option<Self> {
        let address = VirtAddr::new(page * PAGE_BYTES);
        let after = areas.partition_point(|area| area.range.end() <= address);
        let area = areas.get(after).filter(|area| area.range.contains(address))?;
        let offset = area.offset_bytes.wrapping_add(address.get() - area.range.start().get());
        let file = area.is_file_backed().then_some((area.device, area.inode, offset));
        Some(Self { flags: area.flags, file })
    }
}

/// A page that pointers led to, or a fault.
#[derive(Clone, Copy)]
struct Want {
    page: u64,
    write: bool,
}

impl Door {
    /// A door without open pages. `notes` hears of changes, if anybody announces them.
    pub(crate) fn new(host: Box<dyn Host>, notes: Arc<Notes>) -> Self {
        Self {
            host,
            notes,
            pages: BTreeMap::new(),
            free: Vec::new(),
            dropped: BTreeMap::new(),
            written: false,
        }
    }

    /// Copies in the pages of a queue, in its order, and at most so many.
    ///
    /// With `chased`, pages are added that words in the copied pages point to, so many at most.
    /// Returns how many pages were brought in or made writable, and the first fault that cannot
    /// be served.
    ///
    /// # Errors
    ///
    /// What the device's memory returns.
    pub(crate) fn serve<M: Memory>(
        &mut self,
        queue: &[Fault],
        most: usize,
        chased: usize,
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<Served, M::Error> {
        let areas = self.host.areas();
        let mut served = Served::default();
        let mut leads = VecDeque::new();
        for fault in queue {
            if served.pages == most {
                break;
            }
            let want = Want { page: fault.address / PAGE_BYTES, write: fault.write };
            match self.open(want, &areas, memory, pages)? {
                Ok(false) => {}
                Ok(true) => {
                    served.pages += 1;
                    leads.push_back(want);
                }
                Err(denial) => {
                    served.denied.get_or_insert((*fault, denial));
                }
            }
        }
        let mut left = chased;
        while let Some(lead) = leads.pop_front() {
            for page in self.pointed_to(lead.page, pages) {
                if left == 0 {
                    return Ok(served);
                }
                let want = Want { page, write: false };
                if self.open(want, &areas, memory, pages)? == Ok(true) {
                    left -= 1;
                    served.pages += 1;
                    leads.push_back(want);
                }
            }
        }
        Ok(served)
    }

    /// Pages outside lends that words of an open page point to.
    fn pointed_to(&self, page: u64, pages: &Pages) -> Vec<u64> {
        let Some(open) = self.pages.get(&page) else {
            return Vec::new();
        };
        let words = open.snapshot.as_chunks::<8>().0.iter().map(|&word| u64::from_le_bytes(word));
        let outside = |&word: &u64| word >= PAGE_BYTES && pages.find(word).is_none();
        let mut found: Vec<u64> = words.filter(outside).map(|word| word / PAGE_BYTES).collect();
        found.dedup();
        // What others write to is brought in only if the kernel asks for it.
        let quiet = |page: &u64| !self.dropped.contains_key(page);
        found.retain(|page| !self.pages.contains_key(page) && quiet(page));
        found
    }

    /// Gives a page to the device, and returns whether that is more than it had.
    fn open<M: Memory>(
        &mut self,
        Want { page, write }: Want,
        areas: &[Vma],
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<Result<bool, Denial>, M::Error> {
        if self.pages.get(&page).is_some_and(|open| open.write || !write) {
            return Ok(Ok(false));
        }
        let Some(identity) = Identity::of(areas, page) else {
            return Ok(Err(Denial::Unmapped));
        };
        if !identity.flags.read || (write && !identity.flags.write) {
            return Ok(Err(Denial::Protected));
        }
        self.written |= write;
        let write = self.written && identity.flags.write;
        if let Some(open) = self.pages.get_mut(&page) {
            // Should it be another area by now, the commit will find out.
            open.write = true;
            let entry = Entry::new(open.frame, true);
            return pages.table.set_page(page, entry, |bytes| memory.allocate(bytes)).map(Ok);
        }
        let mut snapshot = vec![0; PAGE_BYTES as usize];
        if !self.host.read(page * PAGE_BYTES, &mut snapshot) {
            return Ok(Err(Denial::Unmapped));
        }
        let frame = match self.free.pop() {
            Some(frame) => frame,
            None => memory.allocate(PAGE_BYTES)?,
        };
        memory.write(frame, &snapshot)?;
        let entry = Entry::new(frame, write);
        if !pages.table.set_page(page, entry, |bytes| memory.allocate(bytes))? {
            self.free.push(frame);
            return Ok(Err(Denial::Unmapped));
        }
        self.pages.insert(page, Page { frame, identity, snapshot, write });
        Ok(Ok(true))
    }

    /// Writes home what a round without faults wrote, if it was computed from what is still there.
    ///
    /// # Errors
    ///
    /// What the device's memory returns; nothing was written home then.
    pub(crate) fn commit<M: Memory>(
        &mut self,
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<Change, M::Error> {
        let changes = self.changes(memory)?;
        let mut stale = self.stale(&changes);
        if stale.is_empty() {
            stale.extend(self.write_home(&changes));
        }
        for page in &stale {
            *self.dropped.entry(*page).or_default() += 1;
            self.drop_page(*page, pages);
        }
        Ok(if stale.is_empty() { Change::Nothing } else { Change::Pages })
    }

    /// The stretches that the round wrote: page, offset, new bytes.
    fn changes<M: Memory>(&self, memory: &mut M) -> Result<Vec<Written>, M::Error> {
        let mut changes = Vec::new();
        let mut bytes = vec![0; PAGE_BYTES as usize];
        for (&page, open) in self.pages.iter().filter(|(_, open)| open.write) {
            memory.read(open.frame, &mut bytes)?;
            let mut offset = 0;
            let pairs = || bytes.iter().zip(&open.snapshot);
            while let Some(skip) = pairs().skip(offset).position(|(new, old)| new != old) {
                let start = offset + skip;
                let length = pairs().skip(start).take_while(|(new, old)| new != old).count();
                let bytes = bytes[start..start + length].to_vec();
                changes.push(Written { page, offset: start, bytes });
                offset = start + length;
            }
        }
        Ok(changes)
    }

    /// The open pages whose area or bytes are no longer those that were copied in.
    fn stale(&mut self, changes: &[Written]) -> Vec<u64> {
        let noted = self.notes.take();
        let areas = self.host.areas();
        let mut bytes = vec![0; PAGE_BYTES as usize];
        let mut stale = Vec::new();
        for (&page, open) in &self.pages {
            let start = page * PAGE_BYTES;
            let range = VaRange::from_len(VirtAddr::new(start), PAGE_BYTES);
            let same = !range.is_some_and(|range| noted.iter().any(|noted| noted.overlaps(&range)))
                && Identity::of(&areas, page) == Some(open.identity)
                && self.host.read(start, &mut bytes)
                && (bytes == open.snapshot || {
                    let dropped = self.dropped.get(&page).copied().unwrap_or(0);
                    dropped >= PATIENCE && own_bytes_match(changes, page, &bytes, &open.snapshot)
                });
            if !same {
                stale.push(page);
            }
        }
        stale
    }

    /// Writes stretches home. If one cannot be written, those before it are taken back and its page
    /// is returned.
    fn write_home(&mut self, changes: &[Written]) -> Option<u64> {
        let place = |written: &Written| written.page * PAGE_BYTES + written.offset as u64;
        let refused = |written: &Written| !self.host.write(place(written), &written.bytes);
        let failed = changes.iter().position(refused)?;
        for written in changes[..=failed].iter().rev() {
            if let Some(open) = self.pages.get(&written.page) {
                let old = &open.snapshot[written.offset..written.offset + written.bytes.len()];
                // A page that cannot be written any more was not written, or is gone.
                self.host.write(place(written), old);
            }
        }
        Some(changes[failed].page)
    }

    /// Makes what a round wrote undone, on the device.
    ///
    /// # Errors
    ///
    /// What the device's memory returns.
    pub(crate) fn undo<M: Memory>(&mut self, memory: &mut M) -> Result<(), M::Error> {
        self.pages
            .values()
            .filter(|open| open.write)
            .try_for_each(|open| memory.write(open.frame, &open.snapshot))
    }

    /// Ends a launch: drops all pages.
    pub(crate) fn close(&mut self, pages: &mut Pages) {
        for page in self.pages.keys().copied().collect::<Vec<_>>() {
            self.drop_page(page, pages);
        }
        self.dropped.clear();
        self.written = false;
    }

    fn drop_page(&mut self, page: u64, pages: &mut Pages) {
        if let Some(open) = self.pages.remove(&page) {
            self.free.push(open.frame);
            // An absent entry needs no room.
            let _ = pages.table.set_page(page, Entry::ABSENT, |_| Err(()));
        }
    }
}

/// Whether the bytes of a page that a round wrote are at home what they were before.
fn own_bytes_match(changes: &[Written], page: u64, now: &[u8], before: &[u8]) -> bool {
    changes.iter().filter(|written| written.page == page).all(|written| {
        let own = written.offset..written.offset + written.bytes.len();
        now[own.clone()] == before[own]
    })
}

/// What came of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// Pages brought in or made writable.
    pub(crate) pages: usize,
    /// The first fault that cannot be served.
    pub(crate) denied: Option<(Fault, Denial)>,
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
