//! A host address space made of a table, for tests: deterministic, small, and able to fail or to
//! change at any step of a walk.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;

use crate::addr::{PageNumber, PageSize, VaRange, VirtAddr};
use crate::device::{DeviceRun, Hold, Owner};
use crate::error::HostError;
use crate::host::vma::{Device, Vma, VmaFlags};
use crate::host::{Detail, FaultInError, HostMm, PageAccess, PageEntry, PageRun};
use crate::notifier::{Event, Notifiers};
use crate::walk::pfn::{Pfn, PfnFlags};

/// The number of the model's first page.
const FIRST: u64 = 0x100;

/// How an area is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) special: bool,
}

impl Area {
    pub(crate) const RW: Self = Self { read: true, write: true, special: false };
    pub(crate) const RO: Self = Self { write: false, ..Self::RW };
    pub(crate) const NONE: Self = Self { read: false, ..Self::RO };
    pub(crate) const WRITE_ONLY: Self = Self { read: false, ..Self::RW };
    pub(crate) const SPECIAL: Self = Self { special: true, ..Self::RW };
}

/// The place of the content of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Empty,
    Swapped,
    /// A page that no access succeeds on.
    Poisoned,
    Present {
        writable: bool,
    },
    Held {
        owner: Owner,
        hold: Hold,
        frame: u64,
    },
}

/// One page of the model. Without an area its place is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) area: Option<Area>,
    pub(crate) place: Place,
}

impl Page {
    const UNMAPPED: Self = Self { area: None, place: Place::Empty };

    /// The answer that a walk for `owner` has to give about the page at `number` as it is: the
    /// oracle.
    fn oracle(self, number: u64, owner: Owner) -> Pfn {
        let Some(area) = self.area.filter(|area| area.read && !area.special) else {
            return Pfn::ERROR;
        };
        let write = if area.write { PfnFlags::WRITE } else { PfnFlags::NONE };
        let (flags, frame) = match self.place {
            Place::Present { writable: true } => (write, number),
            Place::Present { writable: false } => (PfnFlags::NONE, number),
            Place::Held { owner: holder, hold: Hold::Private, frame } if holder == owner => {
                (PfnFlags::DEVICE | write, frame)
            }
            _ => return Pfn::NONE,
        };
        Pfn::valid(flags, PageNumber::new(frame), PageSize::host())
    }

    /// The effect of the CPU touching the page.
    fn touch(&mut self, access: PageAccess) -> Result<(), FaultInError> {
        let area = self.area.ok_or(FaultInError::NoMemory)?;
        let allowed = match access {
            PageAccess::Read => area.read,
            PageAccess::Write => area.write,
        };
        if !allowed || area.special {
            return Err(FaultInError::Refused);
        }
        self.place = match (self.place, access) {
            (Place::Poisoned, _) => return Err(FaultInError::BadPage),
            (Place::Present { writable }, PageAccess::Read) => Place::Present { writable },
            (_, PageAccess::Read) => Place::Present { writable: false },
            (_, PageAccess::Write) => Place::Present { writable: true },
        };
        Ok(())
    }
}

/// A change of the address space, on some of its pages.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Map(Range<usize>, Area),
    Unmap(Range<usize>),
    Protect(Range<usize>, Area),
    /// Drops the pages and keeps the area.
    Drop(Range<usize>),
    Touch(Range<usize>, PageAccess),
    SwapOut(Range<usize>),
    Poison(usize),
    /// Makes present pages read-only, as a `fork` does.
    Share(Range<usize>),
    MoveOut(Range<usize>, Owner, Hold),
}

impl Change {
    fn pages(&self) -> Range<usize> {
        match self {
            Self::Map(pages, _)
            | Self::Unmap(pages)
            | Self::Protect(pages, _)
            | Self::Drop(pages)
            | Self::Touch(pages, _)
            | Self::SwapOut(pages)
            | Self::Share(pages)
            | Self::MoveOut(pages, ..) => pages.clone(),
            Self::Poison(page) => *page..*page + 1,
        }
    }

