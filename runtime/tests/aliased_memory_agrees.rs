//! One memory at several addresses: files and anonymous memory that are mapped more than once.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
//! The mappings are of files that no other process has, and live until the scopes have ended.
//! References into them are used one after the other.
#![allow(unsafe_code, reason = "mapping a file is unsafe")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/mapped.rs"]
mod mapped;
#[path = "common/walker.rs"]
mod walker;
#[path = "common/ways.rs"]
mod ways;

use farptr::{Error, FaultReason, Grid, LaunchError, LaunchOptions, RawKernel, Runtime};
use glsl::Level;
use mapped::{MIX, PAGE, WORDS, file, kernel, launch, map, words};
use memmap2::{MmapMut, MmapOptions};
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap, mmap_anonymous, mremap, munmap};
use std::{ffi::c_void, os::fd::AsFd};
use walker::walker;
use ways::ways;

/// Writes through one address and reads through the other, in one invocation.
const TURN: &str = "
    layout(local_size_x = 8) in;
    REF(uint, U, 4);
    layout(push_constant, scalar) uniform Push { uvec2 x; uvec2 y; uint n; };
    void main() {
        if (ID >= n) return;
        U(x).at[ID] += 5u;
        memoryBarrierBuffer();
        U(y).at[ID] = U(y).at[ID] * 2u;
        memoryBarrierBuffer();
        U(x).at[ID] += 1u;
    }";

#[test]
fn what_is_written_at_one_address_is_read_at_the_other() {
    for (name, runtime) in ways() {
        let (mix, turn) = (kernel(&runtime, "mix", MIX), kernel(&runtime, "turn", TURN));
        let file = file(8);
        let (mut a, mut b) = (map(&file), map(&file));
        words(&mut a).iter_mut().zip(1..).for_each(|(word, number)| *word = number);
        let (mut out, n) = (vec![0u32; 8 * WORDS], 8 * WORDS);
        let ones = vec![1u32; n];
        runtime
            .scope(|s| {
                let a = s.lend_mut(words(&mut a))?;
                let ones = s.lend(&ones)?.ptr().address();
                let (out, at) = (s.lend_mut(&mut out)?.ptr().address(), a.ptr().address());
                launch(s, &mix, ones, at, n)?; // 3 i + 1, on the device alone
                let b = s.lend_mut(words(&mut b))?;
                launch(s, &mix, b.ptr().address(), out, n)?; // seen at the other address
                launch(s, &mix, ones, b.ptr().address(), 100)?; // and back
                launch(s, &mix, ones, at, 200)?;
                launch(s, &turn, at, b.ptr().address(), n)?; // both in one launch
                {
                    let mut idle = s.wait()?;
                    let seen = idle.read(&b)?[n - 1];
                    assert_eq!(seen, (3 * n as u32 + 1 + 5) * 2 + 1, "{name}");
                    idle.write(&a)?[n - 1] = 1000;
                }
                launch(s, &mix, ones, b.ptr().address(), n)?;
                Ok(())
            })
            .unwrap();
        for (i, (&word, &out)) in words(&mut b).iter().zip(&out).enumerate() {
            let first = 3 * (i as u32 + 1) + 1;
            assert_eq!(out, first, "{name}: word {i}");
            let mut expected = first;
            for limit in [100, 200] {
                if i < limit {
                    expected = expected * 3 + 1;
                }
            }
            expected = (expected + 5) * 2 + 1;
            if i == n - 1 {
                expected = 1000;
            }
            assert_eq!(word, expected * 3 + 1, "{name}: word {i}");
        }
        assert!(words(&mut a) == words(&mut b));
    }
}

/// A file that is mapped several times in a row.
struct Ring {
    start: usize,
    bytes: usize,
}

fn pointer(address: usize) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address)
}

