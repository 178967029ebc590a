//! The messages of a userfaultfd, decoded.
//!
//! # Safety
//!
//! A message about a fork carries the number of a file that the kernel made for the reader. It is
//! turned into an owned file once, when the message is taken.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::super::abi::{message, uffd_msg};
use super::{Feature, Features, OpenUffdError, Uffd, UffdError};
use crate::addr::{VaRange, VirtAddr};

/// The bytes of one message.
const MESSAGE: usize = size_of::<uffd_msg>();

/// How many messages one read takes: 2 KiB of them.
const BATCH: usize = 64;

/// A message of a userfaultfd.
#[derive(Debug)]
pub(crate) enum Event {
    /// A thread waits for a page.
    Fault(Fault),
    /// The process was forked; the thread that did it waits until the message is read. Holes of the
    /// child are watched like those of the parent, and read as zeroes if this is dropped.
    Fork(ForkedUffd),
    /// `mremap` moved pages; the thread that did it waits until the message is read.
    Remap {
        /// The place at which they were.
        from: VaRange,
        /// The place at which the first of them is.
        to: VirtAddr,
    },
    /// Pages are about to be dropped, as soon as the message is read.
    Remove(VaRange),
    /// A range was unmapped; the thread that did it waits until the message is read.
    Unmap(VaRange),
    /// A message that this crate does not know, by its kind.
    Unknown(u8),
}

/// An access that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fault {
    /// The address of the access with [`Feature::ExactAddress`], else the start of its page.
    pub(crate) addr: VirtAddr,
    /// Why it waits.
    pub(crate) kind: FaultKind,
    /// Whether it is a store.
    pub(crate) write: bool,
    /// The thread that waits, with [`Feature::ThreadId`].
    pub(crate) thread: Option<u32>,
}

/// Why an access waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FaultKind {
    /// The page is not there. A mark may be.
    Missing,
    /// The page is there and write-protected.
    Protected,
    /// The page is in shared memory and not mapped.
    Minor,
}

/// The userfaultfd that watches the memory of a child process.
#[derive(Debug)]
pub(crate) struct ForkedUffd {
    fd: OwnedFd,
}

impl Uffd {
    /// Makes use of the userfaultfd of a child process that this one has reported.
    ///
    /// Its requests are about the memory of the child; only [`Uffd::copy`] reads memory of this
    /// process, and [`Uffd::move_pages`] is refused.
    pub(crate) fn adopt(&self, child: ForkedUffd) -> Result<Self, OpenUffdError> {
        Self::assemble(child.fd, self.tier, self.features)
    }

    /// Reads the messages that are there, as many as fit, and returns how many. Does not wait.
    ///
    /// Messages that `events` still held are dropped. Within a batch faults come before all other
    /// messages, whichever happened first.
    pub(crate) fn read_events(&self, events: &mut Events) -> Result<usize, UffdError> {
        events.clear();
        events.features = self.features;
        if self.is_inherited() {
            return Err(UffdError::Inherited { range: VaRange::USER });
        }
        loop {
            match rustix::io::read(self.as_fd(), &mut events.bytes) {
                Ok(bytes) => {
                    events.filled = bytes / MESSAGE;
                    return Ok(events.filled);
                }
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(UffdError::Read { source: errno.into() }),
            }
        }
    }
}

/// A batch of messages, to be filled by [`Uffd::read_events`] again and again.
#[derive(Debug)]
pub(crate) struct Events {
    /// Messages `taken..filled` are the kernel's, and have not been taken.
    bytes: [u8; MESSAGE * BATCH],
    taken: usize,
    filled: usize,
    features: Features,
}

impl Events {
    /// Makes a batch without messages.
    pub(crate) const fn new() -> Self {
        let (taken, filled) = (0, 0);
        Self { bytes: [0; MESSAGE * BATCH], taken, filled, features: Features::NONE }
    }

    /// Drops all messages. The userfaultfds of children among them are closed.
    fn clear(&mut self) {
        self.by_ref().for_each(drop);
    }
}

impl Iterator for Events {
    type Item = Event;

