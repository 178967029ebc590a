//! Progress on stderr: a bar on a terminal, a line per measurement otherwise.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// The progress of one measurement.
pub(crate) struct Progress {
    /// None when stderr is no terminal.
    bar: Option<ProgressBar>,
    start: Instant,
}

impl Progress {
    /// Says what is being measured and for how long at least.
    pub(crate) fn start(what: &str, budget: Duration) -> Self {
        let start = Instant::now();
        if !std::io::stderr().is_terminal() {
            // If stderr is closed, no reader misses the line.
            let _ =
                writeln!(std::io::stderr(), "measuring {what} for {:.1} s", budget.as_secs_f64());
            return Self { bar: None, start };
        }
        let bar = ProgressBar::new(millis(budget)).with_message(what.to_owned());
        // A template that indicatif refuses leaves its default look.
        if let Ok(style) = ProgressStyle::with_template("{msg:<24} {wide_bar} {elapsed}") {
            bar.set_style(style);
        }
        bar.tick();
        Self { bar: Some(bar), start }
    }

    /// Moves the bar. Nothing is drawn by another thread, so samples are not disturbed.
    pub(crate) fn tick(&self) {
        if let Some(bar) = &self.bar {
            bar.set_position(millis(self.start.elapsed()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
