//! What the parts of a mirror share: the table under its lock, and the services around it.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::addr::{PageSize, VaRange};
use crate::fatal::die;
use crate::mirror::migration_lock::MigrationLock;
use crate::mirror::pending_drops::PendingDrops;
use crate::mirror::stats::Counters;
use crate::mirror::table::{DeviceIndex, PageTable};
use crate::notifier::{Event, InvalidationGuard, Notifiers};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use crate::sys::device::DeviceMemory;
use crate::sys::transfer::Transfer;
use crate::sys::uffd::{MarkFinder, Resolution, Signal, Wakeup};

/// How many devices a mirror has room for.
pub(crate) const DEVICES: usize = 16;

/// A device and the number of its attachment, which no other attachment in this process has.
pub(crate) struct Attached {
    pub(crate) device: Arc<dyn DeviceMemory>,
    pub(crate) serial: u64,
}

/// What is under the lock of the table.
///
/// The thread that serves faults takes the lock, so under it nobody allocates from the general
/// heap, calls a device or a notifier, or touches memory that is watched. Messages are read under
/// it, and so are the requests made that depend on them.
pub(crate) struct State {
    pub(crate) table: PageTable,
    pub(crate) devices: [Option<Attached>; DEVICES],
    /// Pages that may be about to be dropped.
    pub(crate) pending_drops: PendingDrops,
    /// Pages that the migrating thread is about to drop itself.
    pub(crate) own_drop: Option<VaRange>,
    /// Where pages are moved to before they are copied to a device.
    pub(crate) staging: VaRange,
    /// Whether messages were read that have not been acted on in full.
    pub(crate) busy: bool,
    /// How often all messages were acted on.
    pub(crate) cycle: u64,
    /// How many threads wait for the end of a cycle. Notifying nobody is a system call too.
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
        let devices = self.devices.iter().flatten();
        let mut frames = devices.filter_map(|held| Some(held.device.as_host()?.frames().range()));
        let dropped = self.own_drop.is_some_and(|dropped| dropped.contains_range(range));
        dropped || self.staging.contains_range(range) || frames.any(|f| f.contains_range(range))
    }

    /// The devices that are attached, for use without the lock.
    pub(crate) fn attached(&self) -> [Option<Arc<dyn DeviceMemory>>; DEVICES] {
        let held = self.devices.each_ref();
        held.map(|held| held.as_ref().map(|held| Arc::clone(&held.device)))
    }

    pub(crate) fn device(&self, index: DeviceIndex) -> Option<Arc<dyn DeviceMemory>> {
        let attached = self.devices.get(usize::from(index.0))?.as_ref()?;
        Some(Arc::clone(&attached.device))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) transfer: Transfer,
    state: Mutex<State>,
    /// Notified at the end of a cycle.
    cycled: Condvar,
    pub(crate) notifiers: Notifiers,
    pub(crate) marks: MarkFinder,
    pub(crate) stats: Counters,
    pub(crate) migration_lock: MigrationLock,
    /// Has the thread that reads messages look for some.
    pub(crate) nudge: Signal,
    /// Ends that thread.
    pub(crate) stop: Signal,
    /// The range around a fault that is brought home with it, a power of two in bytes.
    pub(crate) fault_around: PageSize,
}

/// What a core is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) transfer: Transfer,
    pub(crate) table: PageTable,
    pub(crate) marks: MarkFinder,
    /// Has the thread that reads messages look for some.
    pub(crate) nudge: Signal,
    /// Ends that thread.
    pub(crate) stop: Signal,
    pub(crate) fault_around: PageSize,
    pub(crate) staging: VaRange,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        let state = State {
            table: parts.table,
            devices: Default::default(),
            pending_drops: PendingDrops::default(),
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
            stats: Counters::default(),
            migration_lock: MigrationLock::default(),
            nudge: parts.nudge,
            stop: parts.stop,
            fault_around: parts.fault_around,
        }
    }

    /// Locks the table.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
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

    /// Wakes the threads that wait for pages of a range; they look again.
    pub(crate) fn wake(&self, range: VaRange) {
        // Waking fails only if the process ends.
        let _ = self.transfer.uffd().wake(range);
    }

    /// Gives the content of a page up: whoever touches it gets a bus error, which is better than
    /// zeroes. Returns `false` if a change of mappings has to go on first. The caller has the lock.
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

    /// Looks which pages of a block that are about to be dropped are absent: those were. Memory
    /// that is no private anonymous memory keeps its bytes, whatever is dropped.
    pub(crate) fn review_pending_drops(&self, state: &mut State, block: VaRange) {
        let Ok(survey) = self.transfer.surveyor.survey(block) else {
            return;
        };
        for (index, page) in block.pages(PageSize::host()).enumerate() {
            let absent = !survey.present.contains(index) && !survey.swapped.contains(index);
            let concerned = state.pending_drops.overlaps(&page);
            if concerned && (absent || self.keeps_bytes(page)) {
                state.pending_drops.complete(page);
            }
        }
    }

    fn keeps_bytes(&self, page: VaRange) -> bool {
        self.transfer.uffd().check_watched(page) == Resolution::Vanished
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
        // The cycle that runs may have read before the call, the next one reads after it.
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

    /// Has the handler go through a cycle. A message that was there a moment ago would not do: it
    /// vanishes when somebody else wakes the thread that it is about.
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
