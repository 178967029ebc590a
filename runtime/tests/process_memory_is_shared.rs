//! Kernels on memory that was not lent piece by piece.
//!
//! # Safety
//!
//! Each test lends the process and launches kernels that touch only what the test owns: a list, a
//! table or a mapping that it made, through pointers that it keeps. A bad pointer that a test
//! passes leads to no memory of others.
#![allow(unsafe_code, reason = "lending the process is unsafe")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "../../hmm/tests/processors/mod.rs"]
mod processors;
#[path = "common/walker.rs"]
mod walker;

use farptr::{Fault, FaultReason, Grid, LaunchError, LaunchOptions, RawKernel, Runtime};
use memmap2::{MmapMut, MmapOptions};
use processors::pin;
use rustix::mm::{Advice, MprotectFlags, madvise, mprotect};
use std::{
    ffi::c_void,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};
use walker::walker;

const PAGE: usize = 4096;

#[repr(C)]
struct Item {
    next: *mut Item,
    value: u32,
    unused: u32,
}

/// Walks a list from `head` on, `launches` times.
fn walk(
    runtime: &Runtime,
    kernel: &RawKernel,
    head: u64,
    launches: u32,
) -> Result<(), farptr::Error> {
    let mut push = head.to_le_bytes().to_vec();
    push.extend(10_000u32.to_le_bytes());
    push.resize(kernel.push_bytes(), 0);
    runtime.scope(|s| {
        // SAFETY: the module's argument.
        unsafe { s.lend_process() }?;
        let options = LaunchOptions::new().max_rounds(5000);
        for _ in 0..launches {
            s.launch_raw(kernel, Grid::cover(1), &push, &options)?;
        }
        Ok(())
    })
}

fn fault(result: Result<(), farptr::Error>) -> Fault {
    match result {
        Err(farptr::Error::Launch(LaunchError::Fault(fault))) => *fault,
        other => panic!("no fault: {other:?}"),
    }
}

#[test]
fn a_list_of_boxes_is_walked() {
    let Some((runtime, kernel)) = walker() else { return };
    let mut head: *mut Item = std::ptr::null_mut();
    let mut boxes = Vec::new();
    for value in 0..2000 {
        // Something between the items, so that they are spread.
        boxes.push(vec![0u8; value as usize % 700]);
        head = Box::into_raw(Box::new(Item { next: head, value, unused: 7 }));
    }
    let before = runtime.stats();
    let result = walk(&runtime, &kernel, head.expose_provenance() as u64, 3);
    let stats = runtime.stats().since(&before);
    let mut value = 2000;
    while !head.is_null() {
        value -= 1;
        // SAFETY: the item came from `Box::into_raw` above, once.
        let item = unsafe { Box::from_raw(head) };
        assert_eq!((item.value, item.unused), (value + 3, 7));
        head = item.next;
    }
    result.unwrap();
    println!("{stats:?}");
    assert!(stats.faults > 0 && stats.launches == 3);
    // The links are followed. Rounds may be many more: other threads write to the same pages.
    assert!(stats.faults < 3 * 60, "the items are on some 170 pages: {stats:?}");
}

#[test]
fn a_table_of_pointers_is_searched() {
    let Some((runtime, _)) = walker() else { return };
    let kernel = glsl::kernel(&runtime, "lookup.comp");
    let count = 4096u32;
    let mut entries: Vec<Box<[u32; 2]>> = (0..1000).map(|i| Box::new([i * 3, 0])).collect();
    let mut slots = vec![0u64; count as usize];
    for entry in &mut entries {
        let mut slot = entry[0].wrapping_mul(2_654_435_761) % count;
        while slots[slot as usize] != 0 {
            slot = (slot + 1) % count;
        }
        slots[slot as usize] = std::ptr::from_mut(entry.as_mut()).expose_provenance() as u64;
    }
    let mut push = (slots.as_mut_ptr().expose_provenance() as u64).to_le_bytes().to_vec();
    push.extend(count.to_le_bytes());
    push.extend(1500u32.to_le_bytes());
    runtime
        .scope(|s| {
            // SAFETY: the module's argument.
            unsafe { s.lend_process() }?;
            s.launch_raw(&kernel, Grid::cover(1500), &push, &LaunchOptions::new())?;
            Ok(())
        })
        .unwrap();
    let hits = |entry: &[u32; 2]| u32::from(entry[0] < 1500);
    assert!(entries.iter().all(|entry| entry[1] == hits(entry)));
}

