//! The pages of the process that a device has.

use super::{busy::Busy, host::Host, identity::Identity};
use crate::{
    paging::{pages::Pages, report::Denial, shared::FileOffset, table::Entry},
    residency::memory::Memory,
};
use std::collections::{BTreeMap, HashMap};

/// The pages of the process that the device has during a launch.
pub(crate) struct ProcessPages {
    pub(super) host: Box<dyn Host>,
    /// By number.
    pub(super) pages: BTreeMap<u64, Page>,
    /// The pages of shared mappings, by their bytes of a file. Those of one offset have one frame.
    pub(super) shared: HashMap<FileOffset, Vec<u64>>,
    /// Frames that no page has.
    pub(super) free: Vec<u64>,
    /// Pages that were dropped during this launch because they had changed.
    pub(super) busy: BTreeMap<u64, Busy>,
    /// The launch has written to a page: those that follow come for writing, if that is allowed.
    pub(super) written: bool,
}

/// A page that the device has.
pub(super) struct Page {
    pub(super) frame: u64,
    pub(super) identity: Identity,
    /// The page's offset in its file, if it is shared.
    pub(super) offset: Option<FileOffset>,
    /// The page must not be written, because its memory is lent at another address.
    pub(super) is_lent: bool,
    /// The bytes that were copied in.
    pub(super) snapshot: Vec<u8>,
    pub(super) write: bool,
}

/// The pages of the process, with the memory and the table of the device that has them.
pub(super) struct OnDevice<'a, M> {
    pub(super) process: &'a mut ProcessPages,
    pub(super) memory: &'a mut M,
    pub(super) pages: &'a mut Pages,
}

impl ProcessPages {
    /// Starts without pages, for the memory that `host` gives access to.
    pub(crate) fn new(host: Box<dyn Host>) -> Self {
        let (pages, shared, free) = (BTreeMap::new(), HashMap::new(), Vec::new());
        Self { host, pages, shared, free, busy: BTreeMap::new(), written: false }
    }

    /// Undoes the writes of a round, on the device.
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
    pub(super) fn drop_page(&mut self, page: u64, pages: &mut Pages) {
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

    /// Says why the page of an address cannot be brought in, as exactly as can be found out.
    pub(crate) fn explain(&mut self, address: u64, denial: Denial) -> Denial {
        match denial {
            Denial::Unreachable => self.host.diagnose(address),
            known => known,
        }
    }
}
