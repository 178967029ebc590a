//! Bad pointers into a lent process, and threads that change its mappings while a launch runs.
//!
//! # Safety
//!
//! Each test lends the process and launches kernels that touch only mappings that it made, through
//! addresses alone: no reference into them is alive while a launch runs or a thread changes them.
//! Other addresses that a kernel is given have no memory behind them that the process may touch.
#![allow(unsafe_code, reason = "lending the process is unsafe")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "../../hmm/tests/processors/mod.rs"]
mod processors;

use common::build;
use farptr::test_hooks::TestHooks;
use farptr::{
    AccessKind, AccessMode, Backing, Error, Fault, FaultReason, Grid, LaunchError, LaunchOptions,
    RawKernel, Runtime,
};
use processors::pin;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap, mmap_anonymous,
    mprotect, mremap_fixed, munmap,
};
use std::{
    ffi::c_void,
    hint::spin_loop,
    os::fd::AsFd,
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

const PAGE: usize = 4096;
const CANARY: u8 = 0xcc;

/// A mapping that is gone with its owner, whatever became of parts of it.
struct Mapping {
    start: usize,
    pages: usize,
}

fn pointer(address: usize) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address)
}

impl Mapping {
    fn anonymous(pages: usize, fill: u8) -> Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let wish = pointer(PLACE.fetch_add(1 << 20, Relaxed));
        // SAFETY: the kernel chooses the place, at a wish.
        let start = unsafe { mmap_anonymous(wish, pages * PAGE, protection, MapFlags::PRIVATE) };
        let mapping = Self { start: start.unwrap().expose_provenance(), pages };
        for word in 0..pages * PAGE / 8 {
            mapping.put(word * 8, u64::from_ne_bytes([fill; 8]));
        }
        mapping
    }

    /// All of a file.
    fn shared(file: &impl AsFd, pages: usize) -> Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let (null, flags) = (std::ptr::null_mut(), MapFlags::SHARED);
        // SAFETY: the kernel chooses the place.
        let start = unsafe { mmap(null, pages * PAGE, protection, flags, file, 0) };
        Self { start: start.unwrap().expose_provenance(), pages }
    }

    fn address(&self, page: usize) -> usize {
        self.start + page * PAGE
    }

    fn put(&self, offset: usize, word: u64) {
        // SAFETY: the word is in the mapping, which callers have not changed there, and aligned.
        unsafe { pointer(self.start + offset).cast::<u64>().write(word) };
    }

    fn word(&self, offset: usize) -> u64 {
        // SAFETY: as in `put`.
        unsafe { pointer(self.start + offset).cast::<u64>().read() }
    }

    fn is_filled(&self, page: usize, fill: u8) -> bool {
        let words = (0..PAGE).step_by(8).map(|offset| self.word(page * PAGE + offset));
        words.into_iter().all(|word| word == u64::from_ne_bytes([fill; 8]))
    }

    fn protect(&self, page: usize, flags: MprotectFlags) {
        // SAFETY: the module's argument.
        unsafe { mprotect(pointer(self.address(page)), PAGE, flags) }.unwrap();
    }

    fn unmap(&self, page: usize) {
        // SAFETY: the module's argument.
        unsafe { munmap(pointer(self.address(page)), PAGE) }.unwrap();
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is not used any more; holes do not matter.
        let _ = unsafe { munmap(pointer(self.start), self.pages * PAGE) };
    }
}

/// The address of the next mapping: far from all others, so that no other mapping fills a hole.
static PLACE: AtomicUsize = AtomicUsize::new(0x3000_0000_0000);
/// Only one test at a time: one of them counts submissions.
static ALONE: Mutex<()> = Mutex::new(());

/// The runtime, which copies, and whatever its builder is to do besides.
fn runtime(serve: Option<u64>) -> Option<Runtime> {
    let builder = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    build(match serve {
        Some(seed) => builder.serve_faults(seed, 1),
        None => builder,
    })
}

