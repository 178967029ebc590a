//! Hostile kernels: whatever a kernel does, the launch ends with the error that names it, no byte
//! beside the lends changes, and the device still works.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(unsafe_code, reason = "kernels made at run time")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;

use common::{build, memory_is_shadowed, runtimes, skip};
use farptr::{
    AccessKind, AccessMode, Backing, Error, Fault, FaultReason, Grid, LaunchError, LaunchOptions,
    RawKernel, Runtime,
};
use glsl::{Level, glsl};
use std::{ops::Range, time::Duration};

const CANARY: u8 = 0x5e;
/// Bytes around and between lends.
const GAP: usize = 80;
/// Bytes of the lends: one that may be written, one that may not, a table of addresses.
const LENS: [usize; 3] = [1000, 600, 64];
/// The workgroup that misbehaves, and its invocation.
const CULPRIT: ([u32; 3], u32) = ([3, 0, 0], 5);

/// Three lends with canaries around each.
struct Victim {
    memory: Vec<u128>,
}

impl Victim {
    fn new() -> Self {
        let bytes = LENS.iter().sum::<usize>() + 4 * GAP + 64;
        let canary = u128::from_ne_bytes([CANARY; 16]);
        let mut victim = Self { memory: vec![canary; bytes.div_ceil(16)] };
        for lend in 0..3 {
            let range = victim.range(lend);
            victim.bytes_mut()[range].fill(0);
        }
        victim
    }

    /// The offset of a lend in the memory: a multiple of 16.
    fn range(&self, lend: usize) -> Range<usize> {
        let mut start = GAP;
        for len in &LENS[..lend] {
            start = (start + len + GAP).next_multiple_of(16);
        }
        start..start + LENS[lend]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.memory)
    }

    fn address(&self, lend: usize) -> u64 {
        let start: &[u8] = bytemuck::cast_slice(&self.memory);
        (start.as_ptr().addr() + self.range(lend).start) as u64
    }

    /// The lends, each to be lent on its own.
    fn lends(&mut self) -> (&mut [u8], &[u8], &[u8]) {
        let [first, second, third] = [0, 1, 2].map(|lend| self.range(lend));
        let (head, tail) = self.bytes_mut().split_at_mut(first.end);
        let rest = |range: Range<usize>| range.start - first.end..range.end - first.end;
        let (second, third) = (rest(second), rest(third));
        (&mut head[first], &tail[second], &tail[third])
    }

    /// Checks that nothing changed but what was lent for writing.
    fn assert_intact(&self, what: &str) {
        let bytes: &[u8] = bytemuck::cast_slice(&self.memory);
        let lent: Vec<usize> = (0..3).flat_map(|lend| self.range(lend)).collect();
        for (at, byte) in bytes.iter().enumerate() {
            let is_lent = lent.contains(&at);
            assert!(is_lent || *byte == CANARY, "{what}: byte {at} beside the lends changed");
        }
        assert!(bytes[self.range(1)].iter().all(|byte| *byte == 0), "{what}: read-only bytes");
    }
}

/// How a kernel comes by the address that it touches.
#[derive(Clone, Copy, Debug)]
enum From {
    /// It is an argument.
    Argument,
    /// It is in memory.
    Table,
}

/// A kernel whose culprit touches an address.
fn toucher(runtime: &Runtime, access: AccessKind, from: From) -> RawKernel {
    let touch = match access {
        AccessKind::Read => "found = U(p).at[0];",
        AccessKind::Write => "U(p).at[0] = 0xbadu;",
        AccessKind::Atomic => "found = atomicAdd(U(p).at[0], 0xbadu);",
    };
    let pointer = match from {
        From::Argument => "target",
        From::Table => "T(table).at[0]",
    };
    let source = format!(
        "layout(local_size_x = 8) in;
        REF(uint, U, 4);
        REF(uvec2, T, 8);
        layout(push_constant) uniform Push {{ uvec2 target, table, y; }};
        void main() {{
            uint found = 7u;
            uvec2 p = {pointer};
            if (ID == 29u) {{
                {touch}
            }}
            U(y).at[ID] = found;
        }}"
    );
    raw(runtime, &source)
}

fn raw(runtime: &Runtime, source: &str) -> RawKernel {
    let words = glsl("hostile.comp", source, Level::Zero);
    // SAFETY: shaderc made the words, and the validation layer is on.
    unsafe { runtime.raw_kernel("hostile", &words) }.unwrap()
}

