//! Many threads touch, migrate, move, drop and unmap pages for a while: nothing is lost or stale.
//!
//! Each page has its own number, its version and its writer, under a checksum. The expected content
//! is noted beside a lock of its own, in memory that is never mirrored; so every reader of the page
//! knows the expected bytes, whether a thread, a device or a system call reads it. Migrations take
//! no lock and are often wrong about where a buffer is.
//!
//! `FARPTR_STRESS_SECONDS` sets the length, `FARPTR_STRESS_SEED` the steps.

#![cfg(feature = "dmirror")]

mod content;
#[path = "../hmm_copies/mod.rs"]
mod hmm_copies;
#[path = "../hmm_rig/mod.rs"]
mod hmm_rig;
mod memory;
#[path = "../processors/mod.rs"]
mod processors;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use farptr_hmm::{DeviceId, MirrorStats, PageCount};

use content::Random;
use hmm_copies::Copies;
use hmm_rig::{Rig, huge};
use memory::{Arena, Mapped};
use processors::pin;
use work::{OPS, Worker};

const THREADS: usize = 16;
const FRAMES: usize = 1024;
/// A mirror lives as long, so that many are built and dropped.
const ROUND: Duration = Duration::from_secs(10);

/// The state that all threads share.
#[derive(Debug)]
struct Stress {
    rig: Rig,
    copies: Arc<Copies>,
    copies_id: DeviceId,
    arena: Arena,
    buffers: Vec<Mapped>,
    /// How often each operation did what it is for.
    done: [AtomicU64; OPS.len()],
    /// Pages that were brought home by a call, not by a fault.
    called_home: AtomicU64,
    version: AtomicU64,
    stop: AtomicBool,
}

impl Stress {
    fn new(rig: Rig) -> Self {
        let copies = Arc::new(Copies::new(FRAMES));
        let copies_id = rig.mirror.attach(Arc::clone(&copies) as _).expect("attach");
        let arena = Arena::reserve(12);
        let sizes = [8, 32, 64, huge(), huge(), 200];
        let buffers = (0..).zip(sizes).map(|(number, pages)| Mapped::new(&arena, number, pages));
        let buffers = buffers.collect();
        let (done, called_home) = (Default::default(), AtomicU64::new(0));
        let (version, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { rig, copies, copies_id, arena, buffers, done, called_home, version, stop }
    }

    fn count(&self, op: usize) -> u64 {
        self.done[op].load(Ordering::Relaxed)
    }

    /// Checks every page as the CPU sees it, and that nothing is left over.
    fn check(&self, unmaps_first: bool) {
        if unmaps_first {
            self.arena.unmap();
        } else {
            for buffer in &self.buffers {
                let held = buffer.hold();
                for page in 0..buffer.pages() {
                    let found = buffer.reading(page).verify(&held.load(page));
                    found.unwrap_or_else(|error| panic!("at the end: {error}"));
                }
            }
            // A mapping that was moved away with its place kept may have left empty pages there.
            for device in &self.rig.devices {
                device.release().expect("release");
            }
            self.rig.mirror.evict(self.copies_id).expect("evict");
        }
        self.rig.mirror.drain();
        assert_eq!(self.rig.mirror.pages_away(), PageCount::ZERO);
        for device in &self.rig.devices {
            assert_eq!(device.used(), PageCount::ZERO, "frames of a device are still taken");
        }
        assert_eq!(self.copies.used(), 0, "frames of the copying device are still taken");
        assert_eq!(self.rig.mirror.stats().lost, 0);
        if !unmaps_first {
            self.arena.unmap();
        }
    }
}

/// Stops the other threads when its own fails.
struct StopAll<'s>(&'s AtomicBool);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs all threads until the end, and returns what was done.
fn round(rig: Rig, seed: u64, length: Duration, unmaps_first: bool) -> ([u64; OPS.len()], Totals) {
    let stress = Stress::new(rig);
    let end = Instant::now() + length;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let stress = &stress;
            scope.spawn(move || {
                let _pinned = pin(thread);
                let _stop = StopAll(&stress.stop);
                let random = Random(seed.wrapping_add(thread as u64).wrapping_mul(0x1_0001));
                let mut worker = Worker::new(stress, thread as u64 + 1, random);
                (0..OPS.len()).for_each(|op| worker.step(op));
                while Instant::now() < end && !stress.stop.load(Ordering::Relaxed) {
                    worker.any();
                }
            });
        }
    });
    stress.check(unmaps_first);
    let called_home = stress.called_home.load(Ordering::Relaxed);
    let copied_out = stress.copies.copied_out();
    let totals = Totals { stats: stress.rig.mirror.stats(), called_home, copied_out };
    (std::array::from_fn(|op| stress.count(op)), totals)
}

/// The counters of the mirror, and the work that it was given.
struct Totals {
    stats: MirrorStats,
    called_home: u64,
    copied_out: u64,
}

impl Totals {
    /// Checks that every kind of thing happened.
    fn check(&self) {
        let stats = &self.stats;
        assert!(stats.pages_home > self.called_home, "no fault brought a page home");
        let counters = [
            ("faults", stats.faults),
            ("pages_out", stats.pages_out),
            ("pages_home", stats.pages_home),
            ("copied_out", self.copied_out),
            ("zero_filled", stats.zero_filled),
            ("retries", stats.retries),
            ("discarded", stats.discarded),
            ("unmaps", stats.unmaps),
            ("clears", stats.clears),
            ("migrations", stats.migrations),
        ];
        for (name, count) in counters {
            assert!(count > 0, "{name} is zero: {stats:?}");
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is not a number")))
}

fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}

#[test]
fn nothing_is_lost_or_stale() {
    let seconds = number_from("FARPTR_STRESS_SECONDS").unwrap_or(30);
    let seed = number_from("FARPTR_STRESS_SEED").unwrap_or_else(any_seed);
    eprintln!("FARPTR_STRESS_SECONDS={seconds} FARPTR_STRESS_SEED={seed}");
    let mut left = Duration::from_secs(seconds);
    let mut all = [0; OPS.len()];
    for index in 0.. {
        let Some(rig) = Rig::migrating(2) else { return };
        let length = left.min(ROUND);
        let (done, totals) = round(rig, seed.wrapping_add(index), length, index % 2 == 1);
        totals.check();
        all.iter_mut().zip(done).for_each(|(all, done)| *all += done);
        eprintln!("round {index}: {:?}", totals.stats);
        left -= length;
        if left.is_zero() {
            break;
        }
    }
    for (op, count) in OPS.iter().zip(all) {
        eprintln!("{op:?}: {count}");
        assert!(count > 0, "{op:?} never did anything");
    }
}
