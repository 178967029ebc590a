//! The acts of blocks besides computing.

use crate::footprint::op::NodeId;

/// The acts of a block besides computing.
#[derive(Clone, Debug, Default)]
pub(super) struct Acts {
    pub(super) accesses: Vec<Touch>,
    pub(super) indices: Vec<OwnIndex>,
    /// Its divisions.
    pub(super) divisions: Vec<Division>,
    /// Values that it stores to memory, from where they may be read again.
    pub(super) stored: Vec<NodeId>,
    /// The condition or number of its last branch.
    pub(super) condition: Option<NodeId>,
    /// Whether the module says that its end is never reached.
    pub(super) never_ends: bool,
    /// The loop that it says to be the start of, by its number in the module.
    pub(super) loop_number: Option<usize>,
}

impl Acts {
    /// The nodes on which it depends what is accessed, and whether that is defined.
    pub(super) fn decisive(&self) -> impl Iterator<Item = NodeId> + '_ {
        let addresses = self.accesses.iter().filter_map(|touch| touch.address);
        let indices = self.indices.iter().filter_map(|index| index.index);
        let divisions = self.divisions.iter().flat_map(|of| [of.dividend, of.divisor]);
        self.condition.into_iter().chain(addresses).chain(indices).chain(divisions)
    }
}

/// An access to memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub(super) site: usize,
    /// `None` if nothing is known of the address.
    pub(super) address: Option<NodeId>,
    pub(super) bytes: u32,
    /// Its address has to be a multiple of this.
    pub(super) align: u32,
    /// Whether it is one if the root is.
    pub(super) is_aligned: bool,
    /// What it stores, if that fills all of its bytes.
    pub(super) stored: Option<NodeId>,
    /// Whether it stores to all of its bytes: what is not defined need not be stored.
    pub(super) is_whole: bool,
}

/// An index into a variable of the kernel's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnIndex {
    pub(super) site: usize,
    pub(super) index: Option<NodeId>,
    pub(super) length: Option<u64>,
}

/// A division of integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Division {
    pub(super) dividend: NodeId,
    pub(super) divisor: NodeId,
    pub(super) has_sign: bool,
}
