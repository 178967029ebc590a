//! Validation errors end the process: a wrong Vulkan call cannot pass a test unnoticed.
//!
//! # Safety
//!
//! Words that are not valid are given to the validation layer, which ends the process before a
//! driver sees them.
#![allow(unsafe_code, reason = "a kernel that breaks its contract on purpose")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::runtime;
use farptr::{Grid, KernelDesc, Runtime, shaders::empty};
use std::{os::unix::process::ExitStatusExt, process::Command};

/// Set in the child process.
const CHILD: &str = "FARPTR_TEST_CHILD";
const SIGABRT: i32 = 6;

/// A module that reflection accepts and that is not valid SPIR-V: its id bound is 1.
struct WrongBound;

// SAFETY: none, on purpose: the validation layer aborts before the driver sees the words.
unsafe impl KernelDesc for WrongBound {
    const NAME: &'static str = "wrong bound";
    type Args<'s> = ();
    type Push = [u32; 0];

    fn words() -> &'static [u32] {
        let mut words = empty::Kernel::words().to_vec();
        words[3] = 1;
        words.leak()
    }

    fn push((): ()) -> [u32; 0] {
        []
    }
}

/// Not a test of its own: what the child process does.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = Runtime::builder().validation(true).no_pipeline_cache().build().unwrap();
    let kernel = runtime.kernel::<WrongBound>().unwrap();
    // SAFETY: the process ends when the driver is given the words.
    let done =
        runtime.scope(|s| Ok(unsafe { s.launch_unchecked(&kernel, Grid::groups(1, 1, 1), ()) }?));
    println!("the process survived: {done:?}");
}

#[test]
fn a_validation_error_aborts_the_process_with_its_message() {
    if runtime().is_none() {
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
    assert!(said.contains("farptr: Vulkan validation error, aborting: "), "{said}");
}
