//! Scopes that import some of their memory and copy the rest: every launch sees what the ones
//! before it wrote, on whichever side the bytes are.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;

use common::build;
use farptr::test_hooks::TestHooks;
use farptr::{
    AccessMode, Backing, Error, FaultReason, Grid, LaunchError, LaunchOptions, LentMut, RawKernel,
    Runtime, RuntimeBuilder, Scope,
};
use glsl::{Level, glsl};

/// A longer one is copied.
const LIMIT: u64 = 16 * 1024;
/// Words of what is imported, and of what is copied.
const SMALL: usize = 2_000;
const LARGE: usize = 20_000;

/// Adds what the table points to, and changes that.
const THROUGH: &str = "
    layout(local_size_x = 8) in;
    REF(uvec2, T, 8);
    REF(uint, U, 4);
    layout(push_constant, scalar) uniform Push { uvec2 table; uvec2 y; uint n; };
    void main() {
        if (ID >= n) return;
        U target = U(T(table).at[ID]);
        target.at[0] = target.at[0] * 3u + U(y).at[ID];
        U(y).at[ID] += target.at[0];
    }";
/// Changes elements of one argument.
const STEP: &str = "
    layout(local_size_x = 8) in;
    REF(uint, U, 4);
    layout(push_constant, scalar) uniform Push { uvec2 y; uint n; };
    void main() { if (ID < n) U(y).at[ID] = U(y).at[ID] * 5u + 1u; }";

fn mixed() -> RuntimeBuilder {
    let mirrored = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Import);
    mirrored.refuse_imports_above(LIMIT)
}

#[allow(unsafe_code, reason = "the words come from a compiler")]
fn kernel(runtime: &Runtime, name: &'static str, source: &str) -> RawKernel {
    let words = glsl(name, source, Level::Performance);
    // SAFETY: shaderc's output is a valid module.
    unsafe { runtime.raw_kernel(name, &words) }.unwrap()
}

/// The memory of a test: a table of addresses into the small and the large lend, and both.
struct Memory {
    table: Vec<u64>,
    small: Vec<u32>,
    large: Vec<u32>,
}

impl Memory {
    /// Every second address leads into the small lend, and no word is pointed to twice.
    fn new() -> Self {
        let (small, large) = (vec![7u32; SMALL], (0..LARGE as u32).collect::<Vec<_>>());
        let at = |base: *const u32, place: usize| base as u64 + place as u64 * 4;
        let address = |i: usize| match i % 2 {
            0 => at(small.as_ptr(), SMALL / 2 + i / 2),
            _ => at(large.as_ptr(), LARGE / 2 + i * 7 % (LARGE / 2)),
        };
        Self { table: (0..SMALL / 2).map(address).collect(), small, large }
    }

    fn words(&self) -> (Vec<u32>, Vec<u32>) {
        (self.small.clone(), self.large.clone())
    }
}

fn step<'s>(
    s: &mut Scope<'s, '_>,
    kernel: &RawKernel,
    y: &LentMut<'s, u32>,
    n: usize,
) -> Result<(), LaunchError> {
    let [low, high] = y.ptr().into();
    let push = [low, high, n as u32];
    s.launch_raw(kernel, Grid::cover(n), bytemuck::cast_slice(&push), &LaunchOptions::new())
}

fn through<'s>(
    s: &mut Scope<'s, '_>,
    kernel: &RawKernel,
    table: u64,
    y: &LentMut<'s, u32>,
    (n, options): (usize, LaunchOptions),
) -> Result<(), LaunchError> {
    let [low, high] = y.ptr().into();
    let push = [table as u32, (table >> 32) as u32, low, high, n as u32];
    s.launch_raw(kernel, Grid::cover(n), bytemuck::cast_slice(&push), &options)
}

