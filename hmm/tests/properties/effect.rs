//! The effect of a step on the model, and its answer.

use std::ops::Range;

use crate::model::{Held, Leads, Mapped, Model, Page, State};
use crate::region::blocks;
use crate::step::{DEVICES, Step};
use crate::tables::{Entry, Refusal, Want, changes, judge};

/// The answer of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// Whether the step succeeded.
    Worked(bool),
    /// How many pages came home.
    Count(u64),
    /// The values that the CPU read or wrote, page by page; `None` where it may not.
    Cpu(Vec<Option<u32>>),
    Device(Result<Seen, Failure>),
}

/// The answer of a command of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) tags: Vec<u32>,
    pub(crate) cpages: u64,
    pub(crate) faults: u64,
}

/// Why a command of a device fails, and at which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Fault(usize),
    Permission(usize),
    Invalid(usize),
    NotFound(usize),
}

impl Model {
    pub(crate) fn apply(&mut self, step: &Step) -> Answer {
        match step.clone() {
            Step::Store { pages, tag, .. } => Answer::Cpu(self.cpu_store(pages, tag)),
            Step::Load { pages, .. } => Answer::Cpu(self.cpu_load(pages)),
            Step::Populate { pages, write } => Answer::Worked(self.populate(pages, write)),
            Step::Announce { pages } => self.done(|model| model.unmap_from_all(pages)),
            Step::Protect { pages, access } => self.done(|model| {
                let areas = model.pages[pages].iter_mut().filter_map(|page| page.area.as_mut());
                areas.for_each(|area| area.access = access);
            }),
            Step::Unmap { pages } => self.done(|model| model.replace(pages, Page::GAP)),
            Step::Map { pages, access, shared } => {
                self.done(|model| model.replace(pages, Page::fresh(access, shared)))
            }
            Step::Remap { from, to, keep } => self.done(|model| model.remap(from, to, keep)),
            Step::Drop { pages } => self.done(|model| model.drop_pages(pages)),
            Step::ToDevice { device, pages, leased } => {
                Answer::Device(self.send_to_device(device, pages, leased))
            }
            Step::Exclusive { device, pages } => Answer::Device(self.exclusive(device, pages)),
            Step::CheckExclusive { device, pages } => {
                Answer::Device(self.check_exclusive(device, pages))
            }
            Step::ToHome { pages } => Answer::Count(self.come_home(pages, |_| true)),
            Step::Read { device, pages } => Answer::Device(self.command(device, pages, None)),
            Step::Write { device, pages, tag } => {
                Answer::Device(self.command(device, pages, Some(tag)))
            }
            Step::Evict { device } => {
                Answer::Count(self.come_home(0..self.pages.len(), |held| held.device == device))
            }
            Step::Fork => self.done(Self::fork),
        }
    }

    fn done(&mut self, act: impl FnOnce(&mut Self)) -> Answer {
        act(self);
        Answer::Done
    }

    fn cpu_store(&mut self, pages: Range<usize>, tag: u32) -> Vec<Option<u32>> {
        let store = |page: usize| {
            let writable = self.pages[page].can_write();
            writable.then(|| self.store(page, tag))?;
            Some(tag)
        };
        pages.map(store).collect()
    }

    fn cpu_load(&mut self, pages: Range<usize>) -> Vec<Option<u32>> {
        let load = |page: usize| {
            let readable = self.pages[page].can_read();
            readable.then(|| self.touch(page))?;
            Some(self.pages[page].tag())
        };
        pages.map(load).collect()
    }

    fn populate(&mut self, mut pages: Range<usize>, write: bool) -> bool {
        pages.all(|page| {
            let allowed =
                if write { self.pages[page].can_write() } else { self.pages[page].can_read() };
            match (allowed, write) {
                (true, true) => self.own(page),
                (true, false) => self.touch(page),
                (false, _) => {}
            }
            allowed
        })
    }

    fn replace(&mut self, pages: Range<usize>, with: Page) {
        self.unmap_from_all(pages.clone());
        self.pages[pages].fill(with);
    }

    /// Page by page; shared pages are never kept, because they would then be in both places.
    fn remap(&mut self, from: Range<usize>, to: usize, keep: bool) {
        for (from, to) in from.zip(to..) {
            let page = self.pages[from];
            if let Some(area) = page.area {
                let kept = keep && !area.shared;
                let left = if kept { Page::fresh(area.access, false) } else { Page::GAP };
                self.replace(from..from + 1, left);
                self.replace(to..to + 1, page);
            }
        }
    }

    fn drop_pages(&mut self, pages: Range<usize>) {
        self.unmap_from_all(pages.clone());
        for page in &mut self.pages[pages] {
            page.state = match page.state {
                State::Home(tag) | State::Cold(tag) if page.is_shared() => State::Cold(tag),
                _ => State::Untouched,
            };
        }
    }

    fn come_home(&mut self, pages: Range<usize>, wanted: impl Fn(Held) -> bool) -> u64 {
        let come =
            |page: &usize| self.pages[*page].held().is_some_and(&wanted) && self.bring_home(*page);
        pages.filter(come).count() as u64
    }

    /// Everything is home before the child exists, and the devices are told that stores will copy.
    /// The child reads every page, so shared memory then has content there.
    fn fork(&mut self) {
        self.come_home(0..self.pages.len(), |_| true);
        self.unmap_from_all(0..self.pages.len());
        let read = self.pages.iter_mut().filter(|page| page.is_shared() && page.can_read());
        for page in read.filter(|page| page.state == State::Untouched) {
            page.state = State::Cold(0);
        }
    }

