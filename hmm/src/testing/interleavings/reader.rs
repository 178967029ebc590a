//! A device that mirrors one page: the loop that every device runs.

use super::kernel::Entry;
use super::mirror::{World, range};
use crate::addr::PageNumber;
use crate::mirror::table::Place;
use crate::notifier::{Invalidate, Invalidation, Notifier, SeqSet, WouldBlock};
use crate::sync::{Mutex, lock};

/// The place at which the device finds the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// In the memory of the host.
    Home,
    /// In a frame of the device that holds it.
    Frame(PageNumber),
}

/// The device's page table, of one entry.
#[derive(Debug, Default)]
pub(super) struct Reader {
    entry: Mutex<Option<View>>,
}

impl Invalidate for Reader {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        let mut entry = lock(&self.entry);
        let seq_set = invalidation.set_seq();
        *entry = None;
        Ok(seq_set)
    }
}

impl Reader {
    /// Checks that a frame can be given back.
    pub(super) fn check_unused(&self, frame: PageNumber) {
        let entry = *lock(&self.entry);
        assert_ne!(entry, Some(View::Frame(frame)), "a frame was freed that a device uses");
    }

    /// Checks that the device has stopped using the page.
    pub(super) fn check_stopped(&self) {
        assert_eq!(*lock(&self.entry), None, "the device uses a page that is moving");
    }
}

impl World {
    pub(super) fn register(&self, page: usize) -> Notifier {
        let device = std::sync::Arc::clone(&self.reader);
        self.notifiers.register(range(page), None, device).expect("not empty")
    }

    /// The host page table first, the mirror's afterwards.
    fn look(&self, page: usize) -> Option<View> {
        match self.kernel.entry(page) {
            Entry::Bytes(_) => Some(View::Home),
            Entry::Hole | Entry::Mark => match self.place(page) {
                Place::Device(held) => Some(View::Frame(held.frame)),
                Place::Home | Place::Transit(..) => None,
            },
            Entry::Unmapped => None,
        }
    }

    /// One attempt to mirror the page.
    pub(super) fn mirror_once(&self, notifier: &Notifier, page: usize) {
        let seq = notifier.read_begin();
        let view = self.look(page);
        let mut entry = lock(&self.reader.entry);
        if !notifier.read_retry(seq) {
            *entry = view;
            if let Some(View::Frame(frame)) = view {
                assert_ne!(self.frame(frame), None, "the device uses a frame that is free");
            }
        }
    }

    /// When all threads are at rest, the entry of the device is missing or right.
    pub(super) fn check_reader(&self, page: usize) {
        let entry = *lock(&self.reader.entry);
        match entry {
            None => {}
            // An access by the address. Returns `true` unless a device has the page.
            Some(View::Home) => assert_eq!(self.place(page), Place::Home),
            Some(View::Frame(_)) => assert_eq!(entry, self.look(page), "stale"),
        }
    }
}
