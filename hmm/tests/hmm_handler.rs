//! The thread that serves faults: what it allocates, how it answers many, and what happens when a
//! page cannot come home or the program ends.
//!
//! # Safety
//!
//! The allocator hands everything on to the system's. Child processes are made of programs, and
//! words that are touched are the buffers' of the tests.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod hmm_copies;
mod hmm_rig;
mod processors;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CString;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use farptr_hmm::PageCount;
use hmm_copies::Copies;
use hmm_rig::{Buffer, PAGES, Rig, Watchdog, huge, isolated, number};
use processors::pin;
use rustix::mm::Advice;

/// The thread whose allocations are counted; none if zero.
static WATCHED: AtomicI32 = AtomicI32::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn count() {
    let watched = WATCHED.load(Ordering::Relaxed);
    // SAFETY: The call has no obligations.
    if watched != 0 && unsafe { libc::gettid() } == watched {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: Everything is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: The caller keeps the promises of the same function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: The caller keeps the promises of the same function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The number of the thread that serves faults in this process, which has one mirror. It has its
/// name once it has served a fault: before that it may not have begun to run.
fn fault_thread() -> i32 {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads");
    let is_it = |path: &std::path::Path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "farptr-faults")
    };
    let mut paths = threads.flatten().map(|entry| entry.path()).filter(|path| is_it(path));
    let path = paths.next().expect("a thread that serves faults");
    assert!(paths.next().is_none(), "one mirror has one such thread");
    path.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number")
}

#[test]
fn who_serves_faults_allocates_nothing() {
    isolated("who_serves_faults_allocates_nothing", || {
        let Some(rig) = Rig::migrating(1) else { return };
        let (buffer, target) = (Buffer::anon(PAGES), Buffer::anon(64));
        buffer.fill(0..PAGES - 8);
        let _ = rig.dev().migrate_to_dev(buffer.part(0..1), None).expect("migrate");
        buffer.check(0..1);
        WATCHED.store(fault_thread(), Ordering::Relaxed);
        for _ in 0..3 {
            let _ = rig.dev().migrate_to_dev(buffer.part(0..PAGES - 64), None).expect("migrate");
            buffer.check(0..200);
            buffer.advise(200..210, Advice::LinuxDontNeed);
            buffer.check_zero(200..210);
            buffer.fill(200..210);
        }
        buffer.check_zero(PAGES - 8..PAGES);
        let _ = rig.dev().migrate_to_dev(buffer.part(0..PAGES - 64), None).expect("migrate");
        buffer.remap(300..364, &target, false);
        assert_eq!(target.get(0), number(buffer.words_of(300..301).start));
        buffer.unmap(400..500);
        rig.mirror.drain();
        let stats = rig.mirror.stats();
        WATCHED.store(0, Ordering::Relaxed);
        assert_eq!(COUNT.load(Ordering::Relaxed), 0, "allocations of the thread");
        let served = [stats.faults, stats.pages_home, stats.zero_filled, stats.clears];
        assert!(served.iter().all(|&count| count > 0) && stats.unmaps >= 2, "{stats:?}");
    });
}

#[test]
fn a_flood_of_faults_is_answered() {
    const THREADS: usize = 64;
    let Some(rig) = Rig::migrating(1) else { return };
    for pages in [PAGES, 2 * huge()] {
        let buffer = if pages == PAGES { Buffer::anon(pages) } else { Buffer::thp(2) };
        buffer.fill(0..pages);
        let before = rig.mirror.stats();
        let (_, reply) = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
        assert_eq!(reply.cpages, pages as u64);
        let together = Barrier::new(THREADS);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (buffer, together) = (&buffer, &together);
                scope.spawn(move || {
                    let _pinned = pin(thread);
                    together.wait();
                    for round in 0..pages {
                        let page = (round * 7 + thread * 16) % pages;
                        let word = buffer.words_of(page..page + 1).start + thread;
                        assert_eq!(buffer.get(word), number(word));
                    }
                });
            }
        });
        rig.mirror.drain();
        let after = rig.mirror.stats();
        assert_eq!(after.pages_home - before.pages_home, pages as u64, "each came home once");
        assert_eq!(after.pages_out - before.pages_out, pages as u64);
        assert_eq!(rig.mirror.pages_away(), PageCount::ZERO);
        assert_eq!((rig.dev().used(), after.lost), (PageCount::ZERO, 0));
        buffer.check(0..pages);
    }
}

