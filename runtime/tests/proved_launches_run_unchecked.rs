//! A launch runs without checks if it is proved that none would fail, and is accepted and refused
//! as before.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::{batches_are_filled, build, copying_whole_lends, ramp};
use farptr::shaders::{affine, dot, gather, saxpy};
use farptr::test_hooks::LaunchHooks;
use farptr::{
    AccessMode, BuildError, Error, Grid, LaunchError, LaunchOptions, NotLent, RawKernel,
    RawKernelOptions, Runtime, Unproved,
};
use farptr_kernel_cases::text;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Set in a process that looks at the variable.
const INSIDE: &str = "FARPTR_TEST_INSIDE";

const N: usize = 10_007;
const COUNT: u32 = 10_007;

/// A runtime on host memory itself, if the device has direct access.
fn direct(proofs: bool) -> Option<Runtime> {
    build(Runtime::builder().access(AccessMode::Direct).proofs(proofs))
}

/// How many launches of a program ran without checks, and what came of it.
fn proved<R>(runtime: &Runtime, body: impl FnOnce(&Runtime) -> R) -> (u64, R) {
    let before = runtime.stats();
    let result = body(runtime);
    (runtime.stats().since(&before).proved_launches, result)
}

/// Adds `x` to `y` by a launch for `n` elements, whatever their lengths.
fn add(runtime: &Runtime, x: &[f32], y: &mut [f32], n: u32) -> Result<(), Error> {
    let kernel = runtime.kernel::<saxpy::Kernel>()?;
    runtime.scope(|s| {
        let (x, y) = (s.lend(x)?.ptr(), s.lend_mut(y)?.ptr());
        let args = saxpy::Args { x, y, n, a: 1.0 };
        Ok(s.launch(&kernel, Grid::cover(n as usize), args)?)
    })
}

#[test]
fn a_launch_on_lent_bytes_alone_is_proved() {
    let Some(runtime) = direct(true) else { return };
    let (x, mut y) = (ramp(N), ramp(N));
    let (count, done) = proved(&runtime, |runtime| add(runtime, &x, &mut y, COUNT));
    done.unwrap();
    assert_eq!(count, 1);
    assert!(y.iter().zip(&x).all(|(y, x)| *y == 2.0 * x));
}

/// Writes the low word of the address that the host has for `y`, or something without it, to each
/// element.
fn writes(what: &str) -> Vec<u32> {
    text::whole_glsl(
        "writes.comp",
        &format!(
            "#version 460
            #extension GL_EXT_buffer_reference2 : require
            #extension GL_EXT_buffer_reference_uvec2 : require
            #extension GL_EXT_scalar_block_layout : require
            layout(local_size_x = 16) in;
            layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U {{ uint at[]; }};
            layout(push_constant) uniform Push {{ uvec2 y; uint n; }};
            void main() {{
                uint i = gl_GlobalInvocationID.x;
                if (i < n) U(y).at[i] = i + {what};
            }}"
        ),
    )
}

/// Arguments that a function gets have no check of their index: one of two addresses goes into it.
const BY_FUNCTION: &str = "#version 460
    #extension GL_EXT_buffer_reference2 : require
    #extension GL_EXT_buffer_reference_uvec2 : require
    #extension GL_EXT_scalar_block_layout : require
    layout(local_size_x = 16) in;
    layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint at[]; };
    layout(push_constant) uniform Push { uvec2 y; uvec2 z; uint n; };
    void put(uvec2 to, uint i) { U(to).at[i] = i + 7u; }
    void main() {
        uint i = gl_GlobalInvocationID.x;
        if (i < n) { put(y, i); put(z, i); }
    }";