fn launch(runtime: &Runtime, kernel: &RawKernel, words: &[u64]) -> Result<(), Error> {
    let mut push: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    push.resize(kernel.push_bytes(), 0);
    runtime.scope(|s| {
        // SAFETY: the module's argument.
        unsafe { s.lend_process() }?;
        let options = LaunchOptions::new().max_rounds(2000);
        s.launch_raw(kernel, Grid::cover(48), &push, &options)?;
        Ok(())
    })
}

fn fault(result: Result<(), Error>, what: &str) -> Fault {
    match result {
        Err(Error::Launch(LaunchError::Fault(fault))) => *fault,
        other => panic!("{what}: no fault: {other:?}"),
    }
}

/// A kernel whose culprit touches an address that is in memory; all write what they found.
fn toucher(runtime: &Runtime, access: AccessKind) -> RawKernel {
    let touch = match access {
        AccessKind::Read => "found = U(p).at[0];",
        AccessKind::Write => "U(p).at[0] = 0xbadu;",
        AccessKind::Atomic => "found = atomicAdd(U(p).at[0], 0xbadu);",
    };
    let source = format!(
        "layout(local_size_x = 8) in;
        REF(uint, U, 4);
        REF(uvec2, T, 8);
        layout(push_constant) uniform Push {{ uvec2 table, y; }};
        void main() {{
            uint found = 7u;
            uvec2 p = T(table).at[0];
            if (ID == 29u) {{
                {touch}
            }}
            U(y).at[ID] = found;
        }}"
    );
    let words = glsl::glsl("toucher.comp", &source, glsl::Level::Zero);
    // SAFETY: shaderc made the words, and the validation layer is on.
    unsafe { runtime.raw_kernel("toucher", &words) }.unwrap()
}

#[test]
fn a_bad_pointer_is_the_documented_error_whatever_is_done_with_it() {
    use FaultReason::{Protected, Unmapped};
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(runtime) = runtime(None) else { return };
    let file = tempfile::tempfile().unwrap();
    file.set_len(3 * PAGE as u64).unwrap();
    let cut = Mapping::shared(&file, 3);
    file.set_len(PAGE as u64).unwrap();
    // Canaries lie between the bad pages.
    let memory = Mapping::anonymous(7, CANARY);
    memory.unmap(1);
    memory.protect(3, MprotectFlags::empty());
    memory.protect(5, MprotectFlags::READ);
    let (hole, closed, fixed) = (memory.address(1), memory.address(3), memory.address(5));
    let mut cases: Vec<(u64, FaultReason, bool)> = vec![
        (hole as u64, Unmapped, false),
        ((hole + PAGE - 4) as u64, Unmapped, false),
        (closed as u64 + 64, Protected, false),
        ((closed + PAGE - 4) as u64, Protected, false),
        (fixed as u64 + 64, Protected, true),
        (cut.address(1) as u64, Unmapped, false),
        (cut.address(2) as u64 + 4092, Unmapped, false),
    ];
    let wild = [4, 4092, 1 << 47, (1 << 47) - 4, 1 << 57, 1 << 63, 0xdead_beef_dead_beec];
    let kernel = [0xffff_8000_0000_1000, 0xffff_ffff_ff60_0000, u64::MAX - 3, u64::MAX - 4095];
    cases.extend(wild.iter().chain(&kernel).map(|&address| (address, Unmapped, false)));
    let scratch = Mapping::anonymous(2, 0);
    for access in [AccessKind::Read, AccessKind::Write, AccessKind::Atomic] {
        let kernel = toucher(&runtime, access);
        let run = |target: u64| {
            scratch.put(0, target);
            launch(&runtime, &kernel, &[scratch.address(0) as u64, scratch.address(1) as u64])
        };
        for &(address, reason, may_be_read) in &cases {
            let what = format!("{access} at {address:#x}");
            if may_be_read && access == AccessKind::Read {
                run(address).unwrap();
                assert_eq!(scratch.word(PAGE + 28 * 4), 7 | 0xcccc_cccc << 32);
                (0..24).for_each(|word| scratch.put(PAGE + word * 8, 0));
                continue;
            }
            let fault = fault(run(address), &what);
            assert_eq!((fault.reason, fault.address, fault.access), (reason, address, access));
            assert_eq!((fault.workgroup, fault.invocation, fault.size_bytes), ([3, 0, 0], 5, 4));
            assert!(scratch.is_filled(1, 0), "{what}: nothing of a failed launch is home");
            assert!([0, 2, 4, 5, 6].iter().all(|&page| memory.is_filled(page, CANARY)), "{what}");
        }
        // The last byte of all, at which four bytes do not fit.
        let fault = fault(run(u64::MAX), "the last byte");
        assert!(matches!(fault.reason, Unmapped | FaultReason::Misaligned), "{fault}");
        // The runtime works on.
        run(scratch.address(1) as u64 + 2048).unwrap();
        let touched = scratch.word(PAGE + 2048);
        assert_eq!(touched, if access == AccessKind::Read { 0 } else { 0xbad });
        (0..PAGE / 8).for_each(|word| scratch.put(PAGE + word * 8, 0));
    }
    assert_eq!(file.metadata().unwrap().len(), PAGE as u64);
}

