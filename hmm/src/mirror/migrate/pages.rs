//! The types of a page, one for each step of a migration.
//!
//! Each type has exactly the cases that a page can be in after its step. A step turns the type of
//! the step before into its own.

use super::area::Leave;
use super::outcome::Skip;
use crate::addr::{PageNumber, VirtAddr};
use crate::mirror::table::BLOCK;

/// A frame that was given out for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) number: PageNumber,
    /// Whether it was given out as a part of a huge page.
    pub(super) huge: bool,
}

/// A page that stays at home and is not in transit. A frame that was given out for it is given back
/// in the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stay {
    pub(super) reason: Skip,
    pub(super) frame: Option<Frame>,
}

/// A page after [`Setup`](super::setup::Setup): it is known which pages are to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planned {
    Stays(Skip),
    /// The device has it already.
    There,
    Goes(Leave),
}

/// A page after [`Allocated`](super::allocate::Allocated): each that goes has a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Placed {
    Stays(Skip),
    There,
    Goes { frame: Frame, leave: Leave },
}

/// A page after [`InTransit`](super::claim::InTransit): each that goes is in the list of pages in
/// transit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claimed {
    Stays(Stay),
    There,
    Goes {
        frame: Frame,
        leave: Leave,
    },
    /// It is in transit, and is not to be taken.
    Returns {
        reason: Skip,
        frame: Frame,
    },
}

/// The place of a page's content, after the page was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// In the frame, by a move. If the page had none the frame reads as zeroes.
    Frame,
    /// In the staging memory, by a move.
    Staging,
    /// Still at home, write-protected.
    Protected,
    /// There is none; the hole is marked or was moved.
    Nothing,
}

/// A page after [`Collected`](super::collect::Collected) and [`Copied`](super::copy::Copied).
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken {
    Stays(Stay),
    There,
    Goes {
        frame: Frame,
        content: Content,
    },
    /// It is in transit and goes back. `None`: it was never taken.
    Returns {
        reason: Skip,
        frame: Frame,
        content: Option<Content>,
    },
}

/// The place of the content of a page that has left its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Frame,
    Staging,
    /// It has none.
    Nothing,
    /// From the device only: the page was copied and dropped.
    Dropped,
}

/// The place of the content of a page that goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Its home: the page never left.
    Home,
    /// Its home, write-protected.
    Protected,
    Left(Left),
}

/// A page while the migration is finalized. Protected pages that go have been dropped at home by
/// now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaving {
    Stays(Stay),
    There,
    Goes { frame: Frame, left: Left },
    Returns { reason: Skip, frame: Frame, source: Source },
}

/// The result for one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Stays(Skip),
    There,
    Moved,
}

/// Lists of the pages of a block for each step. They are made once and never move, so that
/// [`Needed`](super::Needed) can name their addresses before a migration starts.
#[derive(Debug)]
pub(crate) struct PageLists {
    pub(super) planned: Vec<Planned>,
    pub(super) placed: Vec<Placed>,
    pub(super) claimed: Vec<Claimed>,
    pub(super) taken: Vec<Taken>,
    pub(super) leaving: Vec<Leaving>,
    pub(super) ended: Vec<Ended>,
}

impl PageLists {
    pub(crate) fn new() -> Self {
        Self {
            planned: Vec::with_capacity(BLOCK),
            placed: Vec::with_capacity(BLOCK),
            claimed: Vec::with_capacity(BLOCK),
            taken: Vec::with_capacity(BLOCK),
            leaving: Vec::with_capacity(BLOCK),
            ended: Vec::with_capacity(BLOCK),
        }
    }

    /// The addresses of the lists.
    pub(crate) fn addresses(&self) -> [VirtAddr; 6] {
        [
            VirtAddr::from_ptr(self.planned.as_ptr()),
            VirtAddr::from_ptr(self.placed.as_ptr()),
            VirtAddr::from_ptr(self.claimed.as_ptr()),
            VirtAddr::from_ptr(self.taken.as_ptr()),
            VirtAddr::from_ptr(self.leaving.as_ptr()),
            VirtAddr::from_ptr(self.ended.as_ptr()),
        ]
    }
}

/// The length of the run of pages from `index` on whose frames follow each other and for which
/// `key` gives equal second values. A page without a key is a run by itself.
pub(super) fn frame_run<P: Copy, K: PartialEq>(
    pages: &[P],
    index: usize,
    key: impl Fn(P) -> Option<(Frame, K)>,
) -> usize {
    let mut keys = pages.iter().skip(index).map(|&page| key(page));
    let Some(Some((first, kind))) = keys.next() else {
        return 1;
    };
    let follows = |(offset, next): &(u64, Option<(Frame, K)>)| {
        next.as_ref().is_some_and(|(frame, next)| {
            *next == kind && frame.number.get() == first.number.get() + offset
        })
    };
    1 + (1..).zip(keys).take_while(follows).count()
}
