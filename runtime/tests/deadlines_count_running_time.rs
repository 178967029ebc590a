//! Deadlines: only time in which a launch could run counts.
//!
//! The launch needs a page that the test itself serves. So the test decides how long the launch
//! waits: in a kernel or, where pages are copied, in the copy. The tests differ in the length of
//! this wait. No assertion depends on a clock.
//!
//! # Safety
//!
//! Signals go to children of this process that it has not waited for, or to the process itself.
#![allow(unsafe_code, reason = "signals")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/pager.rs"]
mod pager;
#[path = "../../hmm/tests/processors/mod.rs"]
mod processors;

use common::build;
use farptr::shaders::affine;
use farptr::test_hooks::TestHooks;
use farptr::{
    AccessMode, Backing, Error, Grid, Kernel, LaunchOptions, Runtime, RuntimeBuilder, VaRange,
};
use memmap2::{Advice, MmapMut};
use pager::Pager;
use processors::pin;
use std::{
    process::{Child, Command},
    sync::mpsc::channel,
    time::Duration,
};

/// Set in a child: the way in which it reaches memory.
const WAY: &str = "FARPTR_TEST_WAY";
/// The message of a child to the harness if there is no device to test on.
const NOT_RUN: &str = "the child has nothing to run on: ";
/// The time that a launch may take here: it runs for a few milliseconds, and waits for longer.
const DEADLINE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_secs(4);
const ELEMENTS: u32 = 1000;
/// Bytes of the lend that the test holds back.
const PAGE: usize = 4096;

/// Every way of a launch to its memory.
const WAYS: [&str; 4] = ["direct", "imported", "copied", "mixed"];

/// A kernel works on host memory itself, on translated addresses, or on copies in rounds; with
/// `mixed` one page is imported and longer lends are copied.
fn way(name: &str) -> RuntimeBuilder {
    let mirrored = Runtime::builder().access(AccessMode::Mirrored);
    match name {
        "direct" => Runtime::builder().access(AccessMode::Direct),
        "imported" => mirrored.backing(Backing::Import),
        "copied" => mirrored.backing(Backing::Copy),
        "mixed" => mirrored.backing(Backing::Import).refuse_imports_above(PAGE as u64),
        other => panic!("no such way: {other}"),
    }
}

/// y = y + 1.
fn add_one(runtime: &Runtime, kernel: &Kernel<affine::Kernel>, y: &mut [f32]) -> Result<(), Error> {
    let options = LaunchOptions::new().deadline(DEADLINE);
    runtime.scope(|s| {
        let y = s.lend_mut(y)?.ptr();
        let args = affine::Args { y, n: ELEMENTS, a: 1.0, c: 1.0 };
        Ok(s.launch_with(kernel, Grid::cover(ELEMENTS as usize), args, &options)?)
    })
}

/// A page of zeroes that is not there until `hold` returns, and the memory of it.
fn held(hold: impl Fn() + Send + 'static) -> std::io::Result<(MmapMut, Pager)> {
    let memory = MmapMut::map_anon(PAGE)?;
    match memory.advise(Advice::NoHugePage) {
        // A kernel without transparent huge pages does not know the advice.
        Ok(()) | Err(_) => {}
    }
    let range = VaRange::of_slice(&memory);
    let page = move |_| {
        hold();
        vec![0; PAGE]
    };
    let pager = Pager::start(range.start().get()..range.end().get(), PAGE, page)?;
    Ok((memory, pager))
}

