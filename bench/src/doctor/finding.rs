//! Findings about the things that were tried, as plain data.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// The step about kinds of memory, which says how far host memory can be imported.
pub(super) const IMPORTS: &str = "imports";

/// One way in which farptr can use the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mode {
    /// `direct`, `import` or `copy`.
    pub(super) name: String,
    /// Whether farptr proved it.
    pub(super) proved: bool,
    /// Whether farptr takes it by itself.
    pub(super) automatic: bool,
    pub(super) cuts_loops: bool,
    pub(super) narrow_offsets: bool,
    /// The lines of `Runtime::explain`; the reason, if the mode is not proved.
    pub(super) words: Vec<String>,
}

/// One thing that was tried, in a process of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Check {
    pub(super) step: String,
    pub(super) name: String,
    /// The mode that it is about, if it is about one.
    pub(super) mode: Option<String>,
    pub(super) seconds: f64,
    #[serde(flatten)]
    pub(super) finding: Finding,
}

/// The end of a thing that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Finding {
    pub(super) outcome: Outcome,
    /// For a person; the wording may change.
    pub(super) detail: String,
    /// Numbers and words for a program.
    pub(super) figures: BTreeMap<String, Value>,
}

/// How a thing that was tried ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It was done, and the result is right.
    Right,
    /// It was done, and the result is not judged.
    Measured,
    /// The reason is one of the machine, of the device or of the arguments.
    NotTried,
    /// The driver or farptr refused it with an error.
    Refused,
    /// A call failed that was not to fail, such as a submission or a wait.
    Failed,
    /// The process ended without an answer.
    Died,
    /// The process was killed at its time limit.
    DidNotEnd,
    /// It was done without an error, and the result is not right.
    Wrong,
}

impl Outcome {
    /// Whether nothing is wrong with it.
    pub(super) fn is_good(self) -> bool {
        matches!(self, Self::Right | Self::Measured)
    }

    /// Whether it shows a fault: a device that refuses says so, which is none.
    pub(super) fn is_fault(self) -> bool {
        matches!(self, Self::Failed | Self::Died | Self::DidNotEnd | Self::Wrong)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Right => "right",
            Self::Measured => "measured",
            Self::NotTried => "not tried",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Died => "died",
            Self::DidNotEnd => "did not end",
            Self::Wrong => "WRONG",
        })
    }
}

impl Finding {
    pub(super) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), figures: BTreeMap::new() }
    }

    pub(super) fn right(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Right, detail)
    }

    pub(super) fn measured(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Measured, detail)
    }

    pub(super) fn wrong(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Wrong, detail)
    }

    pub(super) fn not_tried(detail: impl Into<String>) -> Self {
        Self::new(Outcome::NotTried, detail)
    }

    pub(super) fn refused(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Refused, detail)
    }

    /// Adds a number or a word for programs.
    pub(super) fn figure(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.figures.insert(name.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_check_are_those_that_were_promised() {
        let check = Check {
            step: "imports".into(),
            name: "memfd, read".into(),
            mode: None,
            seconds: 0.5,
            finding: Finding::new(Outcome::DidNotEnd, "d").figure("bytes", 4096),
        };
        let golden = concat!(
            r#"{"step":"imports","name":"memfd, read","mode":null,"seconds":0.5,"#,
            r#""outcome":"did_not_end","detail":"d","figures":{"bytes":4096}}"#,
        );
        assert_eq!(serde_json::to_string(&check).unwrap(), golden);
    }
}
