//! Walks while other threads change the address space.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use farptr_hmm::{
    Event, FaultError, HmmRange, Notifiers, PageCount, ProcessMm, Request, VaRange, range_fault,
};

use crate::common::{Arena, look};
use crate::mirror::Mirror;
use crate::processors::pin;

/// Drops pages again and again, as announced, until told to stop or done.
fn drop_pages(arena: &Arena, notifiers: &Notifiers, rounds: usize) {
    for round in 0..rounds {
        let page = round * 7 % 64;
        let guard = notifiers.invalidate(Event::Clear, arena.range_of(page..page + 1));
        arena.drop_pages(page..page + 1);
        drop(guard);
    }
}

#[test]
fn what_is_committed_is_there() {
    let arena = Arena::new(64);
    let mirror = Mirror::open();
    let notifier = mirror.notifiers.register(arena.range(), None, mirror.table.clone());
    let notifier = notifier.expect("not empty");
    let done = AtomicBool::new(false);
    let _pinned = pin(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _pinned = pin(1);
            drop_pages(&arena, &mirror.notifiers, 20_000);
            done.store(true, Ordering::Release);
        });
        let mut commits = 0;
        while !done.load(Ordering::Acquire) || commits == 0 {
            commits += usize::from(commit_once(&mirror, &notifier, &arena));
        }
    });
    let there = present(&mirror, &arena);
    assert_eq!(mirror.table.entries.lock().expect("no panic").len(), there);
}

/// One attempt. If it succeeds, no page that the table now has can have been dropped: a thread that
/// drops pages waits for the table's lock.
fn commit_once(mirror: &Mirror, notifier: &farptr_hmm::Notifier, arena: &Arena) -> bool {
    let mut range = HmmRange::new(arena.range(), notifier).expect("whole pages");
    range.default_flags = Request::FAULT | Request::WRITE;
    match range_fault(&mirror.host, &mut range) {
        Err(FaultError::Busy { .. }) => return false,
        result => result.expect("only ever busy"),
    }
    let mut entries = mirror.table.entries.lock().expect("no panic");
    if range.read_retry() {
        return false;
    }
    entries.extend(range.pfns().pages());
    assert_eq!(look(arena.range()).absent_pages(), PageCount::ZERO);
    true
}

/// Counts the pages that both the table and the host have.
fn present(mirror: &Mirror, arena: &Arena) -> usize {
    let seen = look(arena.range());
    let entries = mirror.table.entries.lock().expect("no panic");
    entries.keys().filter(|addr| seen.state_at(**addr).is_some_and(|s| s.is_present())).count()
}

#[test]
fn anon_teardown() {
    for _ in 0..10 {
        let arena = Arena::new(256);
        arena.write(0..256);
        let mirror = Mirror::open();
        let notifier = mirror.notifiers.register(arena.range(), None, mirror.table.clone());
        let notifier = notifier.expect("not empty");
        thread::scope(|scope| {
            let _pinned = pin(0);
            scope.spawn(|| {
                let _pinned = pin(1);
                let upper = arena.range_of(128..256);
                let guard = mirror.notifiers.invalidate(Event::Unmap, upper);
                arena.unmap(128..256);
                drop(guard);
            });
            teardown(&mirror, &notifier, arena.range());
        });
        let entries = mirror.table.entries.lock().expect("no panic");
        let lower = arena.range_of(0..128);
        assert!(entries.keys().all(|&addr| lower.contains(addr)), "nothing of what is unmapped");
    }
}

/// Mirrors the whole range or learns that half of it has gone.
fn teardown(mirror: &Mirror, notifier: &farptr_hmm::Notifier, whole: VaRange) {
    let mut range = HmmRange::new(whole, notifier).expect("whole pages");
    range.default_flags = Request::FAULT;
    loop {
        match range_fault(&mirror.host, &mut range) {
            Ok(()) => {
                let mut entries = mirror.table.entries.lock().expect("no panic");
                if !range.read_retry() {
                    entries.extend(range.pfns().pages());
                    return;
                }
            }
            Err(FaultError::Busy { .. }) => {}
            Err(FaultError::Fault { addr }) => return assert!(whole.contains(addr)),
            Err(error) => panic!("{error}"),
        }
        range.read_begin();
    }
}

#[test]
fn a_walk_is_not_disturbed_by_other_ranges() {
    let (arena, elsewhere) = (Arena::new(64), Arena::new(64));
    let host = ProcessMm::open().expect("the memory of this process");
    let mirror = Mirror::open();
    let notifier = mirror.notifiers.register(arena.range(), None, mirror.table.clone());
    let notifier = notifier.expect("not empty");
    thread::scope(|scope| {
        let _pinned = pin(0);
        scope.spawn(|| {
            let _pinned = pin(1);
            drop_pages(&elsewhere, &mirror.notifiers, 2_000);
        });
        for _ in 0..50 {
            let mut range = HmmRange::new(arena.range(), &notifier).expect("whole pages");
            range.default_flags = Request::FAULT;
            range_fault(&host, &mut range).expect("never busy");
            assert!(!range.read_retry());
        }
    });
}