#[test]
#[allow(unsafe_code, reason = "the words come from a compiler")]
fn arguments_that_are_checked_by_address_are_proved() {
    let Some(runtime) = direct(true) else { return };
    let words = text::whole_glsl("by_function.comp", BY_FUNCTION);
    // SAFETY: the words are the compiler's.
    let kernel = unsafe { runtime.raw_kernel("by_function", &words) }.unwrap();
    assert!(kernel.explain().accesses_by_address() > 0, "{}", kernel.explain());
    let (mut y, mut z) = (vec![0u32; 1000], vec![0u32; 1000]);
    let (count, done) = proved(&runtime, |runtime| {
        runtime.scope(|s| {
            let [y, z] = [s.lend_mut(&mut y)?, s.lend_mut(&mut z)?].map(|of| of.ptr().address());
            let push = [&y.to_le_bytes()[..], &z.to_le_bytes(), &1000u32.to_le_bytes()].concat();
            let options = LaunchOptions::new();
            assert!(s.explain_launch_raw(&kernel, Grid::cover(1000), &push)?.is_proved());
            s.launch_raw(&kernel, Grid::cover(1000), &push, &options)?;
            let outside = [&(y + 4).to_le_bytes()[..], &push[8..]].concat();
            let refused = s.explain_launch_raw(&kernel, Grid::cover(1000), &outside)?;
            let why = Unproved::Argument { offset_bytes: 0, why: NotLent::Outside };
            assert_eq!(refused.unproved(), Some(&why));
            Ok::<(), Error>(())
        })
    });
    done.unwrap();
    assert_eq!(count, 1);
    assert!((7..).zip(&y).zip(&z).all(|((i, &y), &z)| y == i && z == i));
}

#[test]
#[allow(unsafe_code, reason = "the words come from a compiler")]
fn the_devices_addresses_stand_for_those_of_the_host_where_nobody_can_tell() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    for (what, own) in [("7u", true), ("y.x", false)] {
        // SAFETY: the words are the compiler's.
        let kernel = unsafe { runtime.raw_kernel("writes", &writes(what)) }.unwrap();
        let mut y = vec![0u32; 1000];
        let low = u32::try_from(y.as_ptr().addr() & 0xffff_ffff).unwrap();
        runtime
            .scope(|s| {
                let y = s.lend_mut(&mut y)?.ptr();
                let push = [&y.address().to_le_bytes()[..], &1000u32.to_le_bytes()].concat();
                let options = LaunchOptions::new();
                let absent = Unproved::Absent { offset_bytes: 0 };
                let explained = s.explain_launch_raw(&kernel, Grid::cover(1000), &push)?;
                assert_eq!(explained.unproved(), Some(&absent));
                // The lend comes as a whole, and is at an address of the device then.
                s.launch_raw(&kernel, Grid::cover(1000), &push, &options)?;
                drop(s.wait()?);
                let explained = s.explain_launch_raw(&kernel, Grid::cover(1000), &push)?;
                let elsewhere = Unproved::Elsewhere { offset_bytes: 0 };
                assert_eq!(explained.unproved(), (!own).then_some(&elsewhere), "{what}");
                s.launch_raw(&kernel, Grid::cover(1000), &push, &options)?;
                Ok::<(), Error>(())
            })
            .unwrap();
        let added = if own { 7 } else { low };
        assert!((0..).zip(&y).all(|(i, &y)| y == added.wrapping_add(i)), "{what}: {}", y[0]);
    }
}

#[test]
fn what_is_refused_is_refused_alike() {
    let [Some(with), Some(without)] = [true, false].map(direct) else { return };
    for (x_len, y_len) in [(N - 1, N), (N, N - 1), (0, N)] {
        let errors = [&with, &without].map(|runtime| {
            let (x, mut y) = (ramp(x_len), ramp(y_len));
            let (count, done) = proved(runtime, |runtime| add(runtime, &x, &mut y, COUNT));
            assert_eq!(count, 0);
            let Err(Error::Launch(LaunchError::Fault(fault))) = done else { panic!("{done:?}") };
            (fault.reason, fault.argument.map(|argument| argument.name), fault.instruction)
        });
        assert_eq!(errors[0], errors[1]);
    }
}

