//! Pages of the process that were not lent one by one: copied in by address, written home by
//! comparison.
//!
//! Other threads may change the mapping at any time; `DESIGN.md` says under "The memory of the
//! process" how that is noticed. Nothing is kept between launches.

mod busy;
mod commit;
mod host;
mod identity;
mod open;

pub(crate) use commit::Change;
pub(crate) use host::{Host, LentProcess, address_width};
pub(crate) use open::{Access, Limits, Served};

use super::{pages::Pages, report::Denial, shared::FileOffset, table::Entry};
use crate::residency::memory::Memory;
use busy::Busy;
use identity::Identity;
use std::collections::{BTreeMap, HashMap};

/// The pages of the process that the device has during a launch.
pub(crate) struct ProcessPages {
    host: Box<dyn Host>,
    /// By number.
    pages: BTreeMap<u64, Page>,
    /// The pages of shared mappings, by their bytes of a file. Those of one offset have one frame.
    shared: HashMap<FileOffset, Vec<u64>>,
    /// Frames that no page has.
    free: Vec<u64>,
    /// Pages that were dropped during this launch because they had changed.
    busy: BTreeMap<u64, Busy>,
    /// The launch has written to a page: those that follow come for writing, if that is allowed.
    written: bool,
}

/// A page that the device has.
struct Page {
    frame: u64,
    identity: Identity,
    /// The page's offset in its file, if it is shared.
    offset: Option<FileOffset>,
    /// The page must not be written, because its memory is lent at another address.
    is_lent: bool,
    /// The bytes that were copied in.
    snapshot: Vec<u8>,
    write: bool,
}

/// The pages of the process, with the memory and the table of the device that has them.
struct OnDevice<'a, M> {
    process: &'a mut ProcessPages,
    memory: &'a mut M,
    pages: &'a mut Pages,
}

impl ProcessPages {
    /// No pages yet, of the memory behind `host`.
    pub(crate) fn new(host: Box<dyn Host>) -> Self {
        let (pages, shared, free) = (BTreeMap::new(), HashMap::new(), Vec::new());
        Self { host, pages, shared, free, busy: BTreeMap::new(), written: false }
    }

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

    /// Writes home the bytes that a round without faults wrote, if all that it was computed from is
    /// unchanged.
    ///
    /// # Errors
    ///
    /// Those of the device's memory; nothing was written home then.
    pub(crate) fn commit<M: Memory>(
        &mut self,
        memory: &mut M,
        pages: &mut Pages,
    ) -> Result<Change, M::Error> {
        OnDevice { process: self, memory, pages }.commit()
    }

    /// Makes a round's writes undone, on the device.
    ///
    /// # Errors
    ///
    /// Those of the device's memory.
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
        let aliases = open.offset.and_then(|offset| self.shared.remove(&offset));
        for page in aliases.unwrap_or_else(|| vec![page]) {
            self.pages.remove(&page);
            // An absent entry needs no room.
            let _ = pages.table.set_page(page, Entry::ABSENT, |_| Err(()));
        }
        self.free.push(frame);
    }

    /// Says why the page of an address cannot be had, as exactly as can be found out.
    pub(crate) fn explain(&mut self, address: u64, denial: Denial) -> Denial {
        match denial {
            Denial::Unreachable => self.host.diagnose(address),
            known => known,
        }
    }
}

#[cfg(test)]
mod tests;
