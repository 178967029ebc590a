//! Opening pages: giving the device a copy of those that faulted, and of those that objects on
//! them point to.

use super::{
    identity::Identity,
    pages::{OnDevice, Page, ProcessPages},
};
use crate::{
    paging::{
        PAGE_BYTES,
        pages::Pages,
        prefetch::{self, Followed, Pointers},
        report::Denial,
        shared::FileOffset,
        table::Entry,
    },
    residency::memory::Memory,
};
use std::{collections::HashSet, ops::Range};

/// How many bytes of an object are searched for pointers: a large node.
const OBJECT_BYTES: u64 = 128;

/// How many objects are searched for each page that may be brought in.
const VISITS: usize = 16;

/// How often reading a page is tried whose area allows it, before the page counts as unreachable.
const READS: usize = 16;

/// An access of a kernel to memory that is in no lend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) address: u64,
    pub(crate) write: bool,
}

/// How many pages are opened at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Because they faulted.
    pub(crate) pages: usize,
    /// Because words of objects point to them. If this is 0, the first write fault does not make
    /// other open pages writable either.
    pub(crate) followed: usize,
}

/// The pages that were opened for a batch of faults.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// Pages brought in or made writable.
    pub(crate) pages: usize,
    /// The position of the first fault that cannot be served, and why.
    pub(crate) denied: Option<(usize, Denial)>,
}

/// The end of an attempt to open a page.
pub(super) enum Opened {
    /// The device has the page already, with the permission that is asked for.
    Already,
    /// The device was given the page, or the permission to write it.
    Now,
    Denied(Denial),
}

/// A page that may be opened.
struct Candidate {
    identity: Identity,
    offset: Option<FileOffset>,
    is_lent: bool,
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

impl ProcessPages {
    /// Brings in the pages of accesses that faulted, in their order, and pages that words in them
    /// point to.
    ///
    /// # Errors
    ///
    /// Those of the device's memory.
    pub(crate) fn serve<M: Memory>(
        &mut self,
        faults: &[Access],
        limits: Limits,
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<Served, M::Error> {
        self.host.refresh_areas();
        OnDevice { process: self, memory, pages }.serve(faults, limits)
    }
}

impl<M: Memory> OnDevice<'_, M> {
    pub(super) fn serve(&mut self, faults: &[Access], limits: Limits) -> Result<Served, M::Error> {
        let mut served = Served::default();
        let mut objects = Vec::new();
        let wrote = self.process.written;
        for (position, fault) in faults.iter().enumerate() {
            if served.pages == limits.pages {
                break;
            }
            match self.open(fault.address / PAGE_BYTES, fault.write)? {
                Opened::Already => {}
                Opened::Now => {
                    served.pages += 1;
                    objects.push(object_around(fault.address));
                }
                Opened::Denied(denial) => {
                    served.denied.get_or_insert((position, denial));
                }
            }
        }
        if self.process.written && !wrote && limits.followed > 0 {
            served.pages += self.allow_writing()?;
        }
        served.pages += self.follow(&objects, limits.followed)?;
        Ok(served)
    }

    /// Lets the device write all open pages that may be written: a kernel that writes to one of
    /// them mostly writes to the others too. Returns how many.
    fn allow_writing(&mut self) -> Result<usize, M::Error> {
        let mut count = 0;
        let read_only = |open: &Page| !open.write && open.identity.flags.write && !open.is_lent;
        let open = self.process.pages.iter_mut();
        for (&page, open) in open.filter(|(_, open)| read_only(open)) {
            open.allow_writing(page, self.memory, self.pages)?;
            count += 1;
        }
        Ok(count)
    }

    /// Follows pointers from object to object, and opens at most so many pages that they lie on.
    ///
    /// Whole pages are not searched: on a heap they point everywhere, and a page that is brought in
    /// for nothing has to be compared, and may be changed by other threads.
    fn follow(&mut self, objects: &[Range<u64>], most: usize) -> Result<usize, M::Error> {
        let seen = objects.iter().map(|object| object.start).collect();
        let mut outside = OutsideLends { device: self, seen, most: most * VISITS };
        prefetch::follow(&mut outside, objects.iter().cloned(), most)
    }

    /// Gives a page to the device, for writing too once the launch has written to any.
    pub(super) fn open(&mut self, page: u64, write: bool) -> Result<Opened, M::Error> {
        if self.process.pages.get(&page).is_some_and(|open| open.write || !write) {
            return Ok(Opened::Already);
        }
        let Candidate { identity, offset, is_lent } = match self.candidate(page, write) {
            Ok(candidate) => candidate,
            Err(denial) => return Ok(Opened::Denied(denial)),
        };
        self.process.written |= write;
        let write = self.process.written && identity.flags.write && !is_lent;
        if let Some(open) = self.process.pages.get_mut(&page) {
            // If another area is at the address by now, the commit finds that out.
            let entered = open.allow_writing(page, self.memory, self.pages)?;
            return Ok(if entered { Opened::Now } else { Opened::Already });
        }
        let mut snapshot = vec![0; PAGE_BYTES as usize];
        if let Err(denial) = self.process.read(page, &mut snapshot) {
            return Ok(Opened::Denied(denial));
        }
        let open = Page { frame: 0, identity, offset, is_lent, snapshot, write };
        let entered = self.enter(page, open)?;
        Ok(if entered { Opened::Now } else { Opened::Denied(Denial::Unmapped) })
    }

