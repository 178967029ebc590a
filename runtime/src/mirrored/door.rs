//! Pages of the process that were not lent one by one: copied in by address, written home by
//! comparison.
//!
//! Other threads may change the mapping at any time; what is done about it is in `DESIGN.md`, "The
//! door to the process". Between launches nothing is kept.

mod commit;

use super::{
    PAGE_BYTES,
    pages::Pages,
    rounds::{Fault, Memory},
    shared::Place,
    table::Entry,
};
use commit::Busy;
use farptr_hmm::Vma;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// The memory of the process, through system calls that fail instead of crashing.
pub(crate) trait Host: Send {
    /// Forgets which areas there were: those that are asked for from here on are as they are then.
    fn look_again(&mut self);

    /// The area that has an address, if any has.
    ///
    /// # Errors
    ///
    /// [`Denial::NoMaps`] if the kernel does not say.
    fn area(&mut self, address: u64) -> Result<Option<Vma>, Denial>;

    /// Reads memory and returns whether all of it could be read.
    fn read(&mut self, from: u64, bytes: &mut [u8]) -> bool;

    /// Writes memory and returns whether all of it could be written.
    fn write(&mut self, to: u64, bytes: &[u8]) -> bool;

    /// Why memory of an area that may be accessed cannot be read, or not be written. Slow.
    fn hindrance(&mut self, address: u64) -> Denial;
}

/// Why a page cannot be brought in, or not be written home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// There is no memory.
    Unmapped,
    /// There is, but the process itself may not read, or not write it.
    Protected,
    /// The area allows it, and system calls fail there: [`Host::hindrance`] may know more.
    Unreachable,
    /// A userfaultfd for user-mode faults only has the page.
    Userfaultfd,
    /// The kernel's own page for the clock.
    Vvar,
    /// A ring of performance events.
    PerfRing,
    /// Memory of a device or a driver.
    Special,
    /// The system call is refused by a sandbox.
    Refused,
    /// The kernel does not tell any more what is mapped.
    NoMaps,
    /// The page is lent too, at this other address, and may be written at one of the two.
    Aliased(u64),
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
    /// The byte at this address cannot be written, and what the round wrote is home nowhere.
    Unwritable(u64, Denial),
}

/// The door: what the device has of the process's memory during a launch.
pub(crate) struct Door {
    host: Box<dyn Host>,
    pages: BTreeMap<u64, Page>,
    /// The open pages of shared mappings, by what they are of. Those of one place have one frame.
    shared: HashMap<Place, Vec<u64>>,
    /// Frames that no page has.
    free: Vec<u64>,
    /// Pages that were dropped during this launch because they had changed.
    busy: BTreeMap<u64, Busy>,
    /// The launch has written to a page: those that follow come for writing, if that is allowed.
    written: bool,
}

/// How many bytes of what a pointer leads to are searched for pointers: a large node.
const OBJECT_BYTES: usize = 128;

/// How many objects are searched for each page that may be brought in.
const VISITS: usize = 16;

/// How often a page is read that may be read and cannot, before something is said to be in the way.
const READS: usize = 16;

