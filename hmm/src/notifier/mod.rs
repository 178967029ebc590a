//! Interval notifiers: a device that mirrors a range is told of every change to it before the
//! change happens, and can tell afterwards whether an answer that it read in between still counts.
//!
//! Four steps keep a mirror true. [`Notifier::read_begin`] takes a sequence number; the host page
//! table is read; the device's lock is taken; and only if [`Notifier::read_retry`] then says
//! `false` is the result used. `DESIGN.md` draws the races that this wins.

#![forbid(unsafe_code)]

mod event;
mod interval;
mod invalidate;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::addr::{VaRange, VirtAddr};
use crate::device::Owner;
use crate::error::RegisterError;
use crate::notifier::interval::{IntervalTree, Key};
use crate::sync::{AtomicU64, Condvar, Mutex, Ordering, lock, wait};

pub use event::{Event, Invalidate, Invalidation, SeqSet, WouldBlock};
pub use invalidate::InvalidationGuard;

/// A sequence number of a [`Notifier`], taken by [`Notifier::read_begin`].
///
/// It is good for one attempt. A loop takes a new one each time round; with an old one every
/// further attempt is bound to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seq(u64);

/// The notifiers of one address space.
///
/// Clones refer to the same notifiers.
///
/// # Examples
///
/// A device with a page table of one entry, kept true by the loop that every device runs:
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use farptr_hmm::{
///     Event, Invalidate, Invalidation, Notifiers, SeqSet, VaRange, VirtAddr, WouldBlock,
/// };
///
/// #[derive(Default)]
/// struct PageTable {
///     entry: Mutex<Option<u64>>,
/// }
///
/// impl Invalidate for PageTable {
///     fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
///         let mut entry = self.entry.lock().unwrap();
///         let seq_set = invalidation.set_seq();
///         *entry = None;
///         Ok(seq_set)
///     }
/// }
///
/// let notifiers = Notifiers::new();
/// let range = VaRange::from_len(VirtAddr::new(0x1000), 0x1000).ok_or("not user memory")?;
/// let table = Arc::new(PageTable::default());
/// let notifier = notifiers.register(range, None, table.clone())?;
///
/// loop {
///     let seq = notifier.read_begin();
///     let page = 42; // What the host page table says.
///     let mut entry = table.entry.lock().unwrap();
///     if !notifier.read_retry(seq) {
///         *entry = Some(page);
///         break;
///     }
/// }
///
/// // Code that changes the mapping holds an invalidation meanwhile.
/// let invalidation = notifiers.invalidate(Event::Unmap, range);
/// assert_eq!(*table.entry.lock().unwrap(), None);
/// drop(invalidation);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Notifiers {
    shared: Arc<Shared>,
}

/// The state that the notifiers of one address space share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified whenever `seq` becomes even.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Odd while at least one invalidation runs that some notifier was told about. The tree does
    /// not change then.
    seq: u64,
    /// How many invalidations run.
    active: usize,
    tree: IntervalTree<Arc<Subscription>>,
    /// The changes of the tree that are made as soon as `seq` is even.
    deferred: Vec<Deferred>,
    /// The serial of the next subscription.
    serial: u64,
}

#[derive(Debug)]
enum Deferred {
    Insert(Arc<Subscription>),
    Remove(Key),
}

/// One interval of one device.
struct Subscription {
    key: Key,
    range: VaRange,
    owner: Option<Owner>,
    /// The odd number of the last invalidation that hit this interval, or a lower odd number.
    ///
    /// Written under the device's lock and read under it by `read_retry`: that lock orders the
    /// two. The other readers bear a value that is out of date, so all accesses are relaxed.
    seq: AtomicU64,
    device: Arc<dyn Invalidate>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("range", &self.range)
            .field("owner", &self.owner)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Default for State {
    fn default() -> Self {
        Self { seq: 2, active: 0, tree: IntervalTree::new(), deferred: Vec::new(), serial: 0 }
    }
}

impl State {
    fn is_excluded(&self) -> bool {
        self.seq % 2 == 1
    }

    fn insert(&mut self, subscription: Arc<Subscription>) {
        self.tree.insert(subscription.range, subscription.key.serial, subscription);
    }

    /// Inserts a new subscription into the tree, now or later, and returns the sequence number that
    /// it starts with.
    ///
    /// A new notifier was not told about the invalidations that run. So if there are any it starts
    /// with their number, and its first `read_begin` waits for them to end.
    fn admit(&mut self, subscription: Arc<Subscription>) -> u64 {
        if self.is_excluded() {
            self.deferred.push(Deferred::Insert(subscription));
            return self.seq;
        }
        self.insert(subscription);
        if self.active == 0 {
            return self.seq.wrapping_sub(1);
        }
        self.seq |= 1;
        self.seq
    }

    /// Cancels a deferred insertion.
    fn cancel_insertion(&mut self, key: Key) -> bool {
        let is_it = |deferred: &Deferred| matches!(deferred, Deferred::Insert(s) if s.key == key);
        let position = self.deferred.iter().position(is_it);
        position.map(|position| self.deferred.swap_remove(position)).is_some()
    }

