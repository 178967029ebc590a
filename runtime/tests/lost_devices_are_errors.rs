//! A device that is lost, or that does not see what the host writes, on masked devices: copies get
//! errors and keep host memory, and a process whose kernels may still write to lent memory ends.
//!
//! Each test runs itself again in a child, which the layer `farptr-mask` works for.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
//! Memory that a lost device may be using is leaked.
#![allow(unsafe_code, reason = "kernels made at run time, and scopes that end under kernels")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "common/checked.rs"]
mod checked;
mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/masked.rs"]
mod masked;

use checked::assert_usable;
use common::build;
use farptr::{
    AccessMode, Backing, BuildError, Error, Grid, LaunchError, LaunchOptions, LendError, RawKernel,
    Runtime, RuntimeBuilder, Scope,
};
use masked::{again, again_with};
use rustix::time::{ClockId, clock_gettime};
use std::{
    io::Write,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    time::{Duration, Instant},
};

/// A device that is lost after a second of one submission; launches at start-up take far less.
const WATCHDOG: &str = "watchdog,watchdog=1000";
/// Each workgroup adds one to the first element, and then works for a while.
const LONG: &str = "layout(local_size_x = 8) in;
    layout(buffer_reference, scalar, buffer_reference_align = 4) volatile buffer U { uint at[]; };
    layout(push_constant) uniform Push { uvec2 y; uint passes; };
    void main() {
        if (gl_LocalInvocationIndex == 0u) atomicAdd(U(y).at[0], 1u);
        uint sum = 0u;
        for (uint pass = 0u; pass < passes; pass++) sum += U(y).at[(pass + sum) & 63u | 1u];
        if (sum == 1u) U(y).at[1] = sum;
    }";
const PASSES: u32 = 50_000;
/// Workgroups whose time tells of that of others; they take a tenth of a second or so.
const TRIED_GROUPS: u32 = 300;
/// The time that the victim takes at least, if it has all processors: twice and a half as
/// much as the watchdog allows.
const VICTIM: Duration = Duration::from_millis(2500);

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

fn long(runtime: &Runtime) -> RawKernel {
    let words = glsl::glsl("long.comp", LONG, glsl::Level::Performance);
    // SAFETY: shaderc made the words, and the validation layer is on.
    unsafe { runtime.raw_kernel("long", &words) }.unwrap()
}

fn launch(
    s: &mut Scope<'_, '_>,
    kernel: &RawKernel,
    y: u64,
    [groups, passes]: [u32; 2],
) -> Result<(), LaunchError> {
    let push: Vec<u8> = y.to_le_bytes().into_iter().chain(passes.to_le_bytes()).collect();
    s.launch_raw(kernel, Grid::groups(groups, 1, 1), &push, &LaunchOptions::new())
}

/// Workgroups that take [`VICTIM`] or longer, after as many as tell how long they take.
///
/// They run on processors, so what they take of these does not depend on what else runs.
fn victim(s: &mut Scope<'_, '_>, kernel: &RawKernel, y: u64) -> Result<u32, LaunchError> {
    let used = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
    let before = used();
    launch(s, kernel, y, [TRIED_GROUPS, PASSES])?;
    s.wait()?;
    let each = (used() - before) / TRIED_GROUPS;
    let processors = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    let groups = (VICTIM * processors).as_nanos() / each.as_nanos().max(1);
    Ok(u32::try_from(groups).unwrap())
}

/// Asserts that a device was lost, and gives the call that said so.
fn lost<T>(ended: Result<T, impl Into<Error>>) -> String {
    match ended.map_err(Into::into) {
        Err(Error::Launch(LaunchError::DeviceLost { source })) => source.call().to_owned(),
        Err(other) => panic!("a lost device was expected, not {other:?}"),
        Ok(_) => panic!("a lost device was expected"),
    }
}

#[test]
fn copies_keep_host_memory_and_every_later_operation_has_the_error() {
    let name = "copies_keep_host_memory_and_every_later_operation_has_the_error";
    let Some(ended) = again(WATCHDOG, name) else {
        return lose_copies();
    };
    ended.assert_passed();
    let lost = ended.counts("lost");
    assert!(lost.contains(&1) && lost.contains(&0), "another device is not lost: {lost:?}");
    // With validation, the device of the watchdog never proves that nothing is pending.
    for (lost, left) in ended.left_by_loss() {
        assert_eq!(lost, left.iter().any(|(name, _)| name == "live_memory"), "{left:?}");
    }
}