#[test]
fn proofs_are_switched_off_for_a_launch_and_for_a_runtime() {
    let [Some(with), Some(without)] = [true, false].map(direct) else { return };
    let (x, mut y) = (ramp(N), ramp(N));
    let (count, done) = proved(&without, |runtime| add(runtime, &x, &mut y, COUNT));
    done.unwrap();
    assert_eq!(count, 0);
    let kernel = with.kernel::<saxpy::Kernel>().unwrap();
    let (count, done) = proved(&with, |runtime| {
        runtime.scope(|s| {
            let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
            let args = saxpy::Args { x, y, n: COUNT, a: 1.0 };
            let options = LaunchOptions::new().proofs(false);
            Ok(s.launch_with(&kernel, Grid::cover(N), args, &options)?)
        })
    });
    done.unwrap();
    assert_eq!(count, 0);
}

/// Launches `z[i] = x[index[i]]`, then doubles `z` and adds 1; gives what was proved of the second
/// launch, and of one after a wait.
fn gather_then_double(
    runtime: &Runtime,
    index: &[u32],
) -> Result<(Vec<f32>, Vec<Option<Unproved>>), Error> {
    let gather = runtime.kernel::<gather::Kernel>()?;
    let affine = runtime.kernel::<affine::Kernel>()?;
    let (x, mut z) = (ramp(N), vec![0.0; N]);
    let unproved = runtime.scope(|s| {
        let (x, index, z) = (s.lend(&x)?.ptr(), s.lend(index)?.ptr(), s.lend_mut(&mut z)?.ptr());
        s.launch(&gather, Grid::cover(N), gather::Args { x, index, z, n: COUNT })?;
        let double = || affine::Args { y: z, n: COUNT, a: 2.0, c: 1.0 };
        let behind = s.explain_launch(&affine, Grid::cover(N), double())?;
        s.launch(&affine, Grid::cover(N), double())?;
        s.wait()?;
        let after = s.explain_launch(&affine, Grid::cover(N), double())?;
        s.launch(&affine, Grid::cover(N), double())?;
        Ok([behind, after].map(|explained| explained.unproved().cloned()).to_vec())
    })?;
    Ok((z, unproved))
}

#[test]
fn launches_behind_one_that_may_fail_look_whether_it_did() {
    let Some(runtime) = direct(true) else { return };
    let index: Vec<u32> = (0..COUNT).rev().collect();
    let (count, done) = proved(&runtime, |runtime| gather_then_double(runtime, &index));
    let (z, unproved) = done.unwrap();
    assert_eq!(count, 2, "the one behind looks at the stop word alone, the last at nothing");
    assert_eq!(unproved, [Some(Unproved::Behind), None]);
    assert!(z.iter().zip(ramp(N).iter().rev()).all(|(z, x)| *z == 4.0 * x + 3.0));
    // The first launch fails, so the second one must not run.
    let beyond = vec![COUNT; N];
    let done = gather_then_double(&runtime, &beyond);
    assert!(matches!(done, Err(Error::Launch(LaunchError::Fault(_)))), "{done:?}");
}

#[test]
fn grids_beyond_the_limits_are_proved_too() {
    let Some(runtime) = direct(true) else { return };
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let groups = 65_535 + 70;
    let len = groups * kernel.local_size()[0] as usize - 3;
    let mut y = vec![1.0f32; len];
    let (count, done) = proved(&runtime, |runtime| {
        runtime.scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr();
            let args = affine::Args { y, n: u32::try_from(len).unwrap(), a: 2.0, c: 1.0 };
            // The estimate of its time depends on the machine's speed.
            let options = LaunchOptions::new().deadline(Duration::from_secs(100_000));
            Ok(s.launch_with(&kernel, Grid::cover(len), args, &options)?)
        })
    });
    done.unwrap();
    assert_eq!(count, 1);
    assert!(y.iter().all(|&y| y == 3.0));
}