/// A list in a mapping: an item at the start of each page. Returns its head.
fn list_in(memory: &mut [u8]) -> u64 {
    let start = memory.as_mut_ptr().expose_provenance() as u64;
    let pages = memory.len() / PAGE;
    for page in 0..pages - 1 {
        let next = start + ((page + 1) * PAGE) as u64;
        memory[page * PAGE..page * PAGE + 8].copy_from_slice(&next.to_le_bytes());
    }
    start
}

fn protect(memory: &mut [u8], page: usize, flags: MprotectFlags) {
    let start = memory[page * PAGE..].as_mut_ptr().cast::<c_void>();
    // SAFETY: the page is the test's own; no reference to it is used meanwhile.
    unsafe { mprotect(start, PAGE, flags) }.unwrap();
}

#[test]
fn bad_pointers_are_errors() {
    let Some((runtime, kernel)) = walker() else { return };
    let mut memory = MmapMut::map_anon(4 * PAGE).unwrap();
    let head = list_in(&mut memory);
    let untouched = |memory: &[u8]| (0..4).all(|page| memory[page * PAGE + 8] == 0);
    for bad in [0x10u64, 0xdead_0000, 1 << 46, u64::MAX - 4095, 0xffff_8000_0000_0000] {
        memory[3 * PAGE..3 * PAGE + 8].copy_from_slice(&bad.to_le_bytes());
        let fault = fault(walk(&runtime, &kernel, head, 1));
        assert_eq!(fault.reason, FaultReason::Unmapped, "{fault}");
        assert_eq!(fault.address & !15, bad & !15);
        assert!(untouched(&memory));
    }
    memory[3 * PAGE..3 * PAGE + 8].fill(0);
    protect(&mut memory, 2, MprotectFlags::empty());
    let fault_at = fault(walk(&runtime, &kernel, head, 1));
    assert_eq!(fault_at.reason, FaultReason::Protected, "{fault_at}");
    protect(&mut memory, 2, MprotectFlags::READ);
    let fault_at = fault(walk(&runtime, &kernel, head, 1));
    assert_eq!(fault_at.reason, FaultReason::Protected, "{fault_at}");
    assert!(untouched(&memory));
    protect(&mut memory, 2, MprotectFlags::READ | MprotectFlags::WRITE);
    walk(&runtime, &kernel, head, 1).unwrap();
    assert!((0..4).all(|page| memory[page * PAGE + 8] == 1), "the device works on");
}

#[test]
fn pages_beyond_the_end_of_a_file_are_not_there() {
    let Some((runtime, kernel)) = walker() else { return };
    let file = tempfile::tempfile().unwrap();
    file.set_len(4 * PAGE as u64).unwrap();
    // SAFETY: no other code knows the file; pages that are cut off below are not touched through
    // the slice.
    let mut memory = unsafe { MmapOptions::new().map_mut(&file) }.unwrap();
    let head = list_in(&mut memory);
    walk(&runtime, &kernel, head, 1).unwrap();
    assert!((0..4).all(|page| memory[page * PAGE + 8] == 1), "a shared file is written too");
    file.set_len(2 * PAGE as u64).unwrap();
    let fault = fault(walk(&runtime, &kernel, head, 1));
    assert_eq!(fault.reason, FaultReason::Unmapped, "{fault}");
    assert_eq!(fault.address, head + 2 * PAGE as u64 + 8);
    assert!((0..2).all(|page| memory[page * PAGE + 8] == 1));
}

