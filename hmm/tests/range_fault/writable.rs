//! Walks that want to write, and pages that are there and not writable.
//!
//! # Safety
//!
//! The child that `fork` makes calls only what may be called between fork and exit.

use std::fs::File;
use std::os::unix::fs::FileExt;

use farptr_hmm::{Pfn, VirtAddr};

use crate::common::{Arena, page_bytes, smaps_bytes};
use crate::mirror::{Mirror, bytes, number_pages, numbered};

/// Tells by the kernel's word whether no other process maps the page.
fn is_exclusive(addr: VirtAddr) -> bool {
    let mut entry = [0; 8];
    let offset = addr.get() / page_bytes() as u64 * 8;
    let pagemap = File::open("/proc/self/pagemap").expect("pagemap");
    pagemap.read_exact_at(&mut entry, offset).expect("an entry");
    u64::from_ne_bytes(entry) & 1 << 56 != 0
}

#[test]
fn the_page_of_zeroes_is_replaced() {
    let arena = Arena::new(16);
    arena.read(0..16);
    let start = arena.range().start();
    assert_eq!(smaps_bytes(start, "Anonymous"), 0);
    let mut mirror = Mirror::open();
    mirror.fault(arena.range(), false).expect("read");
    assert_eq!(smaps_bytes(start, "Anonymous"), 0, "wanted for reading, it stays");
    let pfns = mirror.fault(arena.range(), true).expect("write");
    assert_eq!(pfns.count(Pfn::is_writable).get(), 16);
    assert_eq!(smaps_bytes(start, "Anonymous"), 16 * page_bytes() as u64);
}

/// A child that shares all pages of this process until it is dropped.
struct Child {
    pid: libc::pid_t,
    release: libc::c_int,
}

impl Child {
    fn fork() -> Self {
        let mut pipe = [0; 2];
        // SAFETY: `pipe` writes two descriptors to an array of two.
        assert_eq!(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        let [wait, release] = pipe;
        // SAFETY: The child makes only calls that are allowed between fork and exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: The descriptor is the child's own copy.
            unsafe { libc::close(release) };
            // SAFETY: The buffer is null and its length zero or one byte of the child's stack; the
            // call returns when the parent has closed the other end.
            unsafe { libc::read(wait, (&raw mut pipe).cast(), 1) };
            // SAFETY: Ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        assert!(pid > 0, "fork");
        // SAFETY: The descriptor is this function's own.
        unsafe { libc::close(wait) };
        Self { pid, release }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: The descriptor is this value's own.
        unsafe { libc::close(self.release) };
        // SAFETY: The child is this process's and waited for once; no status is asked for.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

#[test]
fn a_page_shared_with_a_child_is_copied() {
    let arena = Arena::new(4);
    number_pages(arena.range(), 0);
    let pages = || (0..4).map(|page| arena.range_of(page..page + 1).start());
    assert!(pages().all(is_exclusive));

    let child = Child::fork();
    assert!(!pages().any(is_exclusive));
    let mut mirror = Mirror::open();
    mirror.fault(arena.range(), false).expect("read");
    assert!(!pages().any(is_exclusive), "wanted for reading, they stay shared");
    mirror.fault(arena.range_of(1..3), true).expect("write");
    assert_eq!(pages().map(is_exclusive).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(bytes(arena.range()), numbered(0..4));
    drop(child);
}