#[test]
fn limits_of_the_launch_are_kept_by_checks() {
    let Some(runtime) = direct(true) else { return };
    let kernel = runtime.kernel::<dot::Kernel>().unwrap();
    let (x, y, mut partial) = (ramp(N), ramp(N), vec![0.0f32; N]);
    let mut dot = |options: LaunchOptions| {
        proved(&runtime, |runtime| {
            runtime.scope(|s| {
                let (x, y) = (s.lend(&x)?.ptr(), s.lend(&y)?.ptr());
                let partial = s.lend_mut(&mut partial)?.ptr();
                let args = dot::Args { x, y, partial, n: COUNT };
                Ok(s.launch_with(&kernel, Grid::groups(3, 1, 1), args, &options)?)
            })
        })
    };
    let (count, done) = dot(LaunchOptions::new());
    done.unwrap();
    assert_eq!(count, 1);
    let (count, done) = dot(LaunchOptions::new().loop_limit(3));
    assert!(matches!(done, Err(Error::Launch(LaunchError::LoopLimit { .. }))), "{done:?}");
    assert_eq!(count, 0);
    for part in 0..4 {
        let (_, done) = dot(LaunchOptions::new().loop_limit(3).withhold_proofs(part));
        assert!(matches!(done, Err(Error::Launch(LaunchError::LoopLimit { .. }))), "{done:?}");
    }
    // So short that the launch might not end in time: whether it does is the checks' business.
    let (count, _) = dot(LaunchOptions::new().deadline(Duration::from_nanos(1)));
    assert_eq!(count, 0);
    let (count, done) = dot(LaunchOptions::new().deadline(Duration::from_secs(50)));
    done.unwrap();
    assert_eq!(count, 1, "a submission of its own");
    let (_, done) = dot(LaunchOptions::new().transactional(true));
    done.unwrap();
}

/// Words of `cut_loops.comp`, with a size of its workgroup and a kind of its loops.
fn cut_loops(runtime: &Runtime, size: u32, kind: u32) -> RawKernel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/glsl/cut_loops.comp");
    let words = text::whole_glsl("cut_loops.comp", &std::fs::read_to_string(path).unwrap());
    let options = RawKernelOptions::new().constant("local_size_x", size).constant("KIND", kind);
    // SAFETY: shaderc's output is a valid module.
    #[allow(unsafe_code, reason = "the argument is above")]
    let kernel = unsafe { runtime.raw_kernel_with("cut_loops", &words, &options) };
    kernel.unwrap()
}

/// A driver that runs invocations in lockstep and cuts loops counts more than an invocation runs.
/// If it cut a loop of a launch without checks, the access behind it would be outside the lend.
#[test]
fn loops_that_the_driver_cuts_keep_their_checks() {
    let Some(runtime) = direct(true) else { return };
    for (kind, size, n, m) in [(0, 16, 40_000u32, 5u32), (1, 1, 100, 30_000), (2, 16, 40_000, 5)] {
        let kernel = cut_loops(&runtime, size, kind);
        // The word that is lent stands behind others, which a cut loop would reach.
        let mut words = vec![7u32; 100_001];
        let done = runtime.scope(|s| {
            let words = s.lend_mut(&mut words[100_000..])?.ptr().address().to_le_bytes();
            let numbers = [n, 0, m].map(u32::to_le_bytes);
            let push = [&words[..], numbers.as_flattened()].concat();
            Ok(s.launch_raw(&kernel, Grid::groups(1, 1, 1), &push, &LaunchOptions::new())?)
        });
        match done {
            Ok(()) => assert_eq!(words[100_000], n, "kind {kind}"),
            Err(Error::Launch(LaunchError::LoopCut { .. })) => {
                assert!(runtime.explain().cuts_loops(), "kind {kind}");
            }
            Err(error) => panic!("kind {kind}: {error:?}"),
        }
        assert!(words[..100_000].iter().all(|&word| word == 7), "kind {kind}");
    }
}

