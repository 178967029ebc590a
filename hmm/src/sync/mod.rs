//! The locks and atomics of the crate: those of `std`, or loom's doubles of them.
//!
//! All synchronisation that this crate writes itself goes through this module, so that the model
//! checker sees it. `Arc` does not: it only counts, and loom's cannot point to a trait object.

#![forbid(unsafe_code)]

pub(crate) mod backoff;

#[cfg(loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
#[cfg(loom)]
pub(crate) use loom::thread::{ThreadId, current as current_thread};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
use std::sync::{LockResult, PoisonError};
#[cfg(not(loom))]
pub(crate) use std::thread::{ThreadId, current as current_thread};

/// Locks, whether or not a thread has panicked with the lock held.
///
/// This is right where no section under the lock can panic halfway through a change, which holds
/// for every lock of this crate: no callback and no caller's code runs under one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    recover(mutex.lock())
}

/// Sleeps until `changed` is notified and locks again.
pub(crate) fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    recover(changed.wait(guard))
}

fn recover<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}
