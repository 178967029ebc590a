//! Kernels with values for their specialisation constants: workgroups, grids, lengths of arrays,
//! loops and results follow the values, however the device reaches memory.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; unchecked launches touch lent
//! elements alone, because the kernel compares its index with their number.
#![allow(unsafe_code, reason = "words that a driver trusts; the proof is above")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/ways.rs"]
mod ways;

use farptr::test_hooks::LaunchHooks;
use farptr::{
    Error, Grid, Kernel, KernelDesc, KernelError, LaunchOptions, ProvedAccess, RawKernel,
    RawKernelOptions, Runtime, SpecValue,
};
use std::error::Error as _;
use ways::ways;

farptr::kernel! {
    /// Turns each workgroup's elements around, or not, and adds up a few terms of each.
    mod turn,
    path: "tests/typed/turn.comp",
}

const N: u32 = 1000;

/// The result for each element, found without the kernel.
fn expected(x: &[f32], constants: turn::Constants, groups: u32) -> Vec<f32> {
    let turn::Constants { local_size_x: width, rounds, factor, turns, shift } = constants;
    let len = u32::try_from(x.len()).unwrap();
    let term = |from: f32, round: u32| from * factor + f32::from(u16::try_from(round).unwrap());
    let element = |i: u32| {
        let first = i / width * width;
        let from = if turns { first + width - 1 - (i - first) } else { i };
        let from = if from < len { x[from as usize] } else { 0.0 };
        let sum: f32 = (0..rounds).map(|round| term(from, round)).sum();
        sum + f32::from(i16::try_from(shift).unwrap()) + f32::from(u16::try_from(groups).unwrap())
    };
    (0..len).map(element).collect()
}

/// Values that differ in everything. The sums are exact in single precision.
fn values() -> [turn::Constants; 4] {
    let of = |local_size_x, rounds, factor, turns, shift| turn::Constants {
        local_size_x,
        rounds,
        factor,
        turns,
        shift,
    };
    [
        turn::Constants::default(),
        of(8, 5, 0.5, true, -40),
        of(24, 1, 2.0, true, 7),
        of(64, 3, -1.0, false, 9),
    ]
}

fn groups(width: u32, n: u32) -> u32 {
    n.div_ceil(width)
}

/// Runs a kernel once in each way of launching, and gives the results.
fn run_each_way(
    runtime: &Runtime,
    kernel: &Kernel<turn::Kernel>,
    x: &[f32],
) -> Result<[Vec<f32>; 5], Error> {
    let mut results = [(); 5].map(|()| vec![-1.0; x.len()]);
    let [proved, checked, withheld, transactional, unchecked] = &mut results;
    let n = u32::try_from(x.len()).unwrap();
    let is_direct = runtime.access() == ProvedAccess::Direct;
    runtime.scope(|s| {
        let x = s.lend(x)?.ptr();
        let grid = Grid::cover(n as usize);
        let args = turn::Args { x, y: s.lend_mut(proved)?.ptr(), n };
        s.launch(kernel, grid, args)?;
        let args = turn::Args { x, y: s.lend_mut(checked)?.ptr(), n };
        s.launch_with(kernel, grid, args, &LaunchOptions::new().proofs(false))?;
        let part = kernel.local_size()[0].into();
        let args = turn::Args { x, y: s.lend_mut(withheld)?.ptr(), n };
        s.launch_with(kernel, grid, args, &LaunchOptions::new().withhold_proofs(part))?;
        let args = turn::Args { x, y: s.lend_mut(transactional)?.ptr(), n };
        s.launch_with(kernel, grid, args, &LaunchOptions::new().transactional(true))?;
        let args = turn::Args { x, y: s.lend_mut(unchecked)?.ptr(), n };
        if is_direct {
            // SAFETY: `n` elements behind both pointers, which are lent.
            unsafe { s.launch_unchecked(kernel, grid, args) }?;
        } else {
            s.launch(kernel, grid, args)?;
        }
        Ok(())
    })?;
    Ok(results)
}

#[test]
fn results_follow_the_values_in_every_way_of_launching() {
    let x = common::ramp(N as usize);
    for (way, runtime) in ways() {
        for constants in values() {
            let kernel = runtime.specialized::<turn::Kernel>(constants).unwrap();
            assert_eq!(kernel.local_size(), [constants.local_size_x, 1, 1], "{way}");
            let expected = expected(&x, constants, groups(constants.local_size_x, N));
            let found = run_each_way(&runtime, &kernel, &x);
            for found in found.unwrap_or_else(|error| panic!("{way}, {constants:?}: {error}")) {
                assert_eq!(found, expected, "{way}, {constants:?}");
            }
        }
    }
}

#[test]
fn kernels_with_other_values_live_side_by_side() {
    let x = common::ramp(N as usize);
    for (way, runtime) in ways() {
        let plain = runtime.kernel::<turn::Kernel>().unwrap();
        let kernels = values().map(|values| runtime.specialized::<turn::Kernel>(values).unwrap());
        let mut results = vec![vec![-1.0f32; N as usize]; kernels.len() + 1];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let x = s.lend(&x)?.ptr();
            let all = [&plain].into_iter().chain(&kernels);
            for (kernel, y) in all.zip(&mut results) {
                let args = turn::Args { x, y: s.lend_mut(y)?.ptr(), n: N };
                s.launch(kernel, Grid::cover(N as usize), args)?;
            }
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        let all = [turn::Constants::default()].into_iter().chain(values());
        for (constants, found) in all.zip(&results) {
            let expected = expected(&x, constants, groups(constants.local_size_x, N));
            assert_eq!(*found, expected, "{way}, {constants:?}");
        }
    }
}

