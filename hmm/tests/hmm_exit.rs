//! The end of a mirror, and of the process, while pages are away: a thread that reads them reads
//! their content.
//!
//! # Safety
//!
//! Functions that run at the exit of the process live for ever, and the tests query the state of
//! pages of their own memory only.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod hmm_copies;
mod hmm_rig;
mod processors;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;

use farptr_hmm::{DeviceId, PageCount};
use hmm_copies::Copies;
use hmm_rig::{Buffer, Rig, huge, isolated, number, page};
use processors::pin;

/// The state that the threads and the exit handlers of a process share.
struct Leaked {
    rig: Rig,
    copies: DeviceId,
    buffer: Buffer,
    /// How often pages went to a device.
    migrations: AtomicUsize,
    /// How often all pages were read.
    readings: AtomicUsize,
    /// How many handlers have read them.
    handlers: AtomicUsize,
}

static LEAKED: OnceLock<&'static Leaked> = OnceLock::new();
const HANDLERS: usize = 3;
const EXIT_PAGES: usize = 32;

impl Leaked {
    /// Ends the process at the first wrong byte: the end of a thread would not be seen.
    fn or_abort(what: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(what)).is_err() {
            std::process::abort();
        }
    }

    fn migrate_on(&self) {
        Self::or_abort(|| {
            for round in 0.. {
                if round % 2 == 0 {
                    let _ = self.rig.mirror.migrate_to_device(self.buffer.range(), self.copies);
                } else {
                    let _ = self.rig.dev().migrate_to_dev(self.buffer.range(), None);
                }
                self.migrations.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn read_on(&self) {
        Self::or_abort(|| {
            loop {
                self.buffer.check(0..EXIT_PAGES);
                self.readings.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Waits until both have gone on for some rounds.
    fn wait_for_both(&self) {
        for count in [&self.migrations, &self.readings] {
            let before = count.load(Ordering::Relaxed);
            while count.load(Ordering::Relaxed) < before + 4 {
                thread::yield_now();
            }
        }
    }
}

/// A panic in it ends the process, as it should.
extern "C" fn read_at_exit() {
    let leaked = LEAKED.get().expect("set");
    for _ in 0..8 {
        leaked.buffer.check(0..EXIT_PAGES);
        leaked.wait_for_both();
    }
    let _ = leaked.rig.mirror.migrate_to_device(leaked.buffer.range(), leaked.copies);
    leaked.handlers.fetch_add(1, Ordering::Relaxed);
}

/// Registered first, so it runs last.
extern "C" fn succeed_at_exit() {
    let leaked = LEAKED.get().expect("set");
    leaked.buffer.check(0..EXIT_PAGES);
    assert_eq!(leaked.handlers.load(Ordering::Relaxed), HANDLERS);
    let stats = leaked.rig.mirror.stats();
    assert!(stats.pages_out > 0 && stats.faults > 0 && stats.lost == 0, "{stats:?}");
    // SAFETY: The process ends.
    unsafe { libc::_exit(0) };
}

fn at_exit(function: extern "C" fn()) {
    // SAFETY: The function lives for ever, and does not unwind.
    assert_eq!(unsafe { libc::atexit(function) }, 0);
}

#[test]
fn exit_while_threads_read_and_migrate() {
    isolated("exit_while_threads_read_and_migrate", || {
        let Some(rig) = Rig::migrating(1) else { return };
        let copies = rig.mirror.attach(Arc::new(Copies::new(EXIT_PAGES)) as _).expect("attach");
        let buffer = Buffer::anon(EXIT_PAGES);
        buffer.fill(0..EXIT_PAGES);
        let [migrations, readings, handlers] = [const { AtomicUsize::new(0) }; 3];
        let leaked = Leaked { rig, copies, buffer, migrations, readings, handlers };
        // It is never dropped: no thread brings the pages home.
        let leaked: &'static Leaked = Box::leak(Box::new(leaked));
        assert!(LEAKED.set(leaked).is_ok());
        at_exit(succeed_at_exit);
        (0..HANDLERS).for_each(|_| at_exit(read_at_exit));
        thread::spawn(|| {
            let _pinned = pin(0);
            leaked.migrate_on();
        });
        for number in 1..3 {
            thread::spawn(move || {
                let _pinned = pin(number);
                leaked.read_on();
            });
        }
        leaked.wait_for_both();
        // A failure, unless the handlers have done their work.
        std::process::exit(1);
    });
}

/// How many pages of a buffer are there, without touching any.
fn present(buffer: &Buffer) -> usize {
    let (start, len) = (buffer.range().start(), buffer.pages() * page());
    let mut resident = vec![0u8; buffer.pages()];
    // SAFETY: The kernel writes a byte for each page into the vector, which has as many.
    let asked = unsafe { libc::mincore(start.as_mut_ptr(), len, resident.as_mut_ptr()) };
    assert_eq!(asked, 0, "{}", std::io::Error::last_os_error());
    resident.iter().filter(|&&page| page & 1 != 0).count()
}

#[test]
fn the_panic_of_the_owning_thread_brings_everything_home() {
    isolated("the_panic_of_the_owning_thread_brings_everything_home", || {
        let Some(rig) = Rig::migrating(1) else { return };
        let copies = Arc::new(Copies::new(64));
        let [moved, copied] = [(); 2].map(|()| {
            let buffer = Buffer::anon(64);
            buffer.fill(0..64);
            Arc::new(buffer)
        });
        let (mine, theirs) = (Arc::clone(&copies), [Arc::clone(&moved), Arc::clone(&copied)]);
        let owner = thread::spawn(move || {
            let [moved, copied] = theirs;
            let id = rig.mirror.attach(mine as _).expect("attach");
            let migration = rig.mirror.migrate_to_device(copied.range(), id).expect("migrate");
            assert_eq!(migration.moved(), PageCount::new(64));
            let _ = rig.dev().migrate_to_dev(moved.range(), None).expect("migrate");
            assert_eq!(rig.mirror.pages_away(), PageCount::new(128));
            std::panic::panic_any(Told)
        });
        let panic = owner.join().expect_err("a panic");
        assert!(panic.is::<Told>(), "another panic than the one wanted");
        assert_eq!((copies.used(), copies.copied_out()), (0, 64));
        for buffer in [&moved, &copied] {
            assert_eq!(present(buffer), 64, "nobody has touched any page since");
            buffer.check(0..64);
            buffer.fill(0..64);
        }
    });
}

/// The panic that a test asks for.
struct Told;

/// Goes over all pages until `done`, and once more: each word holds what this thread left there.
fn touch_until(done: &AtomicBool, buffer: &Buffer, thread: usize) {
    let word_of = |page: usize| buffer.words_of(page..page + 1).start + thread;
    let mut round = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        for page in 0..buffer.pages() {
            let word = word_of(page);
            let expected = if round == 0 { number(word) } else { round };
            assert_eq!(buffer.get(word), expected, "page {page}, round {round}");
            buffer.set(word, round + 1);
        }
        round += 1;
        if last {
            return;
        }
    }
}

#[test]
fn threads_touch_pages_while_the_mirror_is_dropped() {
    const THREADS: usize = 4;
    isolated("threads_touch_pages_while_the_mirror_is_dropped", || {
        for round in 0..50 {
            let Some(rig) = Rig::migrating(1) else { return };
            let buffer = if round % 5 == 4 { Buffer::thp(1) } else { Buffer::anon(64) };
            let pages = buffer.pages();
            buffer.fill(0..pages);
            let copies = Arc::new(Copies::new(2 * huge()));
            let id = rig.mirror.attach(Arc::clone(&copies) as _).expect("attach");
            if round % 2 == 0 {
                let _ = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
            } else {
                let _ = rig.dev().migrate_to_dev(buffer.range(), None).expect("migrate");
            }
            assert_eq!(rig.mirror.pages_away(), PageCount::new(pages as u64));
            let (done, together) = (AtomicBool::new(false), Barrier::new(THREADS + 1));
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (buffer, done, together) = (&buffer, &done, &together);
                    scope.spawn(move || {
                        let _pinned = pin(thread);
                        together.wait();
                        touch_until(done, buffer, thread);
                    });
                }
                together.wait();
                drop(rig);
                done.store(true, Ordering::Release);
            });
            assert_eq!((copies.used(), present(&buffer)), (0, pages), "round {round}");
            // The words that were not written.
            for page in 0..pages {
                for word in buffer.words_of(page..page + 1).skip(THREADS) {
                    assert_eq!(buffer.get(word), number(word), "word {word}, round {round}");
                }
            }
        }
    });
}
