//! The model: what the pages of a region are, what they hold, and what two devices have entered
//! into their page tables.
//!
//! It knows the kernel's promises and nothing of how they are kept. If those leave open how a page
//! without content is mapped, so does the model, and a snapshot decides it.

use std::ops::Range;

use farptr_hmm::Code;

use crate::step::DEVICES;
use crate::tables::{Entry, Told, Want, judge};

/// The accesses that an area allows. The order is that of permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    None,
    Read,
    Write,
}

/// The mapping at a page: anonymous memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) access: Access,
    pub(crate) shared: bool,
}

impl Area {
    pub(crate) fn can_read(&self) -> bool {
        self.access >= Access::Read
    }

    pub(crate) fn can_write(&self) -> bool {
        self.access >= Access::Write
    }
}

/// The state of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is mapped, and there is no content.
    Untouched,
    /// The page of zeroes is mapped.
    Zeroes,
    /// There is no content; it is mapped if `there`, and otherwise may be.
    Blank {
        there: bool,
    },
    /// At home, with content.
    Home(u32),
    /// Shared memory with content, which may be mapped or not.
    Cold(u32),
    Held(Held),
}

/// A page that a device holds. Without content the number is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) device: usize,
    pub(crate) exclusive: bool,
    pub(crate) tag: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) area: Option<Area>,
    pub(crate) state: State,
}

impl Page {
    pub(crate) const GAP: Self = Self { area: None, state: State::Untouched };

    pub(crate) fn fresh(access: Access, shared: bool) -> Self {
        Self { area: Some(Area { access, shared }), state: State::Untouched }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.area.is_some_and(|area| area.shared)
    }

    pub(crate) fn can_read(&self) -> bool {
        self.area.is_some_and(|area| area.can_read())
    }

    pub(crate) fn can_write(&self) -> bool {
        self.area.is_some_and(|area| area.can_write())
    }

    /// The number that the page holds, zero if it has no content.
    pub(crate) fn tag(&self) -> u32 {
        match self.state {
            State::Untouched | State::Zeroes | State::Blank { .. } => 0,
            State::Home(tag) | State::Cold(tag) | State::Held(Held { tag, .. }) => tag,
        }
    }

    pub(crate) fn held(&self) -> Option<Held> {
        if let State::Held(held) = self.state { Some(held) } else { None }
    }

    /// The states that the page may have from the view of a device: one unless something is left
    /// open.
    pub(crate) fn entries(&self, device: usize) -> Vec<Entry> {
        match self.state {
            State::Untouched => vec![Entry::Nothing],
            State::Zeroes => vec![Entry::Zeroes],
            State::Blank { there: true } => vec![Entry::Zeroes, Entry::Present],
            State::Blank { there: false } => vec![Entry::Nothing, Entry::Zeroes, Entry::Present],
            State::Home(_) => vec![Entry::Present],
            State::Cold(_) => vec![Entry::Nothing, Entry::Present],
            State::Held(held) if held.device == device && !held.exclusive => vec![Entry::Mine],
            State::Held(_) => vec![Entry::Away],
        }
    }

    /// The bytes that a snapshot of a device may say.
    pub(crate) fn codes(&self, device: usize) -> Vec<u8> {
        let byte = |entry| {
            let kind = if entry == Entry::Zeroes { Code::ZERO } else { 0 };
            let access = |write| if write { Code::WRITE } else { Code::READ };
            match judge(self.area, entry, Want::Nothing) {
                Ok(Told::Error) => Code::ERROR,
                Ok(Told::Nothing) => Code::NONE,
                Ok(Told::Home { write }) => kind | access(write),
                Ok(Told::Mine { write }) => Code::LOCAL | access(write),
                Err(refusal) => panic!("nothing was wanted: {refusal:?}"),
            }
        };
        self.entries(device).into_iter().map(byte).collect()
    }

    /// Takes over from a snapshot how a page without content is mapped.
    fn learn(&mut self, code: u8) {
        if let State::Blank { .. } = self.state
            && code != Code::ERROR
        {
            self.state = match code {
                Code::NONE => State::Untouched,
                code if code & Code::ZERO != 0 => State::Zeroes,
                _ => State::Home(0),
            };
        }
    }
}