#[test]
fn a_misaligned_pointer_is_an_error() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(runtime) = runtime(None) else { return };
    let kernel = toucher(&runtime, AccessKind::Write);
    let memory = Mapping::anonymous(3, 0);
    for offset in [1, 2, PAGE - 2] {
        let target = (memory.address(2) + offset) as u64;
        memory.put(0, target);
        let result =
            launch(&runtime, &kernel, &[memory.address(0), memory.address(1)].map(|a| a as u64));
        let fault = fault(result, "misaligned");
        assert_eq!((fault.reason, fault.address), (FaultReason::Misaligned, target));
        assert!((1..3).all(|page| memory.is_filled(page, 0)));
    }
}

/// A deed of another thread to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Unmap,
    MoveAway,
    /// Moves a page full of something else to its place, in one step.
    Replace,
    Close,
    WriteProtect,
    Empty,
}

impl Deed {
    const ALL: [Self; 6] =
        [Self::Unmap, Self::MoveAway, Self::Replace, Self::Close, Self::WriteProtect, Self::Empty];

    /// Does it, and returns the page's new place if it was moved.
    fn act(self, memory: &Mapping, page: usize) -> Option<usize> {
        let place = pointer(memory.address(page));
        match self {
            Self::Unmap => memory.unmap(page),
            Self::MoveAway => {
                let reserved = Mapping::anonymous(1, 0);
                let flags = MremapFlags::MAYMOVE;
                let new = pointer(reserved.start);
                // SAFETY: the module's argument; the new place is this function's own.
                unsafe { mremap_fixed(place, PAGE, PAGE, flags, new) }.unwrap();
                std::mem::forget(reserved);
                return Some(new.addr());
            }
            Self::Replace => {
                let other = Mapping::anonymous(1, CANARY);
                // SAFETY: the module's argument; the other page is this function's own.
                let moved = unsafe {
                    mremap_fixed(pointer(other.start), PAGE, PAGE, MremapFlags::MAYMOVE, place)
                };
                moved.unwrap();
                std::mem::forget(other);
            }
            Self::Close => memory.protect(page, MprotectFlags::empty()),
            Self::WriteProtect => memory.protect(page, MprotectFlags::READ),
            Self::Empty => {
                // SAFETY: the module's argument; empty pages are valid.
                unsafe { madvise(place, PAGE, Advice::LinuxDontNeed) }.unwrap();
            }
        }
        None
    }
}

/// Pages of the list.
const ITEMS: usize = 24;

/// A list with an item at the start of each page between two pages of canaries.
fn list() -> Mapping {
    let memory = Mapping::anonymous(ITEMS + 2, CANARY);
    for page in 1..=ITEMS {
        let next = if page == ITEMS { 0 } else { memory.address(page + 1) as u64 };
        (0..PAGE).step_by(8).for_each(|offset| memory.put(page * PAGE + offset, 0));
        memory.put(page * PAGE, next);
    }
    memory
}

