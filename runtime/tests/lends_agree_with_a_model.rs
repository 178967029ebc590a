//! Random lends, launches, polls, reads and writes, compared with a model on the CPU.
//!
//! Private memory is lent in parts that share pages, and a file at three addresses, in every mode
//! and backing. Some kernels reach the lends of their arguments alone, and others all of them.
//! Slices that the host has read are kept, and compared again after each read.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/mapped.rs"]
mod mapped;
#[path = "common/ways.rs"]
mod ways;

use farptr::{Error, Grid, Idle, LaunchError, LaunchOptions, LentMut, RawKernel, Runtime, Scope};
use mapped::{MIX, PAGE, WORDS, file, kernel, launch, map, words};
use memmap2::MmapMut;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::ops::Range;
use ways::ways;

/// As `MIX`, with both addresses in memory.
const FAR_MIX: &str = "
    layout(local_size_x = 8) in;
    REF(uint, U, 4);
    REF(uvec2, A, 8);
    layout(push_constant, scalar) uniform Push { uvec2 pair; uint n; };
    void main() {
        if (ID >= n) return;
        uvec2 x = A(pair).at[0], y = A(pair).at[1];
        U(y).at[ID] = U(y).at[ID] * 3u + U(x).at[ID];
    }";

/// Words of a lend: its position, the first word, and how many, as far as there are so many.
type Part = (usize, usize, usize);

#[derive(Clone, Debug)]
enum Step {
    /// Lends words of a mapping for writing.
    Lend { map: usize, first: usize, len: usize },
    /// Lends many parts of so many words, with as many between them.
    Scatter { map: usize, first: usize, len: usize, count: usize },
    /// Adds what is at one place to another; `far` says that the kernel finds both addresses in
    /// memory, so that it may reach everything.
    Mix { from: (usize, usize), to: (usize, usize), len: usize, far: bool },
    /// As `Mix`, in a transaction that fails.
    Fail { from: (usize, usize), to: (usize, usize) },
    /// Hands launches over, and asks once or until they are done.
    Poll { until_done: bool },
    /// Waits, and keeps slices of all these parts; then writes one part, and reads another.
    Look { reads: Vec<Part>, write: Option<Part>, last: Part },
}

fn step() -> impl Strategy<Value = Step> {
    let word = 0..4 * WORDS;
    let place = (0..30usize, word.clone());
    let length = prop_oneof![1..20usize, 1..3000usize, Just(4 * WORDS)];
    let part = (0..30usize, word.clone(), length).prop_map(|(lend, first, len)| {
        // Whole lends, too.
        (lend, if len == 4 * WORDS { 0 } else { first }, len)
    });
    let reads = prop::collection::vec(part.clone(), 0..5);
    prop_oneof![
        3 => (0..3usize, word, 1..2 * WORDS)
            .prop_map(|(map, first, len)| Step::Lend { map, first, len }),
        1 => (0..3usize, 0..4 * WORDS, 1..50usize, 1..40usize)
            .prop_map(|(map, first, len, count)| Step::Scatter { map, first, len, count }),
        4 => (place.clone(), place.clone(), 1..200usize, prop::bool::weighted(0.3))
            .prop_map(|(from, to, len, far)| Step::Mix { from, to, len, far }),
        1 => (place.clone(), place).prop_map(|(from, to)| Step::Fail { from, to }),
        1 => any::<bool>().prop_map(|until_done| Step::Poll { until_done }),
        3 => (reads, prop::option::of(part.clone()), part)
            .prop_map(|(reads, write, last)| Step::Look { reads, write, last }),
    ]
}

/// Takes a part out of the middle of a piece, and leaves the rest.
fn carve<'m>(
    pieces: &mut Vec<(usize, &'m mut [u32])>,
    first: usize,
    len: usize,
) -> Option<(usize, &'m mut [u32])> {
    let at =
        pieces.iter().position(|(start, piece)| *start <= first && first < start + piece.len())?;
    let (start, piece) = pieces.swap_remove(at);
    let (low, rest) = piece.split_at_mut(first - start);
    let (middle, high) = rest.split_at_mut(len.min(rest.len()));
    let end = first + middle.len();
    pieces.push((start, low));
    pieces.push((end, high));
    Some((first, middle))
}

#[test]
fn any_lends_of_one_file_are_one_memory() {
    any_lends_agree_with_the_model(true);
}

#[test]
fn any_lends_of_private_memory_agree_with_the_model() {
    any_lends_agree_with_the_model(false);
}

fn any_lends_agree_with_the_model(shared: bool) {
    let rigs: Vec<_> = ways()
        .into_iter()
        .map(|(name, runtime)| {
            let kernels = [kernel(&runtime, "mix", MIX), kernel(&runtime, "far mix", FAR_MIX)];
            (name, runtime, kernels)
        })
        .collect();
    let mut runner = TestRunner::new(Config::with_cases(40));
    let ended = runner.run(&prop::collection::vec(step(), 1..24), |steps| {
        for (name, runtime, kernels) in &rigs {
            let mut maps = if shared {
                let file = file(4);
                vec![map(&file), map(&file), map(&file)]
            } else {
                vec![MmapMut::map_anon(4 * PAGE).unwrap()]
            };
            check((name, runtime, kernels), &mut maps, &steps);
        }
        Ok(())
    });
    if let Err(why) = ended {
        panic!("{why}");
    }
}

/// The lends, and the words that they should have.
struct Model<'s> {
    words: Vec<u32>,
    /// By the position of the first word.
    lent: Vec<(usize, LentMut<'s, u32>)>,
}

