//! What is known of a launch before it runs, in words.

use super::proof::Unproved;
use std::{
    fmt,
    iter::{once, repeat},
};

/// What is known of a launch before it runs, and whether the kernel's own words run for it:
/// printable, one fact per line.
///
/// [`Scope::explain_launch`](crate::Scope::explain_launch) gives one. The wording may change; use
/// the methods for anything that a program decides on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchExplanation {
    pub(crate) kernel: &'static str,
    /// A line for each argument, each access that is not known, and the loops.
    pub(crate) known: String,
    pub(crate) unproved: Option<Unproved>,
}

impl LaunchExplanation {
    /// The kernel's name.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// Whether the kernel's own words would run, without checks. If not, a form runs that leaves
    /// out the checks of what is proved all the same.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.unproved.is_none()
    }

    /// The first reason why its own words would not run, if that is so.
    #[must_use]
    pub fn unproved(&self) -> Option<&Unproved> {
        self.unproved.as_ref()
    }
}

impl fmt::Display for LaunchExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel      {}", self.kernel)?;
        for (line, label) in self.known.lines().zip(once("known").chain(repeat(""))) {
            writeln!(f, "{label:11} {line}")?;
        }
        match &self.unproved {
            None => {
                f.write_str("own words   run: all that they touch is lent, and they end in time")
            }
            Some(why) => {
                write!(f, "own words   do not run: {why}")?;
                why.advice().map_or(Ok(()), |advice| write!(f, "\nadvice      {advice}"))
            }
        }
    }
}
