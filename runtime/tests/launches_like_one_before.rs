//! A launch like one before is decided as if it came alone: random launches of few kernels, each
//! of which differs from an earlier one in little, compared with a model on the CPU.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/mapped.rs"]
mod mapped;
#[path = "common/ways.rs"]
mod ways;

use common::{batches_are_filled, copying_whole_lends};
use farptr::shaders::{affine, gather};
use farptr::{Error, Grid, LaunchError, LaunchOptions, RawKernel, Runtime, Scope, Unproved};
use mapped::{MIX, kernel, words};
use memmap2::MmapMut;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::time::Duration;
use ways::ways;

/// As `MIX`, for as many words as there are invocations.
const ALL: &str = "
    layout(local_size_x = 8) in;
    REF(uint, U, 4);
    layout(push_constant, scalar) uniform Push { uvec2 x; uvec2 y; uint n; };
    void main() { U(y).at[ID] = U(y).at[ID] * 5u + U(x).at[ID]; }";

/// `y[0]` is the sum of `x`.
const SUM: &str = "
    layout(local_size_x = 16) in;
    REF(uint, U, 4);
    layout(push_constant, scalar) uniform Push { uvec2 x; uvec2 y; uint n; };
    void main() {
        uint sum = 0;
        for (uint k = 0; k < n; k++) sum += U(x).at[k];
        if (ID == 0) U(y).at[0] = sum;
    }";

const KERNELS: [(&str, &str, usize); 3] = [("mix", MIX, 8), ("all", ALL, 8), ("sum", SUM, 16)];

/// The words of each array, and whether it is lent for writing. Some ways copy what is longer than
/// two pages.
const ARRAYS: [(usize, bool); 4] = [(3000, false), (300, false), (3000, true), (250, true)];

/// Passes through loops that a launch with that limit may make at most.
const LIMIT: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Options {
    Usual,
    WithoutProofs,
    LoopLimit,
    Deadline,
}

/// A launch, with arguments by the arrays and the bytes from their starts.
#[derive(Clone, Copy, Debug)]
struct Step {
    kernel: usize,
    n: usize,
    cover: usize,
    x: (usize, usize),
    y: (usize, usize),
    options: Options,
    /// Whether the host looks at the results before the next one, if the launch does not fail.
    looks: bool,
}

/// A launch that comes so many times, and then perhaps with other options.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || prop_oneof![6 => Just(0usize), 2 => Just(64), 1 => Just(4), 1 => Just(2)];
    let n = prop::sample::select(vec![0usize, 1, 3, 64, 230, 300, 301, 2900, 3001]);
    let cover = prop::sample::select(vec![1usize, 64, 240, 304]);
    let options = || {
        prop_oneof![
            6 => Just(Options::Usual),
            1 => Just(Options::WithoutProofs),
            2 => Just(Options::LoopLimit),
            1 => Just(Options::Deadline),
        ]
    };
    let x = (prop::sample::select(vec![0usize, 0, 1, 3]), bytes());
    let y = (prop::sample::select(vec![2usize, 2, 3, 1]), bytes());
    let times = (1..4usize, prop::option::of(options()));
    (0..KERNELS.len(), n, cover, x, y, options(), any::<bool>(), times).prop_map(
        |(kernel, n, cover, (x, x_bytes), (y, y_bytes), options, looks, (times, then))| {
            let x = if x == y { 0 } else { x };
            let step = Step { kernel, n, cover, x: (x, x_bytes), y: (y, y_bytes), options, looks };
            let last = then.map(|options| Step { options, ..step });
            std::iter::repeat_n(step, times).chain(last).collect()
        },
    )
}

impl Step {
    fn options(&self) -> LaunchOptions {
        let usual = LaunchOptions::new();
        match self.options {
            Options::Usual => usual,
            Options::WithoutProofs => usual.proofs(false),
            Options::LoopLimit => usual.loop_limit(LIMIT),
            Options::Deadline => usual.deadline(Duration::from_secs(55)),
        }
    }

    /// Enough for all words that some step has, where the kernel compares its place with `n`: so
    /// `n` alone may be another.
    fn covers(&self) -> usize {
        if KERNELS[self.kernel].0 == "mix" { 3001 } else { self.cover }
    }

    fn invocations(&self) -> usize {
        self.covers().next_multiple_of(KERNELS[self.kernel].2)
    }

    /// How many words of both arrays it touches.
    fn touches(&self) -> (usize, usize) {
        match KERNELS[self.kernel].0 {
            "mix" => (self.n, self.n),
            "all" => (self.invocations(), self.invocations()),
            _ => (self.n, 1),
        }
    }

    /// Whether it may touch all that.
    fn is_lent(&self) -> bool {
        let within = |(array, bytes): (usize, usize), words: usize| {
            words == 0 || (bytes.is_multiple_of(4) && bytes / 4 + words <= ARRAYS[array].0)
        };
        let (x, y) = self.touches();
        within(self.x, x) && within(self.y, y) && (y == 0 || ARRAYS[self.y.0].1)
    }

