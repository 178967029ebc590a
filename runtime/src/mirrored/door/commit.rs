//! The commit: what a round wrote goes home, if the round was computed from what is still there.

use super::{Change, Denial, Door, Host, Identity, PAGE_BYTES, Want};
use crate::mirrored::{pages::Pages, rounds::Memory};
use std::{collections::HashSet, ops::Range};

/// How often the change of any byte of a page has a launch run again. After that somebody writes
/// to it all the time, and may go on to change those bytes that changed before.
const PATIENCE: u32 = 2;

/// What others do to a page while a launch runs.
#[derive(Default)]
pub(super) struct Busy {
    /// How often its bytes were found changed.
    changes: u32,
    /// Which bytes: one for each of the page, or none yet.
    bytes: Vec<bool>,
    /// How often it was as before and could not be written.
    unwritable: u32,
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
pub(super) struct Written {
    pub(super) page: u64,
    pub(super) offset: usize,
    pub(super) bytes: Vec<u8>,
}

/// Why not all of what a round wrote is home.
pub(super) enum Refused {
    /// This page has changed, or cannot be written. Nothing of the round is home.
    Page(u64),
    /// Memory changed meanwhile, here. What the round wrote may be home in part.
    Raced(u64),
    /// This page has not changed, and cannot be written, time after time. Nothing is home.
    Unwritable(u64, Denial),
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

impl Door {
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
                Err(Refused::Unwritable(address, why)) => {
                    return Ok(Change::Unwritable(address, why));
                }
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
        for page in needed {
            let _ = self.open(Want { page, write: true }, memory, pages)?;
        }
        Ok(Change::Pages)
    }

    /// The stretches that the round wrote: page, offset, new bytes. Those of private mappings come
    /// first: what is written through a shared one may show in a private one of the same file.
    fn changes<M: Memory>(&self, memory: &mut M) -> Result<Vec<Written>, M::Error> {
        let mut changes = Vec::new();
        let mut bytes = vec![0; PAGE_BYTES as usize];
        let mut frames = HashSet::new();
        let written = || self.pages.iter().filter(|(_, open)| open.write);
        let private = written().filter(|(_, open)| open.place.is_none());
        let shared = written().filter(|(_, open)| open.place.is_some());
        // What is written at several addresses goes home through one of them.
        for (&page, open) in private.chain(shared).filter(|(_, open)| frames.insert(open.frame)) {
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
        self.host.look_again();
        stale.extend(kept.into_iter().filter(|&page| !self.is_same_area(page)));
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
    fn is_same_area(&mut self, page: u64) -> bool {
        let Some(open) = self.pages.get(&page) else { return false };
        let area = self.host.area(page * PAGE_BYTES);
        area.is_ok_and(|area| area.is_some_and(|area| Identity::of(&area, page) == open.identity))
    }

    /// Writes stretches home: each page is looked at again right before, and its area afterwards.
    ///
    /// If one must not or cannot be written, those before it are taken back.
    pub(super) fn write_home(&mut self, changes: &[Written]) -> Result<(), Refused> {
        let mut looked_at = None;
        for (position, written) in changes.iter().enumerate() {
            let page = written.page;
            let current = looked_at == Some(page) || self.is_current(page, changes);
            if !current || !self.host.write(written.place(), &written.bytes) {
                self.take_back(&changes[..position])?;
                return Err(self.refusal(written, current));
            }
            looked_at = Some(page);
        }
        self.confirm(changes)
    }

    /// Why a stretch did not go home: others did something to its page, or, if it only cannot be
    /// written, and that not for the first time, what keeps it from being written.
    fn refusal(&mut self, written: &Written, current: bool) -> Refused {
        let page = written.page;
        self.host.look_again();
        if current && self.is_same_area(page) && self.is_current(page, &[]) {
            let busy = self.busy.entry(page).or_default();
            busy.unwritable += 1;
            if busy.unwritable > PATIENCE {
                return Refused::Unwritable(written.place(), self.host.hindrance(written.place()));
            }
        }
        Refused::Page(page)
    }

    /// Writes the bytes back that were there before, unless others have changed them since.
    fn take_back(&mut self, changes: &[Written]) -> Result<(), Refused> {
        for written in changes.iter().rev() {
            let open = self.pages.get(&written.page);
            let old = open.and_then(|open| open.snapshot.get(written.own()));
            let host = &mut self.host;
            let back = old.is_some_and(|old| {
                written.is_home(host.as_mut()) && host.write(written.place(), old)
            });
            if !back {
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
        self.host.look_again();
        for written in changes {
            let same = self.is_same_area(written.page);
            if !same || !written.is_home(self.host.as_mut()) {
                return Err(Refused::Raced(written.place()));
            }
        }
        Ok(())
    }
}

/// Whether the bytes of a page that a round wrote are at home what they were before.
fn own_match(changes: &[Written], page: u64, now: &[u8], before: &[u8]) -> bool {
    let mut own = changes.iter().filter(|written| written.page == page).map(Written::own);
    own.all(|own| now[own.clone()] == before[own])
}
