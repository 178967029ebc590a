//! Calls of Vulkan that fail, one after the other, for each kind of call and in each mode: results
//! are right, or there is an error; no process ends by a signal or hangs, and nothing is left.
//!
//! `FARPTR_FAILURES_COUNT` says how many calls of each kind are made to fail, in place of a few.
//!
//! # Safety
//!
//! Memory that was lent to a scope whose device was lost is leaked, and not looked at. A kernel
//! made at run time is valid because a compiler made it; it is not launched unchecked.
#![allow(unsafe_code, reason = "a scope that fails leaks what it was lent")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/masked.rs"]
mod masked;

use farptr::shaders::{affine, hadamard, saxpy};
use farptr::{
    AccessMode, Backing, Error, Grid, LaunchError, LaunchOptions, Runtime, RuntimeBuilder,
};
use farptr_kernel_cases::text;
use std::collections::BTreeSet;

/// The calls that fail, if the environment asks for no number of them.
const FEW: [u64; 2] = [2, 9];
/// A device for direct access, and one whose memory the host does not see.
const DEVICES: [&str; 2] = ["lavapipe", "nvidia"];

/// Some pages.
const N: usize = 20_000;
/// More than a batch.
const LAUNCHES: u16 = 70;

/// Writes the low word of the host's address of `z`.
const ADDRESSES: &str = "#version 460
    #extension GL_EXT_buffer_reference2 : require
    #extension GL_EXT_buffer_reference_uvec2 : require
    #extension GL_EXT_scalar_block_layout : require
    layout(local_size_x = 16) in;
    layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint at[]; };
    layout(push_constant) uniform Push { uvec2 z; uint n; };
    void main() {
        uint i = gl_GlobalInvocationID.x;
        if (i < n) U(z).at[i] = i + z.x;
    }";

/// The modes that a device has.
fn modes() -> Vec<(&'static str, RuntimeBuilder)> {
    let mirrored = |backing| Runtime::builder().access(AccessMode::Mirrored).backing(backing);
    if masked::mask().unwrap().starts_with("lavapipe") {
        return vec![("direct", Runtime::builder().access(AccessMode::Direct))];
    }
    vec![("imported", mirrored(Backing::Import)), ("copied", mirrored(Backing::Copy))]
}

/// Does some work in each mode, and says how it went.
fn work() {
    // The layer (1.3.239) takes commands for submitted although their submission has failed.
    let validation = !masked::mask().unwrap().contains("fail=submit:");
    for (mode, builder) in modes() {
        let builder = builder.validation(validation).no_pipeline_cache();
        // SAFETY: what was lent to a scope that fails is leaked.
        let builder = unsafe { builder.assume_stopped_when_lost() };
        let said = match builder.build() {
            Ok(runtime) => twice(&runtime),
            Err(error) => format!("not built: {error:?}"),
        };
        println!("\n{mode}: {said}");
    }
}

/// The first failure is the only one unless the device was lost, so a second try succeeds.
fn twice(runtime: &Runtime) -> String {
    match (once(runtime), once(runtime)) {
        (Ok(()), Ok(())) => "right".to_owned(),
        (Err(first), Ok(())) if !is_loss(&first) => format!("right after {first:?}"),
        (Err(first), Err(second)) if is_loss(&first) && is_loss(&second) => "lost".to_owned(),
        (Ok(()), Err(second)) if is_loss(&second) => "right, then lost".to_owned(),
        (Ok(()), Err(second)) => match once(runtime) {
            Ok(()) => format!("right after {second:?}"),
            Err(third) => format!("WRONG: {second:?}, and again {third:?}"),
        },
        (first, second) => format!("WRONG: {first:?}, then {second:?}"),
    }
}

fn is_loss(error: &Error) -> bool {
    matches!(error, Error::Launch(LaunchError::DeviceLost { .. }))
        || format!("{error:?}").contains("DEVICE_LOST")
}

/// Launches two kernels, looks at memory in between, and compares all of it in the end.
fn once(runtime: &Runtime) -> Result<(), Error> {
    let affine = runtime.kernel::<affine::Kernel>()?;
    let saxpy = runtime.kernel::<saxpy::Kernel>()?;
    let (x, y) = (vec![2.0f32; N].leak(), vec![1.0f32; N].leak());
    let n = u32::try_from(N).unwrap();
    runtime.scope(|s| {
        let (x, lent) = (s.lend(&*x)?.ptr(), s.lend_mut(&mut *y)?);
        for _ in 0..LAUNCHES {
            let args = affine::Args { y: lent.ptr(), n, a: 1.0, c: 1.0 };
            s.launch(&affine, Grid::cover(N), args)?;
        }
        let seen = s.wait()?.read(&lent)?[N - 1];
        assert_eq!(seen, f32::from(LAUNCHES) + 1.0, "read between launches");
        let args = saxpy::Args { a: 3.0, x, y: lent.ptr(), n };
        Ok(s.launch(&saxpy, Grid::cover(N), args)?)
    })?;
    assert!(y.iter().all(|&y| y == f32::from(LAUNCHES) + 7.0), "wrong results");
    Ok(())
}