fn values(memory: &Mapping, pages: impl Iterator<Item = usize>) -> Vec<u64> {
    pages.map(|page| memory.word(page * PAGE + 8)).collect()
}

/// Walks a list while another thread, once `round` rounds have begun, does something to a page.
/// Returns whether it was in time: whether a round, which the result needs, began afterwards.
fn disturbed(runtime: &Runtime, kernel: &RawKernel, deed: Deed, round: u64, page: usize) -> bool {
    let what = format!("{deed:?} of page {page} after {round} rounds");
    let memory = list();
    let before = runtime.stats().submissions;
    let head = memory.address(1) as u64;
    let done = AtomicBool::new(false);
    let (result, (moved, acted_at)) = std::thread::scope(|threads| {
        let _pinned = pin(0);
        let other = threads.spawn(|| {
            let _pinned = pin(1);
            while runtime.stats().submissions < before + round && !done.load(Acquire) {
                spin_loop();
            }
            let moved = deed.act(&memory, page);
            (moved, runtime.stats().submissions)
        });
        let result = launch(runtime, kernel, &[head, 1000]);
        done.store(true, Release);
        (result, other.join().unwrap())
    });
    assert!(memory.is_filled(0, CANARY) && memory.is_filled(ITEMS + 1, CANARY), "{what}");
    let moved = moved.map(|start| Mapping { start, pages: 1 });
    if runtime.stats().submissions == acted_at {
        return false;
    }
    let others = || (1..=ITEMS).filter(|&other| other != page);
    if deed == Deed::Empty {
        // The list ends there now.
        result.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let expected: Vec<u64> = (1..=ITEMS).map(|other| u64::from(other <= page)).collect();
        assert_eq!(values(&memory, 1..=ITEMS), expected, "{what}");
        return true;
    }
    let fault = fault(result, &what);
    let (reason, place) = match deed {
        Deed::Replace => (FaultReason::Unmapped, u64::from_ne_bytes([CANARY; 8])),
        Deed::Close | Deed::WriteProtect => (FaultReason::Protected, memory.address(page) as u64),
        _ => (FaultReason::Unmapped, memory.address(page) as u64),
    };
    assert_eq!(fault.reason, reason, "{what}");
    assert!((place..place + 16).contains(&fault.address), "{what}: {fault}");
    assert_eq!(values(&memory, others()), [0; ITEMS - 1], "{what}: nothing is home");
    if deed == Deed::Replace {
        assert!(memory.is_filled(page, CANARY), "{what}: the new mapping is as it was");
    }
    if deed == Deed::WriteProtect {
        assert_eq!(memory.word(page * PAGE + 8), 0);
    }
    let written = moved.map_or(0, |moved| moved.word(8));
    assert_eq!(written, 0, "{what}: nothing is written at the new place");
    true
}

#[test]
fn a_mapping_that_changes_between_rounds_counts_as_it_is_then() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = 0x5eed;
    let Some(runtime) = runtime(Some(seed)) else { return };
    println!("seed {seed:#x}");
    let kernel = glsl::kernel(&runtime, "list.comp");
    let mut random = seed;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (random >> 33) % bound
    };
    for deed in Deed::ALL {
        let in_time = (0..40).filter(|_| {
            let page = 1 + usize::try_from(below(ITEMS as u64)).unwrap();
            disturbed(&runtime, &kernel, deed, 1 + below(ITEMS as u64 / 2), page)
        });
        assert_eq!(in_time.take(5).count(), 5, "{deed:?} was hardly ever in time");
    }
    // The runtime works on.
    let memory = list();
    launch(&runtime, &kernel, &[memory.address(1) as u64, 1000]).unwrap();
    assert_eq!(values(&memory, 1..=ITEMS), [1; ITEMS]);
}
