//! The commit: it writes home the bytes that a round wrote, if all memory that the round was
//! computed from is unchanged.

use super::{
    busy::Busy,
    host::Host,
    identity::Identity,
    pages::{OnDevice, ProcessPages},
};
use crate::{
    paging::{PAGE_BYTES, pages::Pages, report::Denial},
    residency::memory::Memory,
};
use std::{collections::HashSet, ops::Range};

/// Whether the host memory that a round was computed from has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has not; the bytes that the round wrote are home.
    Nothing,
    /// Some pages have, and were dropped; the round does not count.
    Pages,
    /// Memory changed while it was written: the byte at this address, and those after it, may be
    /// the round's or not.
    Raced(u64),
    /// The byte at this address cannot be written. Nothing that the round wrote is home.
    Unwritable(u64, Denial),
}

/// A stretch of a page that a round wrote.
pub(super) struct Written {
    pub(super) page: u64,
    pub(super) offset: usize,
    pub(super) bytes: Vec<u8>,
}

/// Why not all bytes that a round wrote are home.
pub(super) enum Refused {
    /// This page has changed, or cannot be written. Nothing of the round is home.
    Page(u64),
    /// Memory changed meanwhile, here. The bytes that the round wrote may be home in part.
    Raced(u64),
    /// The byte at this address was tried several times and cannot be written, although its page
    /// has not changed. Nothing of the round is home.
    Unwritable(u64, Denial),
}

impl ProcessPages {
    /// Writes home the bytes that a round without faults wrote, if all memory that the round was
    /// computed from is unchanged.
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
}

impl Written {
    /// The address of the first byte.
    fn address(&self) -> u64 {
        self.page * PAGE_BYTES + self.offset as u64
    }

    /// The bytes within the page.
    fn extent(&self) -> Range<usize> {
        self.offset..self.offset + self.bytes.len()
    }

    /// Whether the bytes are at home.
    fn is_home(&self, host: &mut dyn Host) -> bool {
        let mut now = vec![0; self.bytes.len()];
        host.read(self.address(), &mut now) && now == self.bytes
    }
}

impl<M: Memory> OnDevice<'_, M> {
    pub(super) fn commit(&mut self) -> Result<Change, M::Error> {
        let changes = self.process.changes(self.memory)?;
        let mut stale = self.process.stale(&changes);
        if stale.is_empty() {
            match self.process.write_home(&changes) {
                Ok(()) => return Ok(Change::Nothing),
                Err(Refused::Page(page)) => stale.push(page),
                Err(Refused::Raced(address)) => return Ok(Change::Raced(address)),
                Err(Refused::Unwritable(address, why)) => {
                    return Ok(Change::Unwritable(address, why));
                }
            }
        }
        for &page in &stale {
            self.process.busy.entry(page).or_default();
            self.process.drop_page(page, self.pages);
        }
        // Pages that the round wrote are needed again. If such a page cannot be brought in any
        // more, the next round finds that out.
        let mut needed: Vec<u64> = changes.iter().map(|written| written.page).collect();
        needed.dedup();
        needed.retain(|page| stale.contains(page));
        for page in needed {
            let _ = self.open(page, true)?;
        }
        Ok(Change::Pages)
    }
}

