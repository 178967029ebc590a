//! The wait for messages, which a signal ends as well.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use super::{Uffd, UffdError};

/// Ends the wait of a thread that waits for messages.
#[derive(Debug)]
pub(crate) struct Signal {
    /// An event file whose counter is zero until the signal is raised.
    fd: OwnedFd,
}

impl Signal {
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

    /// Takes the signal back. A signal that is raised from now on is seen again.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match rustix::io::read(&self.fd, &mut [0; 8]) {
            // It was not raised.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The causes that ended a wait; it may be all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Awaited {
    /// There are messages to read.
    pub(crate) events: bool,
    /// The nudge was raised: the thread is to look for messages, even if there are none.
    pub(crate) nudge: bool,
    /// The thread was told to stop.
    pub(crate) stop: bool,
}

impl Uffd {
    /// Waits until there are messages or a signal is raised. Allocates nothing.
    pub(crate) fn wait(&self, nudge: &Signal, stop: &Signal) -> Result<Awaited, UffdError> {
        let mut polled = [
            PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(nudge.fd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.fd.as_fd(), PollFlags::IN),
        ];
        loop {
            match poll(&mut polled, None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(UffdError::Wait { source: errno.into() }),
            }
        }
        let [events, nudge, stop] = polled.map(|polled| polled.revents());
        if events.intersects(PollFlags::ERR | PollFlags::NVAL) {
            return Err(UffdError::Wait { source: io::Error::other("the userfaultfd is broken") });
        }
        let [events, nudge, stop] = [events, nudge, stop].map(|of| of.contains(PollFlags::IN));
        Ok(Awaited { events, nudge, stop })
    }
}