fn lose_copies() {
    let Some(runtime) = build(copying()) else { return };
    let kernel = long(&runtime);
    let (mut y, more) = (vec![5u32; 64], [0u32]);
    let ended = runtime.scope(|s| {
        let y = s.lend_mut(&mut y)?.ptr().address();
        let groups = victim(s, &kernel, y)?;
        // Nothing asks for the result of this one.
        launch(s, &kernel, y, [1, 1])?;
        s.wait()?;
        launch(s, &kernel, y, [groups, PASSES])?;
        let first = lost(s.wait().map(drop));
        for again in [
            lost(s.wait().map(drop)),
            lost(s.submit()),
            lost(s.is_done()),
            lost(launch(s, &kernel, y, [1, 1])),
        ] {
            assert_eq!(again, first);
        }
        assert!(matches!(s.lend(&more), Err(LendError::DeviceLost { .. })));
        Ok(())
    });
    let first = lost(ended);
    // The results of what was waited for may have come home, and no other has.
    let waited = [5, 5 + TRIED_GROUPS, 6 + TRIED_GROUPS];
    assert!(waited.contains(&y[0]) && y[1..] == [5; 63], "{y:?}");
    assert_eq!(lost(runtime.scope(|_| Ok(()))), first);
    // Kernels and runtimes are dropped as always, and the process goes on with another device. On
    // the driver below the layer the kernel runs on, and makes others wait, until it ends.
    drop((kernel, runtime));
    let another = || copying().validation(true).no_pipeline_cache().build().ok();
    assert_usable(&std::iter::repeat_with(another).find_map(|built| built).unwrap());
}

#[test]
fn objects_of_a_lost_device_are_destroyed() {
    let name = "objects_of_a_lost_device_are_destroyed";
    for fault in ["wait-lost:400", "submit-lost:60"] {
        let Some(ended) = again(&format!("nvidia,fail={fault}"), name) else {
            // The validation layer takes commands of a lost device for pending.
            let builder = copying().validation(false).no_pipeline_cache();
            let Some(runtime) = common::or_skip(builder) else { return };
            lose_soon(&runtime);
            return;
        };
        ended.assert_passed();
        assert!(ended.total("lost") == 1 && ended.left().is_empty(), "{ended:?}");
    }
}

#[test]
fn a_process_ends_whose_kernels_may_still_write_to_lent_memory() {
    let name = "a_process_ends_whose_kernels_may_still_write_to_lent_memory";
    for (mask, builder) in [
        ("lavapipe,watchdog=1000", Runtime::builder().access(AccessMode::Direct)),
        (WATCHDOG, Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Import)),
    ] {
        let is_own = masked::mask().is_some_and(|own| own.starts_with(mask));
        match again(mask, name) {
            None if is_own => return lose_imports(builder),
            None => {}
            Some(ended) => {
                let skipped = ended.stderr.contains("SKIP");
                let said = ended.stderr.contains("cannot prove that the device has stopped");
                let aborted = ended.status.and_then(|status| status.signal()) == Some(6);
                assert!(skipped || (said && aborted), "{mask}: {ended:?}");
            }
        }
    }
}

fn lose_imports(builder: RuntimeBuilder) {
    let Some(runtime) = build(builder) else { return };
    let kernel = long(&runtime);
    let mut y = vec![5u32; 64];
    let ended = runtime.scope(|s| {
        let y = s.lend_mut(&mut y)?.ptr().address();
        let groups = victim(s, &kernel, y)?;
        Ok(launch(s, &kernel, y, [groups, PASSES])?)
    });
    panic!("the scope ended: {ended:?}");
}

#[test]
fn a_caller_that_leaves_lent_memory_alone_gets_an_error() {
    let name = "a_caller_that_leaves_lent_memory_alone_gets_an_error";
    let Some(ended) = again("lavapipe,watchdog=1000", name) else {
        return lose_leaked();
    };
    ended.assert_passed();
}

fn lose_leaked() {
    let builder = Runtime::builder().access(AccessMode::Direct);
    // SAFETY: 1. and 2. what is lent below is leaked, and nothing looks at it.
    let Some(runtime) = build(unsafe { builder.assume_stopped_when_lost() }) else { return };
    let kernel = long(&runtime);
    let y: &'static mut [u32] = vec![5u32; 64].leak();
    let ended = runtime.scope(|s| {
        let y = s.lend_mut(y)?.ptr().address();
        let groups = victim(s, &kernel, y)?;
        Ok(launch(s, &kernel, y, [groups, PASSES])?)
    });
    lost(ended);
    lost(runtime.scope(|_| Ok(())));
}

