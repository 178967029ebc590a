//! The results of a kernel's instructions, while it is taken apart.

use crate::footprint::op::NodeId;
use crate::footprint::slots::Slot;
use crate::ir::instruction::Id;
use crate::ir::layouts::Place;
use std::rc::Rc;

/// The result of an instruction.
#[derive(Clone, Debug)]
pub(super) enum Datum {
    /// The numbers of a value, one behind the other.
    Leaves(Rc<[NodeId]>),
    /// A pointer to memory, and what is there.
    Address(NodeId, Place),
    /// A pointer to a variable.
    Variable(Variable),
    /// A value of too many numbers.
    Large,
}

/// A place in a variable, and the type of what is there.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) memory: Memory,
    pub(super) of: Id,
}

/// The memory of a variable.
#[derive(Clone, Debug)]
pub(super) enum Memory {
    /// The kernel's own: its numbers, and which of them it is, if that is known.
    Own { first: Slot, count: usize, leaf: Option<usize> },
    /// The push constants: the byte, if it is known, and the layout there.
    Push { bytes: Option<u32>, place: Place },
    /// An input: its numbers, and which of them it is, if that is known.
    Input { leaves: Rc<[NodeId]>, leaf: Option<usize> },
    /// The kernel's own, but too large to be followed.
    Large,
    /// Memory that others share.
    Shared,
}

impl Datum {
    pub(super) fn one(node: NodeId) -> Self {
        Self::Leaves([node].into())
    }

    /// The numbers of a value. `None` if it is none that has them.
    pub(super) fn leaves(&self) -> Option<Rc<[NodeId]>> {
        match self {
            Self::Leaves(leaves) => Some(leaves.clone()),
            Self::Address(node, _) => Some([*node].into()),
            Self::Variable(_) | Self::Large => None,
        }
    }
}