impl ProcessPages {
    /// The stretches that the round wrote: page, offset, new bytes. Those of private mappings come
    /// first: bytes written through a shared one may show in a private one of the same file.
    fn changes<M: Memory>(&self, memory: &mut M) -> Result<Vec<Written>, M::Error> {
        let mut changes = Vec::new();
        let mut frames = HashSet::new();
        let written = || self.pages.iter().filter(|(_, open)| open.write);
        let private = written().filter(|(_, open)| open.offset.is_none());
        let shared = written().filter(|(_, open)| open.offset.is_some());
        // Memory that lies at several addresses is written through one of them.
        let once = private.chain(shared).filter(|(_, open)| frames.insert(open.frame));
        let once: Vec<_> = once.collect();
        let read = once.iter().map(|(_, open)| open.frame).collect::<Vec<_>>();
        let read = memory.read_pages(&read)?;
        for ((&page, open), bytes) in once.into_iter().zip(read.chunks(PAGE_BYTES as usize)) {
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
    /// last: they are looked up right before the first byte is written home.
    fn stale(&mut self, changes: &[Written]) -> Vec<u64> {
        let open: Vec<u64> = self.pages.keys().copied().collect();
        let (mut stale, kept): (Vec<u64>, Vec<u64>) =
            open.into_iter().partition(|&page| !self.is_current(page, changes));
        self.host.refresh_areas();
        stale.extend(kept.into_iter().filter(|&page| !self.is_same_area(page)));
        stale
    }

    /// Whether the bytes of an open page are those that were copied in: all of them, except bytes
    /// that other threads change all the time and the round did not write.
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

    /// Whether an open page is in the same area as when it was copied in.
    fn is_same_area(&mut self, page: u64) -> bool {
        let Some(open) = self.pages.get(&page) else { return false };
        let area = self.host.area(page * PAGE_BYTES);
        area.is_ok_and(|area| area.is_some_and(|area| Identity::of(&area, page) == open.identity))
    }

    /// Writes stretches home. Each page is compared again right before it is written, and its area
    /// afterwards. If a page has changed or cannot be written, the bytes that were written to the
    /// pages before it are put back.
    pub(super) fn write_home(&mut self, changes: &[Written]) -> Result<(), Refused> {
        let mut looked_at = None;
        for (position, written) in changes.iter().enumerate() {
            let page = written.page;
            let current = looked_at == Some(page) || self.is_current(page, changes);
            if !current || !self.host.write(written.address(), &written.bytes) {
                self.put_back(&changes[..position])?;
                return Err(self.refusal(written, current));
            }
            looked_at = Some(page);
        }
        self.confirm(changes)
    }

    /// Why a stretch was not written home: its page has changed; or, if the page is as before and
    /// could not be written several times, the reason for that.
    fn refusal(&mut self, written: &Written, current: bool) -> Refused {
        let page = written.page;
        self.host.refresh_areas();
        let unchanged = current && self.is_same_area(page) && self.is_current(page, &[]);
        if unchanged && self.busy.entry(page).or_default().note_unwritable() {
            let address = written.address();
            return Refused::Unwritable(address, self.host.diagnose(address));
        }
        Refused::Page(page)
    }

    /// Puts the bytes back that were there before, unless another thread has changed them since.
    fn put_back(&mut self, changes: &[Written]) -> Result<(), Refused> {
        for written in changes.iter().rev() {
            let open = self.pages.get(&written.page);
            let old = open.and_then(|open| open.snapshot.get(written.extent()));
            let host = &mut self.host;
            let back = old.is_some_and(|old| {
                written.is_home(host.as_mut()) && host.write(written.address(), old)
            });
            if !back {
                return Err(Refused::Raced(written.address()));
            }
        }
        Ok(())
    }

    /// Compares the bytes at home with those that were written, and the areas with those before.
    fn confirm(&mut self, changes: &[Written]) -> Result<(), Refused> {
        if changes.is_empty() {
            return Ok(());
        }
        self.host.refresh_areas();
        for written in changes {
            let same = self.is_same_area(written.page);
            if !same || !written.is_home(self.host.as_mut()) {
                return Err(Refused::Raced(written.address()));
            }
        }
        Ok(())
    }
}

/// Whether the bytes of a page that a round wrote are at home what they were before.
fn own_match(changes: &[Written], page: u64, now: &[u8], before: &[u8]) -> bool {
    let mut own = changes.iter().filter(|written| written.page == page).map(Written::extent);
    own.all(|own| now[own.clone()] == before[own])
}