/// Launches over six workgroups with the address in both places.
fn touch(
    runtime: &Runtime,
    kernel: &RawKernel,
    victim: &mut Victim,
    target: u64,
    options: &LaunchOptions,
) -> Result<(), Error> {
    let (table, y) = (victim.address(2), victim.address(0));
    let slot = victim.range(2).start;
    victim.bytes_mut()[slot..slot + 8].copy_from_slice(&target.to_le_bytes());
    let push: Vec<u8> = [target, table, y].iter().flat_map(|word| word.to_le_bytes()).collect();
    let (writable, read_only, table) = victim.lends();
    runtime.scope(|s| {
        s.lend_mut(writable)?;
        s.lend(read_only)?;
        s.lend(table)?;
        Ok(s.launch_raw(kernel, Grid::groups(6, 1, 1), &push, options)?)
    })
}

fn fault(ended: Result<(), Error>, what: &str) -> Fault {
    match ended {
        Err(Error::Launch(LaunchError::Fault(fault))) => *fault,
        other => panic!("{what}: a fault was expected, not {other:?}"),
    }
}

fn failure(ended: Result<(), Error>) -> LaunchError {
    match ended {
        Err(Error::Launch(error)) => error,
        other => panic!("a failed launch was expected, not {other:?}"),
    }
}

/// Asserts that the runtime still runs launches.
fn assert_usable(runtime: &Runtime) {
    let kernel = raw(
        runtime,
        "layout(local_size_x = 8) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 y; };
        void main() { U(y).at[ID] += ID; }",
    );
    let mut y = vec![5u32; 64];
    let push = (y.as_ptr().addr() as u64).to_le_bytes();
    runtime
        .scope(|s| {
            s.lend_mut(&mut y)?;
            Ok(s.launch_raw(&kernel, Grid::groups(8, 1, 1), &push, &LaunchOptions::new())?)
        })
        .unwrap();
    assert!((5..69).eq(y));
}

/// The kernels that touch an address, one for each way.
struct Touchers<'r> {
    runtime: &'r Runtime,
    kernels: Vec<(AccessKind, From, RawKernel)>,
}

impl<'r> Touchers<'r> {
    fn new(runtime: &'r Runtime) -> Self {
        let accesses = [AccessKind::Read, AccessKind::Write, AccessKind::Atomic];
        let ways = accesses.map(|access| [(access, From::Argument), (access, From::Table)]);
        let made = |&(access, from): &_| (access, from, toucher(runtime, access, from));
        Self { runtime, kernels: ways.as_flattened().iter().map(made).collect() }
    }

    /// Touches an address in every way and checks what the error says of it. `reason` says why, for
    /// accesses that write or do not; `None` is an access that is allowed.
    fn check(&self, target: impl Fn(&Victim) -> u64, reason: [Option<FaultReason>; 2]) {
        let Self { runtime, kernels } = self;
        for (access, from, kernel) in kernels {
            let access = *access;
            let mut victim = Victim::new();
            let target = target(&victim);
            let ended = touch(runtime, kernel, &mut victim, target, &LaunchOptions::new());
            let what = format!("{access} at {target:#x}, {from:?}, {:?} access", runtime.access());
            victim.assert_intact(&what);
            let Some(reason) = reason[usize::from(access.writes())] else {
                ended.unwrap();
                continue;
            };
            let fault = fault(ended, &what);
            let said = (fault.address, fault.access, fault.reason, fault.size_bytes);
            assert_eq!(said, (target, access, reason, 4), "{what}");
            assert_eq!((fault.workgroup, fault.invocation), CULPRIT, "{what}");
            assert!(fault.instruction.ends_with("hostile.comp:16"), "{what}: {fault}");
            assert_nearest(&victim, &fault, &what);
        }
    }
}

/// Checks that the lend is named that has the smallest distance, and the offset from its start.
fn assert_nearest(victim: &Victim, fault: &Fault, what: &str) {
    let nearest = fault.nearest.expect("there are lends");
    let distance = |lend: usize| {
        let start = i128::from(victim.address(lend));
        let end = start + i128::try_from(LENS[lend]).unwrap();
        let address = i128::from(fault.address);
        (start - address).max(address - (end - 1)).max(0)
    };
    let least = (0..3).map(distance).min().unwrap();
    let start = nearest.range.start().get();
    let named = (0..3).find(|&lend| victim.address(lend) == start);
    let named = named.unwrap_or_else(|| panic!("{what}: {nearest:?} is no lend"));
    assert_eq!(distance(named), least, "{what}: {nearest:?}");
    assert_eq!(nearest.range.len_bytes(), LENS[named] as u64, "{what}");
    let offset = i128::from(fault.address) - i128::from(start);
    let offset = offset.clamp(i64::MIN.into(), i64::MAX.into());
    assert_eq!(i128::from(nearest.offset_bytes), offset, "{what}");
}

