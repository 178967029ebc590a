//! Why nothing is known.

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