    fn loops_too_often(&self) -> bool {
        let runs = if KERNELS[self.kernel].0 == "sum" { self.n + 1 } else { 0 };
        self.options == Options::LoopLimit && runs >= LIMIT as usize
    }

    fn succeeds(&self) -> bool {
        self.is_lent() && !self.loops_too_often()
    }

    /// Does on the CPU what the launch does.
    fn apply(&self, arrays: &mut [Vec<u32>]) {
        let [(x, x_bytes), (y, y_bytes)] = [self.x, self.y];
        let from = arrays[x].clone();
        let from = from.get(x_bytes / 4..).unwrap_or_default();
        let to = arrays[y].get_mut(y_bytes / 4..).unwrap_or_default();
        match KERNELS[self.kernel].0 {
            "sum" => to[0] = from[..self.n].iter().fold(0u32, |sum, &x| sum.wrapping_add(x)),
            name => {
                let factor = if name == "mix" { 3u32 } else { 5 };
                for (y, &x) in to.iter_mut().zip(from).take(self.touches().1) {
                    *y = y.wrapping_mul(factor).wrapping_add(x);
                }
            }
        }
    }
}

fn launch(
    s: &mut Scope<'_, '_>,
    kernels: &[RawKernel],
    starts: &[u64],
    step: &Step,
) -> Result<(), LaunchError> {
    let address = |(array, bytes): (usize, usize)| starts[array] + bytes as u64;
    let [x, y] = [step.x, step.y].map(address);
    let push = [x as u32, (x >> 32) as u32, y as u32, (y >> 32) as u32, step.n as u32];
    let push = bytemuck::cast_slice(&push);
    s.launch_raw(&kernels[step.kernel], Grid::cover(step.covers()), push, &step.options())
}

/// Runs launches in one scope, and compares the results, which of them fail, and, if `counts` is
/// set, which of them run without checks.
fn check(way: (&str, &Runtime, &[RawKernel]), steps: &[Step], counts: bool) {
    let (name, runtime, kernels) = way;
    let mut model = ARRAYS.map(|(len, _)| (0..len as u32).map(|word| word * 7 + 1).collect());
    let mut maps = ARRAYS.map(|(len, _)| MmapMut::map_anon(len * 4).unwrap());
    for (map, model) in maps.iter_mut().zip(&model) {
        let model: &Vec<u32> = model;
        words(map).copy_from_slice(model);
    }
    let [x, short_x, y, short_y] = &mut maps;
    let done = runtime.scope(|s| {
        let (x, short_x) = (s.lend(words(x))?, s.lend(words(short_x))?);
        let (y, short_y) = (s.lend_mut(words(y))?, s.lend_mut(words(short_y))?);
        let starts = [x.ptr(), short_x.ptr(), y.ptr().into(), short_y.ptr().into()];
        let starts = starts.map(|of| of.address());
        let (mut before, mut proved) = (runtime.stats(), 0);
        for (at, step) in steps.iter().enumerate() {
            let launched = launch(s, kernels, &starts, step);
            if step.succeeds() {
                assert!(launched.is_ok(), "{name}: step {at} of {steps:?}: {launched:?}");
                step.apply(&mut model);
                proved += u64::from(step.options != Options::WithoutProofs);
                if !step.looks {
                    continue;
                }
            }
            let waited = launched.and_then(|()| s.wait().map(drop));
            let counted = runtime.stats().since(&before).proved_launches;
            assert!(!counts || counted == proved, "{name}: {counted} of {steps:?}, to {at}");
            let is_right = match waited {
                Ok(()) => step.succeeds(),
                Err(LaunchError::Fault(_)) => !step.is_lent(),
                Err(LaunchError::LoopLimit { .. }) => step.loops_too_often(),
                Err(_) => false,
            };
            assert!(is_right, "{name}: step {at} of {steps:?}");
            let mut idle = s.wait()?;
            for (array, lent) in [(2, &y), (3, &short_y)] {
                if step.succeeds() {
                    assert_eq!(idle.read(lent)?, model[array], "{name}: step {at} of {steps:?}");
                } else {
                    // A failed launch may have written a part.
                    idle.write(lent)?.copy_from_slice(&model[array]);
                }
            }
            (before, proved) = (runtime.stats(), 0);
        }
        Ok(())
    });
    done.unwrap();
    for (map, model) in maps.iter_mut().zip(&model) {
        assert_eq!(words(map), *model, "{name}: the end of {steps:?}");
    }
}

/// Runs launches in each of the ways.
fn check_all(rigs: &[(&str, Runtime, [RawKernel; 3])], steps: &[Step]) {
    for (name, runtime, kernels) in rigs {
        let counts = matches!(*name, "direct" | "imported") && batches_are_filled(runtime);
        check((name, runtime, kernels), steps, counts);
    }
}

fn rigs() -> Vec<(&'static str, Runtime, [RawKernel; 3])> {
    let rig = |(name, runtime)| {
        let kernels = KERNELS.map(|(name, source, _)| kernel(&runtime, name, source));
        (name, runtime, kernels)
    };
    ways().into_iter().map(rig).collect()
}