    fn event(&self) -> Event {
        match self {
            Self::Map(..) | Self::Unmap(_) => Event::Unmap,
            Self::Protect(..) => Event::ProtectionVma,
            Self::Share(_) => Event::ProtectionPage,
            Self::MoveOut(_, owner, Hold::Private) => Event::Migrate { by: Some(*owner) },
            Self::MoveOut(_, owner, Hold::Exclusive) => Event::Exclusive { by: Some(*owner) },
            Self::Drop(_) | Self::Touch(..) | Self::SwapOut(_) | Self::Poison(_) => Event::Clear,
        }
    }

    fn apply(&self, number: usize, page: &mut Page) {
        let present = matches!(page.place, Place::Present { .. });
        match *self {
            Self::Map(_, area) => *page = Page { area: Some(area), place: Place::Empty },
            Self::Unmap(_) => *page = Page::UNMAPPED,
            _ if page.area.is_none() => {}
            Self::Protect(_, area) => page.area = Some(area),
            Self::Drop(_) => page.place = Place::Empty,
            Self::Touch(_, access) => drop(page.touch(access)),
            Self::SwapOut(_) if present => page.place = Place::Swapped,
            Self::Share(_) if present => page.place = Place::Present { writable: false },
            Self::Poison(_) => page.place = Place::Poisoned,
            Self::MoveOut(_, owner, hold) if !matches!(page.place, Place::Poisoned) => {
                page.place = Place::Held { owner, hold, frame: 1000 + number as u64 };
            }
            Self::SwapOut(_) | Self::Share(_) | Self::MoveOut(..) => {}
        }
    }
}

/// The event at a step of a walk.
#[derive(Clone, Debug)]
pub(crate) enum Injection {
    /// The address space changes, and the change is announced.
    Change(Change),
    /// It changes without an announcement, as by reclaim.
    Quietly(Change),
    /// The step, if it faults pages in, is cut short.
    Interrupt,
    /// The step, if it faults pages in, finds no memory.
    NoMemory,
}

/// The host address space.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) notifiers: Notifiers,
    pages: RefCell<Vec<Page>>,
    /// Ascending by step.
    injections: RefCell<VecDeque<(usize, Injection)>>,
    /// How often the walk has asked or acted.
    steps: Cell<usize>,
    /// How often it has faulted pages in.
    faults: Cell<usize>,
}

impl Model {
    pub(crate) fn new(pages: usize) -> Self {
        Self {
            notifiers: Notifiers::new(),
            pages: RefCell::new(vec![Page::UNMAPPED; pages]),
            injections: RefCell::default(),
            steps: Cell::new(0),
            faults: Cell::new(0),
        }
    }

    /// A model with the same pages, without notifiers and injections.
    pub(crate) fn twin(&self) -> Self {
        let twin = Self::new(0);
        twin.pages.replace(self.all());
        twin
    }

    pub(crate) fn inject(&self, mut injections: Vec<(usize, Injection)>) {
        injections.sort_by_key(|(step, _)| *step);
        self.injections.replace(injections.into());
    }

    pub(crate) fn faults(&self) -> usize {
        self.faults.get()
    }

    pub(crate) fn range(&self, pages: Range<usize>) -> VaRange {
        let size = PageSize::host();
        let start = VirtAddr::new((FIRST + pages.start as u64) * size.bytes());
        VaRange::from_len(start, pages.len() as u64 * size.bytes()).expect("a user range")
    }

    pub(crate) fn whole(&self) -> VaRange {
        self.range(0..self.pages.borrow().len())
    }

    /// The indices of the pages of a range inside the model.
    fn indices(&self, range: VaRange) -> Range<usize> {
        let index = |addr: VirtAddr| self.index(addr);
        index(range.start())..index(range.end())
    }

    pub(crate) fn index(&self, addr: VirtAddr) -> usize {
        let number = addr.page_number(PageSize::host()).get();
        usize::try_from(number - FIRST).expect("64 bits")
    }

    pub(crate) fn all(&self) -> Vec<Page> {
        self.pages.borrow().clone()
    }

    /// Makes a change as the protocol demands: announced, and inside the invalidation.
    pub(crate) fn change(&self, change: &Change) {
        let guard = self.notifiers.invalidate(change.event(), self.range(change.pages()));
        self.change_quietly(change);
        drop(guard);
    }

    fn change_quietly(&self, change: &Change) {
        let mut all = self.pages.borrow_mut();
        for number in change.pages() {
            change.apply(number, &mut all[number]);
        }
    }

