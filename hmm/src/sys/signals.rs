//! Signals, which a thread that must not touch the program's memory leaves to others.
//!
//! # Safety
//!
//! Two C functions are called, to fill a set of signals and to make it this thread's mask. Both
//! write nothing but what they are given.

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