/// More workgroups than one launch has on any device, so that the grid is folded.
#[test]
fn folded_grids_have_the_workgroups_of_the_values() {
    let n = 65_535 + 1000;
    let x = vec![1.0f32; n as usize];
    for (way, runtime) in ways().into_iter().filter(|(way, _)| ["direct", "copied"].contains(way)) {
        let constants = turn::Constants { local_size_x: 1, ..Default::default() };
        let kernel = runtime.specialized::<turn::Kernel>(constants).unwrap();
        let mut y = vec![-1.0f32; n as usize];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let args = turn::Args { x: s.lend(&x)?.ptr(), y: s.lend_mut(&mut y)?.ptr(), n };
            Ok(s.launch(&kernel, Grid::cover(n as usize), args)?)
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        // One for each round and what the round adds, and the number of workgroups.
        assert!(y.iter().all(|&y| y == 2.0 + 1.0 + 66_535.0), "{way}: {:?}", &y[..4]);
    }
}

fn raw(runtime: &Runtime, options: &RawKernelOptions<'_>) -> Result<RawKernel, KernelError> {
    // SAFETY: the macro compiled the words.
    unsafe { runtime.raw_kernel_with("turn", turn::Kernel::words(), options) }
}

#[test]
fn raw_kernels_take_values_by_name_and_by_number() {
    let x = common::ramp(N as usize);
    for (way, runtime) in ways() {
        let options = RawKernelOptions::new()
            .entry("main")
            .constant("local_size_x", 40u32)
            .constant("FACTOR", 0.25f32)
            .constant(3, true);
        let kernel = raw(&runtime, &options).unwrap();
        assert_eq!(kernel.local_size(), [40, 1, 1]);
        let mut y = vec![-1.0f32; N as usize];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
            let push = turn::Kernel::push(turn::Args { x, y, n: N });
            let push: &[u8] = bytemuck::cast_slice(&push);
            Ok(s.launch_raw(&kernel, Grid::cover(N as usize), push, &LaunchOptions::new())?)
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        let constants = turn::Constants {
            local_size_x: 40,
            factor: 0.25,
            turns: true,
            ..turn::Constants::default()
        };
        assert_eq!(y, expected(&x, constants, groups(40, N)), "{way}");
    }
}

/// The message of an error and of its causes.
fn chain(error: &KernelError) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |all, cause| format!("{all}: {cause}"))
}

#[test]
fn mistakes_are_named_with_kernel_and_constant() {
    let Some(runtime) = common::runtime() else { return };
    let refusal = |options: RawKernelOptions<'_>| chain(&raw(&runtime, &options).unwrap_err());
    let new = RawKernelOptions::new;
    let missing = refusal(new().constant("FACTORS", 1.0f32));
    assert!(missing.contains("the constants of kernel `turn` cannot have"), "{missing}");
    assert!(missing.contains("no specialisation constant with the name `FACTORS`"), "{missing}");
    assert!(missing.contains("constant 2 (`FACTOR`): f32"), "{missing}");
    assert!(refusal(new().constant(9, 1u32)).contains("the number 9"));
    let typed = refusal(new().constant("FACTOR", 1u32));
    assert!(typed.contains("constant 2 (`FACTOR`) is a specialisation constant of type f32"));
    let twice = refusal(new().constant("FACTOR", 1.0f32).constant(2, 1.0f32));
    assert!(twice.contains("constant 2 (`FACTOR`) is given twice"), "{twice}");
    let entry = refusal(new().entry("start").constant("FACTOR", 1.0f32));
    assert!(entry.contains("no compute entry point `start`"), "{entry}");
    assert!(refusal(new().constant("ROUNDS", 0u32)).contains("has 0 elements"));
}

#[test]
fn workgroups_that_the_device_does_not_have_are_named() {
    let Some(runtime) = common::runtime() else { return };
    let refusal = |local_size_x| {
        let constants = turn::Constants { local_size_x, ..Default::default() };
        runtime.specialized::<turn::Kernel>(constants).unwrap_err()
    };
    let empty = refusal(0);
    assert!(matches!(empty, KernelError::Constants { .. } | KernelError::Words { .. }), "{empty}");
    for width in [1 << 20, 1 << 30, u32::MAX] {
        let large = refusal(width);
        assert!(matches!(large, KernelError::Limit { .. }), "{width}: {}", chain(&large));
    }
    let kernel = runtime.specialized::<turn::Kernel>(turn::Constants::default());
    assert_eq!(kernel.unwrap().local_size(), [16, 1, 1], "the runtime goes on");
}

#[test]
fn explanations_have_the_values() {
    let Some(runtime) = common::runtime() else { return };
    let constants = turn::Constants { factor: 0.5, ..Default::default() };
    let explanation = runtime.specialized::<turn::Kernel>(constants).unwrap().explain();
    let found = explanation.constants().iter().find(|constant| constant.name == "FACTOR");
    assert_eq!(found.unwrap().default, SpecValue::F32(0.5));
    let text = explanation.to_string();
    assert!(text.contains("constants   constant 0 (`local_size_x`) = 16\n"), "{text}");
    assert!(text.contains("\n            constant 2 (`FACTOR`) = 0.5\n"), "{text}");
    let plain = runtime.kernel::<turn::Kernel>().unwrap().explain();
    assert!(plain.to_string().contains("constant 2 (`FACTOR`) = 1\n"));
}

#[test]
fn defaults_are_those_of_the_module() {
    let found = turn::Constants::default();
    let expected =
        turn::Constants { local_size_x: 16, rounds: 2, factor: 1.0, turns: false, shift: 0 };
    assert_eq!(found, expected);
}