const OUT: [Option<FaultReason>; 2] = [Some(FaultReason::OutOfBounds); 2];

#[test]
fn both_ends_of_each_lend() {
    for runtime in &runtimes() {
        let touchers = Touchers::new(runtime);
        for (lend, &len) in LENS.iter().enumerate() {
            let written = if lend == 0 { None } else { Some(FaultReason::ReadOnly) };
            let len = len as u64;
            touchers.check(|v| v.address(lend) - 4, OUT);
            touchers.check(|v| v.address(lend) + len, OUT);
            // The address in memory lies in the table's own first words.
            let inside = if lend == 2 { 8 } else { 0 };
            touchers.check(|v| v.address(lend) + inside, [None, written]);
            touchers.check(|v| v.address(lend) + len - 4, [None, written]);
        }
        assert_usable(runtime);
    }
}

#[test]
fn addresses_that_straddle_an_end() {
    for runtime in &runtimes() {
        let touchers = Touchers::new(runtime);
        for (lend, &len) in LENS[..2].iter().enumerate() {
            for by in 1..4 {
                touchers.check(|v| v.address(lend) - by, OUT);
                touchers.check(|v| v.address(lend) + len as u64 - by, OUT);
            }
        }
        assert_usable(runtime);
    }
}

#[test]
fn addresses_that_are_misaligned() {
    for runtime in &runtimes() {
        let touchers = Touchers::new(runtime);
        let misaligned = Some(FaultReason::Misaligned);
        for by in [1, 2, 3, 501] {
            touchers.check(|v| v.address(0) + by, [misaligned; 2]);
            touchers.check(|v| v.address(1) + by, [misaligned, Some(FaultReason::ReadOnly)]);
        }
        assert_usable(runtime);
    }
}

#[test]
fn addresses_of_nothing() {
    for runtime in &runtimes() {
        let touchers = Touchers::new(runtime);
        for address in [0, 4, 4096, 1 << 31, 1 << 32, 1 << 47, 1 << 63, u64::MAX, u64::MAX - 3] {
            touchers.check(|_| address, OUT);
        }
        // The low half of a good address, and a good address with a bit more.
        touchers.check(|v| v.address(0) & 0xffff_ffff, OUT);
        touchers.check(|v| v.address(0) | 1 << 48, OUT);
        touchers.check(|v| v.address(0) | 1 << 63, OUT);
        assert_usable(runtime);
    }
}

#[test]
fn random_addresses() {
    let seed = std::env::var("FARPTR_HOSTILE_SEED").map_or(1, |seed| seed.parse().unwrap());
    eprintln!("seed {seed}");
    let mut state: u64 = seed;
    for runtime in &runtimes() {
        let touchers = Touchers::new(runtime);
        for _ in 0..12 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let random = (state ^ state >> 29) & !3;
            // Anywhere, and anywhere within the same 16 MiB but in a lend.
            touchers.check(|_| random, OUT);
            let near = |v: &Victim| {
                let near = v.address(0) & !0xff_ffff | random & 0xff_fffc;
                let mut lends =
                    (0..3).map(|lend| v.address(lend)..v.address(lend) + LENS[lend] as u64);
                if lends.any(|lend| lend.contains(&near)) { random } else { near }
            };
            touchers.check(near, OUT);
        }
        assert_usable(runtime);
    }
}