    /// Takes the next message.
    fn next(&mut self) -> Option<Event> {
        let unread = self.bytes.get(self.taken * MESSAGE..self.filled * MESSAGE)?;
        let message = *unread.first_chunk::<MESSAGE>()?;
        self.taken += 1;
        if self.taken == self.filled {
            (self.taken, self.filled) = (0, 0);
        }
        Some(match message[0] {
            // SAFETY: 1. The kernel wrote the message, and its first byte says that it is about a
            // fork. 2. `taken` was just advanced past the message, so no later call decodes it
            // again.
            message::FORK => unsafe { fork(&message) },
            _ => decode(&message, self.features),
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Decodes a message about a fork.
///
/// # Safety
///
/// 1. The kernel wrote the message, and it is about a fork.
/// 2. The message is decoded once.
unsafe fn fork(message: &[u8; MESSAGE]) -> Event {
    let Ok(number) = i32::try_from(half(message, 0)) else {
        return Event::Unknown(message::FORK);
    };
    // SAFETY: The file must be open and have no other owner. By obligation 1 the kernel opened it
    // for the reader of the message; by obligation 2 it is owned from here on.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    Event::Fork(ForkedUffd { fd })
}

/// Decodes a message of another kind.
fn decode(message: &[u8; MESSAGE], features: Features) -> Event {
    let unknown = Event::Unknown(message[0]);
    let (first, second) = (VirtAddr::new(word(message, 0)), VirtAddr::new(word(message, 1)));
    let event = match message[0] {
        message::FAULT => Some(Event::Fault(fault(message, features))),
        message::REMAP => {
            VaRange::from_len(first, word(message, 2)).map(|from| Event::Remap { from, to: second })
        }
        message::REMOVE => VaRange::new(first, second).map(Event::Remove),
        message::UNMAP => VaRange::new(first, second).map(Event::Unmap),
        _ => None,
    };
    event.unwrap_or(unknown)
}

fn fault(message: &[u8; MESSAGE], features: Features) -> Fault {
    let flags = word(message, 0);
    let kind = if flags & message::FAULT_PROTECTED != 0 {
        FaultKind::Protected
    } else if flags & message::FAULT_MINOR != 0 {
        FaultKind::Minor
    } else {
        FaultKind::Missing
    };
    let thread = Some(half(message, 2));
    Fault {
        addr: VirtAddr::new(word(message, 1)),
        kind,
        write: flags & message::FAULT_WRITE != 0,
        thread: thread.filter(|_| features.contains(Feature::ThreadId)),
    }
}

/// One of the three words that follow the head of a message.
fn word(message: &[u8; MESSAGE], index: usize) -> u64 {
    let bytes = message.get(8 + index * 8..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// One of the 32-bit numbers that take the first half of a word of the message.
fn half(message: &[u8; MESSAGE], index: usize) -> u32 {
    let bytes = message.get(8 + index * 8..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, words: [u64; 3]) -> [u8; MESSAGE] {
        let mut bytes = [0; MESSAGE];
        bytes[0] = kind;
        for (index, word) in words.into_iter().enumerate() {
            bytes[8 + index * 8..][..8].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn events(messages: &[[u8; MESSAGE]], features: Features) -> Events {
        let mut events = Events::new();
        for (room, message) in events.bytes.chunks_mut(MESSAGE).zip(messages) {
            room.copy_from_slice(message);
        }
        (events.filled, events.features) = (messages.len(), features);
        events
    }

    fn range(start: u64, end: u64) -> VaRange {
        VaRange::new(VirtAddr::new(start), VirtAddr::new(end)).expect("a user range")
    }

    #[test]
    fn every_kind_of_message_is_decoded_once() {
        let messages = [
            message(message::FAULT, [1, 0x7000, 42]),
            message(message::FAULT, [3, 0x7008, 42]),
            message(message::FAULT, [4, 0x9000, 42]),
            message(message::REMAP, [0x1000, 0x5000, 0x2000]),
            message(message::REMOVE, [0x1000, 0x3000, 0]),
            message(message::UNMAP, [0x2000, 0x3000, 0]),
            message(99, [1, 2, 3]),
        ];
        let mut events = events(&messages, Feature::ThreadId.into());
        let fault = |addr, kind, write| {
            let (addr, thread) = (VirtAddr::new(addr), Some(42));
            Fault { addr, kind, write, thread }
        };
        let expected = [
            fault(0x7000, FaultKind::Missing, true),
            fault(0x7008, FaultKind::Protected, true),
            fault(0x9000, FaultKind::Minor, false),
        ];
        for expected in expected {
            assert!(matches!(events.next(), Some(Event::Fault(found)) if found == expected));
        }
        let moved = range(0x1000, 0x3000);
        let to = VirtAddr::new(0x5000);
        assert!(matches!(
            events.next(),
            Some(Event::Remap { from, to: found }) if from == moved && found == to
        ));
        assert!(matches!(events.next(), Some(Event::Remove(found)) if found == moved));
        let unmapped = range(0x2000, 0x3000);
        assert!(matches!(events.next(), Some(Event::Unmap(found)) if found == unmapped));
        assert!(matches!(events.next(), Some(Event::Unknown(99))));
        assert!(events.next().is_none());
        assert!(events.next().is_none());
    }

    #[test]
    fn a_thread_is_named_only_if_the_kernel_names_threads() {
        let mut events = events(&[message(message::FAULT, [0, 0x7000, 42])], Features::NONE);
        let fault = events.next();
        assert!(matches!(fault, Some(Event::Fault(Fault { thread: None, write: false, .. }))));
    }

    #[test]
    fn a_range_that_cannot_be_is_not_believed() {
        let reversed = message(message::UNMAP, [0x3000, 0x1000, 0]);
        let endless = message(message::REMAP, [0x3000, 0x1000, u64::MAX]);
        let mut events = events(&[reversed, endless], Features::NONE);
        assert!(matches!(events.next(), Some(Event::Unknown(message::UNMAP))));
        assert!(matches!(events.next(), Some(Event::Unknown(message::REMAP))));
    }

    #[test]
    fn dropping_a_batch_closes_the_files_in_it() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let number = std::os::fd::IntoRawFd::into_raw_fd(OwnedFd::from(writer));
        let number = u64::try_from(number).expect("a file");
        drop(events(&[message(message::FORK, [number, 0, 0])], Features::NONE));
        let mut reader = reader;
        let read = std::io::Read::read(&mut reader, &mut [0]).expect("end of file");
        assert_eq!(read, 0, "nobody holds the other end");
    }
}