impl Ring {
    fn new(file: &impl AsFd, pages: usize, turns: usize) -> Self {
        let (bytes, protection) = (pages * PAGE, ProtFlags::READ | ProtFlags::WRITE);
        let null = std::ptr::null_mut();
        // SAFETY: the kernel chooses the place.
        let start = unsafe { mmap_anonymous(null, bytes * turns, protection, MapFlags::PRIVATE) };
        let start = start.unwrap().expose_provenance();
        for turn in 0..turns {
            let (place, flags) =
                (pointer(start + turn * bytes), MapFlags::SHARED | MapFlags::FIXED);
            // SAFETY: the place is within the mapping made above.
            unsafe { mmap(place, bytes, protection, flags, file, 0) }.unwrap();
        }
        Self { start, bytes: bytes * turns }
    }

    fn words(&mut self) -> &mut [u32] {
        // SAFETY: the bytes are mapped until `self` is dropped, and borrowed through it alone.
        unsafe { std::slice::from_raw_parts_mut(pointer(self.start).cast(), self.bytes / 4) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: it is not used any more.
        let _ = unsafe { munmap(pointer(self.start), self.bytes) };
    }
}

#[test]
fn a_ring_that_is_lent_whole_is_one_memory() {
    for (name, runtime) in ways() {
        let (mix, turn) = (kernel(&runtime, "mix", MIX), kernel(&runtime, "turn", TURN));
        let mut ring = Ring::new(&file(3), 3, 2);
        let (ones, n) = (vec![1u32; 3 * WORDS], 3 * WORDS);
        runtime
            .scope(|s| {
                let ones = s.lend(&ones)?.ptr().address();
                let at = s.lend_mut(ring.words())?.ptr().address();
                // Across the seam, and then in the middle of either turn.
                launch(s, &mix, ones, at + 4 * (n as u64) / 2, n)?;
                launch(s, &turn, at + 4 * n as u64, at, n)?;
                Ok(())
            })
            .unwrap();
        assert!(ring.words().iter().all(|&word| word == 13), "{name}: {:?}", &ring.words()[..4]);
    }
}

#[test]
fn a_lend_that_no_launch_has_used_yet_is_the_same_memory_too() {
    for (name, runtime) in ways() {
        let mix = kernel(&runtime, "mix", MIX);
        // A lend longer than the limit of some ways is copied there, the other is imported.
        let file = file(8);
        let (mut a, mut b) = (map(&file), map(&file));
        let ones = vec![1u32; 8 * WORDS];
        runtime
            .scope(|s| {
                let ones = s.lend(&ones)?.ptr().address();
                let large = s.lend_mut(words(&mut a))?;
                let at = large.ptr().address();
                launch(s, &mix, ones, at, 8 * WORDS)?; // 1
                let small = s.lend_mut(&mut words(&mut b)[..16])?;
                s.wait()?.write(&small)?[0] = 10;
                launch(s, &mix, ones, at, 8 * WORDS)?; // 31, 4
                launch(s, &mix, ones, small.ptr().address(), 16)?; // 94, 13
                launch(s, &mix, ones, at, 8 * WORDS)?; // 283, 40, 13
                Ok(())
            })
            .unwrap();
        let all = words(&mut a);
        assert_eq!((all[0], all[1], all[16]), (283, 40, 13), "{name}");
        assert!(all[1..16].iter().all(|&word| word == 40), "{name}");
        assert!(all[16..].iter().all(|&word| word == 13), "{name}");
    }
}

#[test]
fn a_failed_transaction_leaves_no_trace_at_either_address() {
    for (name, runtime) in ways() {
        let mix = kernel(&runtime, "mix", MIX);
        let file = file(2);
        let (mut a, mut b) = (map(&file), map(&file));
        words(&mut a).fill(1);
        let mut out = vec![0u32; 2 * WORDS];
        runtime
            .scope(|s| {
                let a = s.lend_mut(words(&mut a))?.ptr();
                let b = s.lend_mut(words(&mut b))?.ptr();
                let out = s.lend_mut(&mut out)?.ptr().address();
                launch(s, &mix, b.address(), out, 2 * WORDS)?;
                let [x, y] = [<[u32; 2]>::from(b), <[u32; 2]>::from(a)];
                let push = [x[0], x[1], y[0], y[1], 2 * WORDS as u32 + 1];
                let options = LaunchOptions::new().transactional(true);
                let grid = Grid::cover(2 * WORDS + 1);
                let failed = s.launch_raw(&mix, grid, bytemuck::cast_slice(&push), &options);
                assert!(matches!(failed, Err(LaunchError::Fault(_))), "{name}: {failed:?}");
                launch(s, &mix, b.address(), out, 2 * WORDS)?;
                Ok(())
            })
            .unwrap();
        assert!(out.iter().all(|&word| word == 4), "{name}: {:?}", &out[..4]);
        assert!(words(&mut a).iter().all(|&word| word == 1), "{name}");
    }
}

/// Walks a list in memory that was not lent, so many items far.
fn walk(
    runtime: &Runtime,
    kernel: &RawKernel,
    (head, items): (usize, u32),
    lent: Option<&mut [u32]>,
) -> Result<(), Error> {
    let mut push = (head as u64).to_le_bytes().to_vec();
    push.extend(items.to_le_bytes());
    push.resize(kernel.push_bytes(), 0);
    runtime.scope(|s| {
        if let Some(lent) = lent {
            s.lend_mut(lent)?;
        }
        // SAFETY: the list is the test's own.
        unsafe { s.lend_process() }?;
        // More would be running again and again for nothing.
        s.launch_raw(kernel, Grid::cover(1), &push, &LaunchOptions::new().max_rounds(60))?;
        Ok(())
    })
}

/// Puts an item at each address, in this order: a link and a number.
fn chain(addresses: &[usize]) {
    for (position, &address) in addresses.iter().enumerate() {
        let next = addresses.get(position + 1).copied().unwrap_or(0);
        // SAFETY: the addresses are in mappings of the test, and aligned.
        unsafe { pointer(address).cast::<usize>().write(next) };
    }
}

fn value(address: usize) -> u32 {
    // SAFETY: as in `chain`.
    unsafe { pointer(address + 8).cast::<u32>().read() }
}

#[test]
fn a_list_through_a_ring_that_was_not_lent_is_walked() {
    let Some((runtime, kernel)) = walker() else { return };
    let ring = Ring::new(&file(2), 2, 2);
    // Items of their own in both turns, on the same pages.
    let turn = 2 * PAGE;
    let items = [64, turn + 128, PAGE + 64, turn + PAGE + 128, 192, turn + 256];
    let items = items.map(|offset| ring.start + offset);
    chain(&items);
    walk(&runtime, &kernel, (items[0], 1000), None).unwrap();
    assert_eq!(items.map(value), [1; 6]);
    // One item that leads to itself at the other address, and goes on there.
    let (here, there) = (ring.start + 512, ring.start + turn + 512);
    // SAFETY: as in `chain`.
    unsafe { pointer(here).cast::<usize>().write(there) };
    let before = value(here);
    walk(&runtime, &kernel, (here, 9), None).unwrap();
    assert_eq!((value(here), value(there)), (before + 9, before + 9));
}

#[test]
fn anonymous_memory_at_two_addresses_is_walked() {
    let Some((runtime, kernel)) = walker() else { return };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses the place.
    let one = unsafe { mmap_anonymous(std::ptr::null_mut(), PAGE, protection, MapFlags::SHARED) };
    let one = one.unwrap();
    // SAFETY: an old length of 0 makes a second mapping of the same memory.
    let other = unsafe { mremap(one, 0, PAGE, MremapFlags::MAYMOVE) }.unwrap();
    let (one, other) = (one.expose_provenance(), other.expose_provenance());
    assert_ne!(one, other);
    let items = [one + 64, other + 128, one + 256, other + 512];
    chain(&items);
    walk(&runtime, &kernel, (items[0], 1000), None).unwrap();
    assert_eq!(items.map(value), [1; 4]);
    for place in [one, other] {
        // SAFETY: it is not used any more.
        unsafe { munmap(pointer(place), PAGE) }.unwrap();
    }
}

#[test]
fn a_page_that_is_mapped_shared_and_private_is_written_in_either_order() {
    let Some((runtime, kernel)) = walker() else { return };
    let file = file(4);
    for order in [false, true] {
        let mut ring = Ring::new(&file, 2, 2);
        // One half becomes private; which one lies lower decides what is written first.
        let (private, shared) = if order { (0, 2 * PAGE) } else { (2 * PAGE, 0) };
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let place = pointer(ring.start + private);
        // SAFETY: the place is within the ring.
        unsafe { mmap(place, 2 * PAGE, protection, flags, &file, 0) }.unwrap();
        ring.words()[shared / 4..][..2 * WORDS].fill(0);
        let (start, items) =
            (ring.start, [shared + 64, private + 128, shared + 192, private + 256]);
        // The links of private items are written through the private mapping last, so that no store
        // makes its page a copy before its links are there.
        let items = items.map(|offset| start + offset);
        for (position, &item) in items.iter().enumerate() {
            let next = items.get(position + 1).copied().unwrap_or(0);
            let place = if position % 2 == 1 { item - private + shared } else { item };
            // SAFETY: as in `chain`.
            unsafe { pointer(place).cast::<usize>().write(next) };
        }
        walk(&runtime, &kernel, (items[0], 1000), None).unwrap();
        assert_eq!(items.map(value), [1; 4], "the private half first: {order}");
        assert_eq!(value(start + shared + 128), 0, "a private store stays private");
        // One item that leads to itself in the private mapping, and goes on there.
        let (here, there) = (start + shared + PAGE + 64, start + private + PAGE + 64);
        // SAFETY: as in `chain`.
        unsafe { pointer(here).cast::<usize>().write(there) };
        walk(&runtime, &kernel, (here, 9), None).unwrap();
        // Whether a private mapping shows what is written to the file is not specified.
        let (here, there) = (value(here), value(there));
        assert!(here == 1 && (there == 8 || there == 9), "{here} {there}, {order}");
    }
}

#[test]
fn memory_that_is_lent_and_reached_at_another_address_is_an_error_that_names_both() {
    let Some((runtime, kernel)) = walker() else { return };
    let file = file(1);
    let (mut a, mut b) = (map(&file), map(&file));
    let at = |map: &mut MmapMut| map.as_mut_ptr().expose_provenance();
    let (lent, reached) = (at(&mut a), at(&mut b));
    chain(&[reached + 64]);
    let ended = walk(&runtime, &kernel, (reached + 64, 1000), Some(words(&mut a)));
    let Err(Error::Launch(LaunchError::Fault(fault))) = &ended else { panic!("{ended:?}") };
    assert_eq!(fault.reason, FaultReason::Aliased { other: lent as u64 }, "{fault}");
    let text = fault.to_string();
    assert!(
        text.contains(&format!("{lent:#x}")) && text.contains(&format!("{:#x}", fault.address))
    );
    assert_eq!(fault.address & !0xfff, reached as u64);
    assert_eq!(value(reached + 64), 0);
    // Read through both it is no matter.
    // SAFETY: the module's argument.
    let c = unsafe { MmapOptions::new().len(PAGE).map(&file) }.unwrap();
    let other: &[u32] = bytemuck::cast_slice(&c);
    let gather = glsl::glsl(
        "sum",
        "layout(local_size_x = 1) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x; uvec2 y; uvec2 out_; };
        void main() { U(out_).at[0] = U(x).at[0] + U(y).at[0]; }",
        Level::Performance,
    );
    // SAFETY: shaderc's output is a valid module.
    let gather = unsafe { runtime.raw_kernel("sum", &gather) }.unwrap();
    words(&mut b)[0] = 21;
    let mut out = [0u32];
    runtime
        .scope(|s| {
            let x = s.lend(other)?.ptr().address();
            // SAFETY: the page is read, and not written.
            unsafe { s.lend_process() }?;
            let push = [x, reached as u64, s.lend_mut(&mut out)?.ptr().address()];
            let push = bytemuck::cast_slice(&push);
            s.launch_raw(&gather, Grid::groups(1, 1, 1), push, &LaunchOptions::new())?;
            Ok(())
        })
        .unwrap();
    assert_eq!(out, [42]);
}