/// An index of an argument, which is a signed number of 32 bits.
#[test]
fn indices_beyond_either_end() {
    let source = "layout(local_size_x = 8) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 y; int k; };
        void main() { if (ID == 29u) U(y).at[k] = 0xbadu; }";
    for runtime in &runtimes() {
        let kernel = raw(runtime, source);
        let middle = 100u32;
        // Words from the middle, with words before and after it.
        let (below, above) = (-i64::from(middle), LENS[0] as i64 / 4 - i64::from(middle));
        for k in [below - 1, above, 1 << 28, 1 << 29, 1 << 30, (1 << 31) - 1, -(1 << 31)] {
            let mut victim = Victim::new();
            let y = victim.address(0) + 4 * u64::from(middle);
            let index = i32::try_from(k).unwrap();
            let push: Vec<u8> = y.to_le_bytes().into_iter().chain(index.to_le_bytes()).collect();
            let ended = runtime.scope(|s| {
                s.lend_mut(victim.lends().0)?;
                let (grid, options) = (Grid::groups(6, 1, 1), LaunchOptions::new());
                Ok(s.launch_raw(&kernel, grid, &push, &options)?)
            });
            let fault = fault(ended, "an index");
            let address = y.wrapping_add_signed(4 * k);
            let said = (fault.address, fault.access, fault.reason);
            assert_eq!(said, (address, AccessKind::Write, FaultReason::OutOfBounds), "index {k}");
            assert_eq!((fault.workgroup, fault.invocation), CULPRIT);
            let offset = fault.nearest.unwrap().offset_bytes;
            assert_eq!(offset, 4 * (k + i64::from(middle)), "index {k}");
            victim.assert_intact("an index");
        }
        assert_usable(runtime);
    }
}

/// Sixteen bytes of which some are beyond the end.
#[test]
fn vectors_that_straddle_an_end() {
    let source = "layout(local_size_x = 8) in;
        REF(uvec4, V, 4);
        REF(uvec2, T, 8);
        layout(push_constant) uniform Push { uvec2 target, table, y; };
        void main() { if (ID == 29u) V(T(table).at[0]).at[0] += 1u; }";
    for runtime in &runtimes() {
        let kernel = raw(runtime, source);
        for by in [4, 8, 12, 16] {
            let mut victim = Victim::new();
            let target = victim.address(0) + LENS[0] as u64 - by;
            let ended = touch(runtime, &kernel, &mut victim, target, &LaunchOptions::new());
            victim.assert_intact("a vector");
            if by == 16 {
                ended.unwrap();
                continue;
            }
            let fault = fault(ended, "a vector");
            assert_eq!((fault.address, fault.size_bytes), (target, 16));
            assert_eq!((fault.access, fault.reason), (AccessKind::Read, FaultReason::OutOfBounds));
        }
        assert_usable(runtime);
    }
}

/// Every invocation misses, each on a page of its own, many more than are reported.
#[test]
fn storms_of_faults() {
    let source = "layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 y; };
        void main() {
            U(uvec2(ID << 12, y.y ^ 0x1000u)).at[0] = ID;
            U(uvec2(y.x ^ (ID << 20), ~y.y)).at[3] += ID;
        }";
    for runtime in &runtimes() {
        let kernel = raw(runtime, source);
        let mut victim = Victim::new();
        let push = victim.address(0).to_le_bytes();
        let ended = runtime.scope(|s| {
            s.lend_mut(victim.lends().0)?;
            let (grid, options) = (Grid::groups(4096, 1, 1), LaunchOptions::new());
            Ok(s.launch_raw(&kernel, grid, &push, &options)?)
        });
        let fault = fault(ended, "a storm");
        assert_eq!((fault.access, fault.reason), (AccessKind::Write, FaultReason::OutOfBounds));
        victim.assert_intact("a storm");
        assert_usable(runtime);
    }
}

#[test]
fn a_transaction_leaves_nothing() {
    for runtime in &runtimes() {
        let kernel = toucher(runtime, AccessKind::Read, From::Table);
        let mut victim = Victim::new();
        let options = LaunchOptions::new().transactional(true);
        fault(touch(runtime, &kernel, &mut victim, 16, &options), "a transaction");
        let range = victim.range(0);
        assert!(victim.bytes_mut()[range].iter().all(|byte| *byte == 0));
        victim.assert_intact("a transaction");
        assert_usable(runtime);
    }
}

/// A loop that waits for what never comes.
const ENDLESS: &str = "layout(local_size_x = 8) in;
    layout(buffer_reference, scalar, buffer_reference_align = 4) volatile buffer U { uint at[]; };
    layout(push_constant) uniform Push { uvec2 y; uint k; };
    void main() {
        uint passes = 0u;
        while (U(y).at[k] == 0u && passes != 0xffffffffu) passes++;
        U(y).at[k + 1u] = passes;
    }";

/// Launches a kernel with the first lend and a number.
fn launch_on(
    runtime: &Runtime,
    source: &str,
    groups: u32,
    options: &LaunchOptions,
) -> Result<(), Error> {
    let kernel = raw(runtime, source);
    let mut victim = Victim::new();
    let y = victim.address(0).to_le_bytes();
    let push: Vec<u8> = y.into_iter().chain(3u32.to_le_bytes()).collect();
    let ended = runtime.scope(|s| {
        s.lend_mut(victim.lends().0)?;
        Ok(s.launch_raw(&kernel, Grid::groups(groups, 1, 1), &push, options)?)
    });
    victim.assert_intact("a loop");
    assert_usable(runtime);
    ended
}