/// Each thing on which a decision rests is another one, by itself, in the launch that follows.
#[test]
fn a_launch_that_differs_in_one_thing_is_decided_anew() {
    let rigs = rigs();
    let (x, y) = ((0, 0), (3, 0));
    let options = Options::Usual;
    let mix = Step { kernel: 0, n: 64, cover: 64, x, y, options, looks: true };
    let [all, sum] = [1, 2].map(|kernel| Step { kernel, ..mix });
    for (step, other) in [
        (mix, Step { n: 251, ..mix }),
        (mix, all),
        (all, Step { cover: 304, ..all }),
        (mix, Step { x: (1, 1000), ..mix }),
        (mix, Step { y: (3, 800), ..mix }),
        (mix, Step { y: (3, 2), ..mix }),
        (mix, Step { y: (1, 0), ..mix }),
        (sum, Step { options: Options::LoopLimit, ..sum }),
        (sum, Step { options: Options::WithoutProofs, ..sum }),
        (Step { n: 3, options: Options::LoopLimit, ..sum }, sum),
    ] {
        check_all(&rigs, &[step, step, other, other, step]);
    }
}

#[test]
fn any_launches_are_decided_as_if_each_came_alone() {
    let rigs = rigs();
    let mut runner = TestRunner::new(Config::with_cases(60));
    let ended = runner.run(&prop::collection::vec(steps(), 1..16), |steps| {
        check_all(&rigs, &steps.concat());
        Ok(())
    });
    if let Err(why) = ended {
        panic!("{why}");
    }
}

#[test]
fn a_launch_like_one_before_does_nothing_behind_one_that_failed() {
    for (name, runtime) in ways() {
        let affine = runtime.kernel::<affine::Kernel>().unwrap();
        let gather = runtime.kernel::<gather::Kernel>().unwrap();
        let (x, index) = (vec![1.0f32; 100], vec![100u32; 100]);
        let (mut y, mut z) = (vec![1.0f32; 100], vec![0.0f32; 100]);
        let scoped = runtime.scope(|s| {
            let (x, index) = (s.lend(&x)?.ptr(), s.lend(&index)?.ptr());
            let (y, z) = (s.lend_mut(&mut y)?, s.lend_mut(&mut z)?.ptr());
            let args = || affine::Args { y: y.ptr(), n: 100, a: 1.0, c: 1.0 };
            for _ in 0..2 {
                s.launch(&affine, Grid::cover(100), args())?;
            }
            assert_eq!(s.wait()?.read(&y)?, [3.0; 100], "{name}");
            let failed = s.launch(&gather, Grid::cover(100), gather::Args { x, index, z, n: 100 });
            // It is known to have failed where it runs in rounds.
            let failed = failed.and_then(|()| {
                s.launch(&affine, Grid::cover(100), args())?;
                s.wait().map(drop)
            });
            assert!(matches!(failed, Err(LaunchError::Fault(_))), "{name}: {failed:?}");
            assert_eq!(s.wait()?.read(&y)?, [3.0; 100], "{name}");
            s.launch(&affine, Grid::cover(100), args())?;
            Ok(())
        });
        scoped.unwrap();
        assert_eq!(y, [4.0; 100], "{name}");
    }
}

/// Touches `n` words behind `y`, and `m` behind `z`.
const TWO: &str = "
    layout(local_size_x = 8) in;
    REF(uint, U, 4);
    layout(push_constant, scalar) uniform Push { uvec2 y; uvec2 z; uint n; uint m; };
    void main() {
        if (ID < n) U(y).at[ID] += 1u;
        if (ID < m) U(z).at[ID] += 1u;
    }";

/// An argument that is not used may lead to a lend that the device does not have: such a launch
/// takes rounds, and is explained so.
#[test]
fn a_launch_takes_rounds_as_it_is_explained_whatever_came_before() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let kernel = kernel(&runtime, "two", TWO);
    let (mut y, mut z) = (vec![0u32; 100], vec![0u32; 100]);
    let scoped = runtime.scope(|s| {
        let [y, z] = [s.lend_mut(&mut y)?, s.lend_mut(&mut z)?].map(|of| of.ptr().address());
        let push = |z: u64| {
            let numbers = [100u32, 0].map(u32::to_le_bytes);
            [&y.to_le_bytes()[..], &z.to_le_bytes(), numbers.as_flattened()].concat()
        };
        let mut launched = |z: u64| {
            let (before, grid) = (runtime.stats(), Grid::cover(100));
            let explained = s.explain_launch_raw(&kernel, grid, &push(z))?;
            s.launch_raw(&kernel, grid, &push(z), &LaunchOptions::new())?;
            s.wait()?;
            let proved = runtime.stats().since(&before).proved_launches;
            Ok::<_, Error>((explained.unproved().cloned(), proved))
        };
        let absent = Some(Unproved::Absent { offset_bytes: 0 });
        assert_eq!(launched(y)?, (absent, 1), "it comes before the launch");
        assert_eq!(launched(y)?, (None, 1));
        assert_eq!(launched(z)?, (Some(Unproved::Rounds), 0), "the other lend was not brought");
        Ok(())
    });
    scoped.unwrap();
    assert_eq!((y, z), (vec![3; 100], vec![0; 100]));
}
