//! Waiting for messages, and being told to stop.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use super::{Uffd, UffdError};

/// Tells a thread that waits for messages to stop, once and for all.
#[derive(Debug)]
pub(crate) struct StopSignal {
    /// An event file whose counter is zero until the signal is raised.
    fd: OwnedFd,
}

impl StopSignal {
    /// Makes a signal that is not raised.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Raises the signal. It may be raised more than once, and from a signal handler.
    pub(crate) fn raise(&self) -> io::Result<()> {
        match rustix::io::write(&self.fd, &1u64.to_ne_bytes()) {
            // The counter is full: the signal was raised already.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What ended a wait; both may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Awaited {
    /// There are messages to read.
    pub(crate) events: bool,
    /// The signal was raised.
    pub(crate) stop: bool,
}

impl Uffd {
    /// Waits until there are messages or the signal is raised. Allocates nothing.
    pub(crate) fn wait(&self, stop: &StopSignal) -> Result<Awaited, UffdError> {
        let mut polled = [
            PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.fd.as_fd(), PollFlags::IN),
        ];
        loop {
            match poll(&mut polled, None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(UffdError::Wait { source: errno.into() }),
            }
        }
        let [events, stop] = polled.map(|polled| polled.revents());
        if events.intersects(PollFlags::ERR | PollFlags::NVAL) {
            return Err(UffdError::Wait { source: io::Error::other("the userfaultfd is broken") });
        }
        Ok(Awaited { events: events.contains(PollFlags::IN), stop: stop.contains(PollFlags::IN) })
    }
}
