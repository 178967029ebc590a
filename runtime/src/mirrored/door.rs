//! Pages of the process that were not lent one by one: copied in by address, written home by
//! comparison.
//!
//! Other threads may change the mapping at any time; what is done about it is in `DESIGN.md`, "The
//! door to the process". Between launches nothing is kept.

use super::{
    PAGE_BYTES,
    pages::Pages,
    rounds::{Fault, Memory},
    table::Entry,
};
use farptr_hmm::{VirtAddr, Vma};
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    ops::Range,
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
    /// The device has the page and all that is needed of it: the address is not one for the access.
    Misaligned,
}

/// Whether the host memory that a round was computed from is still what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is; what the round wrote is home.
    Nothing,
    /// Some pages are not, and were dropped; the round does not count.
    Pages,
    /// Memory changed while it was written: the byte at this address, and those after it, may be
    /// what the round wrote or not.
    Raced(u64),
}

/// The door: what the device has of the process's memory during a launch.
pub(crate) struct Door {
    host: Box<dyn Host>,
    pages: BTreeMap<u64, Page>,
    /// Frames that no page has.
    free: Vec<u64>,
    /// Pages that were dropped during this launch because they had changed.
    busy: BTreeMap<u64, Busy>,
    /// The launch has written to a page: those that follow come for writing, if that is allowed.
    written: bool,
}

/// How often the change of any byte of a page has a launch run again. After that somebody writes
/// to it all the time, and may go on to change those bytes that changed before.
const PATIENCE: u32 = 2;

/// How many bytes of what a pointer leads to are searched for pointers: a large node.
const OBJECT_BYTES: usize = 128;

/// How many objects are searched for each page that may be brought in.
const VISITS: usize = 16;

/// What others do to a page while a launch runs.
#[derive(Default)]
struct Busy {
    /// How often its bytes were found changed.
    changes: u32,
    /// Which bytes: one for each of the page, or none yet.
    bytes: Vec<bool>,
}

impl Busy {
    /// Notes which bytes have changed.
    fn note(&mut self, before: &[u8], now: &[u8]) {
        self.changes += 1;
        self.bytes.resize(before.len(), false);
        for (changed, (before, now)) in self.bytes.iter_mut().zip(before.iter().zip(now)) {
            *changed |= before != now;
        }
    }

    /// Whether only such bytes have changed as did before, often enough.
    fn expects(&self, before: &[u8], now: &[u8]) -> bool {
        let known = |(&changed, (before, now)): (&bool, (&u8, &u8))| changed || before == now;
        self.changes >= PATIENCE && self.bytes.iter().zip(before.iter().zip(now)).all(known)
    }
}

/// A stretch of a page that a round wrote.
struct Written {
    page: u64,
    offset: usize,
    bytes: Vec<u8>,
}

/// Why not all of what a round wrote is home.
enum Refused {
    /// This page has changed, or cannot be written. Nothing of the round is home.
    Page(u64),
    /// Memory changed meanwhile, here. What the round wrote may be home in part.
    Raced(u64),
}

impl Written {
    /// The address of the first byte.
    fn place(&self) -> u64 {
        self.page * PAGE_BYTES + self.offset as u64
    }

    /// Which bytes of the page.
    fn own(&self) -> Range<usize> {
        self.offset..self.offset + self.bytes.len()
    }

    /// Whether the bytes are at home.
    fn is_home(&self, host: &mut dyn Host) -> bool {
        let mut now = vec![0; self.bytes.len()];
        host.read(self.place(), &mut now) && now == self.bytes
    }
}

/// What the device has of a page.
struct Page {
    frame: u64,
    identity: Identity,
    /// The bytes that were copied in.
    snapshot: Vec<u8>,
    write: bool,
}

