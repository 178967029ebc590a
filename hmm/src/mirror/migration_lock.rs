//! The lock under which one thread at a time migrates.

#![forbid(unsafe_code)]

use crate::sync::{Condvar, Mutex, ThreadId, current_thread, lock, wait};

/// Lets one thread migrate at a time.
///
/// Unlike a mutex, one function can acquire it and another release it. A fork needs this: the hook
/// before the fork acquires the lock, the hook after it releases the lock.
#[derive(Debug, Default)]
pub(crate) struct MigrationLock {
    holder: Mutex<Option<ThreadId>>,
    released: Condvar,
}

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub(crate) struct MigrationGuard<'l> {
    lock: &'l MigrationLock,
}

impl MigrationLock {
    /// Acquires the lock until the guard is dropped.
    ///
    /// # Panics
    ///
    /// As [`MigrationLock::acquire`].
    pub(crate) fn lock(&self) -> MigrationGuard<'_> {
        self.acquire();
        MigrationGuard { lock: self }
    }

    /// Waits until no thread holds the lock, and acquires it until [`MigrationLock::release`].
    ///
    /// # Panics
    ///
    /// If this very thread holds it: a device called back into the mirror, or forked.
    pub(crate) fn acquire(&self) {
        let this = current_thread().id();
        let mut current = lock(&self.holder);
        while let Some(holder) = *current {
            assert!(holder != this, "a device migrated or forked from one of its functions");
            current = wait(&self.released, current);
        }
        *current = Some(this);
    }

    /// Releases the lock.
    pub(crate) fn release(&self) {
        *lock(&self.holder) = None;
        self.released.notify_one();
    }
}

impl Drop for MigrationGuard<'_> {
    fn drop(&mut self) {
        self.lock.release();
    }
}
