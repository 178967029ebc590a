//! The state that the threads of a mirror share: the table under its lock, the notifiers, the
//! userfaultfd and its signals, and counters.

#![forbid(unsafe_code)]

use std::fmt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::addr::{PageSize, VaRange};
use crate::fatal::die;
use crate::mirror::devices::Devices;
use crate::mirror::migration_lock::MigrationLock;
use crate::mirror::sets::Sets;
use crate::mirror::stats::Counters;
use crate::mirror::table::PageTable;
use crate::notifier::{Event, InvalidationGuard, Notifiers};
use crate::sync::backoff::Backoff;
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use crate::sys::device::DeviceMemory;
use crate::sys::transfer::Transfer;
use crate::sys::uffd::{MarkFinder, Modes, Resolution, Signal, UffdError, Wakeup};
use crate::sys::written::WrittenFinder;

/// The state under the lock of the table.
///
/// The thread that serves faults takes the lock, so code under it does not allocate from the
/// general heap, call a device or a notifier, or touch memory that is watched. Messages are read
/// under it, and so are the requests made that depend on them.
pub(crate) struct State {
    pub(crate) table: PageTable,
    pub(crate) devices: Devices,
    pub(crate) sets: Sets,
    /// Pages that the migrating thread is about to drop itself.
    pub(crate) own_drop: Option<VaRange>,
    /// The memory to which pages are moved before they are copied to a device.
    pub(crate) staging: VaRange,
    /// Whether messages were read that have not been acted on in full.
    pub(crate) busy: bool,
    /// How often all messages were acted on.
    pub(crate) cycle: u64,
    /// How many threads wait for the end of a cycle. Counted because a notification without a
    /// waiter would still be a system call.
    waiting: usize,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("held", &self.table.held()).finish_non_exhaustive()
    }
}

impl State {
    /// Tells whether a message is about memory of the mirror itself.
    pub(crate) fn is_own(&self, range: &VaRange) -> bool {
        let hosts = self.devices.iter().filter_map(DeviceMemory::as_host);
        let mut frames = hosts.map(|host| host.frames().range());
        let dropped = self.own_drop.is_some_and(|dropped| dropped.contains_range(range));
        dropped || self.staging.contains_range(range) || frames.any(|f| f.contains_range(range))
    }
}

/// The note that the migrating thread is about to drop pages itself, until it is dropped.
#[derive(Debug)]
pub(crate) struct OwnDrop<'s> {
    shared: &'s Shared,
}

impl Drop for OwnDrop<'_> {
    fn drop(&mut self) {
        self.shared.lock().own_drop = None;
    }
}

/// The state that the threads of a mirror share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) transfer: Transfer,
    state: Mutex<State>,
    /// Notified at the end of a cycle.
    cycled: Condvar,
    pub(crate) notifiers: Notifiers,
    pub(crate) marks: MarkFinder,
    pub(crate) written: WrittenFinder,
    pub(crate) stats: Counters,
    pub(crate) migration_lock: MigrationLock,
    /// Makes the thread that reads messages look for new ones.
    pub(crate) nudge: Signal,
    /// Ends that thread.
    pub(crate) stop: Signal,
    /// The range around a fault that is brought home with it, a power of two in bytes.
    pub(crate) fault_around: PageSize,
    /// What it grows to while faults follow each other.
    pub(crate) fault_around_limit: PageSize,
}

/// The parts of a [`Shared`] that its builder makes.
#[derive(Debug)]
pub(crate) struct SharedParts {
    pub(crate) transfer: Transfer,
    pub(crate) table: PageTable,
    pub(crate) marks: MarkFinder,
    pub(crate) written: WrittenFinder,
    /// Makes the thread that reads messages look for new ones.
    pub(crate) nudge: Signal,
    /// Ends that thread.
    pub(crate) stop: Signal,
    pub(crate) fault_around: PageSize,
    pub(crate) fault_around_limit: PageSize,
    pub(crate) staging: VaRange,
    pub(crate) sets: Sets,
}

impl Shared {
    pub(crate) fn new(parts: SharedParts) -> Self {
        let state = State {
            table: parts.table,
            devices: Devices::default(),
            sets: parts.sets,
            own_drop: None,
            staging: parts.staging,
            busy: false,
            cycle: 0,
            waiting: 0,
        };
        Self {
            transfer: parts.transfer,
            state: Mutex::new(state),
            cycled: Condvar::new(),
            notifiers: Notifiers::new(),
            marks: parts.marks,
            written: parts.written,
            stats: Counters::default(),
            migration_lock: MigrationLock::default(),
            nudge: parts.nudge,
            stop: parts.stop,
            fault_around: parts.fault_around,
            fault_around_limit: parts.fault_around_limit,
        }
    }

