//! Threads of a test on different processors, where they really run side by side. Without pinning,
//! the kernel often runs the threads of a short test on one processor, and they never run at the
//! same time.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::Write;
use std::marker::PhantomData;
use std::sync::{Once, OnceLock};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process may use. They were looked up before any thread was pinned.
fn allowed() -> &'static CpuSet {
    static ALLOWED: OnceLock<CpuSet> = OnceLock::new();
    ALLOWED.get_or_init(|| sched_getaffinity(None).expect("the processors of this process"))
}

/// Whether there is more than one processor. If not, says so once; in CI that is a failure.
pub(crate) fn are_several() -> bool {
    static SAID: Once = Once::new();
    let several = allowed().count() > 1;
    if !several {
        assert!(std::env::var_os("CI").is_none(), "in CI tests must have two processors");
        SAID.call_once(|| {
            let line = b"SKIP threads side by side: this process may use one processor only\n";
            // Straight to the stream: what a passing test prints with macros is captured.
            let _ = std::io::stderr().write_all(line);
        });
    }
    several
}

/// Keeps a thread on its processor until it is dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Pinned(PhantomData<*const ()>);

/// Pins this thread to a processor. Threads with different numbers run on different processors as
/// long as there are as many; threads that are started from here on stay on the same one, unless
/// they pin themselves. With one processor nothing happens, except what [`are_several`] says.
pub(crate) fn pin(number: usize) -> Pinned {
    if are_several() {
        let all = allowed();
        let mut mine = (0..CpuSet::MAX_CPU).filter(|&processor| all.is_set(processor)).cycle();
        let mut one = CpuSet::new();
        one.set(mine.nth(number % all.count() as usize).expect("a processor"));
        sched_setaffinity(None, &one).expect("a processor that is allowed");
    }
    Pinned(PhantomData)
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It fails only where the processors of the process were changed meanwhile.
        let _ = sched_setaffinity(None, allowed());
    }
}
