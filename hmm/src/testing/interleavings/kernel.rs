//! The kernel as the mirror meets it: a page table of a few pages under one lock, the messages of a
//! userfaultfd, and requests that are refused while a message is unread.

use std::collections::VecDeque;

use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};

/// How many pages there are.
pub(super) const PAGES: usize = 2;

/// The entry of the page table for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Unmapped,
    Hole,
    /// A hole with a mark.
    Mark,
    Bytes(u64),
}

/// The messages that the handler reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Fault(usize),
    Unmap(usize),
    Remove(usize),
    Remap { from: usize, to: usize },
}

/// Why a request was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A message is unread.
    Retry,
    AlreadyThere,
    /// There is no watched memory.
    Vanished,
    /// Such a page cannot be moved.
    Unsuitable,
}

#[derive(Debug)]
struct State {
    entries: [Entry; PAGES],
    /// Pages with content that were not stored to since they were protected.
    protected: [bool; PAGES],
    /// New mappings are not watched: the kernel itself fills their holes.
    watched: [bool; PAGES],
    faults: VecDeque<usize>,
    changes: VecDeque<Message>,
    /// How many messages about changes were sent, and how many of them were read.
    sent: u64,
    read: u64,
    /// Changes whose threads do not know yet that their message was read.
    changing: usize,
    /// How often the threads that wait for a page were woken.
    wakes: [u64; PAGES],
    stopped: bool,
}

/// See the module. Every call is one step that no thread sees in parts, as under the kernel's lock.
#[derive(Debug)]
pub(super) struct Kernel {
    state: Mutex<State>,
    /// Whether requests are refused while a message is unread.
    refuses: bool,
    readable: Condvar,
    was_read: Condvar,
    quiet: Condvar,
    woken: Condvar,
}

