//! Shows an examination as it goes: results on standard output, or on standard error where the
//! output is JSON; on a terminal also what is tried now.

use crate::output::UntilClosed;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// The place where results are shown.
pub(super) struct Screen {
    out: Box<dyn Write>,
    /// None where standard error is no terminal.
    spinner: Option<ProgressBar>,
    is_first: bool,
}

impl Screen {
    /// A screen; `json` says that standard output is for something else.
    pub(super) fn open(json: bool) -> Self {
        let out: Box<dyn Write> = match json {
            true => Box::new(UntilClosed(io::stderr())),
            false => Box::new(UntilClosed(io::stdout())),
        };
        let spinner = io::stderr().is_terminal().then(ProgressBar::new_spinner);
        if let Some(spinner) = &spinner {
            // A template that indicatif refuses leaves its default look.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(200));
        }
        Self { out, spinner, is_first: true }
    }

    /// Begins a section.
    pub(super) fn section(&mut self, title: &str) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.line("");
        }
        self.line(&format!("== {title}"));
    }

    /// Shows a result.
    pub(super) fn line(&mut self, line: &str) {
        let mut write = || writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        // A result that cannot be shown is still counted.
        let _ = match &self.spinner {
            Some(spinner) => spinner.suspend(write),
            None => write(),
        };
    }

    /// Says what is tried now.
    pub(super) fn now(&mut self, what: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.reset_elapsed();
            spinner.set_message(what.to_owned());
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
