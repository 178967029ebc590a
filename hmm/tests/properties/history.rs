//! The history of each page of a region, written by the thread that changes the page. Before a
//! change the thread notes the new state, and afterwards that the change is done.
//!
//! A thread that reads a page first notes the last change that is done, and after the read the last
//! that has begun. The bytes that it read must be those of one of the changes in between.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use farptr_hmm::Code;

use crate::model::Access;
use crate::region::words_of;

/// How a page became what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Map,
    Unmap,
    Protect,
    /// It was moved here.
    MoveTo,
    /// It was moved away.
    MoveFrom,
    Drop,
    Store,
}

/// The state of a page for a time. Without content the number is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Was {
    pub(crate) by: By,
    /// `None` if nothing was mapped.
    pub(crate) access: Option<Access>,
    pub(crate) tag: u32,
}

impl Was {
    pub(crate) fn can_read(&self) -> bool {
        self.access.is_some_and(|access| access >= Access::Read)
    }

    pub(crate) fn can_write(&self) -> bool {
        self.access.is_some_and(|access| access >= Access::Write)
    }

    /// Whether there may be nothing mapped while the change goes on.
    fn replaces(&self) -> bool {
        matches!(self.by, By::Map | By::Unmap | By::MoveTo | By::MoveFrom)
    }
}

#[derive(Debug)]
struct Log {
    states: Vec<Was>,
    /// The last state whose change is done.
    settled: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct History {
    pages: Vec<Mutex<Log>>,
}

/// The last change of each page that was done before something is read.
#[derive(Debug)]
pub(crate) struct Before {
    first: usize,
    settled: Vec<usize>,
}

impl History {
    /// All pages are mapped for writing and have no content.
    pub(crate) fn new(pages: usize) -> Self {
        let first = Was { by: By::Map, access: Some(Access::Write), tag: 0 };
        let log = || Mutex::new(Log { states: vec![first], settled: 0 });
        Self { pages: (0..pages).map(|_| log()).collect() }
    }

    fn log(&self, page: usize) -> MutexGuard<'_, Log> {
        self.pages[page].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a page, for the thread that changes it.
    pub(crate) fn now(&self, page: usize) -> Was {
        *self.log(page).states.last().expect("never empty")
    }

    pub(crate) fn begin(&self, page: usize, becomes: Was) {
        self.log(page).states.push(becomes);
    }

    pub(crate) fn end(&self, page: usize) {
        let mut log = self.log(page);
        log.settled = log.states.len() - 1;
    }

    /// Changes pages, all in the same way.
    pub(crate) fn change(
        &self,
        pages: Range<usize>,
        becomes: impl Fn(Was) -> Was,
        act: impl FnOnce(),
    ) {
        pages.clone().for_each(|page| self.begin(page, becomes(self.now(page))));
        act();
        pages.for_each(|page| self.end(page));
    }

    pub(crate) fn before(&self, pages: Range<usize>) -> Before {
        let first = pages.start;
        Before { first, settled: pages.map(|page| self.log(page).settled).collect() }
    }

    /// The states of a page since then.
    pub(crate) fn since(&self, before: &Before, page: usize) -> Since {
        let log = self.log(page);
        let from = before.settled[page - before.first];
        let earlier = log.states[from.saturating_sub(4)..from].to_vec();
        Since { page, states: log.states[from..].to_vec(), earlier }
    }
}

/// The states of a page during a read, first the one before it.
pub(crate) struct Since {
    page: usize,
    states: Vec<Was>,
    /// The state just before, for the message.
    earlier: Vec<Was>,
}

impl fmt::Debug for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, states, earlier } = self;
        write!(f, "page {page} was {states:?}, and before {earlier:?}")
    }
}

impl Since {
    fn changes(&self) -> &[Was] {
        &self.states[1..]
    }

    fn was(&self, is: impl Fn(&Was) -> bool) -> bool {
        self.states.iter().any(is)
    }

    /// The page could not be accessed.
    pub(crate) fn check_refused(&self) -> Result<(), String> {
        let possible = self.was(|was| !was.can_read()) || self.changes().iter().any(Was::replaces);
        if possible { Ok(()) } else { Err(format!("refused without a reason: {self:?}")) }
    }

    /// The page was read. Only a store changes it word by word.
    pub(crate) fn check_read(&self, bytes: &[u8]) -> Result<(), String> {
        let found: BTreeSet<u32> = words_of(bytes).collect();
        let readable = self.states.iter().filter(|was| was.can_read());
        let allowed: BTreeSet<u32> = readable.map(|was| was.tag).collect();
        let torn = found.len() > 1 && !self.changes().iter().any(|was| was.by == By::Store);
        if torn || !found.is_subset(&allowed) {
            let what = if torn { "torn" } else { "stale" };
            return Err(format!("{what}: found {found:?}, allowed {allowed:?}: {self:?}"));
        }
        Ok(())
    }

    /// A snapshot said so of the page.
    pub(crate) fn check_code(&self, code: u8) -> Result<(), String> {
        if code == Code::ERROR {
            return self.check_refused();
        }
        let possible = self.was(|was| {
            let written = code & Code::WRITE == 0 || was.can_write();
            was.can_read() && written && (code & Code::READ == 0 || !was.can_write())
        });
        if possible { Ok(()) } else { Err(format!("a snapshot says {code:#x}: {self:?}")) }
    }
}