/// Not a test of its own: a child that stops itself in the middle of a launch.
#[test]
fn stopping() {
    let Ok(name) = std::env::var(WAY) else {
        return;
    };
    let Ok(runtime) = way(&name).validation(true).no_pipeline_cache().build() else {
        return println!("{NOT_RUN}{name}");
    };
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    // Drivers compile at the first launch, which is not to count.
    add_one(&runtime, &kernel, &mut [0.0; PAGE / 4]).unwrap();
    let stop = || {
        // SAFETY: the signal stops this whole process until another one continues it.
        unsafe { libc::raise(libc::SIGSTOP) };
    };
    let Ok((mut memory, pager)) = held(stop) else {
        return println!("{NOT_RUN}no userfaultfd");
    };
    let y: &mut [f32] = bytemuck::cast_slice_mut(&mut memory);
    add_one(&runtime, &kernel, y).unwrap();
    assert_eq!(y[..ELEMENTS as usize], [1.0; ELEMENTS as usize]);
    assert_eq!(pager.stop(), 1, "the launch was held up");
}

/// Waits until the child has stopped, or says that it has ended.
fn has_stopped(child: &Child) -> bool {
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
    // SAFETY: the structure is room for what the call writes.
    let waited =
        unsafe { libc::waitid(libc::P_PID, pid.cast_unsigned(), info.as_mut_ptr(), options) };
    assert_eq!(waited, 0, "the child is ours");
    // SAFETY: zeroes and what the call wrote are a valid structure.
    let info = unsafe { info.assume_init() };
    info.si_code == libc::CLD_STOPPED
}

#[test]
fn time_in_which_the_process_is_stopped_does_not_count() {
    let start = |way: &&'static str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "stopping", "--nocapture", "--test-threads=1"]).env(WAY, way);
        let stdout = std::process::Stdio::piped();
        (*way, command.stdout(stdout).spawn().unwrap())
    };
    let children: Vec<(&str, Child)> = WAYS.iter().map(start).collect();
    let stopped: Vec<bool> = children.iter().map(|(_, child)| has_stopped(child)).collect();
    if stopped.contains(&true) {
        // The time in which the children do not run.
        std::thread::sleep(PAUSE);
    }
    for ((way, child), stopped) in children.into_iter().zip(stopped) {
        // SAFETY: the child was not waited for, so that the number is its own.
        unsafe { libc::kill(libc::pid_t::try_from(child.id()).unwrap(), libc::SIGCONT) };
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        if !stopped && text.contains(NOT_RUN) {
            common::skip(&format!("{way}: no device, no validation layer or no userfaultfd"));
            continue;
        }
        assert!(stopped && output.status.success(), "{way}: {text}");
    }
}

#[test]
fn time_behind_launches_of_others_does_not_count() {
    for name in ["direct", "imported", "mixed"] {
        let Some(runtime) = build(way(name)) else { return };
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let mut mine = vec![0.0f32; 2 * PAGE];
        add_one(&runtime, &kernel, &mut mine).unwrap();
        let ((begun, has_begun), (release, released)) = (channel(), channel());
        let hold = move || {
            begun.send(()).unwrap();
            released.recv().unwrap();
        };
        let (mut memory, pager) = match held(hold) {
            Ok(held) => held,
            Err(error) => return common::skip(&format!("userfaultfd: {error}")),
        };
        let theirs: &mut [f32] = bytemuck::cast_slice_mut(&mut memory);
        std::thread::scope(|threads| {
            let (runtime, kernel) = (&runtime, &kernel);
            let _pinned = pin(0);
            let first = threads.spawn(move || {
                let _pinned = pin(1);
                // Held up as long, but in the kernel: it may take its time.
                runtime.scope(|s| {
                    let y = s.lend_mut(theirs)?.ptr();
                    let args = affine::Args { y, n: ELEMENTS, a: 1.0, c: 1.0 };
                    Ok(s.launch(kernel, Grid::cover(ELEMENTS as usize), args)?)
                })
            });
            has_begun.recv().unwrap();
            threads.spawn(move || {
                // The time in which the first launch keeps the device.
                std::thread::sleep(PAUSE);
                release.send(()).unwrap();
            });
            add_one(runtime, kernel, &mut mine).unwrap();
            first.join().unwrap().unwrap();
        });
        assert_eq!(mine[..ELEMENTS as usize], [2.0; ELEMENTS as usize], "{name}");
        assert_eq!(pager.stop(), 1, "the first launch was held up");
    }
}
