//! Waiting for others before a request is made again.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

/// Lets others go on before a request is made again: first the processor, then time.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    const YIELDS: u32 = 20;

    const MOST: u32 = 1000;

    /// Whether waiting for what may never come has lasted long enough.
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
