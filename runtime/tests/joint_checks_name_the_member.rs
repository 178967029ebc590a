//! Objects whose members are checked together: the error names the member that was not allowed, and
//! an object whose members are in several lends is allowed.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(unsafe_code, reason = "kernels made at run time")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;

use common::runtimes;
use farptr::{
    AccessKind, Error, FaultReason, Grid, LaunchError, LaunchOptions, RawKernel, Runtime,
};
use glsl::{Level, glsl};

/// Bytes of a node, and of what its members are: `next`, `a`, `b`.
const NODE: u64 = 24;
const MEMBERS: [(u64, u32); 3] = [(8, 8), (0, 4), (20, 4)];

/// A kernel that reads or writes all members of the node that a table leads to, `next` first.
fn kernel(runtime: &Runtime, access: AccessKind) -> RawKernel {
    let body = match access {
        AccessKind::Read => "uvec2 next = n.next; U(y).at[0] = next.x + next.y + n.a + n.b;",
        _ => "n.next = uvec2(8, 9); n.a = 1; n.b = 3;",
    };
    let source = format!(
        "layout(local_size_x = 1) in;
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer Node {{
            layout(offset = 0) uint a;
            layout(offset = 8) uvec2 next;
            layout(offset = 20) uint b;
        }};
        REF(uint, U, 4);
        REF(uvec2, T, 8);
        layout(push_constant) uniform Push {{ uvec2 table, y; }};
        void main() {{ Node n = Node(T(table).at[0]); {body} }}"
    );
    let words = glsl("nodes.comp", &source, Level::Zero);
    // SAFETY: shaderc made the words, and the validation layer is on.
    unsafe { runtime.raw_kernel("nodes", &words) }.unwrap()
}

fn launch(
    runtime: &Runtime,
    kernel: &RawKernel,
    at: u64,
    y: &mut [u32],
    [first, second]: [&mut [u32]; 2],
    third: &[u32],
) -> Result<(), Error> {
    // Far from the other lends.
    let table = vec![at; 128];
    let table = &table[64..65];
    let pointers = [table.as_ptr().addr() as u64, y.as_ptr().addr() as u64];
    let push: Vec<u8> = pointers.iter().flat_map(|pointer| pointer.to_le_bytes()).collect();
    runtime.scope(|s| {
        s.lend(table)?;
        s.lend_mut(&mut *y)?;
        s.lend_mut(first)?;
        s.lend_mut(second)?;
        s.lend(third)?;
        Ok(s.launch_raw(kernel, Grid::groups(1, 1, 1), &push, &LaunchOptions::new())?)
    })
}

/// The first member, in the order of the program, that is not allowed at `at`, and why.
fn refused(at: u64, start: u64, end: u64) -> Option<(u64, u32, FaultReason)> {
    let mut members = MEMBERS.iter().map(|&(offset, size)| (at.wrapping_add(offset), size));
    members.find_map(|(address, size)| {
        let aligned = address.is_multiple_of(u64::from(size.min(4)));
        let inside = address >= start && address + u64::from(size) <= end;
        match (inside, aligned) {
            (true, true) => None,
            (true, false) => Some((address, size, FaultReason::Misaligned)),
            (false, _) => Some((address, size, FaultReason::OutOfBounds)),
        }
    })
}

#[test]
fn the_first_member_that_is_not_allowed_is_named() {
    for runtime in &runtimes() {
        for access in [AccessKind::Read, AccessKind::Write] {
            let kernel = kernel(runtime, access);
            let mut memory = vec![7u32; 1024];
            let (base, lent) = (memory.as_ptr().addr() as u64, 400..600);
            let (start, end) = (base + 1600, base + 2400);
            let starts = (0..32).map(|by| start - NODE + by);
            for at in starts.chain((0..32).map(|by| end - NODE - 4 + by)) {
                let mut y = vec![0; 256];
                let (below, rest) = memory.split_at_mut(100);
                let (node, above) = rest[300..].split_at_mut(lent.len());
                let ended =
                    launch(runtime, &kernel, at, &mut y[128..132], [node, below], &above[300..]);
                let what = format!("{access} at {at:#x}, {:?} access", runtime.access());
                match (ended, refused(at, start, end)) {
                    (Ok(()), None) => {}
                    (Err(Error::Launch(LaunchError::Fault(fault))), Some(expected)) => {
                        let said = (fault.address, fault.size_bytes, fault.reason);
                        assert_eq!((said, fault.access), (expected, access), "{what}");
                        assert_eq!(fault.nearest.unwrap().range.start().get(), start, "{what}");
                    }
                    (ended, expected) => panic!("{what}: {ended:?} instead of {expected:?}"),
                }
                let beside = (0..1024).filter(|word| !lent.contains(word));
                assert!(beside.into_iter().all(|word| memory[word] == 7), "{what}");
            }
        }
    }
}

#[test]
fn members_may_be_in_lends_that_touch_or_nearly() {
    for runtime in &runtimes() {
        let kernels = [AccessKind::Read, AccessKind::Write].map(|access| kernel(runtime, access));
        // The number of words of the node below the border between the lends, and the number of
        // words after the border that are not lent. The kernel does not access the second and the
        // fifth of the node's six words.
        for (below, hole) in [(1, 0), (2, 0), (4, 0), (5, 0), (1, 1), (4, 1)] {
            let mut memory: Vec<u32> = (0..64).collect();
            let at = memory[32 - below..].as_ptr().addr() as u64;
            let mut y = vec![0; 256];
            for kernel in &kernels {
                let (low, high) = memory.split_at_mut(32);
                let result =
                    launch(runtime, kernel, at, &mut y[128..132], [low, &mut high[hole..]], &[]);
                result.unwrap();
            }
            let first = 32 - u32::try_from(below).unwrap();
            assert_eq!(y[128], 4 * first + 2 + 3 + 5, "{below} words below, {hole} not lent");
            let node = &memory[32 - below..][..6];
            let expected = [1, first + 1, 8, 9, first + 4, 3];
            assert_eq!(node, expected, "{below} words below, {hole} not lent");
        }
    }
}
