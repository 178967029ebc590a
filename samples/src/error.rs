//! Errors of an input, each in one line: the place, the problem, and its remedy.
//!
//! A [`Problem`] is a fault of some data, wherever it is. A [`SampleError`] is what a program
//! reports: a problem at a [`Place`], a file that cannot be read, or a bad argument.
//! [`SampleError::one_line`] is the text for the user, [`SampleError::exit_code`] the status.

mod place;
mod problem;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use place::Place;
pub use problem::Problem;

/// Why a sample gave up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// An argument, or a combination of arguments, that makes no sense.
    #[error("{problem}")]
    Usage {
        /// The problem.
        problem: String,
        /// The input to give instead.
        remedy: String,
    },
    /// The graph has no vertex of the name that was asked for.
    #[error("{graph}: no vertex \"{name}\"")]
    NoVertex {
        /// The graph.
        graph: String,
        /// The name asked for.
        name: String,
        /// A vertex that is there: the one with the most edges.
        busiest: String,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The data is bad.
    #[error("{place}: {problem}")]
    Bad {
        /// The place.
        place: Place,
        /// The problem.
        problem: Problem,
    },
    /// No package is known: neither dpkg's status nor an apt list could be used.
    #[error("{}: no Debian packages are known here ({detail})", root.display())]
    NoPackages {
        /// The root directory that was searched.
        root: PathBuf,
        /// The failure of each source.
        detail: String,
    },
    /// The device's result is not the reference's.
    #[error("{what}: the result differs from the reference by {error:.3e}, allowed {bound:.3e}")]
    Differs {
        /// The quantity that was compared.
        what: String,
        /// How far apart they are.
        error: f64,
        /// How far apart they may be.
        bound: f64,
    },
    /// The runtime refused or failed; its own message names the remedy.
    #[error("farptr")]
    Runtime {
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Problem {
    /// Says where the problem was found.
    #[must_use]
    pub fn in_input(self, name: impl fmt::Display) -> SampleError {
        self.at(name, None)
    }

    /// Says in which line of which file the problem was found.
    #[must_use]
    pub fn in_line(self, name: impl fmt::Display, line: usize) -> SampleError {
        self.at(name, Some(line))
    }

    fn at(self, name: impl fmt::Display, line: Option<usize>) -> SampleError {
        SampleError::Bad { place: Place { name: name.to_string(), line }, problem: self }
    }
}

impl SampleError {
    /// Wraps an error met while reading `path`.
    #[must_use]
    pub fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// Wraps an error met while writing `path`.
    #[must_use]
    pub fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    /// Wraps an error of the runtime.
    pub fn runtime(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Runtime { source: source.into() }
    }

    /// Says what to do about it, where anything can be done.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Usage { remedy, .. } => remedy.clone(),
            Self::NoVertex { busiest, .. } => {
                format!("try \"{busiest}\", the vertex with the most edges")
            }
            Self::Read { .. } => "check the path and its permissions".into(),
            Self::Write { .. } => "check the directory, its permissions and the free space".into(),
            Self::Bad { problem, .. } => problem.remedy().into(),
            Self::NoPackages { .. } => "run \"apt-get update\", or give a file instead".into(),
            Self::Differs { .. } => "run again with --access direct and report the device".into(),
            Self::Runtime { .. } => return None,
        })
    }

    /// The whole story in one line: the message, its causes, the remedy.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line = format!("{line}: {error}");
            cause = error.source();
        }
        if let Some(remedy) = self.remedy() {
            line = format!("{line}; {remedy}");
        }
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The exit status: 2 for an argument that is wrong, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::NoVertex { .. } => 2,
            _ => 1,
        }
    }
}

/// Shortens text quoted from an input and makes control characters visible.
pub(crate) fn excerpt(text: &str) -> String {
    let trimmed = text.trim();
    let short: String = trimmed.chars().take(40).flat_map(char::escape_debug).collect();
    if trimmed.chars().count() > 40 { format!("{short}...") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_joins_message_cause_and_remedy() {
        let error = SampleError::read(Path::new("a.mtx"), io::Error::other("disk on\nfire"));
        assert_eq!(
            error.one_line(),
            "a.mtx: cannot be read: disk on fire; check the path and its permissions"
        );
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn bad_usage_exits_with_two() {
        let error = SampleError::Usage { problem: "--grid 0".into(), remedy: "give 1".into() };
        assert_eq!((error.exit_code(), error.one_line().as_str()), (2, "--grid 0; give 1"));
    }

    #[test]
    fn an_excerpt_is_short_and_printable() {
        assert_eq!(excerpt("\tab\u{1b}c\n"), "ab\\u{1b}c");
        assert_eq!(excerpt(&"x".repeat(99)), format!("{}...", "x".repeat(40)));
    }
}