impl Page {
    /// Lets the device write the page, whose number is given; returns whether the table has it.
    fn allow_writing<M: Memory>(
        &mut self,
        page: u64,
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<bool, M::Error> {
        self.write = true;
        let entry = Entry::new(self.frame, true);
        pages.table.set_page(page, entry, |bytes| memory.allocate(bytes))
    }
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
    /// A door without open pages.
    pub(crate) fn new(host: Box<dyn Host>) -> Self {
        let (pages, free, busy) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { host, pages, free, busy, written: false }
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
        let wrote = self.written;
        for fault in queue {
            if served.pages == most {
                break;
            }
            let want = Want { page: fault.address / PAGE_BYTES, write: fault.write };
            match self.open(want, &areas, memory, pages)? {
                Ok(false) => {}
                Ok(true) => {
                    served.pages += 1;
                    // The access may be anywhere in its object.
                    let before = (fault.address & !7).saturating_sub(OBJECT_BYTES as u64 / 2);
                    leads.push_back(before.max(want.page * PAGE_BYTES));
                }
                Err(denial) => {
                    served.denied.get_or_insert((*fault, denial));
                }
            }
        }
        if self.written && !wrote && chased > 0 {
            served.pages += self.allow_writing(memory, pages)?;
        }
        self.chase(leads, chased, &mut served, &areas, memory, pages)?;
        Ok(served)
    }

    /// Lets the device write all open pages that may be written: a kernel that writes to one of
    /// them mostly writes to the others too. Returns how many.
    fn allow_writing<M: Memory>(
        &mut self,
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<usize, M::Error> {
        let mut count = 0;
        let read_only = |open: &Page| !open.write && open.identity.flags.write;
        for (&page, open) in self.pages.iter_mut().filter(|(_, open)| read_only(open)) {
            open.allow_writing(page, memory, pages)?;
            count += 1;
        }
        Ok(count)
    }

    /// Follows pointers from object to object, and brings in at most so many pages that they lie
    /// on.
    ///
    /// Whole pages are not searched: on a heap they point everywhere, and what is brought in for
    /// nothing has to be compared, and may have been changed by others.
    fn chase<M: Memory>(
        &mut self,
        mut leads: VecDeque<u64>,
        chased: usize,
        served: &mut Served,
        areas: &[Vma],
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<(), M::Error> {
        let mut left = chased;
        let mut seen: HashSet<u64> = leads.iter().copied().collect();
        while let Some(lead) = leads.pop_front() {
            for object in self.pointers_in(lead, pages) {
                if left == 0 || seen.len() == chased * VISITS {
                    return Ok(());
                }
                if !seen.insert(object) {
                    continue;
                }
                let page = object / PAGE_BYTES;
                // What others write to is brought in only if the kernel asks for it.
                if !self.pages.contains_key(&page) && !self.busy.contains_key(&page) {
                    let opened = self.open(Want { page, write: false }, areas, memory, pages)?;
                    let Ok(opened) = opened else { continue };
                    left -= usize::from(opened);
                    served.pages += usize::from(opened);
                }
                leads.push_back(object);
            }
        }
        Ok(())
    }

    /// The words of an object that may be pointers out of lends.
    fn pointers_in(&mut self, object: u64, pages: &Pages) -> Vec<u64> {
        let offset = (object % PAGE_BYTES) as usize;
        let mut bytes = [0; OBJECT_BYTES];
        let bytes = &mut bytes[..OBJECT_BYTES.min(PAGE_BYTES as usize - offset)];
        match self.pages.get(&(object / PAGE_BYTES)) {
            Some(open) => bytes.copy_from_slice(&open.snapshot[offset..offset + bytes.len()]),
            None if self.host.read(object, bytes) => {}
            None => return Vec::new(),
        }
        let words = bytes.as_chunks::<8>().0.iter().map(|&word| u64::from_le_bytes(word));
        let outside = |&word: &u64| {
            word >= PAGE_BYTES && word.is_multiple_of(8) && pages.find(word).is_none()
        };
        words.filter(outside).collect()
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
            return open.allow_writing(page, memory, pages).map(Ok);
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
            match self.write_home(&changes) {
                Ok(()) => return Ok(Change::Nothing),
                Err(Refused::Page(page)) => stale.push(page),
                Err(Refused::Raced(address)) => return Ok(Change::Raced(address)),
            }
        }
        for &page in &stale {
            self.busy.entry(page).or_default();
            self.drop_page(page, pages);
        }
        // Pages that the round wrote are needed again. What cannot be had any more, the next round
        // finds out.
        let mut needed: Vec<u64> = changes.iter().map(|written| written.page).collect();
        needed.dedup();
        needed.retain(|page| stale.contains(page));
        let areas = if needed.is_empty() { Vec::new() } else { self.host.areas() };
        for page in needed {
            let _ = self.open(Want { page, write: true }, &areas, memory, pages)?;
        }
        Ok(Change::Pages)
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

    /// The open pages whose bytes or area are no longer those that were copied in. The areas come
    /// last: they are looked at right before what was written goes home.
    fn stale(&mut self, changes: &[Written]) -> Vec<u64> {
        let open: Vec<u64> = self.pages.keys().copied().collect();
        let (mut stale, kept): (Vec<u64>, Vec<u64>) =
            open.into_iter().partition(|&page| !self.is_current(page, changes));
        let areas = self.host.areas();
        stale.extend(kept.into_iter().filter(|&page| !self.is_same_area(&areas, page)));
        stale
    }

    /// Whether the bytes of an open page are those that were copied in: all of them, but for those
    /// that others change all the time and the round did not write.
    fn is_current(&mut self, page: u64, changes: &[Written]) -> bool {
        let Some(open) = self.pages.get(&page) else {
            return false;
        };
        let (before, mut now) = (&open.snapshot, [0; PAGE_BYTES as usize]);
        if !self.host.read(page * PAGE_BYTES, &mut now) {
            return false;
        }
        if now == before[..] {
            return true;
        }
        let expected = |busy: &Busy| busy.expects(before, &now);
        if self.busy.get(&page).is_some_and(expected) && own_match(changes, page, &now, before) {
            return true;
        }
        self.busy.entry(page).or_default().note(before, &now);
        false
    }

    /// Whether an open page is part of what it was part of when it was copied in.
    fn is_same_area(&self, areas: &[Vma], page: u64) -> bool {
        let open = self.pages.get(&page);
        open.is_some_and(|open| Identity::of(areas, page) == Some(open.identity))
    }

    /// Writes stretches home: each page is looked at again right before, and its area afterwards.
    ///
    /// If one must not or cannot be written, those before it are taken back.
    fn write_home(&mut self, changes: &[Written]) -> Result<(), Refused> {
        let mut looked_at = None;
        for (position, written) in changes.iter().enumerate() {
            let page = written.page;
            let current = looked_at == Some(page) || self.is_current(page, changes);
            if !current || !self.host.write(written.place(), &written.bytes) {
                self.take_back(&changes[..position])?;
                return Err(Refused::Page(page));
            }
            looked_at = Some(page);
        }
        self.confirm(changes)
    }

    /// Writes the bytes back that were there before, unless others have changed them since.
    fn take_back(&mut self, changes: &[Written]) -> Result<(), Refused> {
        for written in changes.iter().rev() {
            let open = self.pages.get(&written.page);
            let old = open.and_then(|open| open.snapshot.get(written.own())).unwrap_or_default();
            let host = &mut self.host;
            if !written.is_home(host.as_mut()) || !host.write(written.place(), old) {
                return Err(Refused::Raced(written.place()));
            }
        }
        Ok(())
    }

    /// Finds out whether what was written is there, in the areas that were looked at before.
    fn confirm(&mut self, changes: &[Written]) -> Result<(), Refused> {
        if changes.is_empty() {
            return Ok(());
        }
        let areas = self.host.areas();
        for written in changes {
            let same = self.is_same_area(&areas, written.page);
            if !same || !written.is_home(self.host.as_mut()) {
                return Err(Refused::Raced(written.place()));
            }
        }
        Ok(())
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
        self.busy.clear();
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
fn own_match(changes: &[Written], page: u64, now: &[u8], before: &[u8]) -> bool {
    let mut own = changes.iter().filter(|written| written.page == page).map(Written::own);
    own.all(|own| now[own.clone()] == before[own])
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