#[test]
fn a_submission_that_loses_the_device_is_an_error_and_no_launch() {
    let name = "a_submission_that_loses_the_device_is_an_error_and_no_launch";
    // More than a runtime needs while it is built.
    let Some(ended) = again("nvidia,fail=submit-lost:60", name) else {
        return lose_submission();
    };
    ended.assert_passed();
    assert_eq!(ended.total("lost"), 1);
}

fn lose_submission() {
    let Some(runtime) = build(copying()) else { return };
    assert_eq!(lose_soon(&runtime), "vkQueueSubmit");
}

/// Launches until the device is lost, and gives the call that said so.
fn lose_soon(runtime: &Runtime) -> String {
    let kernel = long(runtime);
    let mut y = vec![5u32; 64];
    let scope = |y: &mut Vec<u32>| {
        runtime.scope(|s| {
            let y = s.lend_mut(y)?.ptr().address();
            launch(s, &kernel, y, [1, 1])?;
            s.wait()?;
            Ok(())
        })
    };
    // Drivers differ in the number of calls before the first launch.
    for launches in 1..5000 {
        let ended = scope(&mut y);
        if ended.is_err() {
            assert!(y[0] < 5 + launches, "the launch has not come home");
            return lost(ended);
        }
        assert_eq!(y[0], 5 + launches);
    }
    panic!("the device was not lost");
}

#[test]
fn a_device_that_is_lost_while_it_is_tried_is_refused() {
    let name = "a_device_that_is_lost_while_it_is_tried_is_refused";
    for fault in ["submit-lost:1", "wait-lost:1", "wait-lost:3", "query-lost:1"] {
        let Some(ended) = again(&format!("nvidia,fail={fault}"), name) else {
            return assert_refused();
        };
        ended.assert_passed();
    }
}

fn assert_refused() {
    match Runtime::builder().no_pipeline_cache().build() {
        Ok(runtime) => assert_usable(&runtime),
        Err(Error::Build(BuildError::NoSuitableDevice { reasons })) => {
            assert!(reasons.contains("the device is lost"), "{reasons}");
        }
        Err(Error::Build(why @ (BuildError::NoLoader(_) | BuildError::NoDevice))) => {
            common::skip(&why.to_string());
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn another_device_is_taken_if_one_is_lost_while_it_is_tried() {
    let name = "another_device_is_taken_if_one_is_lost_while_it_is_tried";
    let Some(another) = another_driver() else {
        return common::skip("SwiftShader is not there; './farptr swiftshader' fetches it");
    };
    // A card is tried before a processor.
    let Some(ended) = again_with("nvidia,only=llvmpipe,fail=submit-lost:1", name, &another) else {
        let runtime = Runtime::builder().no_pipeline_cache().build().unwrap();
        let explained = runtime.explain().to_string();
        assert!(runtime.device_name().contains("SwiftShader"), "{explained}");
        assert!(explained.contains("the device is lost"), "{explained}");
        return assert_usable(&runtime);
    };
    ended.assert_passed();
    assert_eq!(ended.total("lost"), 1, "{ended:?}");
}

/// Variables by which Vulkan's loader finds SwiftShader beside the driver that is tested, if it is
/// where `./farptr swiftshader` puts it.
fn another_driver() -> Option<Vec<(&'static str, String)>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let manifest = cache.join("farptr/swiftshader/vk_swiftshader_icd.json");
    let manifest = manifest.to_str().filter(|_| manifest.exists())?.to_owned();
    Some(match std::env::var("VK_DRIVER_FILES") {
        Ok(tested) => vec![("VK_DRIVER_FILES", format!("{tested}:{manifest}"))],
        Err(_) => vec![("VK_ADD_DRIVER_FILES", manifest)],
    })
}

#[test]
fn a_driver_without_memory_for_an_answer_is_asked_again() {
    let name = "a_driver_without_memory_for_an_answer_is_asked_again";
    let faults =
        ["wait:1", "wait:2", "wait:7,fail=wait:8", "query:1", "query:1+", "wait:9,fail=query:3"];
    for (row, faults) in [("lavapipe", &faults[..]), ("nvidia", &faults[4..])] {
        for fault in faults {
            let Some(ended) = again(&format!("{row},fail={fault}"), name) else {
                build(Runtime::builder()).iter().for_each(assert_usable);
                return;
            };
            ended.assert_passed();
            assert_eq!(ended.total("lost"), 0, "{row}, {fault}");
        }
    }
}

/// A kernel without an end.
const ENDLESS: &str = "layout(local_size_x = 8) in;
    layout(buffer_reference, scalar, buffer_reference_align = 4) volatile buffer U { uint at[]; };
    layout(push_constant) uniform Push { uvec2 y; uint passes; };
    void main() {
        uint pass = 0u;
        while (U(y).at[3] == 5u && pass != 0xffffffffu) pass++;
        U(y).at[1] = pass;
    }";

#[test]
fn launches_that_take_long_together_are_not_submitted_together() {
    let name = "launches_that_take_long_together_are_not_submitted_together";
    if masked::is_child() {
        return launch_many();
    }
    // A few launches are in time, and all of them are not.
    let Some(one) = std::thread::spawn(time_of_one).join().unwrap() else { return };
    let watchdog = 500 + 20 * one.as_millis();
    let ended = again(&format!("watchdog,watchdog={watchdog}"), name).unwrap();
    ended.assert_passed();
    assert_eq!(ended.total("lost"), 0);
}

/// The time of one of [`MANY`] launches, on a device that no mask changes.
fn time_of_one() -> Option<Duration> {
    let runtime = build(copying())?;
    if runtime.device_name().contains("SwiftShader") {
        // Straight to the stream: what a passing test prints with macros is captured.
        let _ = writeln!(std::io::stderr(), "NOT RUN: launches take minutes on SwiftShader");
        return None;
    }
    let kernel = long(&runtime);
    let mut y = vec![5u32; 64];
    let mut run = |passes| {
        let began = Instant::now();
        let done = runtime.scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr().address();
            Ok(launch(s, &kernel, y, [FEW_GROUPS, passes])?)
        });
        done.map(|()| began.elapsed()).unwrap()
    };
    run(1);
    Some(run(PASSES))
}

fn launch_many() {
    let Some(runtime) = build(copying()) else { return };
    assert!(runtime.explain().submission_limit().is_some(), "a card may have a watchdog");
    let kernel = long(&runtime);
    let mut y = vec![5u32; 64];
    runtime
        .scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr().address();
            // All of them together lose the device.
            (0..MANY).try_for_each(|_| launch(s, &kernel, y, [FEW_GROUPS, PASSES]))?;
            Ok(())
        })
        .unwrap();
    assert_eq!(y[0], 5 + FEW_GROUPS * MANY);
}