/// A kernel overwrites a few bytes of what it was lent, and the scope goes on after a failure.
/// Bytes that no kernel writes stay, and a launch that succeeds is seen.
fn go_on(runtime: &Runtime) -> Result<(), Error> {
    const WRITTEN: usize = 10;
    let kernel = runtime.kernel::<hadamard::Kernel>()?;
    let (x, y, mut z) = (vec![2.0f32; N], vec![3.0f32; N], vec![9.0f32; N]);
    let done = runtime.scope(|s| {
        let (x, y) = (s.lend(&x)?.ptr(), s.lend(&y)?.ptr());
        let lent = s.lend_mut(&mut z)?;
        let args = hadamard::Args { x, y, z: lent.ptr(), n: u32::try_from(WRITTEN).unwrap() };
        let mut launch = || s.launch(&kernel, Grid::cover(WRITTEN), args);
        let last = launch().or_else(|_| launch());
        let seen = s.wait()?.read(&lent)?[N - 1];
        assert_eq!(seen, 9.0, "a byte that no kernel writes");
        Ok(last?)
    });
    assert!(z[WRITTEN..].iter().all(|&z| z == 9.0), "bytes that no kernel writes: {done:?}");
    if done.is_ok() {
        assert_eq!(z[..WRITTEN], [6.0; WRITTEN]);
    }
    done
}

/// A kernel overwrites all of what it was lent: after a failure it is as it was, or written.
fn overwrite(runtime: &Runtime) -> Result<(), Error> {
    let kernel = runtime.kernel::<hadamard::Kernel>()?;
    let (x, y, mut z) = (vec![2.0f32; N], vec![3.0f32; N], vec![9.0f32; N]);
    let done = runtime.scope(|s| {
        let (x, y) = (s.lend(&x)?.ptr(), s.lend(&y)?.ptr());
        let lent = s.lend_mut(&mut z)?;
        let args = hadamard::Args { x, y, z: lent.ptr(), n: u32::try_from(N).unwrap() };
        let launched = s.launch(&kernel, Grid::cover(N), args);
        let seen = s.wait()?.read(&lent)?.to_vec();
        let expected = if launched.is_ok() { 6.0 } else { 9.0 };
        assert_eq!(seen, [expected; N], "after {launched:?}");
        Ok(launched?)
    });
    assert!(z == [6.0; N] || z == [9.0; N], "{:?} after {done:?}", &z[..4]);
    done
}

/// As [`overwrite`], by a launch that needs checks on copies, since it takes the address for a
/// number, in a scope that fails after it: the array is as it was, or written as a whole.
#[allow(unsafe_code, reason = "the words come from a compiler")]
fn overwrite_with_checks(runtime: &Runtime) -> Result<(), Error> {
    let words = text::whole_glsl("addresses.comp", ADDRESSES);
    // SAFETY: the words are the compiler's.
    let kernel = unsafe { runtime.raw_kernel("addresses", &words) }?;
    let mut z = vec![9u32; N];
    let (mut low, mut launched) = (0, None);
    let failed: Result<(), Error> = runtime.scope(|s| {
        let z = s.lend_mut(&mut z)?.ptr().address();
        low = u32::try_from(z & u64::from(u32::MAX)).unwrap();
        let push = [&z.to_le_bytes()[..], &u32::try_from(N).unwrap().to_le_bytes()].concat();
        launched = Some(s.launch_raw(&kernel, Grid::cover(N), &push, &LaunchOptions::new()));
        Ok(s.launch_raw(&kernel, Grid::cover(0), &push, &LaunchOptions::new())?)
    });
    assert!(failed.is_err());
    let is_written = (low..).zip(&z).all(|(expected, z)| *z == expected);
    let was_launched = matches!(launched, Some(Ok(())));
    assert!(z == [9; N] || (was_launched && is_written), "{:?} after {launched:?}", &z[..4]);
    launched.map_or(Err(failed.unwrap_err()), |launched| Ok(launched?))
}

