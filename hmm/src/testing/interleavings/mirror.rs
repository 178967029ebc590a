//! The steps of `DESIGN.md`, one to one, with the crate's table, migration lock and notifiers, on
//! the model of the kernel. A [`Flaw`] leaves a step out, which shows that the checks can fail.

use std::sync::Mutex as Quiet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kernel::{Entry, Kernel, Message, PAGES, Refused};
use super::reader::Reader;
use crate::addr::pages::{page_bytes, pages_from};
use crate::addr::{PageNumber, VaRange, VirtAddr};
use crate::device::{Hold, Owner};
use crate::mirror::migration_lock::MigrationLock;
use crate::mirror::sets::Sets;
use crate::mirror::table::{DeviceIndex, Held, Mover, PageTable, Place};
use crate::notifier::{Event, Notifiers};
use crate::sync::{Mutex, MutexGuard, lock};

/// The step that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// The kernel grants requests while a message is unread.
    RequestsAreGranted,
    /// The lock is released between the look at the table and the request.
    RequestsOutsideTheLock,
    /// A drop whose message was read is believed to have happened.
    RemovalsAreForgotten,
    /// Devices are not told that a page comes home.
    HomeMigrationsAreSilent,
    /// Changes of mappings do not update the lists of pages in transit.
    TransitIsNotKept,
    /// A page that was protected counts as protected when its mapping has changed.
    ProtectionIsKept,
    /// A page that is away counts as not written, because it has a mark.
    AwayIsUnwritten,
}

/// How many frames the device has.
const FRAMES: usize = 2;

/// The state under the lock of the table.
#[derive(Debug)]
pub(super) struct State {
    pub(super) table: Box<PageTable>,
    sets: Sets,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) kernel: Kernel,
    pub(super) notifiers: Notifiers,
    pub(super) reader: std::sync::Arc<Reader>,
    state: Mutex<State>,
    migration_lock: MigrationLock,
    owner: Owner,
    flaw: Flaw,
    /// The content of the frames that are given out. No thread is switched under it.
    frames: Quiet<[Option<u64>; FRAMES]>,
    home_migrations: AtomicU64,
}

/// Tables without pages that are away, and empty sets, kept because new ones take as long as a
/// world.
static TABLES: Quiet<Vec<(Box<PageTable>, Sets)>> = Quiet::new(Vec::new());

/// A table without pages that are away, and empty sets. They are made on a stack that has room for
/// a table, which loom's threads have not.
fn table() -> (Box<PageTable>, Sets) {
    if let Some(table) = TABLES.lock().expect("tables").pop() {
        return table;
    }
    let made = std::thread::spawn(|| PageTable::new(1).map(Box::new));
    (made.join().expect("a table").expect("memory"), Sets::new().expect("memory"))
}

/// The address of a page.
pub(super) fn at(page: usize) -> VirtAddr {
    VirtAddr::new((page as u64 + 1) * page_bytes())
}

pub(super) fn range(page: usize) -> VaRange {
    pages_from(at(page), 1)
}

fn page_of(at: VirtAddr) -> usize {
    usize::try_from(at.get() / page_bytes()).expect("64 bits") - 1
}

impl World {
    pub(super) fn new(entries: [Entry; PAGES], flaw: Flaw) -> Self {
        let (table, sets) = table();
        Self {
            kernel: Kernel::new(entries, flaw != Flaw::RequestsAreGranted),
            notifiers: Notifiers::new(),
            reader: std::sync::Arc::default(),
            state: Mutex::new(State { table, sets }),
            migration_lock: MigrationLock::default(),
            owner: Owner::new(),
            flaw,
            frames: Quiet::new([None; FRAMES]),
            home_migrations: AtomicU64::new(0),
        }
    }

