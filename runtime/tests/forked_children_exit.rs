//! A child made by `fork` ends as every process does, by the end of its `main`: whether it did
//! nothing with what it inherited, was refused, or followed the advice of the refusal.
//!
//! A program of its own, without the test harness, whose threads a child would lack. It starts
//! itself again for each case; a child that hangs is ended by an alarm.
//!
//! # Safety
//!
//! The child that `fork` makes has the one thread that this program has started, and goes on with
//! it alone.
#![allow(unsafe_code, reason = "fork")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use farptr::shaders::affine;
use farptr::{
    Array, BuildError, Error, Grid, KernelError, LaunchError, LendError, Runtime, RuntimeBuilder,
};
use std::process::{Command, ExitCode};

/// Set in the process that forks: the case.
const CASE: &str = "FARPTR_TEST_CASE";
/// Seconds until a process that hangs gets a signal that ends it.
const PATIENCE: u32 = 60;

/// The child's work, and when it is forked.
const CASES: [&str; 7] = [
    "the child returns",
    "the child uses arrays",
    "the child returns from a scope",
    "the child is refused",
    "the child starts a program",
    "forked before the first runtime",
    "forked when the last runtime was gone",
];

fn main() -> ExitCode {
    let name = "children_end_well";
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    if std::env::args().any(|word| word == "--list") || words.any(|word| !name.contains(&word)) {
        return ExitCode::SUCCESS;
    }
    match std::env::var(CASE) {
        Ok(case) => return run(&case),
        Err(_) if common::runtime().is_none() => return ExitCode::SUCCESS,
        Err(_) => {}
    }
    for case in CASES {
        let output = Command::new(std::env::current_exe().unwrap()).env(CASE, case).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{case}: {output:?}");
        println!("test {name}: {case} ... ok");
    }
    ExitCode::SUCCESS
}

fn builder() -> RuntimeBuilder {
    Runtime::builder().validation(true).no_pipeline_cache()
}

/// y = y + 1, on a runtime of this process.
fn compute(runtime: &Runtime) {
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let mut y = vec![0.0f32; 1000];
    let done = runtime.scope(|s| {
        let y = s.lend_mut(&mut y)?.ptr();
        let args = affine::Args { y, n: 1000, a: 1.0, c: 1.0 };
        Ok(s.launch(&kernel, Grid::cover(1000), args)?)
    });
    done.unwrap();
    assert_eq!(y, vec![1.0; 1000]);
}

/// The side of a fork.
enum Side {
    Child,
    /// The child has ended, well or not.
    Parent(bool),
}

fn fork() -> Side {
    // SAFETY: this program's own code has one thread, which goes on in the child; threads of the
    // driver are what the test is about.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: sets a timer of this process.
        unsafe { libc::alarm(PATIENCE) };
        return Side::Child;
    }
    let mut status = 0;
    // SAFETY: `status` is a live number that the call writes.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    let well = (waited, status) == (pid, 0);
    if !well {
        eprintln!("the child ended with {status:#x}");
    }
    Side::Parent(well)
}

/// One case; both sides of the fork return from it, and from `main`.
fn run(case: &str) -> ExitCode {
    match case {
        "compute" => compute(&builder().build().unwrap()),
        "forked before the first runtime" => {
            let side = fork();
            compute(&builder().build().unwrap());
            return ended(&side);
        }
        "forked when the last runtime was gone" => {
            compute(&builder().build().unwrap());
            let side = fork();
            match &side {
                // The driver stays in the process, and has lost its threads in the child.
                Side::Child => {
                    let refused = builder().build();
                    assert!(
                        matches!(refused, Err(Error::Build(BuildError::Forked))),
                        "{refused:?}"
                    );
                }
                Side::Parent(_) => compute(&builder().build().unwrap()),
            }
            return ended(&side);
        }
        _ => return with_a_runtime(case),
    }
    ExitCode::SUCCESS
}

fn with_a_runtime(case: &str) -> ExitCode {
    let runtime = builder().build().unwrap();
    compute(&runtime);
    match case {
        "the child returns from a scope" => return fork_in_scope(&runtime),
        "the child uses arrays" => return fork_with_arrays(&runtime),
        _ => {}
    }
    let side = fork();
    if let Side::Child = side {
        match case {
            "the child returns" => {}
            "the child is refused" => {
                let refused = builder().build();
                assert!(matches!(refused, Err(Error::Build(BuildError::Forked))), "{refused:?}");
                let scope = runtime.scope(|_| Ok(()));
                assert!(matches!(scope, Err(Error::Launch(LaunchError::Forked))), "{scope:?}");
                let kernel = runtime.kernel::<affine::Kernel>();
                assert!(matches!(kernel, Err(KernelError::Forked { .. })), "{kernel:?}");
                let again = builder().build();
                assert!(matches!(again, Err(Error::Build(BuildError::Forked))), "{again:?}");
            }
            "the child starts a program" => {
                let program = std::env::current_exe().unwrap();
                let status = Command::new(program).env(CASE, "compute").status().unwrap();
                assert!(status.success(), "{status:?}");
            }
            other => panic!("no such case: {other}"),
        }
    } else {
        compute(&runtime);
    }
    ended(&side)
}

/// Forks with a launch in flight. Both sides drop the memory that was lent, as every scope does.
fn fork_in_scope(runtime: &Runtime) -> ExitCode {
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let (mut y, other) = (vec![0.0f32; 1000], vec![0u8; 1000]);
    let mut side = None;
    let scope = runtime.scope(|s| {
        let y = s.lend_mut(&mut y)?.ptr();
        let args = affine::Args { y, n: 1000, a: 1.0, c: 1.0 };
        s.launch(&kernel, Grid::cover(1000), args)?;
        let side = side.insert(fork());
        if let Side::Child = side {
            let lent = s.lend(&other);
            assert!(matches!(lent, Err(LendError::Forked)), "{lent:?}");
        }
        Ok(())
    });
    let side = side.unwrap();
    match side {
        Side::Child => {
            assert!(matches!(scope, Err(Error::Launch(LaunchError::Forked))), "{scope:?}");
        }
        Side::Parent(_) => {
            scope.unwrap();
            assert_eq!(y, vec![1.0; 1000]);
        }
    }
    ended(&side)
}

/// Forks when arrays have been lent. Both sides write, drop and make arrays, and return.
fn fork_with_arrays(runtime: &Runtime) -> ExitCode {
    const LEN: usize = 2 << 20;

    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let add_one = |y: &mut Array<f32>| {
        runtime.scope(|s| {
            let y = s.lend_mut(y)?.ptr();
            Ok(s.launch(&kernel, Grid::cover(LEN), affine::Args { y, n: 2 << 20, a: 1.0, c: 1.0 })?)
        })
    };
    let (mut y, small) = (Array::<f32>::zeroed(LEN).unwrap(), Array::from([1u8, 2, 3]));
    add_one(&mut y).unwrap();
    let side = fork();
    assert!(y.iter().all(|&y| y == 1.0) && small == [1, 2, 3]);
    match &side {
        Side::Child => y.fill(7.0),
        Side::Parent(_) => add_one(&mut y).unwrap(),
    }
    let copy = y.clone();
    drop(y);
    let expected = if let Side::Child = side { 7.0 } else { 2.0 };
    assert!(copy.iter().all(|&y| y == expected));
    ended(&side)
}

fn ended(side: &Side) -> ExitCode {
    match side {
        Side::Child | Side::Parent(true) => ExitCode::SUCCESS,
        Side::Parent(false) => ExitCode::FAILURE,
    }
}
