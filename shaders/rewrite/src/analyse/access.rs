//! One access of a kernel, and how it is checked.

use crate::analyse::pointers::Trace;
use crate::analyse::sites::Dereference;
use crate::contract::analysis::Check;
use crate::ir::layouts::Place;

/// An access and how it is rewritten.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Function, block and position of the instruction.
    pub(crate) at: (usize, usize, usize),
    pub(crate) dereference: Dereference,
    pub(crate) check: PointerCheck,
    /// The path of the pointer, from the root if its index is checked.
    pub(crate) trace: Trace,
    /// The address is a multiple of this.
    pub(crate) align: u32,
    /// The accesses with which it can be checked.
    pub(crate) joint: Option<JointMember>,
}

/// A part of a [`Joint`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct JointMember {
    /// The position of the joint.
    pub(crate) joint: usize,
    /// Bytes from the start of the joint.
    pub(crate) bytes: u64,
}

/// How an access is checked: the position of an [`IndexCheck`] or of an [`AddressCheck`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointerCheck {
    Index(usize),
    Address(usize),
}

impl From<PointerCheck> for Check {
    fn from(check: PointerCheck) -> Self {
        match check {
            PointerCheck::Index(check) => Self::Index(check),
            PointerCheck::Address(check) => Self::Address(check),
        }
    }
}

impl Access {
    /// The type that is accessed, and its layout.
    pub(crate) fn place(&self) -> Place {
        self.trace.place
    }
}