/// A thread that waits for a page in transit is woken by the thread that took the page, and its
/// message vanishes, perhaps after a drain has seen it and before the thread that serves faults
/// has.
#[test]
fn a_drain_ends_though_the_message_that_it_saw_vanishes() {
    const ROUNDS: usize = 5000;
    let Some(rig) = Rig::migrating(1) else { return };
    let _watchdog = Watchdog::new();
    let buffer = Buffer::anon(8);
    buffer.fill(0..8);
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for (number, page) in (2..).zip([3, 5]) {
            let (buffer, together) = (&buffer, &together);
            scope.spawn(move || {
                let _pinned = pin(number);
                for _ in 0..ROUNDS {
                    together.wait();
                    buffer.check(page..page + 1);
                }
            });
        }
        scope.spawn(|| {
            let _pinned = pin(0);
            for _ in 0..ROUNDS {
                together.wait();
                (0..4).for_each(|_| rig.mirror.drain());
            }
        });
        let _pinned = pin(1);
        for _ in 0..ROUNDS {
            together.wait();
            // Pages that are on their way home stay.
            let _ = rig.dev().migrate_to_dev(buffer.range(), None);
        }
    });
    buffer.check(0..8);
}

/// Runs a test of this program again, as a process that may die.
fn again(name: &str, role: &str) -> std::process::ExitStatus {
    let program = std::env::current_exe().expect("this program");
    let arguments = ["--exact", name, "--nocapture", "--test-threads=1"];
    Command::new(program).args(arguments).env("FARPTR_ROLE", role).status().expect("a process")
}

fn role() -> Option<String> {
    std::env::var("FARPTR_ROLE").ok()
}

#[test]
fn a_page_that_cannot_come_home_is_a_bus_error() {
    let Some(rig) = Rig::migrating(0) else { return };
    if role().is_none() {
        let status = again("a_page_that_cannot_come_home_is_a_bus_error", "touch");
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
        return;
    }
    let device = Arc::new(Copies::new(64));
    let id = rig.mirror.attach(Arc::clone(&device) as _).expect("attach");
    let buffer = Buffer::anon(64);
    buffer.fill(0..64);
    let migration = rig.mirror.migrate_to_device(buffer.part(0..16), id).expect("migrate");
    assert_eq!(migration.moved(), PageCount::new(16));
    device.fall_mute();
    assert_eq!(rig.mirror.migrate_to_home(buffer.part(8..16)).expect("home"), PageCount::new(8));
    assert_eq!(rig.mirror.stats().lost, 8);
    buffer.check(16..64);
    assert_eq!((device.used(), rig.mirror.pages_away()), (8, PageCount::new(8)));
    // Here the process ends. Were it to read anything, it would end in another way.
    std::process::exit(i32::from(buffer.get(0) == 0));
}

#[test]
fn a_panic_brings_everything_home() {
    let buffer = Buffer::anon(64);
    buffer.fill(0..64);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let Some(rig) = Rig::migrating(1) else { return };
        let _ = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
        assert_eq!(rig.mirror.pages_away(), PageCount::new(64));
        panic!("as it is told to");
    }));
    buffer.check(0..64);
    assert!(panicked.is_err() || !hmm_rig::is_root());
}

#[test]
fn another_program_runs_while_pages_are_away() {
    let name = "another_program_runs_while_pages_are_away";
    if role().is_some_and(|role| role == "program") {
        return;
    }
    let Some(rig) = Rig::migrating(1) else { return };
    let buffer = Buffer::anon(64);
    buffer.fill(0..64);
    let _ = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
    if role().is_none() {
        assert!(again(name, "program").success());
        assert!(again(name, "exec").success());
        buffer.check(0..64);
        return;
    }
    assert_eq!(rig.mirror.pages_away(), PageCount::new(64));
    let program = std::env::current_exe().expect("this program");
    let text = |text: &str| CString::new(text).expect("no zero inside");
    let program = text(program.to_str().expect("a name"));
    let arguments = [program.clone(), text("--exact"), text(name)];
    let environment = text("FARPTR_ROLE=program");
    let arguments: Vec<_> =
        arguments.iter().map(|a| a.as_ptr()).chain([std::ptr::null()]).collect();
    let environment = [environment.as_ptr(), std::ptr::null()];
    // SAFETY: Both lists end with a null pointer, and the strings live until the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    panic!("exec: {}", std::io::Error::last_os_error());
}
