//! A program that uses farptr runs under valgrind, which does not give a process the auxiliary
//! vector where the kernel puts it.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::runtime;
use farptr::shaders::affine;
use farptr::{AccessMode, Grid, Runtime};
use std::process::Command;

/// Set under valgrind.
const WATCHED: &str = "FARPTR_TEST_WATCHED";

/// Not a test of its own: what the watched process does.
#[test]
fn watched() {
    if std::env::var_os(WATCHED).is_none() {
        return;
    }
    for mode in [AccessMode::Direct, AccessMode::Mirrored] {
        let runtime = Runtime::builder().access(mode).no_pipeline_cache().build().unwrap();
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
}

#[test]
fn a_program_runs_under_valgrind() {
    if runtime().is_none() {
        return;
    }
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => {}
        _ => return common::skip("valgrind is not installed; apt-get install valgrind gets it"),
    }
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=none"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "watched", "--test-threads=1"]).env(WATCHED, "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let refused = String::from_utf8_lossy(&output.stderr);
    if refused.contains("Illegal opcode") && refused.contains("swiftshader_jit") {
        // The driver was reached, and generates instructions that valgrind does not know.
        return;
    }
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}
