//! Signals: a thread blocks all of them, or turns one into an error.
//!
//! # Safety
//!
//! C functions are called that work on sets of signals and on this thread's mask. They write
//! nothing but the sets that they are given, and a mask changes which signals are delivered, and
//! nothing else.

use std::mem::MaybeUninit;
use std::ptr;

/// Leaves all signals of this process to other threads. The handlers are the program's, and touch
/// its memory.
pub(crate) fn block_all() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: The pointer is to room for a set, which the function fills.
    let filled = unsafe { libc::sigfillset(all.as_mut_ptr()) };
    if filled == 0 {
        // SAFETY: The first pointer is to a set, which was filled above; the second may be null.
        // A mask changes which thread runs a handler, and nothing else.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), ptr::null_mut()) };
    }
}

/// Runs `act` so that a file that it would make longer than the process may (`RLIMIT_FSIZE`) is an
/// error to it, as on a full disk, and not the signal that ends the process.
///
/// This holds for this thread, and for good for threads that `act` starts.
///
/// # Examples
///
/// ```
/// let written = farptr_hmm::file_limit_as_error(|| std::fs::write("/dev/null", "text"));
/// assert!(written.is_ok());
/// ```
pub fn file_limit_as_error<R>(act: impl FnOnce() -> R) -> R {
    let _blocked = FileLimitSignal::block();
    act()
}

/// Keeps `SIGXFSZ` from this thread until it is dropped.
struct FileLimitSignal {
    signal: libc::sigset_t,
    /// The thread's mask before.
    mask: libc::sigset_t,
    /// Whether such a signal was waiting before, which is then not ours to take.
    was_pending: bool,
}

impl FileLimitSignal {
    /// Nothing where the thread's mask cannot be changed.
    fn block() -> Option<Self> {
        let signal = file_limit_signal()?;
        let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
        let was_pending = is_pending();
        // SAFETY: The first pointer is to a set, the second to room for one, which the function
        // fills if it succeeds.
        let failed =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signal, mask.as_mut_ptr()) };
        if failed != 0 {
            return None;
        }
        // SAFETY: The call succeeded, so the set is filled.
        let mask = unsafe { mask.assume_init() };
        Some(Self { signal, mask, was_pending })
    }
}

impl Drop for FileLimitSignal {
    fn drop(&mut self) {
        if !self.was_pending && is_pending() {
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: The pointers are to a set and to a time; what is known of the signal may be
            // asked for with null.
            unsafe {
                libc::sigtimedwait(&raw const self.signal, ptr::null_mut(), &raw const at_once)
            };
        }
        // SAFETY: The first pointer is to a set, which the kernel gave; the second may be null.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.mask, ptr::null_mut()) };
    }
}

/// The set of the one signal.
fn file_limit_signal() -> Option<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: The pointer is to room for a set, which the function fills.
    let emptied = unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: The pointer is to a set, if it was filled above; else the call is not made.
    let added = emptied == 0 && unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ) } == 0;
    // SAFETY: The set is filled if all that succeeded; else it is not looked at.
    added.then(|| unsafe { set.assume_init() })
}

/// Whether such a signal waits for this thread, or for any.
fn is_pending() -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: The pointer is to room for a set, which the function fills.
    let filled = unsafe { libc::sigpending(set.as_mut_ptr()) };
    // SAFETY: The pointer is to a set, if it was filled above; else the call is not made.
    filled == 0 && unsafe { libc::sigismember(set.as_ptr(), libc::SIGXFSZ) } == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raise() {
        // SAFETY: The signal goes to this thread, which has it blocked.
        unsafe { libc::raise(libc::SIGXFSZ) };
    }

    #[test]
    fn a_signal_about_long_files_is_not_delivered() {
        let raised = file_limit_as_error(|| {
            raise();
            is_pending()
        });
        assert!(raised && !is_pending(), "it was taken, or this process would have ended");
        let nested = file_limit_as_error(|| {
            file_limit_as_error(raise);
            is_pending()
        });
        assert!(!nested, "each takes its own");
    }

    #[test]
    fn a_signal_that_was_waiting_goes_on_waiting() {
        let ended = std::thread::spawn(|| {
            let mask = FileLimitSignal::block().expect("the mask can be changed");
            raise();
            file_limit_as_error(|| ());
            assert!(is_pending());
            drop(mask);
            assert!(!is_pending());
        });
        ended.join().expect("the assertions hold");
    }
}
