//! Shared by all tests of the runtime: a device with validation on, or a loud skip.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use farptr::{AccessMode, Backing, BuildError, ChosenBacking, Error, Runtime, RuntimeBuilder};
use std::cell::RefCell;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whose turn it is; see [`take_turn`].
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    static HELD: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// Waits until no other test of this process uses Vulkan, and keeps the others waiting until this
/// thread, which runs one test, ends.
///
/// The validation layer (1.3.239) looks up the device of each call in a map that it does not lock.
/// If another thread makes or destroys a device meanwhile, the call goes to the wrong device or to
/// address 0: one of a dozen runs of tests with many devices side by side crashed so. Threads that
/// share a device make no such change.
pub fn take_turn() {
    HELD.with_borrow_mut(|held| {
        held.get_or_insert_with(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    });
}

/// A runtime with validation on, whose errors abort; or nothing where there is no device.
///
/// In CI (the variable `CI` is set) a missing device or layer fails the test.
pub fn runtime() -> Option<Runtime> {
    build(Runtime::builder())
}

/// As [`runtime`], in direct access whatever `FARPTR_ACCESS` asks for.
pub fn direct() -> Option<Runtime> {
    build(Runtime::builder().access(AccessMode::Direct))
}

/// As [`runtime`], in each access mode; or the one that `FARPTR_ACCESS` asks for.
pub fn runtimes() -> Vec<Runtime> {
    if std::env::var_os("FARPTR_ACCESS").is_some() {
        return runtime().into_iter().collect();
    }
    let modes = [AccessMode::Direct, AccessMode::Mirrored];
    modes.into_iter().filter_map(|mode| build(Runtime::builder().access(mode))).collect()
}

/// As [`runtime`], with options.
pub fn build(builder: RuntimeBuilder) -> Option<Runtime> {
    or_skip(builder.validation(true).no_pipeline_cache())
}

/// As [`runtime`], with all options those of the caller.
pub fn or_skip(builder: RuntimeBuilder) -> Option<Runtime> {
    take_turn();
    match builder.build() {
        Ok(runtime) => Some(runtime),
        Err(Error::Build(
            why @ (BuildError::NoLoader(_)
            | BuildError::NoDevice
            | BuildError::NoSuitableDevice { .. }
            | BuildError::NoValidationLayer),
        )) => {
            skip(&why.to_string());
            None
        }
        Err(error) => panic!("the runtime cannot be built: {error:?}"),
    }
}

/// Says on the real standard error why a test does not run; in CI it fails instead.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI this test must run, but: {why}");
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    // Straight to the stream: what a passing test prints with macros is captured.
    let _ = writeln!(std::io::stderr(), "SKIP {name}: {why}");
}

/// Whether kernels work on copies: the first launch of a scope then misses its pages, and takes a
/// second round.
pub fn copies(runtime: &Runtime) -> bool {
    runtime.explain().backing() == ChosenBacking::Copy
}

/// Whether the device's memory is too small for the frames of many lends, each in one stretch: then
/// launches run in rounds, each a submission by itself, but for those on lends that were first.
pub fn always_in_rounds(runtime: &Runtime) -> bool {
    copies(runtime) && runtime.explain().device_budget() < 1 << 20
}

/// A runtime on copies, if the device has memory for whole lends.
pub fn copying_whole_lends(with: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> Option<Runtime> {
    let builder = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    let runtime = build(with(builder))?;
    if always_in_rounds(&runtime) {
        skip("the device has too little memory for lends that come as a whole");
        return None;
    }
    Some(runtime)
}

/// Whether as many launches go to a submission as there is room for. Where a watchdog may look at
/// the device, those that earlier ones show to take long go alone, and that depends on the machine.
pub fn batches_are_filled(runtime: &Runtime) -> bool {
    runtime.explain().submission_limit().is_none()
}

/// Whether the layer of masked devices keeps second copies of what the device maps and imports:
/// what the host writes meanwhile does not reach a running kernel, and each imported page is
/// touched.
pub fn memory_is_shadowed() -> bool {
    std::env::var("FARPTR_MASK").is_ok_and(|mask| !mask.starts_with("lavapipe"))
}

/// Numbers that are different and exact in single precision.
pub fn ramp(len: usize) -> Vec<f32> {
    (0u16..1024).cycle().take(len).map(f32::from).collect()
}