    /// The answer that a walk for `owner` has to give about each page.
    pub(crate) fn oracle(&self, owner: Owner) -> Vec<Pfn> {
        let all = self.pages.borrow();
        (FIRST..).zip(all.iter()).map(|(number, page)| page.oracle(number, owner)).collect()
    }

    /// Takes a step: what was injected here happens first, and its failures are returned.
    fn step(&self) -> Result<(), FaultInError> {
        let step = self.steps.get();
        self.steps.set(step + 1);
        let mut result = Ok(());
        while let Some(injection) = self.due(step) {
            match injection {
                Injection::Change(change) => self.change(&change),
                Injection::Quietly(change) => self.change_quietly(&change),
                Injection::Interrupt => result = Err(FaultInError::Again),
                Injection::NoMemory => result = Err(FaultInError::NoMemory),
            }
        }
        result
    }

    fn due(&self, step: usize) -> Option<Injection> {
        let mut injections = self.injections.borrow_mut();
        let (at, _) = injections.front()?;
        (*at <= step).then(|| injections.pop_front())?.map(|(_, injection)| injection)
    }

    /// Groups neighbouring pages of `range` that `key` does not tell apart.
    fn runs<K: PartialEq>(
        &self,
        range: VaRange,
        key: impl Fn(usize, &Page) -> K,
    ) -> Vec<(VaRange, K)> {
        let all = self.pages.borrow();
        let mut runs: Vec<(VaRange, K)> = Vec::new();
        for index in self.indices(range) {
            let (page, key) = (self.range(index..index + 1), key(index, &all[index]));
            match runs.last_mut() {
                Some((run, last)) if *last == key => {
                    *run = VaRange::new(run.start(), page.end()).expect("ascending");
                }
                _ => runs.push((page, key)),
            }
        }
        runs
    }
}

impl HostMm for Model {
    fn vmas(&self, range: VaRange) -> Result<Vec<Vma>, HostError> {
        drop(self.step());
        let areas = self.runs(self.whole(), |_, page| page.area);
        let vmas = areas.into_iter().filter(|(area, _)| area.overlaps(&range));
        Ok(vmas.filter_map(|(range, area)| Some(vma(range, area?))).collect())
    }

    fn is_special(&self, vma: &Vma) -> Result<bool, HostError> {
        Ok(vma.inode != 0)
    }

    fn pages(&self, _: &Vma, range: VaRange, _: Detail) -> Result<Vec<PageRun>, HostError> {
        drop(self.step());
        let runs = self.runs(range, |_, page| match page.place {
            Place::Empty => PageEntry::Empty,
            Place::Swapped | Place::Poisoned | Place::Held { .. } => PageEntry::Swapped,
            Place::Present { writable } => PageEntry::Present { writable },
        });
        let mapping = PageSize::host();
        Ok(runs.into_iter().map(|(range, entry)| PageRun { range, entry, mapping }).collect())
    }

    fn device_pages(&self, range: VaRange) -> Vec<DeviceRun> {
        drop(self.step());
        let runs = self.runs(range, |index, page| match page.place {
            Place::Held { owner, hold, frame } => Some((owner, hold, frame - index as u64)),
            _ => None,
        });
        let run = |(range, key): (VaRange, Option<(Owner, Hold, u64)>)| {
            let (owner, hold, base) = key?;
            let frame = PageNumber::new(base + self.index(range.start()) as u64);
            Some(DeviceRun { range, owner, frame, hold, mapping: PageSize::host() })
        };
        runs.into_iter().filter_map(run).collect()
    }

    fn fault_in(&self, range: VaRange, access: PageAccess) -> Result<(), FaultInError> {
        self.faults.set(self.faults.get() + 1);
        self.step()?;
        let indices = self.indices(range);
        self.pages.borrow_mut()[indices].iter_mut().try_for_each(|page| page.touch(access))
    }

    /// Other devices are told; the pages come home as if the CPU had touched them.
    fn bring_home(&self, range: VaRange, access: PageAccess) -> Result<(), FaultInError> {
        self.fault_in(range, access)
    }
}

fn vma(range: VaRange, area: Area) -> Vma {
    let Area { read, write, special } = area;
    Vma {
        range,
        flags: VmaFlags { read, write, ..VmaFlags::default() },
        offset_bytes: 0,
        device: Device::default(),
        inode: u64::from(special),
        name: None,
    }
}