    /// Moves what can be moved and returns the first page that cannot.
    fn migrate(
        &mut self,
        (device, exclusive): (usize, bool),
        pages: Range<usize>,
        leased: bool,
    ) -> Result<Option<usize>, Failure> {
        if let Some(page) = pages.clone().find(|&page| !self.pages[page].can_read()) {
            return Err(Failure::Invalid(page));
        }
        let mut stayed = None;
        for block in blocks(self.pages.len(), pages) {
            let may_leave = |page: &Page| !page.is_shared() && (page.can_write() || leased);
            let goes = |page: &Page| page.held().is_none() && may_leave(page);
            if self.pages[block.clone()].iter().any(goes) {
                // All other devices are told of the whole block.
                (0..DEVICES).filter(|&other| other != device).for_each(|other| {
                    self.unmap_from(other, block.clone());
                });
            }
            for index in block {
                let page = &mut self.pages[index];
                let others = page.held().is_some_and(|held| held.device != device);
                if others || !may_leave(page) {
                    stayed = stayed.or(Some(index));
                } else if page.held().is_none() {
                    page.state = State::Held(Held { device, exclusive, tag: page.tag() });
                }
            }
        }
        Ok(stayed)
    }

    fn send_to_device(
        &mut self,
        device: usize,
        pages: Range<usize>,
        leased: bool,
    ) -> Result<Seen, Failure> {
        self.migrate((device, false), pages.clone(), leased)?;
        self.adopt((device, false), pages)
    }

    fn exclusive(&mut self, device: usize, pages: Range<usize>) -> Result<Seen, Failure> {
        match self.migrate((device, true), pages.clone(), false)? {
            Some(stayed) => Err(Failure::NotFound(stayed)),
            None => self.adopt((device, true), pages),
        }
    }

    /// The device enters what it holds in one way, and reads it.
    fn adopt(
        &mut self,
        (device, exclusive): (usize, bool),
        pages: Range<usize>,
    ) -> Result<Seen, Failure> {
        let leads = if exclusive { Leads::Exclusive } else { Leads::Private };
        let mut seen = Seen::default();
        let mut missing = None;
        for index in pages {
            let page = self.pages[index];
            let held = page.held().filter(|h| (h.device, h.exclusive) == (device, exclusive));
            let write = page.can_write();
            self.entries[device][index] = held.map(|_| Mapped { leads, write });
            match held {
                Some(held) => seen.tags.push(held.tag),
                None => missing = missing.or(Some(index)),
            }
        }
        seen.cpages = seen.tags.len() as u64;
        missing.map_or(Ok(seen), |page| Err(Failure::NotFound(page)))
    }

    fn check_exclusive(&self, device: usize, pages: Range<usize>) -> Result<Seen, Failure> {
        let exclusive = |page: &usize| {
            self.entries[device][*page].is_some_and(|entry| entry.leads == Leads::Exclusive)
        };
        let found = pages.clone().find(exclusive);
        found.map_or(Ok(Seen::default()), |page| Err(Failure::Permission(page)))
    }

    /// The device reads, or writes a number.
    fn command(
        &mut self,
        device: usize,
        pages: Range<usize>,
        tag: Option<u32>,
    ) -> Result<Seen, Failure> {
        self.revalidate(device, pages.clone());
        let mut seen = Seen::default();
        for page in pages.clone() {
            let usable = |entry: &Mapped| tag.is_none() || entry.write;
            let mut entry = self.entries[device][page].filter(usable);
            if entry.is_none() {
                self.fault(device, page..pages.end, tag.is_some())?;
                seen.faults += 1;
                entry = self.entries[device][page].filter(usable);
            }
            let entry = entry.expect("the fault made one");
            seen.tags.push(self.access(page, entry, tag));
            seen.cpages += 1;
        }
        Ok(seen)
    }

    /// The device is not told of `mprotect`, and so looks before each command.
    fn revalidate(&mut self, device: usize, pages: Range<usize>) {
        for page in pages {
            let Some(area) = self.pages[page].area else {
                continue;
            };
            let entry = &mut self.entries[device][page];
            let stale = |entry: Mapped| !area.can_read() || entry.write && !area.can_write();
            if entry.is_some_and(stale) {
                *entry = None;
            }
        }
    }

    fn access(&mut self, page: usize, entry: Mapped, tag: Option<u32>) -> u32 {
        match (entry.leads, tag) {
            (Leads::Home, Some(tag)) => self.store(page, tag),
            (Leads::Home, None) => self.touch(page),
            (Leads::Private | Leads::Exclusive, tag) => {
                let State::Held(held) = &mut self.pages[page].state else {
                    panic!("the device has an entry for page {page}, which it does not hold");
                };
                held.tag = tag.unwrap_or(held.tag);
            }
        }
        self.pages[page].tag()
    }

    /// `hmm_range_fault` for all pages alike, and what the device makes of the answers.
    fn fault(&mut self, device: usize, pages: Range<usize>, write: bool) -> Result<(), Failure> {
        let want = if write { Want::Write } else { Want::Read };
        for index in pages.clone() {
            match judge(self.pages[index].area, Entry::Nothing, want) {
                Err(Refusal::Fault) => return Err(Failure::Fault(index)),
                Err(Refusal::Permission) => return Err(Failure::Permission(index)),
                Ok(_) => {}
            }
        }
        for index in pages.clone() {
            let entries = self.pages[index].entries(device);
            if entries.into_iter().any(|entry| changes(entry, want)) {
                self.bring_home(index);
                if write { self.own(index) } else { self.touch(index) }
            }
        }
        for index in pages {
            let held = self.pages[index].held();
            let leads = if held.is_some() { Leads::Private } else { Leads::Home };
            let write = self.pages[index].can_write();
            self.entries[device][index] = Some(Mapped { leads, write });
        }
        Ok(())
    }
}