    /// Ends the world, and checks that everything is at home and given back.
    pub(super) fn end(self) {
        let State { mut table, mut sets } = self.state.into_inner().expect("nobody has panicked");
        assert_eq!(table.next_away(VaRange::USER), None);
        assert_eq!(table.take_garbage(), None);
        assert_eq!(*self.frames.lock().expect("frames"), [None; FRAMES]);
        sets.unmap(VaRange::USER);
        TABLES.lock().expect("tables").push((table, sets));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn place(&self, page: usize) -> Place {
        self.lock().table.place(at(page))
    }

    pub(super) fn pages_away(&self) -> u64 {
        self.lock().table.held().get()
    }

    pub(super) fn home_migrations(&self) -> u64 {
        // Relaxed: read when all threads have ended.
        self.home_migrations.load(Ordering::Relaxed)
    }

    // --- The device's memory ---

    fn alloc(&self) -> Option<PageNumber> {
        let mut frames = self.frames.lock().expect("frames");
        let free = frames.iter().position(Option::is_none)?;
        frames[free] = Some(0);
        Some(PageNumber::new(free as u64))
    }

    pub(super) fn frame(&self, frame: PageNumber) -> Option<u64> {
        self.frames.lock().expect("frames")[usize::try_from(frame.get()).expect("64 bits")]
    }

    fn fill_frame(&self, frame: PageNumber, bytes: u64) {
        let mut frames = self.frames.lock().expect("frames");
        let frame = &mut frames[usize::try_from(frame.get()).expect("64 bits")];
        *frame.as_mut().expect("the frame is given out") = bytes;
    }

    fn free(&self, frame: PageNumber) {
        self.reader.check_unused(frame);
        let mut frames = self.frames.lock().expect("frames");
        let frame = &mut frames[usize::try_from(frame.get()).expect("64 bits")];
        frame.take().expect("a frame is freed once");
    }

    // --- Out ---

    /// Migrates a page to the device.
    pub(super) fn migrate_out(&self, page: usize) {
        let _guard = self.migration_lock.lock();
        self.kernel.watch(page);
        let by = Some(self.owner);
        let _guard = self.notifiers.invalidate(Event::Migrate { by }, range(page));
        let Some(frame) = self.alloc() else {
            return;
        };
        if !self.claim(page) {
            return self.free(frame);
        }
        self.lift_protection(page);
        match self.take(page) {
            Ok(bytes) => {
                self.reader.check_stopped();
                self.fill_frame(frame, bytes.unwrap_or(0));
                self.finalize(page, frame);
            }
            Err(()) => {
                // A page that was not taken is where it was.
                self.lock().table.forget(range(page));
                self.kernel.wake(page);
                self.free(frame);
            }
        }
    }

    fn claim(&self, page: usize) -> bool {
        let mut state = self.lock();
        let dropping = state.sets.pending_drops.overlaps(range(page));
        if dropping && self.flaw != Flaw::RemovalsAreForgotten {
            if matches!(self.kernel.entry(page), Entry::Bytes(_)) {
                return false;
            }
            state.sets.pending_drops.remove(range(page));
        }
        if state.table.place(at(page)) != Place::Home {
            return false;
        }
        state.table.set(at(page), Place::Transit(Mover::Migrator, 0)).expect("room");
        true
    }

    /// Protection leaves marks on holes, which do not move.
    fn lift_protection(&self, page: usize) {
        loop {
            let state = self.lock();
            if state.table.transit(Mover::Migrator).at(0) != Some(at(page)) {
                return;
            }
            let lifted = self.kernel.clear_mark(page);
            drop(state);
            if lifted != Err(Refused::Retry) {
                return;
            }
            self.kernel.pause(false);
        }
    }

    fn take(&self, page: usize) -> Result<Option<u64>, ()> {
        loop {
            let state = self.lock();
            if state.table.transit(Mover::Migrator).at(0) != Some(at(page)) {
                // Dropped, unmapped or moved since: finalized as it is by now.
                drop(state);
                return self.give_up();
            }
            let state = self.expose(state);
            let taken = self.kernel.move_out(page);
            drop(state);
            match taken {
                Ok(bytes) => return Ok(bytes),
                Err(Refused::Retry) => self.kernel.pause(false),
                Err(_) => return Err(()),
            }
        }
    }

    /// A page that changed before it was taken stays where it is by now.
    fn give_up(&self) -> Result<Option<u64>, ()> {
        let mut state = self.lock();
        if let Some(now) = state.table.transit(Mover::Migrator).at(0) {
            state.table.forget(pages_from(now, 1));
            drop(state);
            self.kernel.wake(page_of(now));
        }
        Err(())
    }

    fn finalize(&self, page: usize, frame: PageNumber) {
        loop {
            let state = self.lock();
            let now = match (state.table.transit(Mover::Migrator).at(0), self.flaw) {
                (_, Flaw::TransitIsNotKept) => at(page),
                (Some(now), _) => now,
                (None, _) => {
                    drop(state);
                    return self.free(frame);
                }
            };
            let mut state = self.expose(state);
            match self.kernel.place_mark(page_of(now)) {
                Ok(()) => {
                    let (device, hold) = (DeviceIndex(0), Hold::Private);
                    let held = Held { device, frame, hold, huge: false };
                    state.table.set(now, Place::Device(held)).expect("room");
                    drop(state);
                    return self.kernel.wake(page_of(now));
                }
                Err(Refused::Retry) => {
                    drop(state);
                    self.kernel.pause(false);
                }
                Err(refused) => panic!("a page in transit cannot be marked: {refused:?}"),
            }
        }
    }

    /// Keeps the lock, or lets other threads in for a moment.
    fn expose<'w>(&'w self, state: MutexGuard<'w, State>) -> MutexGuard<'w, State> {
        if self.flaw != Flaw::RequestsOutsideTheLock {
            return state;
        }
        drop(state);
        self.lock()
    }

    // --- Home ---

    /// Brings a page home as a migration does.
    pub(super) fn migrate_home(&self, page: usize) {
        let _guard = self.migration_lock.lock();
        self.bring_next(page, Mover::Migrator);
    }

    fn bring_next(&self, page: usize, mover: Mover) {
        let mut state = self.lock();
        let Some(run) = state.table.next_held(range(page), 1) else {
            return;
        };
        state.table.set(run.range.start(), Place::Transit(mover, 0)).expect("room");
        drop(state);
        let by = None;
        let guard = (self.flaw != Flaw::HomeMigrationsAreSilent)
            .then(|| self.notifiers.invalidate(Event::Migrate { by }, run.range));
        let bytes = self.frame(run.first.frame).expect("a frame that is given out");
        while !self.put(mover, bytes) {
            if mover == Mover::Handler {
                self.read_messages();
            }
            self.kernel.pause(mover == Mover::Handler);
        }
        self.free(run.first.frame);
        drop(guard);
    }

    /// Puts a page where it belongs by now; `false` if a change has to go on first.
    fn put(&self, mover: Mover, bytes: u64) -> bool {
        let state = self.lock();
        let Some(now) = state.table.transit(mover).at(0) else {
            return true;
        };
        let mut state = self.expose(state);
        let page = page_of(now);
        let marked = self.kernel.entry(page) == Entry::Mark;
        let put = if marked { self.kernel.copy(page, bytes) } else { self.kernel.clear_mark(page) };
        if put == Err(Refused::Retry) {
            return false;
        }
        state.table.forget(range(page));
        drop(state);
        if marked && put.is_ok() {
            // Relaxed: only counted.
            self.home_migrations.fetch_add(1, Ordering::Relaxed);
        }
        self.kernel.wake(page);
        true
    }

    // --- Tracking ---

    /// Protects a page, so that it is known whether it is written; `false` if there is none.
    pub(super) fn protect(&self, page: usize) -> bool {
        loop {
            let mut state = self.lock();
            let at_home = state.table.place(at(page)) == Place::Home;
            let protected = if at_home { self.kernel.protect(page) } else { Ok(()) };
            match protected {
                Ok(()) => return state.sets.armed.insert(range(page)),
                Err(Refused::Retry) => {}
                Err(_) => return false,
            }
            drop(state);
            self.kernel.pause(false);
        }
    }

    /// Tells whether a page was written since it was protected or since this was asked; `None` if
    /// that is not known.
    pub(super) fn take_written(&self, page: usize) -> Option<bool> {
        let mut state = self.lock();
        if !state.sets.armed.contains(range(page)) {
            return None;
        }
        let at_home = state.table.place(at(page)) == Place::Home;
        if !at_home && self.flaw != Flaw::AwayIsUnwritten {
            return Some(true);
        }
        let taken = self.kernel.take_written(page).ok();
        if taken.is_none() {
            state.sets.armed.remove(range(page));
        }
        taken
    }

    // --- The handler ---

    /// Serves until the file ends.
    pub(super) fn handle(&self) {
        while self.kernel.wait_readable() {
            let mut faults = self.read_messages();
            while let Some(page) = faults.pop() {
                faults.extend(self.serve(page));
            }
        }
    }

    /// Enters the changes into the table, tells the devices, and returns the faults.
    fn read_messages(&self) -> Vec<usize> {
        let mut faults = Vec::new();
        loop {
            let mut state = self.lock();
            let messages = self.kernel.read();
            if messages.is_empty() {
                return faults;
            }
            let mut changes = Vec::new();
            for message in messages {
                match message {
                    Message::Fault(page) => faults.push(page),
                    change => changes.push(self.note(&mut state, change)),
                }
            }
            drop(state);
            for (event, page) in changes {
                drop(self.notifiers.invalidate(event, range(page)));
                self.kernel.wake(page);
            }
            while let Some(garbage) = { self.lock().table.take_garbage() } {
                self.free(garbage.frames().0);
            }
        }
    }

    /// Answers a fault; returns those that were read meanwhile.
    fn serve(&self, page: usize) -> Vec<usize> {
        let mut faults = Vec::new();
        loop {
            let place = self.place(page);
            let served = match place {
                Place::Transit(..) => true,
                Place::Device(_) => {
                    self.bring_next(page, Mover::Handler);
                    true
                }
                Place::Home => self.fill(page),
            };
            if served {
                return faults;
            }
            faults.extend(self.read_messages());
            self.kernel.pause(true);
        }
    }

    fn fill(&self, page: usize) -> bool {
        let mut state = self.lock();
        if state.table.place(at(page)) != Place::Home {
            return false;
        }
        let mut filled = self.kernel.zero(page);
        if filled == Err(Refused::AlreadyThere) {
            if self.kernel.clear_mark(page) == Err(Refused::Retry) {
                return false;
            }
            filled = self.kernel.zero(page);
        }
        if filled == Err(Refused::Retry) {
            return false;
        }
        if filled.is_ok() {
            // The page was absent, so a page that is there later was stored since.
            state.sets.pending_drops.remove(range(page));
        }
        drop(state);
        self.kernel.wake(page);
        true
    }

    fn note(&self, state: &mut State, message: Message) -> (Event, usize) {
        let was_protected: [bool; PAGES] =
            std::array::from_fn(|page| state.sets.armed.contains(range(page)));
        let told = match message {
            Message::Remove(page) => {
                state.table.forget(range(page));
                state.sets.announce_drop(range(page));
                (Event::Clear, page)
            }
            Message::Unmap(page) => {
                state.table.forget(range(page));
                state.sets.unmap(range(page));
                (Event::Unmap, page)
            }
            Message::Remap { from, to } => {
                state.table.rekey(range(from), at(to)).expect("room");
                state.sets.remap(range(from), at(to));
                (Event::Unmap, from)
            }
            Message::Fault(page) => unreachable!("the fault on page {page} is no change"),
        };
        if self.flaw == Flaw::ProtectionIsKept {
            for page in (0..PAGES).filter(|&page| was_protected[page]) {
                state.sets.armed.insert(range(page));
            }
        }
        told
    }
}
