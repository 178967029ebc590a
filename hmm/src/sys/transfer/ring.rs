//! The last requests of a transfer: what a test prints when it has found that bytes are lost.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Request;
use crate::addr::VaRange;
use crate::addr::pages::{count_of, pages_in};
use crate::sys::uffd::{Outcome, Resolution};

/// How many requests it keeps.
const EVENTS: usize = 256;

/// A request and its answer.
#[derive(Clone, Copy, Debug)]
struct Event {
    kind: Request,
    range: VaRange,
    outcome: Outcome,
}

/// The last requests, and how far moves out are.
#[derive(Debug)]
pub(crate) struct Ring {
    events: Mutex<VecDeque<Event>>,
    announced: AtomicU64,
    /// How many steps of a loop lie between the announcement of a move and its begin.
    lead: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Default for Ring {
    fn default() -> Self {
        let events = Mutex::new(VecDeque::with_capacity(EVENTS));
        let [announced, lead, begun, ended] = [const { AtomicU64::new(0) }; 4];
        Self { events, announced, lead, begun, ended }
    }
}

impl Ring {
    /// Makes a request and notes its answer.
    pub(super) fn note(
        &self,
        kind: Request,
        range: VaRange,
        request: impl FnOnce(VaRange) -> Outcome,
    ) -> Outcome {
        let moves_out = u64::from(kind == Request::MoveOut);
        if moves_out > 0 {
            self.announced.fetch_add(1, Ordering::SeqCst);
            (0..self.lead.load(Ordering::SeqCst)).for_each(|_| std::hint::spin_loop());
        }
        self.begun.fetch_add(moves_out, Ordering::SeqCst);
        let outcome = request(range);
        self.ended.fetch_add(moves_out, Ordering::SeqCst);
        let mut events = self.events();
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back(Event { kind, range, outcome });
        outcome
    }

    /// Forgets everything, and announces each move so many steps before it begins.
    pub(crate) fn restart(&self, lead: u64) {
        self.events().clear();
        self.lead.store(lead, Ordering::SeqCst);
        self.announced.store(0, Ordering::SeqCst);
        self.begun.store(0, Ordering::SeqCst);
        self.ended.store(0, Ordering::SeqCst);
    }

    /// How many moves out were announced.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::SeqCst)
    }

    /// How many moves out were given to the kernel.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// How many of them it has answered.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// How many moves out met pages at their destination. If no other thread puts pages there,
    /// those are pages that the kernel moved and did not count.
    pub(crate) fn uncounted(&self) -> usize {
        let is_uncounted = |event: &&Event| {
            event.kind == Request::MoveOut && event.outcome.resolution == Resolution::AlreadyThere
        };
        self.events().iter().filter(is_uncounted).count()
    }

    fn events(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Display for Ring {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "the last requests:")?;
        for Event { kind, range, outcome } in self.events().iter() {
            let (done, count) = (pages_in(outcome.done_bytes), count_of(*range));
            writeln!(f, "{kind:?} {range}: {done} of {count} pages, {:?}", outcome.resolution)?;
        }
        Ok(())
    }
}