    /// Looks at the area of a page, and at lends of the same memory.
    fn candidate(&mut self, page: u64, write: bool) -> Result<Candidate, Denial> {
        let area = self.process.host.area(page * PAGE_BYTES)?.ok_or(Denial::Unmapped)?;
        let identity = Identity::of(&area, page);
        if !identity.flags.read || (write && !identity.flags.write) {
            return Err(Denial::Protected);
        }
        let shared = &mut self.pages.shared;
        let offset = FileOffset::of(&area, page, &mut shared.files);
        let lent = offset.and_then(|offset| shared.lent_elsewhere(offset, page));
        match lent {
            Some((other, writable)) if write || writable => Err(Denial::Aliased(other)),
            _ => Ok(Candidate { identity, offset, is_lent: lent.is_some() }),
        }
    }

    /// Gives a page that was read a frame, and returns whether the table reaches that far.
    fn enter(&mut self, page: u64, mut open: Page) -> Result<bool, M::Error> {
        let process = &mut *self.process;
        let aliases = open.offset.and_then(|offset| process.shared.get(&offset));
        let alias = aliases.and_then(|aliases| process.pages.get(aliases.first()?));
        if let Some(alias) = alias {
            // The two pages are the same memory, so they share one frame, and are compared with one
            // snapshot.
            (open.frame, open.snapshot) = (alias.frame, alias.snapshot.clone());
        } else {
            open.frame = match process.free.pop() {
                Some(frame) => frame,
                None => self.memory.allocate(PAGE_BYTES)?,
            };
            self.memory.write(open.frame, &open.snapshot)?;
        }
        let entry = Entry::new(open.frame, open.write);
        let memory = &mut *self.memory;
        if !self.pages.table.set_page(page, entry, |bytes| memory.allocate(bytes))? {
            if alias.is_none() {
                process.free.push(open.frame);
            }
            return Ok(false);
        }
        if let Some(offset) = open.offset {
            process.shared.entry(offset).or_default().push(page);
        }
        process.pages.insert(page, open);
        Ok(true)
    }
}

impl ProcessPages {
    /// Reads a page that was seen to be readable. Another thread may have protected or unmapped it
    /// since, so its area is looked up again before the page counts as unreachable.
    fn read(&mut self, page: u64, bytes: &mut [u8]) -> Result<(), Denial> {
        for _ in 0..READS {
            if self.host.read(page * PAGE_BYTES, bytes) {
                return Ok(());
            }
            self.host.refresh_areas();
            let area = self.host.area(page * PAGE_BYTES)?.ok_or(Denial::Unmapped)?;
            if !area.flags.read {
                return Err(Denial::Protected);
            }
        }
        Err(Denial::Unreachable)
    }
}

/// The bytes of an object from its first byte on, as far as its page goes.
fn object_at(address: u64) -> Range<u64> {
    let bytes = OBJECT_BYTES.min(PAGE_BYTES - address % PAGE_BYTES);
    address..address.saturating_add(bytes)
}

/// The bytes of an object that an access is anywhere in.
fn object_around(address: u64) -> Range<u64> {
    let page_start = address / PAGE_BYTES * PAGE_BYTES;
    object_at((address & !7).saturating_sub(OBJECT_BYTES / 2).max(page_start))
}

/// Memory outside lends, in which words lead to pages that are opened besides.
struct OutsideLends<'o, 'a, M> {
    device: &'o mut OnDevice<'a, M>,
    /// The objects that were found, by address, and the most of them.
    seen: HashSet<u64>,
    most: usize,
}

impl<M: Memory> Pointers for OutsideLends<'_, '_, M> {
    type Error = M::Error;

    fn read(&mut self, start: u64, bytes: &mut [u8]) -> bool {
        let process = &mut *self.device.process;
        let Some(open) = process.pages.get(&(start / PAGE_BYTES)) else {
            return process.host.read(start, bytes);
        };
        let offset = (start % PAGE_BYTES) as usize;
        bytes.copy_from_slice(&open.snapshot[offset..offset + bytes.len()]);
        true
    }

    fn follow(&mut self, word: u64) -> Result<Followed, M::Error> {
        let is_pointer = word >= PAGE_BYTES && word.is_multiple_of(8);
        if !is_pointer || self.device.pages.find(word).is_some() {
            return Ok(Followed::Nowhere);
        }
        if self.seen.len() == self.most {
            return Ok(Followed::Enough);
        }
        if !self.seen.insert(word) {
            return Ok(Followed::Nowhere);
        }
        let (page, process) = (word / PAGE_BYTES, &self.device.process);
        let bytes = object_at(word);
        // Pages that other threads write to are brought in only if the kernel asks for them.
        if process.pages.contains_key(&page) || process.busy.contains_key(&page) {
            return Ok(Followed::Object { bytes, brought: false });
        }
        Ok(match self.device.open(page, false)? {
            Opened::Denied(_) => Followed::Nowhere,
            Opened::Already => Followed::Object { bytes, brought: false },
            Opened::Now => Followed::Object { bytes, brought: true },
        })
    }
}
