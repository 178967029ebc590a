//! Pauses before a request is made again.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

/// Lets other threads run before a request is made again: the first pauses give up the processor,
/// later ones sleep.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    const YIELDS: u32 = 20;

    const MOST: u32 = 1000;

    /// Whether there were so many pauses that the request may never succeed.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.tries > Self::MOST
    }

    pub(crate) fn pause(&mut self) {
        self.tries += 1;
        if self.tries < Self::YIELDS {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(50));
        }
    }
}
