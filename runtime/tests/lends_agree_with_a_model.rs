//! Random lends, launches, polls, reads and writes, compared with a model on the CPU.
//!
//! Private memory is lent in parts that share pages, and a file at three addresses, in every mode
//! and backing. Slices that the host has read are kept, and compared again after each read.
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

/// Words of a lend: its position, the first word, and how many, as far as there are so many.
type Part = (usize, usize, usize);

#[derive(Clone, Debug)]
enum Step {
    /// Lends words of a mapping for writing.
    Lend { map: usize, first: usize, len: usize },
    /// Adds what is at one place to another.
    Mix { from: (usize, usize), to: (usize, usize), len: usize },
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
        4 => (place.clone(), place.clone(), 1..200usize)
            .prop_map(|(from, to, len)| Step::Mix { from, to, len }),
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
            let mix = kernel(&runtime, "mix", MIX);
            (name, runtime, mix)
        })
        .collect();
    let mut runner = TestRunner::new(Config::with_cases(40));
    let ended = runner.run(&prop::collection::vec(step(), 1..24), |steps| {
        for (name, runtime, mix) in &rigs {
            let mut maps = if shared {
                let file = file(4);
                vec![map(&file), map(&file), map(&file)]
            } else {
                vec![MmapMut::map_anon(4 * PAGE).unwrap()]
            };
            check((name, runtime, mix), &mut maps, &steps);
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

fn check((name, runtime, mix): (&str, &Runtime, &RawKernel), maps: &mut [MmapMut], steps: &[Step]) {
    let start: Vec<u32> = (0..4 * WORDS as u32).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
    words(&mut maps[0]).copy_from_slice(&start);
    let mut pieces: Vec<_> = maps.iter_mut().map(|map| vec![(0, words(map))]).collect();
    let expected = runtime.scope(|s| {
        let mut model = Model { words: start, lent: Vec::new() };
        for step in steps {
            if let Step::Lend { map, first, len } = *step {
                let map = map % pieces.len();
                let pieces = &mut pieces[map];
                if let Some((first, part)) = carve(pieces, first, len) {
                    model.lent.push((first, s.lend_mut(part)?));
                }
            } else if !model.lent.is_empty() {
                take(name, s, mix, &mut model, step)?;
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
        Step::Lend { .. } => {}
        Step::Mix { from, to, len } => {
            let Some(([x, y], [from, to], n)) = model.places(from, to, len) else { return Ok(()) };
            launch(s, mix, x, y, n)?;
            let words = &mut model.words;
            for i in 0..n {
                words[to + i] = words[to + i].wrapping_mul(3).wrapping_add(words[from + i]);
            }
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