/// What the device has of a page.
struct Page {
    frame: u64,
    identity: Identity,
    /// What the page is of, if it is shared.
    place: Option<Place>,
    /// The page must not be written, because it is lent at this other address.
    lent: Option<u64>,
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
    fn of(area: &Vma, page: u64) -> Self {
        let ahead = (page * PAGE_BYTES).wrapping_sub(area.range.start().get());
        let offset = area.offset_bytes.wrapping_add(ahead);
        let file = area.is_file_backed().then_some((area.device, area.inode, offset));
        Self { flags: area.flags, file }
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
        Self { host, pages, shared: HashMap::new(), free, busy, written: false }
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
        self.host.look_again();
        let mut served = Served::default();
        let mut leads = VecDeque::new();
        let wrote = self.written;
        for fault in queue {
            if served.pages == most {
                break;
            }
            let want = Want { page: fault.address / PAGE_BYTES, write: fault.write };
            match self.open(want, memory, pages)? {
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
        self.chase(leads, chased, &mut served, memory, pages)?;
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
        let read_only =
            |open: &Page| !open.write && open.identity.flags.write && open.lent.is_none();
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
                    let opened = self.open(Want { page, write: false }, memory, pages)?;
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
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<Result<bool, Denial>, M::Error> {
        if self.pages.get(&page).is_some_and(|open| open.write || !write) {
            return Ok(Ok(false));
        }
        let area = match self.host.area(page * PAGE_BYTES) {
            Ok(Some(area)) => area,
            Ok(None) => return Ok(Err(Denial::Unmapped)),
            Err(denial) => return Ok(Err(denial)),
        };
        let identity = Identity::of(&area, page);
        if !identity.flags.read || (write && !identity.flags.write) {
            return Ok(Err(Denial::Protected));
        }
        let place = Place::of(&area, page, &mut pages.shared.files);
        let lent = place.and_then(|place| pages.shared.lent_elsewhere(place, page));
        if let Some((other, writable)) = lent
            && (write || writable)
        {
            return Ok(Err(Denial::Aliased(other)));
        }
        self.written |= write;
        let lent = lent.map(|(other, _)| other);
        let write = self.written && identity.flags.write && lent.is_none();
        if let Some(open) = self.pages.get_mut(&page) {
            // Should it be another area by now, the commit will find out.
            return open.allow_writing(page, memory, pages).map(Ok);
        }
        let mut snapshot = vec![0; PAGE_BYTES as usize];
        if let Err(denial) = self.read(page, &mut snapshot) {
            return Ok(Err(denial));
        }
        let open = Page { frame: 0, identity, place, lent, snapshot, write };
        Ok(if self.enter(page, open, memory, pages)? { Ok(true) } else { Err(Denial::Unmapped) })
    }

    /// Reads a page that may be read, as far as one has looked. Another thread may have protected
    /// or unmapped it since, so one looks again before something else is said to be in the way.
    fn read(&mut self, page: u64, bytes: &mut [u8]) -> Result<(), Denial> {
        for _ in 0..READS {
            if self.host.read(page * PAGE_BYTES, bytes) {
                return Ok(());
            }
            self.host.look_again();
            let area = self.host.area(page * PAGE_BYTES)?.ok_or(Denial::Unmapped)?;
            if !area.flags.read {
                return Err(Denial::Protected);
            }
        }
        Err(Denial::Unreachable)
    }

    /// Gives a page that was read a frame, and returns whether the table reaches that far.
    fn enter<M: Memory>(
        &mut self,
        page: u64,
        mut open: Page,
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<bool, M::Error> {
        let twins = open.place.and_then(|place| self.shared.get(&place));
        let twin = twins.and_then(|twins| self.pages.get(twins.first()?));
        if let Some(twin) = twin {
            // The same memory: what the device has of it, and what that is compared with.
            (open.frame, open.snapshot) = (twin.frame, twin.snapshot.clone());
        } else {
            open.frame = match self.free.pop() {
                Some(frame) => frame,
                None => memory.allocate(PAGE_BYTES)?,
            };
            memory.write(open.frame, &open.snapshot)?;
        }
        let entry = Entry::new(open.frame, open.write);
        if !pages.table.set_page(page, entry, |bytes| memory.allocate(bytes))? {
            if twin.is_none() {
                self.free.push(open.frame);
            }
            return Ok(false);
        }
        if let Some(place) = open.place {
            self.shared.entry(place).or_default().push(page);
        }
        self.pages.insert(page, open);
        Ok(true)
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

    /// Drops a page, and all others that have its frame.
    fn drop_page(&mut self, page: u64, pages: &mut Pages) {
        let Some(open) = self.pages.get(&page) else { return };
        let frame = open.frame;
        let twins = open.place.and_then(|place| self.shared.remove(&place));
        for page in twins.unwrap_or_else(|| vec![page]) {
            self.pages.remove(&page);
            // An absent entry needs no room.
            let _ = pages.table.set_page(page, Entry::ABSENT, |_| Err(()));
        }
        self.free.push(frame);
    }

    /// Says why a fault cannot be served, as exactly as anybody can.
    pub(crate) fn explain(&mut self, fault: &Fault, denial: Denial) -> Denial {
        match denial {
            Denial::Unreachable => self.host.hindrance(fault.address),
            known => known,
        }
    }
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
