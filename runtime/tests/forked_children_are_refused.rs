//! A child made by `fork` is told that the runtime is its parent's, and never waits for a device.
//!
//! Forking a test harness is no good idea, so a process of its own forks: this test binary again,
//! with only the test `forking` selected. A child that hangs is ended by an alarm.
//!
//! # Safety
//!
//! The child that `fork` makes runs code of this process with one thread, and ends without running
//! what the parent registered for its exit. Values of the parent of which it drops a copy are not
//! used by it again.
#![allow(unsafe_code, reason = "fork")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::runtime;
use farptr::shaders::{affine, empty, saxpy};
use farptr::{Error, Grid, Kernel, KernelError, LaunchError, LendError, Runtime, Scope};
use std::process::Command;

/// Set in the process that forks.
const FORKS: &str = "FARPTR_TEST_FORKS";
/// Seconds until a child that hangs gets a signal that ends it.
const PATIENCE: u32 = 60;

/// Runs `child` in a forked process, which must end well.
fn in_child(child: impl FnOnce()) {
    // SAFETY: the child runs code of this process with one thread, and uses nothing that other
    // threads may have locked: it takes no lock of the harness, and the C library prepares its own
    // locks for a fork.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: sets a timer of this process.
        unsafe { libc::alarm(PATIENCE) };
        let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_ok();
        // SAFETY: ends the process without running what the parent registered for its exit.
        unsafe { libc::_exit(i32::from(!well)) };
    }
    let mut status = 0;
    // SAFETY: `status` is a live number that the call writes.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((waited, status), (pid, 0), "the child did not end well");
}

/// y = y + 1 over 1000 elements.
fn count_up<'env>(
    s: &mut Scope<'_, 'env>,
    kernel: &Kernel<affine::Kernel>,
    y: &'env mut [f32],
) -> Result<(), Error> {
    let y = s.lend_mut(y)?;
    let args = affine::Args { y: y.ptr(), n: 1000, a: 1.0, c: 1.0 };
    Ok(s.launch(kernel, Grid::cover(1000), args)?)
}

/// Not a test of its own: what the forking process does.
#[test]
fn forking() {
    if std::env::var_os(FORKS).is_none() {
        return;
    }
    let runtime = Runtime::builder().validation(true).no_pipeline_cache().build().unwrap();
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let mut y = vec![0.0f32; 1000];

    // Between scopes: every operation is an error, and dropping everything makes no Vulkan call.
    in_child(|| {
        let scope = runtime.scope(|_| Ok(()));
        assert!(matches!(scope, Err(Error::Launch(LaunchError::Forked))), "{scope:?}");
        let compiled = runtime.kernel::<saxpy::Kernel>();
        assert!(matches!(compiled, Err(KernelError::Forked { kernel: "saxpy" })));
        // SAFETY: read once and not used by the child's end, which is `_exit`.
        drop(unsafe { std::ptr::read(&raw const runtime) });
    });

    // In the middle of a scope: the child's way out of it does not wait.
    let memory = vec![0u8; 10_000];
    runtime
        .scope(|s| {
            count_up(s, &kernel, &mut y)?;
            in_child(|| {
                assert!(matches!(s.lend(&memory), Err(LendError::Forked)));
                assert!(matches!(s.submit(), Err(LaunchError::Forked)));
                assert!(matches!(s.is_done(), Err(LaunchError::Forked)));
                assert!(matches!(s.wait().map(drop), Err(LaunchError::Forked)));
                let empty = runtime.kernel::<empty::Kernel>();
                assert!(matches!(empty, Err(KernelError::Forked { .. })));
                // SAFETY: as above.
                drop(unsafe { std::ptr::read(s) });
            });
            Ok(())
        })
        .unwrap();

    // While the host looks: bringing home would be a call of Vulkan.
    let mut z = vec![0.0f32; 1000];
    runtime
        .scope(|s| {
            let z = s.lend_mut(&mut z)?;
            let args = affine::Args { y: z.ptr(), n: 1000, a: 1.0, c: 1.0 };
            s.launch(&kernel, Grid::cover(1000), args)?;
            let mut idle = s.wait()?;
            in_child(|| {
                assert!(matches!(idle.read(&z), Err(LaunchError::Forked)));
                assert!(matches!(idle.write(&z), Err(LaunchError::Forked)));
            });
            assert_eq!(idle.read(&z)?, [1.0; 1000]);
            Ok(())
        })
        .unwrap();

    // The parent goes on as if nothing had been.
    runtime.scope(|s| count_up(s, &kernel, &mut y)).unwrap();
    assert_eq!(y, vec![2.0; 1000]);
}

#[test]
fn a_child_is_refused_and_the_parent_goes_on() {
    if runtime().is_none() {
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "forking", "--nocapture", "--test-threads=1"]).env(FORKS, "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