/// The target of an entry of a device's page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    Home,
    Private,
    Exclusive,
}

/// An entry of a device's page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) leads: Leads,
    pub(crate) write: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) pages: Vec<Page>,
    pub(crate) entries: [Vec<Option<Mapped>>; DEVICES],
    /// How many pages come home together when one is touched.
    around: usize,
}

impl Model {
    /// All pages are private, can be written, and are untouched.
    pub(crate) fn new(pages: usize, around: usize) -> Self {
        let page = Page::fresh(Access::Write, false);
        Self { pages: vec![page; pages], entries: [vec![None; pages], vec![None; pages]], around }
    }

    /// The devices must not use their entries for a page any more.
    pub(crate) fn unmap_from(&mut self, device: usize, pages: Range<usize>) {
        self.entries[device][pages].fill(None);
    }

    pub(crate) fn unmap_from_all(&mut self, pages: Range<usize>) {
        (0..DEVICES).for_each(|device| self.unmap_from(device, pages.clone()));
    }

    /// Brings a page home if a device holds it; tells whether one did.
    pub(crate) fn bring_home(&mut self, page: usize) -> bool {
        let Some(held) = self.pages[page].held() else {
            return false;
        };
        let blank = State::Blank { there: false };
        self.pages[page].state = if held.tag == 0 { blank } else { State::Home(held.tag) };
        self.unmap_from_all(page..page + 1);
        true
    }

    /// The pages that may be served together with one.
    fn window(&self, page: usize) -> Range<usize> {
        let start = page / self.around * self.around;
        start..(start + self.around).min(self.pages.len())
    }

    /// The CPU touches a page that a device may hold.
    fn come_around(&mut self, page: usize) {
        if self.pages[page].held().is_some() {
            for page in self.window(page) {
                self.bring_home(page);
            }
        }
    }

    /// Zeroes may be mapped at the pages behind one that has got some.
    fn blur(&mut self, page: usize) {
        for next in page + 1..self.window(page).end {
            let next = &mut self.pages[next];
            if next.state == State::Untouched && next.area.is_some() && !next.is_shared() {
                next.state = State::Blank { there: false };
            }
        }
    }

    /// The CPU reads a page that can be read.
    pub(crate) fn touch(&mut self, page: usize) {
        self.come_around(page);
        let shared = self.pages[page].is_shared();
        let state = &mut self.pages[page].state;
        match *state {
            State::Untouched if shared => *state = State::Home(0),
            State::Untouched => {
                *state = State::Zeroes;
                self.blur(page);
            }
            State::Blank { there: false } => {
                *state = State::Blank { there: true };
                self.blur(page);
            }
            State::Cold(tag) => *state = State::Home(tag),
            _ => {}
        }
    }

    /// The CPU makes a page that can be written its own, and leaves the content.
    pub(crate) fn own(&mut self, page: usize) {
        let tag = self.pages[page].tag();
        self.store(page, tag);
    }

    /// The CPU writes a page that can be written.
    pub(crate) fn store(&mut self, page: usize, tag: u32) {
        self.come_around(page);
        if matches!(self.pages[page].state, State::Untouched | State::Blank { there: false }) {
            self.blur(page);
        }
        self.pages[page].state = State::Home(tag);
    }

    /// Compares the model with the answers of snapshots, and takes from them what the model left
    /// open.
    pub(crate) fn compare(&mut self, snapshots: &[Vec<u8>; DEVICES]) -> Result<(), String> {
        for (device, codes) in snapshots.iter().enumerate() {
            for (index, (page, &code)) in self.pages.iter_mut().zip(codes).enumerate() {
                let allowed = page.codes(device);
                if !allowed.contains(&code) {
                    return Err(format!(
                        "device {device} sees {code:#x} at page {index}, which should be one of \
                         {allowed:x?}: {page:?}"
                    ));
                }
                page.learn(code);
            }
        }
        Ok(())
    }

    pub(crate) fn held_by(&self, device: usize) -> usize {
        self.pages.iter().filter_map(Page::held).filter(|held| held.device == device).count()
    }
}