/// As [`go_on`], with a transaction that leaves what was lent between launches that do not.
fn go_on_after_a_transaction(runtime: &Runtime) -> Result<(), Error> {
    let kernel = runtime.kernel::<affine::Kernel>()?;
    let mut y = vec![9.0f32; N];
    let mut added = 0u8;
    let done = runtime.scope(|s| {
        let lent = s.lend_mut(&mut y)?;
        for outside in [0, 1, 0, 0] {
            let n = u32::try_from(N).unwrap() + outside;
            let args = affine::Args { y: lent.ptr(), n, a: 1.0, c: 1.0 };
            let options = LaunchOptions::new().transactional(outside > 0);
            let launched = s.launch_with(&kernel, Grid::cover(N + 1), args, &options);
            let done = launched.and_then(|()| s.wait().map(drop));
            assert!(done.is_err() || outside == 0);
            added += u8::from(done.is_ok());
        }
        Ok(())
    });
    assert_eq!(y, vec![9.0 + f32::from(added); N], "{done:?}");
    done
}

/// Makes one of the first calls of a scope fail that goes on.
#[test]
fn bytes_that_no_kernel_writes_survive_a_failure() {
    let test = "bytes_that_no_kernel_writes_survive_a_failure";
    if masked::is_child() {
        let copies = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
        let Ok(runtime) = copies.no_pipeline_cache().build() else { return };
        let went = go_on_after_a_transaction(&runtime).and(go_on(&runtime));
        let went = overwrite(&runtime).and(overwrite_with_checks(&runtime)).and(went);
        return println!("\nwent on: {:?}", went.map_err(drop));
    }
    if common::runtime().is_none() {
        return;
    }
    let mut outcomes = BTreeSet::new();
    for mask in (1..=24).flat_map(|call| [format!("submit:{call}"), format!("allocation:{call}")]) {
        let ended = masked::again(&format!("nvidia,fail={mask}"), test).unwrap();
        ended.assert_passed();
        assert!(ended.left().is_empty(), "{mask}: {:?}", ended.left());
        let outcome = ended.stdout.lines().find_map(|line| line.strip_prefix("went on: "));
        outcomes.insert(outcome.unwrap_or("not built").to_owned());
    }
    assert!(outcomes.contains("Ok(())"), "{outcomes:?}");
}

/// Makes calls of a kind fail, each in a process of its own.
fn fail(kind: &str, test: &str) {
    // On a thread of its own, because a thread's runtime keeps the other tests waiting.
    let no_device = || std::thread::spawn(|| common::runtime().is_none()).join().unwrap();
    if !masked::is_child() && no_device() {
        return;
    }
    let count = std::env::var("FARPTR_FAILURES_COUNT").ok();
    let calls: Vec<u64> = match count.map(|count| count.parse().expect("a number of calls")) {
        Some(count) => (1..=count).collect(),
        None => FEW.to_vec(),
    };
    for device in DEVICES {
        for call in &calls {
            let mask = format!("{device},fail={kind}:{call}");
            let Some(ended) = masked::again(&mask, test) else { return work() };
            ended.assert_passed();
            judge(&ended);
            if ended.total("failures") == 0 {
                // There are not so many calls.
                break;
            }
        }
    }
}

fn judge(ended: &masked::Ended) {
    let (mask, stdout) = (&ended.mask, &ended.stdout);
    let modes = ["direct", "imported", "copied"].iter();
    let lines = modes.filter_map(|mode| {
        let line = stdout.lines().find(|line| line.starts_with(&format!("{mode}: ")))?;
        Some(line.to_owned())
    });
    let lines: Vec<String> = lines.collect();
    assert_eq!(lines.len(), if mask.starts_with("lavapipe") { 1 } else { 2 }, "{mask}: {stdout}");
    let failures = ended.counts("failures");
    for line in &lines {
        assert!(!line.contains("WRONG"), "{mask}: {line}\n{}", ended.stderr);
        println!("{mask}: {line}");
    }
    if failures.iter().all(|&failures| failures == 0) {
        assert!(lines.iter().all(|line| line.ends_with(": right")), "{mask}: {lines:?}");
    }
    for (lost, left) in ended.left_by_loss() {
        // With validation, only the value of the timeline proves that nothing is pending, which a
        // lost device does not tell: all that it has is left to it.
        assert_eq!(lost, !left.is_empty(), "{mask}: {left:?}\n{}", ended.report);
    }
}

/// A test for each kind of failure (`runtime/mask/DESIGN.md`).
macro_rules! kinds {
    ($($test:ident $kind:literal;)*) => {$(
        #[test]
        fn $test() {
            fail($kind, stringify!($test));
        }
    )*};
}

kinds! {
    allocations_fail "allocation";
    imports_fail "import";
    submissions_fail "submit";
    submissions_lose_the_device "submit-lost";
    waits_fail "wait";
    waits_lose_the_device "wait-lost";
    queries_fail "query";
    queries_lose_the_device "query-lost";
}