impl Kernel {
    pub(super) fn new(entries: [Entry; PAGES], refuses: bool) -> Self {
        let state = State {
            entries,
            protected: [false; PAGES],
            watched: entries.map(|entry| entry != Entry::Unmapped),
            faults: VecDeque::new(),
            changes: VecDeque::new(),
            sent: 0,
            read: 0,
            changing: 0,
            wakes: [0; PAGES],
            stopped: false,
        };
        let (readable, was_read) = (Condvar::new(), Condvar::new());
        let (quiet, woken) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::new(state), refuses, readable, was_read, quiet, woken }
    }

    pub(super) fn entry(&self, page: usize) -> Entry {
        lock(&self.state).entries[page]
    }

    // --- The program ---

    /// A load and a store in one: replaces the content and returns the old one. `None` is a
    /// segmentation fault.
    pub(super) fn touch(&self, page: usize, store: impl Fn(u64) -> u64) -> Option<u64> {
        let mut state = lock(&self.state);
        loop {
            match state.entries[page] {
                Entry::Unmapped => return None,
                Entry::Bytes(old) => {
                    let new = store(old);
                    state.entries[page] = Entry::Bytes(new);
                    state.protected[page] &= new == old;
                    return Some(old);
                }
                Entry::Hole if !state.watched[page] => state.entries[page] = Entry::Bytes(0),
                Entry::Hole | Entry::Mark => {
                    state.faults.push_back(page);
                    self.readable.notify_one();
                    let before = state.wakes[page];
                    while state.wakes[page] == before {
                        state = wait(&self.woken, state);
                    }
                }
            }
        }
    }

    pub(super) fn map(&self, page: usize) {
        let mut state = lock(&self.state);
        assert_eq!(state.entries[page], Entry::Unmapped);
        (state.entries[page], state.watched[page]) = (Entry::Hole, false);
        state.protected[page] = false;
    }

    /// Unmaps first and sends the message afterwards, requests being refused from the change on.
    pub(super) fn unmap(&self, page: usize) {
        let mut state = lock(&self.state);
        state.entries[page] = Entry::Unmapped;
        if std::mem::take(&mut state.watched[page]) {
            self.announce(state, Message::Unmap(page));
        }
    }

    pub(super) fn remap(&self, from: usize, to: usize) {
        let mut state = lock(&self.state);
        assert_eq!(state.entries[to], Entry::Unmapped);
        state.entries.swap(from, to);
        state.protected.swap(from, to);
        state.watched.swap(from, to);
        if state.watched[to] {
            self.announce(state, Message::Remap { from, to });
        }
    }

    /// Drops a page when the message about it has been read: some time after.
    pub(super) fn remove(&self, page: usize) {
        let state = lock(&self.state);
        if state.watched[page] {
            self.announce(state, Message::Remove(page));
        }
        let mut state = lock(&self.state);
        if state.entries[page] != Entry::Unmapped {
            state.entries[page] = Entry::Hole;
        }
    }

    /// Sends a message and sleeps until it is read.
    fn announce(&self, mut state: MutexGuard<'_, State>, message: Message) {
        state.changing += 1;
        state.changes.push_back(message);
        state.sent += 1;
        let this = state.sent;
        self.readable.notify_one();
        while state.read < this {
            state = wait(&self.was_read, state);
        }
        state.changing -= 1;
        self.quiet.notify_all();
        self.readable.notify_one();
    }

    // --- The file ---

    /// Waits for a message; `false` is the end.
    pub(super) fn wait_readable(&self) -> bool {
        let mut state = lock(&self.state);
        while state.faults.is_empty() && state.changes.is_empty() {
            if state.stopped {
                return false;
            }
            state = wait(&self.readable, state);
        }
        true
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.readable.notify_one();
    }

    /// Reads all messages, faults first.
    pub(super) fn read(&self) -> Vec<Message> {
        let mut state = lock(&self.state);
        let mut messages: Vec<_> = state.faults.drain(..).map(Message::Fault).collect();
        messages.extend(state.changes.drain(..));
        if state.read < state.sent {
            state.read = state.sent;
            self.was_read.notify_all();
        }
        messages
    }

    /// Waits while a request would be refused, or, for the reader of messages, until there is one.
    pub(super) fn pause(&self, reads: bool) {
        let mut state = lock(&self.state);
        while state.changing > 0 && !(reads && !state.changes.is_empty()) {
            state = wait(if reads { &self.readable } else { &self.quiet }, state);
        }
    }

    /// Wakes the threads that wait for a page. A fault that was not read goes with them.
    pub(super) fn wake(&self, page: usize) {
        let mut state = lock(&self.state);
        state.faults.retain(|&fault| fault != page);
        state.wakes[page] += 1;
        self.woken.notify_all();
    }

    pub(super) fn watch(&self, page: usize) {
        let mut state = lock(&self.state);
        state.watched[page] |= state.entries[page] != Entry::Unmapped;
    }

    // --- Requests ---

    fn request(&self, page: usize) -> Result<MutexGuard<'_, State>, Refused> {
        let state = lock(&self.state);
        if self.refuses && state.changing > 0 {
            return Err(Refused::Retry);
        }
        if state.watched[page] { Ok(state) } else { Err(Refused::Vanished) }
    }

    /// Moves a page to staging memory; `None` is a hole, which counts as moved.
    pub(super) fn move_out(&self, page: usize) -> Result<Option<u64>, Refused> {
        let mut state = self.request(page)?;
        match state.entries[page] {
            Entry::Bytes(bytes) => {
                state.entries[page] = Entry::Hole;
                state.protected[page] = false;
                Ok(Some(bytes))
            }
            Entry::Hole => Ok(None),
            Entry::Mark | Entry::Unmapped => Err(Refused::Unsuitable),
        }
    }

    /// Marks a hole. A page would be write-protected, which no caller wants.
    pub(super) fn place_mark(&self, page: usize) -> Result<(), Refused> {
        let mut state = self.request(page)?;
        let entry = state.entries[page];
        assert!(!matches!(entry, Entry::Bytes(_)), "page {page} got content while in transit");
        state.entries[page] = Entry::Mark;
        Ok(())
    }

    /// Write-protects a page, or marks a hole.
    pub(super) fn protect(&self, page: usize) -> Result<(), Refused> {
        let mut state = self.request(page)?;
        match state.entries[page] {
            Entry::Bytes(_) => state.protected[page] = true,
            Entry::Hole => state.entries[page] = Entry::Mark,
            Entry::Mark | Entry::Unmapped => {}
        }
        Ok(())
    }

    /// Tells whether a page was written since it was protected, and protects it. It is not refused
    /// while a message is unread.
    pub(super) fn take_written(&self, page: usize) -> Result<bool, Refused> {
        let mut state = lock(&self.state);
        if !state.watched[page] {
            return Err(Refused::Vanished);
        }
        match state.entries[page] {
            Entry::Bytes(_) => Ok(!std::mem::replace(&mut state.protected[page], true)),
            Entry::Hole => {
                state.entries[page] = Entry::Mark;
                Ok(true)
            }
            Entry::Mark => Ok(false),
            Entry::Unmapped => Err(Refused::Vanished),
        }
    }

    /// Lifts the protection of a page, and takes a mark away.
    pub(super) fn clear_mark(&self, page: usize) -> Result<(), Refused> {
        let mut state = self.request(page)?;
        state.protected[page] = false;
        if state.entries[page] == Entry::Mark {
            state.entries[page] = Entry::Hole;
        }
        Ok(())
    }

    /// Fills a hole, marked or not.
    pub(super) fn copy(&self, page: usize, bytes: u64) -> Result<(), Refused> {
        let mut state = self.request(page)?;
        match state.entries[page] {
            Entry::Hole | Entry::Mark => {
                state.entries[page] = Entry::Bytes(bytes);
                Ok(())
            }
            Entry::Bytes(_) => Err(Refused::AlreadyThere),
            Entry::Unmapped => Err(Refused::Vanished),
        }
    }

    /// Fills a hole with zeroes. A mark is in the way.
    pub(super) fn zero(&self, page: usize) -> Result<(), Refused> {
        let mut state = self.request(page)?;
        match state.entries[page] {
            Entry::Hole => {
                state.entries[page] = Entry::Bytes(0);
                Ok(())
            }
            Entry::Mark | Entry::Bytes(_) => Err(Refused::AlreadyThere),
            Entry::Unmapped => Err(Refused::Vanished),
        }
    }
}
