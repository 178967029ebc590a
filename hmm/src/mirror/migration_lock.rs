//! One migration at a time.

#![forbid(unsafe_code)]

use crate::sync::{Condvar, Mutex, ThreadId, current_thread, lock, wait};

/// Lets one thread in at a time.
///
/// Unlike a lock it can be entered by one function and left by another, which a fork needs: it is
/// entered before and left after.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    inside: Mutex<Option<ThreadId>>,
    opened: Condvar,
}

/// Being inside; dropping it is leaving.
#[derive(Debug)]
pub(crate) struct Inside<'g> {
    gate: &'g Gate,
}

impl Gate {
    /// Waits until nobody is inside, and enters.
    ///
    /// # Panics
    ///
    /// If this very thread is inside: a device called back into the mirror, or forked.
    pub(crate) fn enter(&self) -> Inside<'_> {
        self.close();
        Inside { gate: self }
    }

    /// Enters until [`Gate::open`].
    pub(crate) fn close(&self) {
        let this = current_thread().id();
        let mut inside = lock(&self.inside);
        while let Some(holder) = *inside {
            assert!(holder != this, "a device migrated or forked from one of its functions");
            inside = wait(&self.opened, inside);
        }
        *inside = Some(this);
    }

    /// Leaves.
    pub(crate) fn open(&self) {
        *lock(&self.inside) = None;
        self.opened.notify_one();
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.open();
    }
}
