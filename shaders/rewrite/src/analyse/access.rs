//! One access of a kernel, and how it is checked.

use crate::analyse::pointers::Trace;
use crate::analyse::sites::Touch;
use crate::contract::analysis::Bounds;
use crate::ir::layouts::Place;

/// An access and how it is rewritten.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Function, block and position of the instruction.
    pub(crate) at: (usize, usize, usize),
    pub(crate) touch: Touch,
    pub(crate) way: Way,
    /// The pointer's way, from the root if it is checked by its index.
    pub(crate) trace: Trace,
    /// What the address is a multiple of.
    pub(crate) align: u32,
    /// The accesses with which it can be checked.
    pub(crate) joint: Option<Part>,
}

/// A part of a [`Joint`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// The position of the joint.
    pub(crate) joint: usize,
    /// Bytes from the start of the joint.
    pub(crate) bytes: u64,
}

/// How an access is checked: the position of a [`Check`] or of a [`Reach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Index(usize),
    Address(usize),
}

impl From<Way> for Bounds {
    fn from(way: Way) -> Self {
        match way {
            Way::Index(check) => Self::Index(check),
            Way::Address(reach) => Self::Address(reach),
        }
    }
}

impl Plan {
    /// What is accessed.
    pub(crate) fn place(&self) -> Place {
        self.trace.place
    }
}
