//! Progress on standard error: a bar on a terminal, a line now and then in a pipe, nothing when
//! quiet.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The shortest time between two lines in a pipe.
const PAUSE: Duration = Duration::from_secs(3);

/// How a program shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is shown.
    Quiet,
    /// Lines of text.
    Lines,
    /// Bars that redraw themselves.
    Bars,
}

impl Progress {
    /// Chooses by `--quiet` and by where standard error goes.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        match (quiet, io::stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, false) => Self::Lines,
            (false, true) => Self::Bars,
        }
    }

    /// Begins a stage of the work; `total` counts its steps where that is known. The stage ends
    /// when it is dropped.
    #[must_use]
    pub fn stage(self, name: &str, total: Option<u64>) -> Stage {
        let shown = match self {
            Self::Quiet => Shown::Nothing,
            Self::Lines => {
                say(&format!("{name} ..."));
                Shown::Lines(Lines::new(name, total), Instant::now())
            }
            Self::Bars => Shown::Bar(bar(name, total)),
        };
        Stage { done: 0, shown }
    }
}

/// Writes a line to standard error. A closed standard error is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A stage of the work in progress.
#[derive(Debug)]
pub struct Stage {
    done: u64,
    shown: Shown,
}

enum Shown {
    Nothing,
    Lines(Lines, Instant),
    Bar(ProgressBar),
}

impl Stage {
    /// Says that so many steps more are done.
    pub fn advance(&mut self, steps: u64) {
        self.done += steps;
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_position(self.done),
            Shown::Lines(lines, begin) => {
                if let Some(line) = lines.line(begin.elapsed(), self.done) {
                    say(&line);
                }
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Lines(..) => "Lines",
            Self::Bar(_) => "Bar",
        })
    }
}

fn bar(name: &str, total: Option<u64>) -> ProgressBar {
    let template = if total.is_some() { "{msg} {wide_bar} {percent} %" } else { "{spinner} {msg}" };
    let style =
        ProgressStyle::with_template(template).expect("the templates above are well formed");
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    bar.set_style(style);
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Decides which lines a stage writes.
struct Lines {
    name: String,
    total: Option<u64>,
    next: Duration,
}

impl Lines {
    fn new(name: &str, total: Option<u64>) -> Self {
        Self { name: name.to_owned(), total, next: PAUSE }
    }

    /// The line to write after `elapsed`, if one is due.
    fn line(&mut self, elapsed: Duration, done: u64) -> Option<String> {
        if elapsed < self.next {
            return None;
        }
        self.next = elapsed + PAUSE;
        let seconds = elapsed.as_secs();
        Some(match self.total {
            Some(total) => {
                format!("{} ... {} %", self.name, done.saturating_mul(100) / total.max(1))
            }
            None => format!("{} ... {seconds} s", self.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_distance() {
        let mut lines = Lines::new("walking", Some(200));
        let mut at = |ms, done| lines.line(Duration::from_millis(ms), done);
        assert_eq!(at(100, 1), None);
        assert_eq!(at(3000, 80).as_deref(), Some("walking ... 40 %"));
        assert_eq!(at(5999, 90), None);
        assert_eq!(at(6000, 200).as_deref(), Some("walking ... 100 %"));
    }

    #[test]
    fn stages_of_unknown_length_tell_the_time() {
        let mut lines = Lines::new("loading", None);
        assert_eq!(lines.line(Duration::from_secs(4), 0).as_deref(), Some("loading ... 4 s"));
    }

    #[test]
    fn a_quiet_stage_takes_steps() {
        let mut stage = Progress::new(true).stage("loading", Some(2));
        stage.advance(1);
        assert_eq!(stage.done, 1);
    }
}
