//! The writing side: code that changes the host page table announces it first.

use std::sync::Arc;

use super::{Event, Invalidation, Notifiers, SeqSet, Shared, State, Subscription, WouldBlock};
use crate::addr::VaRange;
use crate::notifier::interval::Key;
use crate::sync::{Ordering, lock};

/// A running invalidation; dropping it is its end.
///
/// From the moment that it exists no device uses the range, and no attempt to read that began
/// before it can succeed. Attempts that begin while it exists wait. So the host page table is
/// changed while the guard is held, and the guard is dropped when the change is visible.
///
/// It may be sent to another thread, and several may exist at a time, for one range too. A guard
/// that is forgotten leaves the readers of its range waiting for ever.
#[derive(Debug)]
#[must_use = "the mapping may change only while the guard is held"]
pub struct InvalidationGuard {
    shared: Arc<Shared>,
    event: Event,
    range: VaRange,
}

/// The change that is announced, to every notifier alike.
#[derive(Clone, Copy)]
struct Change {
    event: Event,
    range: VaRange,
    may_block: bool,
}

impl State {
    /// Finds the next subscription after `after` that is to be told.
    fn next_match(&self, change: &Change, after: Option<Key>) -> Option<Arc<Subscription>> {
        let mut after = after;
        loop {
            let (key, subscription) = self.tree.next_overlap(&change.range, after)?;
            if !subscription.is_by_own_owner(change.event) {
                return Some(Arc::clone(subscription));
            }
            after = Some(key);
        }
    }

    /// Enters an invalidation and returns the first subscription to be told.
    fn enter(&mut self, change: &Change) -> Option<Arc<Subscription>> {
        self.active += 1;
        let first = self.next_match(change, None);
        if first.is_some() {
            self.seq |= 1;
        }
        first
    }

    /// Leaves an invalidation, and tells whether it was the last one that ran.
    fn leave(&mut self) -> bool {
        self.active -= 1;
        if self.active > 0 || !self.is_excluded() {
            return false;
        }
        self.seq = self.seq.wrapping_add(1);
        self.apply_deferred();
        true
    }
}

impl Subscription {
    fn is_by_own_owner(&self, event: Event) -> bool {
        self.owner.is_some() && event.owner() == self.owner
    }

    fn notify(&self, change: &Change, seq: u64) -> Result<(), WouldBlock> {
        let Change { event, range, may_block } = *change;
        let range = range.intersection(&self.range).unwrap_or_default();
        let invalidation = Invalidation { event, range, may_block, seq, last: &self.seq };
        let SeqSet(()) = self.device.invalidate(&invalidation)?;
        // Relaxed: written by this very thread.
        let set = self.seq.load(Ordering::Relaxed);
        assert_eq!(set, seq, "a device answered with the `SeqSet` of another invalidation");
        Ok(())
    }
}

impl Notifiers {
    /// Begins to invalidate `range`: tells every device that watches a part of it, and returns
    /// when none uses it any more.
    ///
    /// The devices are told in the order of their ranges, one after another, on this thread. The
    /// thread must hold no lock that a device takes in its callback.
    pub fn invalidate(&self, event: Event, range: VaRange) -> InvalidationGuard {
        let change = Change { event, range, may_block: true };
        let first = lock(&self.shared.state).enter(&change);
        match self.announce(&change, first) {
            Ok(guard) => guard,
            Err(WouldBlock(())) => unreachable!("an answer that only other invalidations can get"),
        }
    }

    /// Begins to invalidate `range` like [`Notifiers::invalidate`], but never waits for a lock that
    /// another thread holds for long.
    ///
    /// # Errors
    ///
    /// - [`WouldBlock`] if a device would have to wait, or if the notifiers are being changed at
    ///   this moment. The mapping must then stay as it is. Devices that were told before make
    ///   their readers retry, which does no harm.
    pub fn try_invalidate(
        &self,
        event: Event,
        range: VaRange,
    ) -> Result<InvalidationGuard, WouldBlock> {
        let change = Change { event, range, may_block: false };
        let entered = self.shared.state.try_lock().map(|mut state| state.enter(&change));
        self.announce(&change, entered.map_err(|_| WouldBlock(()))?)
    }

    /// Tells every device that the address space, or its mirror, ends.
    ///
    /// The registrations stay until they are dropped.
    pub fn release(&self) {
        drop(self.invalidate(Event::Release, VaRange::USER));
    }

    /// Tells the subscriptions, of which the first is known. The caller has entered the
    /// invalidation; the guard leaves it, on a refusal and on a panic too.
    ///
    /// If there is a first, the tree does not change until the guard is dropped, so that the
    /// search can go on from a key. No list is made: this runs on a thread that serves faults.
    fn announce(
        &self,
        change: &Change,
        first: Option<Arc<Subscription>>,
    ) -> Result<InvalidationGuard, WouldBlock> {
        let Change { event, range, .. } = *change;
        let guard = InvalidationGuard { shared: Arc::clone(&self.shared), event, range };
        let mut next = first;
        while let Some(subscription) = next {
            let seq = lock(&self.shared.state).seq;
            subscription.notify(change, seq)?;
            next = lock(&self.shared.state).next_match(change, Some(subscription.key));
        }
        Ok(guard)
    }
}

impl InvalidationGuard {
    /// Returns the invalidated range.
    #[must_use]
    pub fn range(&self) -> VaRange {
        self.range
    }

    /// Returns why it is invalidated.
    #[must_use]
    pub fn event(&self) -> Event {
        self.event
    }
}

impl Drop for InvalidationGuard {
    /// Ends the invalidation and wakes the threads that wait for the end.
    fn drop(&mut self) {
        if lock(&self.shared.state).leave() {
            self.shared.changed.notify_all();
        }
    }
}
