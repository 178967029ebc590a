//! Why nothing is known.

use crate::footprint::value::{Trust, Value};
use std::fmt;

/// Why nothing is known of a kernel or a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unknown {
    /// The module is damaged.
    Damaged,
    /// With all calls taken apart the kernel is too large, or a function calls itself.
    TooLarge,
    /// It has an instruction that is not followed.
    Instruction,
    /// The evaluation took too much work.
    Budget,
    /// The specification does not define what an invocation does: it may divide by 0, branch on a
    /// value that is not defined, or come to an `OpUnreachable`.
    Undefined,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "the module is damaged",
            Self::TooLarge => "the kernel is too large, or a function calls itself",
            Self::Instruction => "it has an instruction that is not followed",
            Self::Budget => "it would take too long to find out",
            Self::Undefined => {
                "it may divide by 0, or branch on a value that the specification does not define"
            }
        })
    }
}

/// Why the reach of one site is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Doubt {
    /// It depends on memory, on floating point, or on an operation that is not followed.
    Memory,
    /// It depends on a value that the specification does not define.
    Undefined,
    /// A number that it depends on may wrap, be negative, or have no bound.
    Unbounded,
    /// The address may not be a multiple of the alignment that the access demands.
    Alignment,
    /// Nothing is known of the launch.
    Launch,
}

impl Doubt {
    /// Why a value says too little.
    pub(super) fn of(value: Option<Value>) -> Self {
        Self::of_trust(value.map(|value| value.trust))
    }

    /// Why a value that is relied on so far says too little.
    pub(super) fn of_trust(trust: Option<Trust>) -> Self {
        match trust {
            Some(Trust::Fixed) => Self::Unbounded,
            Some(Trust::Loose) => Self::Memory,
            Some(Trust::Void) | None => Self::Undefined,
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "it depends on memory, floating point or an unknown operation",
            Self::Undefined => "it depends on a value that the specification does not define",
            Self::Unbounded => "a number may wrap, be negative, or have no bound",
            Self::Alignment => "its address may not be aligned as the access demands",
            Self::Launch => "nothing is known of the launch",
        })
    }
}
