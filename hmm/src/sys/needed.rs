//! Memory that a thread needs while it moves pages: its stack, its own variables, and mappings of
//! this crate. Such memory must stay at home.
//!
//! # Safety
//!
//! The functions below ask the C library for the addresses of the calling thread's stack and
//! variables. The C library writes the answers into local variables, and no function reads through
//! the addresses.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{PageSize, VaRange, VirtAddr};

/// The most pages of its stack that a migrating thread uses below the variables of
/// [`pages_of_this_thread`].
const DEPTH: u64 = 64;

/// The bytes behind the address of a thread's descriptor that belong to the C library on every
/// system. Not more: the mapping may end right behind them, and the next page may be part of a
/// buffer.
const THREAD_BYTES: u64 = 2048;

/// The pages that the calling thread itself touches, whatever it does: its stack from here down,
/// all of it where the C library knows it, and the variables of the C library.
pub(crate) fn pages_of_this_thread() -> [VaRange; 4] {
    let here = 0u8;
    let at = VirtAddr::from_ptr(&raw const here).get();
    let page = PageSize::host().bytes();
    let below = span(at.saturating_sub(DEPTH * page), at + page);
    [below, whole_stack().unwrap_or_default(), variables(), signal_stack().unwrap_or_default()]
}

/// The stack for signals. A thread unmaps it when it ends. If it were watched, the `munmap` by the
/// thread that reads messages would wait until that same thread reads the message.
fn signal_stack() -> Option<VaRange> {
    let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: 1. No new stack is set. 2. There is room for the answer.
    if unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: All bytes are zeroes or were set by the call, and any are a value.
    let stack = unsafe { stack.assume_init() };
    let range = VaRange::from_len(VirtAddr::from_ptr(stack.ss_sp), stack.ss_size as u64)?;
    Some(range.pages_covering(PageSize::host()))
}

/// The stack of a thread other than the first; that of the first is an area with a name.
fn whole_stack() -> Option<VaRange> {
    if rustix::thread::gettid() == rustix::process::getpid() {
        return None;
    }
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: The call has no obligations.
    let thread = unsafe { libc::pthread_self() };
    // SAFETY: 1. The thread is this one, which lives. 2. There is room for the attributes.
    if unsafe { libc::pthread_getattr_np(thread, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut start, mut len) = (ptr::null_mut(), 0);
    // SAFETY: 1. The attributes were set above. 2. There is room for the answers.
    unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut len) };
    // SAFETY: The attributes were set above, and are not used any more.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    VaRange::from_len(VirtAddr::from_ptr(start), len as u64)
}

/// From the thread variables of the C library to its descriptor of the thread. On some processors
/// the descriptor lies above the variables, on some below; the thread variables of the program lie
/// between the two.
fn variables() -> VaRange {
    // SAFETY: The call has no obligations.
    let error = VirtAddr::from_ptr(unsafe { libc::__errno_location() }).get();
    // SAFETY: The call has no obligations.
    let thread = unsafe { libc::pthread_self() };
    span(error.min(thread), error.max(thread) + THREAD_BYTES)
}

fn span(start: u64, end: u64) -> VaRange {
    let range = VaRange::new(VirtAddr::new(start), VirtAddr::new(end)).unwrap_or_default();
    range.pages_covering(PageSize::host())
}

unsafe extern "C" {
    /// The C library's, of which nothing but the address is used.
    static environ: *const libc::c_char;
}

/// Addresses of static variables that start as zeroes, of this program and of the C library. Other
/// such variables lie in the same areas, the panic counter of the standard library for one.
pub(crate) fn static_variables() -> [VirtAddr; 3] {
    let own = VaRange::of(&OWN);
    // The first pages of such variables may be mapped from the program's file, and the others be
    // anonymous memory.
    [own.start(), VirtAddr::new(own.end().get() - 1), VirtAddr::from_ptr(&raw const environ)]
}

/// How many mappings of the crate are known.
const ROOM: usize = 1024;

/// The mappings of the crate that it needs to move pages. Entries are taken and given back without
/// a lock, because a child of `fork` could inherit a lock that is held.
static OWN: [Own; ROOM] =
    [const { Own { start: AtomicU64::new(0), len: AtomicU64::new(0) } }; ROOM];

/// A mapping of the crate. Its start is zero while the entry is free.
struct Own {
    start: AtomicU64,
    len: AtomicU64,
}

/// The entry of one mapping, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listed(Option<usize>);

/// Notes that a mapping must stay at home. All accesses are relaxed: the caller has the mapping.
pub(crate) fn list(range: VaRange) -> Listed {
    let start = range.start().get();
    let (taken, free) = (Ordering::Relaxed, Ordering::Relaxed);
    let mut entries = OWN.iter();
    let entry = entries.position(|own| own.start.compare_exchange(0, start, taken, free).is_ok());
    if let Some(own) = entry.and_then(|entry| OWN.get(entry)) {
        own.len.store(range.len_bytes(), Ordering::Relaxed);
    }
    Listed(entry)
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(own) = self.0.and_then(|entry| OWN.get(entry)) {
            own.len.store(0, Ordering::Relaxed);
            own.start.store(0, Ordering::Relaxed);
        }
    }
}

/// The mappings of the crate.
pub(crate) fn listed() -> impl Iterator<Item = VaRange> {
    OWN.iter().filter_map(|own| {
        let start = VirtAddr::new(own.start.load(Ordering::Relaxed));
        VaRange::from_len(start, own.len.load(Ordering::Relaxed)).filter(|range| !range.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_needs_is_found() {
        let check = || {
            let local = 7u8;
            let pages = pages_of_this_thread();
            let has = |at: VirtAddr| pages.iter().any(|range| range.contains(at));
            assert!(has(VirtAddr::from_ptr(&raw const local)), "{pages:?}");
            // SAFETY: The call has no obligations.
            assert!(has(VirtAddr::from_ptr(unsafe { libc::__errno_location() })), "{pages:?}");
        };
        check();
        std::thread::spawn(check).join().expect("a thread");
    }

    #[test]
    fn a_mapping_is_listed_until_it_is_dropped() {
        let range = span(1 << 44, (1 << 44) + 5000);
        let entry = list(range);
        assert!(listed().any(|listed| listed == range));
        drop(entry);
        assert!(listed().all(|listed| listed != range));
    }
}