/// Launches of every kind, one after the other.
fn all(runtime: &Runtime) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let (through_kernel, step_kernel) =
        (kernel(runtime, "through", THROUGH), kernel(runtime, "step", STEP));
    let mut memory = Memory::new();
    let mut seen = Vec::new();
    let n = SMALL / 2;
    let options = LaunchOptions::new();
    runtime
        .scope(|s| {
            let table = s.lend(&memory.table)?.ptr().address();
            let small = s.lend_mut(&mut memory.small)?;
            let large = s.lend_mut(&mut memory.large)?;
            step(s, &step_kernel, &small, n)?; // imported alone
            through(s, &through_kernel, table, &small, (n, options))?; // both
            step(s, &step_kernel, &small, n)?; // sees what came home
            step(s, &step_kernel, &large, LARGE)?; // copied alone
            through(s, &through_kernel, table, &small, (n, options))?;
            through(s, &through_kernel, table, &large, (n, options))?;
            {
                let mut idle = s.wait()?;
                seen.extend_from_slice(idle.read(&small)?);
                seen.extend_from_slice(idle.read(&large)?);
                idle.write(&small)?[SMALL - 1] = 11;
                idle.write(&large)?[LARGE - 1] = 12;
            }
            step(s, &step_kernel, &large, LARGE)?;
            through(s, &through_kernel, table, &small, (n, options.transactional(true)))?;
            step(s, &step_kernel, &small, SMALL)?;
            Ok(())
        })
        .unwrap();
    let (small, large) = memory.words();
    (seen, small, large)
}

#[test]
fn imported_and_copied_memory_agree_with_direct_access() {
    let Some(direct) = build(Runtime::builder().access(AccessMode::Direct)) else { return };
    let expected = all(&direct);
    drop(direct);
    let cases = [
        ("plain", mixed()),
        ("a few pages", mixed().device_budget(5 * 4096)),
        ("staged", mixed().staged_copies(true)),
        ("shuffled", mixed().serve_faults(3, 4)),
    ];
    for (name, builder) in cases {
        let Some(runtime) = build(builder) else { return };
        let before = runtime.stats();
        assert!(all(&runtime) == expected, "{name} differs from direct access");
        let spent = runtime.stats().since(&before);
        // The small lend and the table, which are in few pages.
        assert!((1..=8).contains(&spent.pages_imported), "{name}: {spent:?}");
        assert!(spent.bytes_in > 0 && spent.bytes_home > 0, "{name}: {spent:?}");
        assert!(spent.rounds > spent.undone_rounds && spent.faults > 0, "{name}: {spent:?}");
    }
}

#[test]
fn a_failed_launch_changes_neither_side() {
    let Some(runtime) = build(mixed().serve_faults(4, 3)) else { return };
    let through_kernel = kernel(&runtime, "through", THROUGH);
    let step_kernel = kernel(&runtime, "step", STEP);
    let mut memory = Memory::new();
    // One bad address among the good ones.
    memory.table[500] = 8;
    let n = SMALL / 2;
    let ended = runtime.scope(|s| {
        let table = s.lend(&memory.table)?.ptr().address();
        let small = s.lend_mut(&mut memory.small)?;
        let large = s.lend_mut(&mut memory.large)?;
        step(s, &step_kernel, &large, LARGE)?;
        step(s, &step_kernel, &small, SMALL)?;
        let before = {
            let idle = s.wait()?;
            (idle.read(&small)?.to_vec(), idle.read(&large)?.to_vec())
        };
        let options = LaunchOptions::new().transactional(true);
        let failed = through(s, &through_kernel, table, &small, (n, options));
        let Err(LaunchError::Fault(fault)) = &failed else { panic!("{failed:?}") };
        assert_eq!((fault.address, fault.reason), (8, FaultReason::OutOfBounds));
        let idle = s.wait()?;
        assert!(
            idle.read(&small)? == before.0 && idle.read(&large)? == before.1,
            "it left a trace"
        );
        Ok::<(), Error>(())
    });
    ended.unwrap();
}