/// Launches that a submission takes if they are short.
const MANY: u32 = 64;
/// Workgroups of each.
const FEW_GROUPS: u32 = 100;

#[test]
fn a_deadline_ends_kernels_that_see_nothing_of_the_host() {
    let name = "a_deadline_ends_kernels_that_see_nothing_of_the_host";
    for row in ["lavapipe", "shadow", "nvidia"] {
        let Some(ended) = again(row, name) else {
            let mirrored = || Runtime::builder().access(AccessMode::Mirrored);
            let imported = build(mirrored().backing(Backing::Import));
            return imported.iter().chain(&build(copying())).for_each(assert_ended);
        };
        ended.assert_passed();
    }
}

fn assert_ended(runtime: &Runtime) {
    let explained = runtime.explain();
    let cuts = explained.cuts_loops();
    // The layer's second copies are seen at submissions alone.
    let shares = masked::mask().is_some_and(|mask| mask.starts_with("lavapipe"));
    assert_eq!(explained.stops_kernels(), shares && !cuts, "{explained}");
    let words = glsl::glsl("endless.comp", ENDLESS, glsl::Level::Performance);
    // SAFETY: shaderc made the words, and the validation layer is on.
    let kernel = unsafe { runtime.raw_kernel("endless", &words) }.unwrap();
    let options = LaunchOptions::new().deadline(std::time::Duration::from_millis(50));
    let mut y = vec![5u32; 64];
    // Several workgroups, of which one counts the failure for all.
    let ended = runtime.scope(|s| {
        let push = s.lend_mut(&mut y)?.ptr().address().to_le_bytes();
        let push: Vec<u8> = push.into_iter().chain([0; 4]).collect();
        Ok(s.launch_raw(&kernel, Grid::groups(300, 1, 1), &push, &options)?)
    });
    match ended {
        Err(Error::Launch(LaunchError::LoopCut { .. })) => assert!(cuts, "{explained}"),
        Err(Error::Launch(LaunchError::Deadline { .. })) => {}
        other => panic!("{other:?}\n{explained}"),
    }
    assert_usable(runtime);
}