/// A loop between the iterations of another, both with three: the pass cannot limit them.
const LOOP_IN_CONTINUE: &str = "
    OpCapability Shader
    OpMemoryModel Logical GLSL450
    OpEntryPoint GLCompute %main \"main\"
    OpExecutionMode %main LocalSize 16 1 1
    %void = OpTypeVoid
    %function = OpTypeFunction %void
    %bool = OpTypeBool
    %uint = OpTypeInt 32 0
    %zero = OpConstant %uint 0
    %one = OpConstant %uint 1
    %three = OpConstant %uint 3
    %main = OpFunction %void None %function
    %start = OpLabel
    OpBranch %outer
    %outer = OpLabel
    %i = OpPhi %uint %zero %start %next_i %end
    OpLoopMerge %merge %continue None
    OpBranch %test
    %test = OpLabel
    %again = OpULessThan %bool %i %three
    OpBranchConditional %again %continue %merge
    %continue = OpLabel
    OpBranch %inner
    %inner = OpLabel
    %j = OpPhi %uint %zero %continue %next_j %back
    OpLoopMerge %end %back None
    OpBranch %inner_test
    %inner_test = OpLabel
    %more = OpULessThan %bool %j %three
    OpBranchConditional %more %back %end
    %back = OpLabel
    %next_j = OpIAdd %uint %j %one
    OpBranch %inner
    %end = OpLabel
    %next_i = OpIAdd %uint %i %one
    OpBranch %outer
    %merge = OpLabel
    OpReturn
    OpFunctionEnd";

/// What cannot be made with all checks does not run without them.
#[test]
fn kernels_that_cannot_be_checked_are_refused_although_they_are_proved() {
    let words = text::assembly("loops", LOOP_IN_CONTINUE);
    for proofs in [true, false] {
        let Some(runtime) = direct(proofs) else { return };
        // SAFETY: the assembler's output, of text that is valid.
        #[allow(unsafe_code, reason = "the argument is above")]
        let kernel = unsafe { runtime.raw_kernel("loops", &words) }.unwrap();
        let done = runtime.scope(|s| {
            Ok(s.launch_raw(&kernel, Grid::groups(1, 1, 1), &[], &LaunchOptions::new())?)
        });
        let is_refused = matches!(done, Err(Error::Launch(LaunchError::Rewrite { .. })));
        assert!(is_refused, "with proofs {proofs}: {done:?}");
    }
}

#[test]
fn accesses_that_are_known_are_not_checked_beside_others() {
    let Some(runtime) = direct(true) else { return };
    let gather = runtime.kernel::<gather::Kernel>().unwrap();
    let (x, mut z) = (ramp(N), vec![0.0; N]);
    let index: Vec<u32> = (0..COUNT).rev().collect();
    let (count, done) = proved(&runtime, |runtime| {
        runtime.scope(|s| {
            let (x, index) = (s.lend(&x)?.ptr(), s.lend(&index)?.ptr());
            let args = gather::Args { x, index, z: s.lend_mut(&mut z)?.ptr(), n: COUNT };
            Ok(s.launch(&gather, Grid::cover(N), args)?)
        })
    });
    done.unwrap();
    assert_eq!(count, 0, "an index comes from memory");
    assert!(z.iter().zip(x.iter().rev()).all(|(z, x)| z == x));
    // The index that is not known is checked, at its end too.
    for wrong in [COUNT, u32::MAX, 1 << 31] {
        let mut index = index.clone();
        index[N - 1] = wrong;
        let done = runtime.scope(|s| {
            let (x, index) = (s.lend(&x)?.ptr(), s.lend(&index)?.ptr());
            let args = gather::Args { x, index, z: s.lend_mut(&mut z)?.ptr(), n: COUNT };
            Ok(s.launch(&gather, Grid::cover(N), args)?)
        });
        assert!(matches!(done, Err(Error::Launch(LaunchError::Fault(_)))), "{wrong}: {done:?}");
    }
}

