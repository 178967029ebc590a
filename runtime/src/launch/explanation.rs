//! What is known of a launch before it runs, in words.

use super::proof::Unproved;
use std::{
    fmt,
    iter::{once, repeat},
};

/// What is known of a launch before it runs, and whether it needs checks: printable, one fact per
/// line.
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

    /// Whether the launch would run without checks.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.unproved.is_none()
    }

    /// The first reason why the launch keeps its checks, if it does.
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
                f.write_str("checks      none: all that it touches is lent, and it ends in time")
            }
            Some(why) => write!(f, "checks      kept, since {why}"),
        }
    }
}