    /// Makes the deferred changes of the tree.
    fn apply_deferred(&mut self) {
        for deferred in std::mem::take(&mut self.deferred) {
            match deferred {
                Deferred::Insert(subscription) => self.insert(subscription),
                Deferred::Remove(key) => drop(self.tree.remove(key)),
            }
        }
    }
}

impl Notifiers {
    /// Makes the notifiers of an address space, none at first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a device for the changes of `range`, until the returned value is dropped.
    ///
    /// Changes that are tagged with `owner` are this device's own doing; it is not told about them.
    ///
    /// Never blocks, and may be called at any time, from a callback too. If an invalidation is
    /// running, the first [`Notifier::read_begin`] waits for its end.
    ///
    /// # Errors
    ///
    /// - [`RegisterError::EmptyRange`] if there is nothing to watch.
    pub fn register(
        &self,
        range: VaRange,
        owner: Option<Owner>,
        device: Arc<dyn Invalidate>,
    ) -> Result<Notifier, RegisterError> {
        if range.is_empty() {
            return Err(RegisterError::EmptyRange { addr: range.start() });
        }
        let mut state = lock(&self.shared.state);
        let key = Key { start: range.start(), serial: state.serial };
        state.serial += 1;
        let seq = AtomicU64::new(0);
        let subscription = Arc::new(Subscription { key, range, owner, seq, device });
        let first = state.admit(Arc::clone(&subscription));
        // Relaxed: under the lock, and no other thread has found the subscription yet.
        subscription.seq.store(first, Ordering::Relaxed);
        drop(state);
        Ok(Notifier { shared: Arc::clone(&self.shared), subscription })
    }

    /// Lists the addresses of the registered devices. The thread that serves faults calls them, so
    /// they must stay at home.
    pub(crate) fn addresses(&self) -> Vec<VirtAddr> {
        let (mut addresses, mut after) = (vec![VirtAddr::of(&*self.shared)], None);
        loop {
            let state = lock(&self.shared.state);
            let next = state.tree.next_overlap(&VaRange::USER, after);
            let next = next.map(|(key, subscription)| (key, Arc::clone(subscription)));
            // The callbacks wait for the lock, so nothing is allocated under it.
            drop(state);
            let Some((key, subscription)) = next else {
                return addresses;
            };
            addresses.push(VirtAddr::of(&*subscription));
            addresses.push(VirtAddr::of(&*subscription.device));
            after = Some(key);
        }
    }

    /// Counts the notifiers that an invalidation can reach now.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.shared.state).tree.len()
    }
}

/// The registration of a device for the changes of a range; dropping it ends the registration.
///
/// # Deadlocks
///
/// Dropping waits for the end of running invalidations, so that the device is never called back
/// afterwards. Hence a thread that drops a notifier holds no [`InvalidationGuard`] and no lock that
/// the callback takes, and a callback drops no notifier. For the same reason the value given to
/// [`Notifiers::register`] must not own the notifier: the part of a device that has the lock and
/// the page table is one value, the part that has the notifier another.
#[derive(Debug)]
pub struct Notifier {
    shared: Arc<Shared>,
    subscription: Arc<Subscription>,
}

impl Notifier {
    /// Returns the range that is watched.
    #[must_use]
    pub fn range(&self) -> VaRange {
        self.subscription.range
    }

    /// Returns the owner whose changes the device is not told about.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.subscription.owner
    }

    /// Begins an attempt to read the host page table: waits for a running invalidation of this
    /// range to end and returns the sequence number.
    ///
    /// The number may be stale as soon as it is returned. This is deliberate: a caller that must
    /// not wait for ever counts its own attempts, rather than sleep in here.
    ///
    /// The thread must hold neither an [`InvalidationGuard`] for this range nor the device's lock.
    #[must_use]
    pub fn read_begin(&self) -> Seq {
        let mut state = lock(&self.shared.state);
        let seq = self.current();
        while state.seq == seq.0 {
            state = wait(&self.shared.changed, state);
        }
        seq
    }

    /// Begins an attempt like [`Notifier::read_begin`], or returns `None` where that would wait.
    #[must_use]
    pub fn try_read_begin(&self) -> Option<Seq> {
        let state = lock(&self.shared.state);
        let seq = self.current();
        (state.seq != seq.0).then_some(seq)
    }

    /// Tells whether the range was invalidated since `seq` was taken, so that the attempt failed.
    ///
    /// Call it with the lock held under which the device's callback calls
    /// [`Invalidation::set_seq`]. Then `false` means that what was read may be used before the
    /// lock is released: an invalidation from now on finds it in the device and removes it.
    #[must_use]
    pub fn read_retry(&self, seq: Seq) -> bool {
        self.current() != seq
    }

    /// Tells, without a lock, whether the attempt is already known to have failed.
    ///
    /// `true` is certain and saves the rest of the work; `false` proves nothing.
    #[must_use]
    pub fn check_retry(&self, seq: Seq) -> bool {
        self.current() != seq
    }

    /// Relaxed: see the field.
    fn current(&self) -> Seq {
        Seq(self.subscription.seq.load(Ordering::Relaxed))
    }
}

impl Drop for Notifier {
    /// Ends the registration, once no running invalidation can call the device any more.
    fn drop(&mut self) {
        let key = self.subscription.key;
        let mut state = lock(&self.shared.state);
        if !state.is_excluded() {
            state.tree.remove(key);
            return;
        }
        if state.cancel_insertion(key) {
            return;
        }
        state.deferred.push(Deferred::Remove(key));
        let running = state.seq;
        while state.seq == running {
            state = wait(&self.shared.changed, state);
        }
    }
}