/// Copies of what a launch is known to touch come before it, so that it takes one round and no
/// fault; and on memory at other addresses it runs without checks, too.
#[test]
fn arguments_come_before_the_launch() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let (x, mut y) = (ramp(N), ramp(N));
    let before = runtime.stats();
    add(&runtime, &x, &mut y, COUNT).unwrap();
    let done = runtime.stats().since(&before);
    assert_eq!((done.launches, done.rounds, done.faults), (1, 1, 0));
    let bytes = 4 * u64::from(COUNT);
    assert_eq!((done.bytes_in, done.bytes_home), (2 * bytes, bytes));
    assert_eq!(done.proved_launches, 1);
    assert!(y.iter().zip(&x).all(|(y, x)| *y == 2.0 * x));
    // What is not lent is a fault as before, though all that is lent was brought.
    let done = add(&runtime, &x[1..], &mut y, COUNT);
    let Err(Error::Launch(LaunchError::Fault(fault))) = done else { panic!("{done:?}") };
    assert_eq!(fault.argument.unwrap().offset_bytes, 0);
}

#[test]
fn many_launches_go_to_a_submission() {
    let Some(runtime) = direct(true) else { return };
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let mut y = vec![0.0f32; N];
    let before = runtime.stats();
    runtime
        .scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr();
            for _ in 0..10 {
                s.launch(&kernel, Grid::cover(N), affine::Args { y, n: COUNT, a: 1.0, c: 1.0 })?;
            }
            Ok(())
        })
        .unwrap();
    let done = runtime.stats().since(&before);
    assert_eq!((done.launches, done.proved_launches), (10, 10));
    if batches_are_filled(&runtime) {
        assert_eq!(done.submissions, 1);
    }
    assert!(y.iter().all(|&y| y == 10.0));
}

#[test]
fn explanations_say_what_is_touched_and_what_keeps_the_checks() {
    let Some(runtime) = direct(true) else { return };
    let saxpy = runtime.kernel::<saxpy::Kernel>().unwrap();
    let gather = runtime.kernel::<gather::Kernel>().unwrap();
    let (x, mut y, index) = (ramp(100), ramp(100), vec![0u32; 100]);
    runtime
        .scope(|s| {
            let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
            let index = s.lend(&index)?.ptr();
            let saxpy =
                |n| s.explain_launch(&saxpy, Grid::cover(128), saxpy::Args { x, y, n, a: 1.0 });
            let known = saxpy(100)?;
            assert!(known.is_proved(), "{known}");
            let text = known.to_string();
            assert!(text.contains("reads bytes 0 to 400 of `x`"), "{text}");
            assert!(text.contains("own words   run"), "{text}");
            let why = Unproved::Argument { offset_bytes: 0, why: NotLent::Outside };
            assert_eq!(saxpy(101)?.unproved(), Some(&why));
            let args = gather::Args { x, index, z: y, n: 100 };
            let gathers = s.explain_launch(&gather, Grid::cover(100), args)?;
            assert_eq!(gathers.unproved(), Some(&Unproved::Accesses { count: 1 }));
            let text = gathers.to_string();
            assert!(text.contains("it depends on memory"), "{text}");
            assert!(text.contains("advice      let indices depend on arguments"), "{text}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn other_words_for_the_variable_are_refused() {
    if std::env::var_os(INSIDE).is_some() {
        let built = Runtime::builder().build();
        assert!(matches!(built, Err(Error::Build(BuildError::UnknownProofs { .. }))), "{built:?}");
        return;
    }
    for (word, right) in [("on", false), (" OFF", false), ("yes", true)] {
        let mut inside = Command::new(std::env::current_exe().unwrap());
        inside.args(["other_words_for_the_variable_are_refused", "--exact"]);
        inside.env(INSIDE, "1").env("FARPTR_PROOFS", word);
        let inside = inside.output().unwrap();
        // Where there is no device the word is refused all the same, and the others are not.
        assert_eq!(inside.status.success(), right, "{word}: {inside:?}");
    }
}