#[test]
fn an_endless_loop_reaches_its_limit() {
    for runtime in &runtimes() {
        let options = LaunchOptions::new().loop_limit(1000);
        let error = failure(launch_on(runtime, ENDLESS, 1, &options));
        let LaunchError::LoopLimit { kernel, limit, invocations } = error else {
            panic!("a loop limit was expected, not {error:?}");
        };
        assert_eq!((kernel, limit), ("hostile", 1000));
        assert!((1..=8).contains(&invocations), "{invocations} of 8 invocations");
    }
}

#[test]
fn an_endless_loop_ends() {
    for runtime in &runtimes() {
        // Some drivers cut it short; on the others it is the deadline that ends it.
        let options = LaunchOptions::new().deadline(Duration::from_millis(100));
        let error = failure(launch_on(runtime, ENDLESS, 1, &options));
        match error {
            LaunchError::LoopCut { invocations, .. } => assert!(invocations > 0),
            LaunchError::Deadline { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Work that ends, but not in its time: each invocation is short, there are very many of them.
#[test]
fn a_long_launch_ends_at_its_deadline() {
    if memory_is_shadowed() {
        return skip("no workgroup that has not begun is told to stay away");
    }
    let source = "layout(local_size_x = 8) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            volatile buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 y; uint k; };
        void main() {
            uint sum = 0u;
            for (uint pass = 0u; pass < 50000u; pass++) sum += U(y).at[(pass + sum) & 127u] + k;
            if (sum == 1u) U(y).at[k] = sum;
        }";
    for runtime in &runtimes() {
        let options = LaunchOptions::new().deadline(Duration::from_millis(50));
        let error = failure(launch_on(runtime, source, 65_535, &options));
        assert!(matches!(error, LaunchError::Deadline { kernel: "hostile", .. }), "{error:?}");
    }
}

/// Every workgroup leaves a mark and then spins, until it is told to end or, on drivers that cut
/// loops, for nearly as long as it may. As many workgroups as a
/// device runs at a time have begun when the deadline comes; the others find the launch stopped and
/// leave no mark.
#[test]
fn workgroups_that_have_not_begun_at_the_deadline_do_nothing() {
    if memory_is_shadowed() {
        return skip("no workgroup that has not begun is told to stay away");
    }
    const GROUPS: u32 = 65_535;
    let source = "layout(local_size_x = 8) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            volatile buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 marks; uvec2 never; uint passes; };
        void main() {
            if (gl_LocalInvocationIndex == 0u) U(marks).at[gl_WorkGroupID.x] = 1u;
            for (uint pass = 0u; pass < passes && U(never).at[pass & 127u] == 0u; pass++);
        }";
    let copying = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    for runtime in runtimes().iter().chain(&build(copying)) {
        let kernel = raw(runtime, source);
        let marked = |passes: u32, options: &LaunchOptions| {
            let mut victim = Victim::new();
            let mut marks = vec![0u32; GROUPS as usize];
            let addresses = [marks.as_ptr().addr() as u64, victim.address(0)];
            let push = addresses.iter().flat_map(|address| address.to_le_bytes());
            let push: Vec<u8> = push.chain(passes.to_le_bytes()).collect();
            let ended = runtime.scope(|s| {
                s.lend_mut(&mut marks)?;
                s.lend_mut(victim.lends().0)?;
                Ok(s.launch_raw(&kernel, Grid::groups(GROUPS, 1, 1), &push, options)?)
            });
            victim.assert_intact("a launch that ends late");
            (ended, marks.iter().sum::<u32>())
        };
        let (ended, marks) = marked(0, &LaunchOptions::new());
        ended.unwrap();
        assert_eq!(marks, GROUPS, "all workgroups run if there is no deadline");
        let passes = if runtime.explain().cuts_loops() { 60_000 } else { u32::MAX };
        let options = LaunchOptions::new().deadline(Duration::from_millis(50));
        let (ended, marks) = marked(passes, &options);
        let error = failure(ended);
        assert!(matches!(error, LaunchError::Deadline { kernel: "hostile", .. }), "{error:?}");
        assert!(marks < GROUPS, "{marks} workgroups ran, {:?} access", runtime.access());
        assert_usable(runtime);
    }
}
