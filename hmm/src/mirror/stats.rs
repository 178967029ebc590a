//! The counters of a mirror.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::notifier::Event;

/// Counters of a mirror, all since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorStats {
    /// Page faults that the handler has read.
    pub faults: u64,
    /// Pages that went to a device.
    pub pages_out: u64,
    /// Pages that came home.
    pub pages_home: u64,
    /// Faults on pages that had no content, answered with zeroes.
    pub zero_filled: u64,
    /// Faults that were not answered at once because the page was in transit.
    pub deferred: u64,
    /// Requests that the kernel wanted to see again, because mappings were changing.
    pub retries: u64,
    /// Pages that a migration left where they were, for whatever reason.
    pub skipped: u64,
    /// Copies on a device dropped because the program dropped or replaced the page.
    pub discarded: u64,
    /// Pages whose content could not be brought back. A thread that touches one gets a bus error.
    pub lost: u64,
    /// Requests to the kernel to watch a range.
    pub registrations: u64,
    /// Invalidations because of `munmap`, `mremap` or a mapping put over another.
    pub unmaps: u64,
    /// Invalidations because pages were dropped.
    pub clears: u64,
    /// Invalidations because pages went to a device or came home.
    pub migrations: u64,
    /// Invalidations for any other reason.
    pub others: u64,
}

/// The same, while it grows. Every access is relaxed: the numbers order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) faults: Counter,
    pub(crate) pages_out: Counter,
    pub(crate) pages_home: Counter,
    pub(crate) zero_filled: Counter,
    pub(crate) deferred: Counter,
    pub(crate) retries: Counter,
    pub(crate) skipped: Counter,
    pub(crate) discarded: Counter,
    pub(crate) lost: Counter,
    pub(crate) registrations: Counter,
    unmaps: Counter,
    clears: Counter,
    migrations: Counter,
    others: Counter,
}

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn count_event(&self, event: Event) {
        let counter = match event {
            Event::Unmap => &self.unmaps,
            Event::Clear => &self.clears,
            Event::Migrate { .. } | Event::Exclusive { .. } => &self.migrations,
            _ => &self.others,
        };
        counter.add(1);
    }

    pub(crate) fn read(&self) -> MirrorStats {
        MirrorStats {
            faults: self.faults.get(),
            pages_out: self.pages_out.get(),
            pages_home: self.pages_home.get(),
            zero_filled: self.zero_filled.get(),
            deferred: self.deferred.get(),
            retries: self.retries.get(),
            skipped: self.skipped.get(),
            discarded: self.discarded.get(),
            lost: self.lost.get(),
            registrations: self.registrations.get(),
            unmaps: self.unmaps.get(),
            clears: self.clears.get(),
            migrations: self.migrations.get(),
            others: self.others.get(),
        }
    }
}