    /// Locks the table.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Notes that the caller is about to drop pages itself, so that the message about it is
    /// ignored.
    pub(crate) fn announce_own_drop(
        &self,
        mut state: MutexGuard<'_, State>,
        range: VaRange,
    ) -> OwnDrop<'_> {
        state.own_drop = Some(range);
        OwnDrop { shared: self }
    }

    /// Announces a change of the host page table, and counts it.
    pub(crate) fn invalidate(&self, event: Event, range: VaRange) -> InvalidationGuard {
        self.stats.count_event(event);
        self.notifiers.invalidate(event, range)
    }

    /// Tells whether this process is a child of the one that built the mirror.
    pub(crate) fn is_inherited(&self) -> bool {
        self.transfer.uffd().is_inherited()
    }

    /// Watches a range.
    pub(crate) fn register(&self, range: VaRange, modes: Modes) -> Result<(), UffdError> {
        self.stats.registrations.add(1);
        self.transfer.uffd().register(range, modes).map(|_| ())
    }

    /// Watches private anonymous memory, holes included.
    ///
    /// A message that is unread may be about another mapping that was in the place: if it were read
    /// afterwards, it would take the note away that holes are watched. So the note is made when the
    /// kernel says that no message is unread.
    pub(crate) fn watch_holes(&self, range: VaRange) -> Result<(), UffdError> {
        let mut backoff = Backoff::default();
        loop {
            let mut state = self.lock();
            self.register(range, Modes::MISSING | Modes::PROTECTED)?;
            if self.transfer.uffd().check_watched(range) != Resolution::Retry {
                state.sets.hole_watched.insert(range);
                return Ok(());
            }
            drop(state);
            self.stats.retries.add(1);
            backoff.pause();
        }
    }

    /// Wakes the threads that wait for pages of a range; they look again.
    pub(crate) fn wake(&self, range: VaRange) {
        // Waking fails only if the process ends.
        let _ = self.transfer.uffd().wake(range);
    }

    /// Poisons a page whose content is lost: a thread that touches the page gets a bus error in
    /// place of zeroes. Returns `false` if a change of mappings has to go on first. The caller has
    /// the lock.
    pub(crate) fn lose(&self, page: VaRange) -> bool {
        if self.transfer.unmark(page) == Resolution::Retry {
            return false;
        }
        match self.transfer.uffd().poison(page, Wakeup::Later).resolution {
            Resolution::Retry => return false,
            Resolution::Done | Resolution::AlreadyThere | Resolution::Vanished => {}
            Resolution::Refused(_) => die(&format_args!(
                "the page at {} is lost, and this kernel cannot tell whoever touches it",
                page.start()
            )),
        }
        self.stats.lost.add(1);
        true
    }

    /// Surveys the pages of a block that are about to be dropped. An absent page has been dropped,
    /// so its drop is complete.
    pub(crate) fn review_pending_drops(&self, state: &mut State, block: VaRange) {
        let Ok(survey) = self.transfer.surveyor.survey(block) else {
            return;
        };
        for (index, page) in block.pages(PageSize::host()).enumerate() {
            let absent = !survey.present.contains(index) && !survey.swapped.contains(index);
            if absent && state.sets.pending_drops.overlaps(page) {
                state.sets.pending_drops.remove(page);
            }
        }
    }

    /// Notes that all messages read so far were acted on.
    pub(crate) fn end_cycle(&self) {
        let mut state = self.lock();
        state.busy = false;
        state.cycle += 1;
        if state.waiting > 0 {
            self.cycled.notify_all();
        }
    }

    /// Waits until every change of mappings that was made before the call is known to the table
    /// and to all devices.
    pub(crate) fn drain(&self) {
        let mut state = self.lock();
        if !state.busy && !self.has_messages() {
            return;
        }
        // The running cycle may have read messages before this call; the next cycle reads after it.
        let enough = state.cycle + 2;
        while state.cycle < enough && (state.busy || self.has_messages()) {
            if !state.busy {
                self.request_cycle();
            }
            state.waiting += 1;
            state = wait(&self.cycled, state);
            state.waiting -= 1;
        }
    }

    /// Makes the handler go through a cycle. A message that is in the queue does not suffice: it
    /// vanishes when another thread wakes the thread that it is about.
    fn request_cycle(&self) {
        if let Err(error) = self.nudge.raise() {
            die(&error);
        }
    }

    fn has_messages(&self) -> bool {
        let mut polled = [PollFd::new(&self.transfer, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}