impl<'s> Model<'s> {
    /// A part of a lend, and its range among the words.
    fn part(&self, (lend, first, len): Part) -> (LentMut<'s, u32>, Range<usize>, Range<usize>) {
        let (start, lent) = self.lent[lend % self.lent.len()];
        let first = first % lent.len();
        let range = first..(first + len).min(lent.len());
        (lent, range.clone(), start + range.start..start + range.end)
    }

    /// The places of a launch, if no invocation reads bytes that another one writes.
    fn places(
        &self,
        from: (usize, usize),
        to: (usize, usize),
        len: usize,
    ) -> Option<([u64; 2], [usize; 2], usize)> {
        let (x, x_range, from) = self.part((from.0, from.1, len));
        let (y, y_range, to) = self.part((to.0, to.1, len));
        let n = from.len().min(to.len());
        let (from, to) = (from.start, to.start);
        let apart = from == to || from >= to + n || to >= from + n;
        let at = |base: u64, word: usize| base + word as u64 * 4;
        let addresses =
            [at(x.ptr().address(), x_range.start), at(y.ptr().address(), y_range.start)];
        apart.then_some((addresses, [from, to], n))
    }

    /// Does what the kernels do.
    fn mix(&mut self, [from, to]: [usize; 2], n: usize) {
        for i in 0..n {
            let product = self.words[to + i].wrapping_mul(3);
            self.words[to + i] = product.wrapping_add(self.words[from + i]);
        }
    }

    /// Reads parts, keeps all slices, and compares all of them after each.
    fn read(&self, name: &str, idle: &Idle<'_, 's, '_>, parts: &[Part]) {
        let mut seen: Vec<(&[u32], Range<usize>)> = Vec::new();
        for &part in parts {
            let (lent, range, words) = self.part(part);
            seen.push((idle.read_range(&lent, range).unwrap(), words));
            for (slice, words) in &seen {
                assert!(*slice == &self.words[words.clone()], "{name}: {words:?} of {parts:?}");
            }
        }
    }
}

fn check(
    (name, runtime, [mix, far_mix]): (&str, &Runtime, &[RawKernel; 2]),
    maps: &mut [MmapMut],
    steps: &[Step],
) {
    let start: Vec<u32> = (0..4 * WORDS as u32).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
    words(&mut maps[0]).copy_from_slice(&start);
    let mut pieces: Vec<_> = maps.iter_mut().map(|map| vec![(0, words(map))]).collect();
    let mut pairs = vec![[0u64; 2]; steps.len()];
    let mut pairs = pairs.iter_mut();
    let expected = runtime.scope(|s| {
        let mut model = Model { words: start, lent: Vec::new() };
        for step in steps {
            let (map, first, len, count) = match *step {
                Step::Lend { map, first, len } => (map, first, len, 1),
                Step::Scatter { map, first, len, count } => (map, first, len, count),
                _ => (0, 0, 0, 0),
            };
            let map = map % pieces.len();
            for part in 0..count {
                if let Some((first, part)) = carve(&mut pieces[map], first + part * 2 * len, len) {
                    model.lent.push((first, s.lend_mut(part)?));
                }
            }
            if model.lent.is_empty() {
                continue;
            }
            match *step {
                Step::Mix { from, to, len, far: true } => {
                    let Some((addresses, places, n)) = model.places(from, to, len) else {
                        continue;
                    };
                    let pair = pairs.next().unwrap();
                    *pair = addresses;
                    let pair = s.lend(&pair[..])?.ptr().address();
                    let push = [pair as u32, (pair >> 32) as u32, n as u32];
                    let (grid, options) = (Grid::cover(n), LaunchOptions::new());
                    s.launch_raw(far_mix, grid, bytemuck::cast_slice(&push), &options)?;
                    model.mix(places, n);
                }
                _ => take(name, s, mix, &mut model, step)?,
            }
        }
        Ok::<_, Error>(model.words)
    });
    let expected = expected.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let last = maps.last_mut().unwrap();
    assert!(words(last) == expected, "{name}: not what the model has");
}

/// Takes a step other than a lend.
fn take<'s>(
    name: &str,
    s: &mut Scope<'s, '_>,
    mix: &RawKernel,
    model: &mut Model<'s>,
    step: &Step,
) -> Result<(), Error> {
    match *step {
        Step::Lend { .. } | Step::Scatter { .. } => {}
        Step::Mix { from, to, len, .. } => {
            let Some(([x, y], places, n)) = model.places(from, to, len) else { return Ok(()) };
            launch(s, mix, x, y, n)?;
            model.mix(places, n);
        }
        Step::Fail { from, to } => {
            let lent = model.lent.iter().map(|(_, lent)| lent.len()).max().unwrap_or(0);
            let Some(([x, y], ..)) = model.places(from, to, 1) else { return Ok(()) };
            // More words than any lend has.
            let n = lent + 1;
            let push = [x as u32, (x >> 32) as u32, y as u32, (y >> 32) as u32, n as u32];
            let options = LaunchOptions::new().transactional(true);
            let failed = s.launch_raw(mix, Grid::cover(n), bytemuck::cast_slice(&push), &options);
            assert!(matches!(failed, Err(LaunchError::Fault(_))), "{name}: {failed:?}");
        }
        Step::Poll { until_done } => {
            s.submit()?;
            while !s.is_done()? && until_done {
                std::thread::yield_now();
            }
        }
        Step::Look { ref reads, write, last } => {
            let mut idle = s.wait()?;
            model.read(name, &idle, reads);
            if let Some(part) = write {
                let (lent, range, words) = model.part(part);
                let part = idle.write(&lent.slice(range)?)?;
                assert!(part == &model.words[words.clone()], "{name}: to be written");
                part.fill(99);
                model.words[words].fill(99);
            }
            model.read(name, &idle, &[last]);
        }
    }
    Ok(())
}
