//! The thread that reads the messages of the userfaultfd and answers page faults.
//!
//! Other threads wait for it, possibly with the lock of an allocator held. While it serves faults
//! it allocates nothing from the general heap, waits for no thread that may be waiting for it, and
//! touches only memory of its own. Changes of mappings are acted on before faults: a fault may have
//! overtaken the message that explains it.

#![forbid(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};

use crate::addr::pages::{bytes_of, count_of, pages_from};
use crate::addr::{PageSize, VaRange, VirtAddr};
use crate::fatal::{die, or_die};
use crate::mirror::fill::{fill, unprotect};
use crate::mirror::home::{BringsHome, bring_next};
use crate::mirror::shared::{Shared, State};
use crate::mirror::streams::Streams;
use crate::mirror::table::{BLOCK, Mover, Place, block_size};
use crate::notifier::Event as Change;
use crate::sync::backoff::Backoff;
use crate::sys::device::MirrorCall;
use crate::sys::mmap::{HugePages, MemoryError};
use crate::sys::needed::pages_of_this_thread;
use crate::sys::owned::Owned;
use crate::sys::signals::block_all;
use crate::sys::uffd::{Event, Events, Fault, FaultKind, UffdError};

/// How many messages are acted on at a time: as many as one read takes.
const BATCH: usize = 64;

/// The thread's own memory.
struct Handler {
    shared: Arc<Shared>,
    events: Events,
    faults: Queue<Fault>,
    streams: Streams,
    buffer: Owned<u8>,
}

/// A list of fixed room.
struct Queue<T> {
    items: [Option<T>; BATCH],
    len: usize,
}

impl<T: Copy> Queue<T> {
    const fn new() -> Self {
        Self { items: [None; BATCH], len: 0 }
    }

    /// Appends an item, or returns it if there is no room.
    fn push(&mut self, item: T) -> Result<(), T> {
        let next = self.items.get_mut(self.len).ok_or(item)?;
        *next = Some(item);
        self.len += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        self.items.get_mut(self.len)?.take()
    }
}

/// The addresses of everything that the thread needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultThread {
    /// Its own value.
    pub(crate) handler: VirtAddr,
    /// Its stacks and its variables.
    pub(crate) pages: [VaRange; 4],
}

/// Starts the thread. It runs, and has its name, when this returns.
pub(crate) fn spawn(shared: Arc<Shared>) -> io::Result<(JoinHandle<()>, FaultThread)> {
    let handler = Handler::new(shared).map_err(io::Error::other)?;
    let (tell, told) = sync_channel(1);
    let builder = thread::Builder::new().name("farptr-faults".to_owned());
    let thread = builder.spawn(move || {
        block_all();
        let mut handler = handler;
        let (handler_at, pages) = (VirtAddr::of(&handler), pages_of_this_thread());
        // The thread that builds the mirror waits for it.
        let _ = tell.send(FaultThread { handler: handler_at, pages });
        drop(tell);
        run_or_die(&mut handler);
    })?;
    Ok((thread, told.recv().map_err(io::Error::other)?))
}

/// Without this thread, other threads would wait for ever, so the process ends with it.
fn run_or_die(handler: &mut Handler) {
    match catch_unwind(AssertUnwindSafe(|| handler.run())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => die(&error),
        Err(_) => die(&"the thread that serves page faults has panicked"),
    }
}

impl Handler {
    fn new(shared: Arc<Shared>) -> Result<Self, MemoryError> {
        let buffer = Owned::new(bytes_of(0..BLOCK).len(), HugePages::Prefer)?.keep_home();
        buffer.populate()?;
        let streams = Streams::new(shared.fault_around, shared.fault_around_limit);
        Ok(Self { shared, events: Events::new(), faults: Queue::new(), streams, buffer })
    }

    fn run(&mut self) -> Result<(), UffdError> {
        let shared = Arc::clone(&self.shared);
        loop {
            let awaited = shared.transfer.uffd().wait(&shared.nudge, &shared.stop)?;
            if awaited.nudge {
                shared.nudge.clear().map_err(|source| UffdError::Wait { source })?;
            }
            if awaited.events || awaited.nudge {
                self.read(&shared)?;
                while let Some(fault) = self.faults.pop() {
                    self.serve(&shared, fault);
                }
                shared.end_cycle();
            } else if awaited.stop {
                // Before anything else: what this thread drops or unmaps at its end may be watched,
                // and it would wait for itself.
                shared.transfer.uffd().close();
                return Ok(());
            }
        }
    }