/// Ends another thread when this one ends, in whatever way.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn other_threads_may_protect_and_empty_memory_meanwhile() {
    let Some((runtime, kernel)) = walker() else { return };
    let pages = 16;
    let mut memory = MmapMut::map_anon((pages + 2) * PAGE).unwrap();
    memory.fill(0);
    let (guarded, start) = (PAGE..(pages + 1) * PAGE, memory.as_ptr().expose_provenance());
    memory[..PAGE].fill(0xcc);
    memory[(pages + 1) * PAGE..].fill(0xcc);
    let head = list_in(&mut memory[guarded]);
    let done = AtomicBool::new(false);
    let (mut good, mut refused, mut raced) = (0, 0, 0);
    std::thread::scope(|threads| {
        let _pinned = pin(0);
        threads.spawn(|| {
            let _pinned = pin(1);
            let mut turn = 0usize;
            while !done.load(Relaxed) {
                turn += 1;
                let page = start + (1 + turn * 7 % pages) * PAGE;
                let page = std::ptr::with_exposed_provenance_mut::<c_void>(page);
                let all = MprotectFlags::READ | MprotectFlags::WRITE;
                for flags in [MprotectFlags::empty(), MprotectFlags::READ, all] {
                    // SAFETY: the page is the test's own, and no reference to it is alive.
                    unsafe { mprotect(page, PAGE, flags) }.unwrap();
                }
                if turn.is_multiple_of(50) {
                    // SAFETY: as above; empty pages end the list and are valid.
                    unsafe { madvise(page, PAGE, Advice::LinuxDontNeed) }.unwrap();
                }
                if turn.is_multiple_of(3) {
                    std::thread::yield_now();
                }
            }
        });
        let ends = Ends(&done);
        for _ in 0..60 {
            match walk(&runtime, &kernel, head, 1) {
                Ok(()) => good += 1,
                Err(farptr::Error::Launch(LaunchError::Fault(fault))) => {
                    let why = fault.reason;
                    let known = matches!(why, FaultReason::Protected | FaultReason::Unmapped);
                    assert!(known, "{fault}");
                    refused += 1;
                }
                Err(farptr::Error::Launch(LaunchError::TooManyRounds { .. })) => refused += 1,
                // Closed whenever a result was to be written, and open whenever one looked.
                Err(farptr::Error::Launch(LaunchError::Unwritable { reason, .. })) => {
                    let closed = [FaultReason::Protected, FaultReason::Unreachable];
                    assert!(closed.contains(&reason), "{reason}");
                    refused += 1;
                }
                // The change came while results were written home: some of them are there.
                Err(farptr::Error::Launch(LaunchError::Raced { .. })) => raced += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        drop(ends);
    });
    println!("{good} walks, {refused} refused, {raced} raced");
    assert_eq!(good + refused + raced, 60);
    assert!(memory[..PAGE].iter().all(|&byte| byte == 0xcc));
    assert!(memory[(pages + 1) * PAGE..].iter().all(|&byte| byte == 0xcc));
    // A page that was emptied counts from zero: nothing is counted more often than written home.
    let count = |page: usize| u32::from_le_bytes(*memory[page * PAGE + 8..].first_chunk().unwrap());
    assert!((1..=pages).all(|page| count(page) <= good + raced));
    // Linked again, it is walked again.
    let head = list_in(&mut memory[PAGE..(pages + 1) * PAGE]);
    walk(&runtime, &kernel, head, 1).unwrap();
}

#[test]
fn an_argument_that_points_to_the_end_of_a_lend_reaches_what_follows() {
    let Some((runtime, _)) = walker() else { return };
    let source = "layout(local_size_x = 1) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x; uvec2 out_; };
        void main() { int i = -int(ID); U(out_).at[0] = U(x).at[i - 1] + 10u * U(x).at[i]; }";
    let words = glsl::glsl("behind", source, glsl::Level::Performance);
    // SAFETY: shaderc's output is a valid module.
    let kernel = unsafe { runtime.raw_kernel("behind", &words) }.unwrap();
    let mut pages = MmapMut::map_anon(2 * PAGE).unwrap();
    let (lent, behind) = pages.split_at_mut(PAGE);
    let (lent, behind): (&mut [u32], &mut [u32]) =
        (bytemuck::cast_slice_mut(lent), bytemuck::cast_slice_mut(behind));
    lent[PAGE / 4 - 1] = 3;
    behind[0] = 4;
    let x = behind.as_ptr().expose_provenance() as u64;
    let mut out = [0u32];
    runtime
        .scope(|s| {
            s.lend_mut(lent)?;
            // SAFETY: the module's argument.
            unsafe { s.lend_process() }?;
            let push = [x, s.lend_mut(&mut out)?.ptr().address()];
            let options = LaunchOptions::new();
            s.launch_raw(&kernel, Grid::groups(1, 1, 1), bytemuck::cast_slice(&push), &options)
                .map_err(Into::into)
        })
        .unwrap();
    assert_eq!(out, [43], "one word of the lend, and one behind it");
}