    /// Reads all messages, acts on changes of mappings and keeps the faults.
    fn read(&mut self, shared: &Shared) -> Result<(), UffdError> {
        loop {
            let mut changes = Queue::new();
            let mut state = shared.lock();
            let count = shared.transfer.uffd().read_events(&mut self.events)?;
            if count == 0 {
                return Ok(());
            }
            state.busy = true;
            for event in self.events.by_ref() {
                match event {
                    Event::Fault(fault) => {
                        shared.stats.faults.add(1);
                        // A thread whose fault is not kept is woken, and faults again.
                        let sent_away = self.faults.push(fault).err();
                        sent_away.into_iter().for_each(|fault| shared.wake(page_of(fault)));
                    }
                    event => {
                        note(&mut state, &event, &mut changes);
                        if let Event::Remap { from, to } = event {
                            // Threads that wait for a page that a mover had claimed there look
                            // again.
                            shared.wake(pages_from(to, count_of(from)));
                        }
                    }
                }
            }
            drop(state);
            while let Some((change, range)) = changes.pop() {
                drop(shared.invalidate(change, range));
                shared.wake(range);
            }
            collect_garbage(shared);
            if count < BATCH {
                // The kernel had no more when it filled the batch.
                return Ok(());
            }
        }
    }

    /// Brings a page home, and its neighbours with it: more of them the longer faults follow each
    /// other. Each neighbour is looked at once: by the time that the last is home, the first may
    /// have left again.
    fn bring_around(&mut self, shared: &Shared, page: VaRange, huge: bool) {
        let around = self.streams.around(page);
        let mut rest = if huge { page.pages_covering(block_size()) } else { around.range };
        self.streams.go_on(around, rest.end());
        while let Some(brought) = bring_next(shared, self, rest, BLOCK) {
            rest = or_die(VaRange::new(brought.end(), rest.end()), "a page that was not asked for");
        }
    }

    /// Answers a fault, unless the thread that migrates will.
    fn serve(&mut self, shared: &Shared, fault: Fault) {
        let page = page_of(fault);
        let (mut tries, mut around) = (0, None);
        loop {
            let place = shared.lock().table.place(page.start());
            let served = match place {
                Place::Transit(..) => {
                    shared.stats.deferred.add(1);
                    true
                }
                Place::Device(held) => {
                    self.bring_around(shared, page, held.huge);
                    true
                }
                Place::Home if fault.kind == FaultKind::Missing => {
                    tries += 1;
                    let around = *around.get_or_insert_with(|| self.streams.around(page));
                    let end = fill(shared, page, around.range, tries);
                    if let Some(end) = end.filter(|&end| end > page.start()) {
                        self.streams.go_on(around, end);
                    }
                    end.is_some()
                }
                Place::Home => unprotect(shared, page),
            };
            if served {
                return;
            }
            shared.stats.retries.add(1);
            self.pause(shared);
        }
    }
}

impl BringsHome for Handler {
    fn mover(&self) -> Mover {
        Mover::Handler
    }

    /// The change cannot go on before its message is read, and no other thread reads messages.
    fn pause(&mut self, shared: &Shared) {
        if let Err(error) = self.read(shared) {
            die(&error);
        }
        Backoff::default().pause();
    }

    fn buffer(&mut self) -> &mut Owned<u8> {
        &mut self.buffer
    }
}

fn page_of(fault: Fault) -> VaRange {
    pages_from(fault.addr.align_down(PageSize::host()), 1)
}

/// Enters a change of mappings into the table, and lists what the devices have to be told.
fn note(state: &mut State, event: &Event, changes: &mut Queue<(Change, VaRange)>) {
    let change = match *event {
        Event::Remove(range) if state.is_own(&range) => return,
        Event::Remove(range) => {
            state.table.forget(range);
            state.sets.announce_drop(range);
            (Change::Clear, range)
        }
        Event::Unmap(range) => {
            state.table.forget(range);
            state.sets.unmap(range);
            (Change::Unmap, range)
        }
        Event::Remap { from, to } => {
            rekey(state, from, to);
            state.sets.remap(from, to);
            (Change::Unmap, from)
        }
        Event::Unknown(kind) => {
            die(&format_args!("a change of mappings of an unknown kind, {kind}"))
        }
        Event::Fault(_) | Event::Fork(_) => return,
    };
    or_die(changes.push(change).ok(), "more changes of mappings than one read takes");
}

fn rekey(state: &mut State, from: VaRange, to: VirtAddr) {
    if state.table.rekey(from, to).is_err() {
        die(&format_args!("no room to note that {from} was moved to {to}"));
    }
}

/// Gives frames back whose pages are gone.
fn collect_garbage(shared: &Shared) {
    loop {
        let mut state = shared.lock();
        let Some(garbage) = state.table.take_garbage() else {
            return;
        };
        let device = state.devices.get(garbage.device());
        drop(state);
        let (first, host) = garbage.frames();
        shared.stats.discarded.add(count_of(host) as u64);
        if let Some(device) = device {
            device.free(&MirrorCall::BY_MIRROR, first, host);
        }
    }
}
