//! Sequences of lends and launches: lends that overlap, nest, touch and share pages, of several
//! element types, in every way in which a device reaches host memory, against plain vectors.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/ways.rs"]
mod ways;

use common::build;
use farptr::test_hooks::TestHooks;
use farptr::{
    AccessMode, Backing, Error, Grid, LaunchError, LaunchOptions, LentMut, RawKernel, Runtime,
    Scope,
};
use glsl::{Level, glsl};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use ways::ways;

/// Words that are lent for reading, and for writing: some pages each.
const READ: usize = 6_000;
const WRITTEN: usize = 3_000;
/// Into how many pieces the words for writing are cut: they touch.
const PIECES: usize = 12;

/// `y = 3 y + x`, for one argument and the other.
const MIX: &str = "
    layout(local_size_x = 8) in;
    REF(uint, U, 4);
    layout(push_constant, scalar) uniform Push { uvec2 x; uvec2 y; uint n; };
    void main() { if (ID < n) U(y).at[ID] = U(y).at[ID] * 3u + U(x).at[ID]; }";
/// The same, for the words that a table points to.
const GATHER: &str = "
    layout(local_size_x = 8) in;
    REF(uvec2, T, 8);
    REF(uint, U, 4);
    layout(push_constant, scalar) uniform Push { uvec2 x; uvec2 y; uint n; };
    void main() { if (ID < n) U(y).at[ID] = U(y).at[ID] * 3u + U(T(x).at[ID]).at[0]; }";

/// Something done in a scope. Places are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// Lends bytes, words or pairs of words, from a word to another.
    Lend { width: Width, first: usize, len: usize },
    /// Lends a piece for writing.
    LendMut(usize),
    /// Launches on words of a lend and of a piece, through pointers in memory or not.
    Launch { lend: usize, first: usize, piece: usize, len: usize, gather: bool },
    /// Looks at a piece, and changes a word of it.
    Wait { piece: usize, word: usize },
}

#[derive(Clone, Copy, Debug)]
enum Width {
    Bytes,
    Words,
    Pairs,
}

fn step() -> impl Strategy<Value = Step> {
    let width = prop_oneof![Just(Width::Bytes), Just(Width::Words), Just(Width::Pairs)];
    // Some lends begin and end where pages do.
    let edge = prop_oneof![0..READ, (0..READ / 1024).prop_map(|page| page * 1024), Just(0)];
    let len = prop_oneof![1..40usize, 1..READ, Just(1024), Just(READ)];
    let place = 0..1000usize;
    prop_oneof![
        3 => (width, edge, len).prop_map(|(width, first, len)| Step::Lend { width, first, len }),
        2 => place.clone().prop_map(Step::LendMut),
        4 => (place.clone(), 0..READ, place.clone(), 1..300usize, any::<bool>()).prop_map(
            |(lend, first, piece, len, gather)| Step::Launch { lend, first, piece, len, gather }
        ),
        1 => (place, 0..WRITTEN).prop_map(|(piece, word)| Step::Wait { piece, word }),
    ]
}

/// A device, and the two kernels on it.
struct Rig {
    name: &'static str,
    runtime: Runtime,
    mix: RawKernel,
    gather: RawKernel,
}

#[allow(unsafe_code, reason = "the words come from a compiler")]
fn kernel(runtime: &Runtime, name: &'static str, source: &str) -> RawKernel {
    let words = glsl(name, source, Level::Performance);
    // SAFETY: shaderc's output is a valid module.
    unsafe { runtime.raw_kernel(name, &words) }.unwrap()
}

fn rigs() -> Vec<Rig> {
    let rig = |(name, runtime)| {
        let (mix, gather) = (kernel(&runtime, "mix", MIX), kernel(&runtime, "gather", GATHER));
        Rig { name, runtime, mix, gather }
    };
    ways().into_iter().map(rig).collect()
}

fn numbers(len: usize) -> Vec<u64> {
    (0..len as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i << 7)).collect()
}

/// The lends of a scope, and the bytes that all launches so far leave, by a loop over plain
/// vectors.
struct Model<'s> {
    /// First word and number of words of each lend for reading.
    lends: Vec<(usize, usize)>,
    pieces: Vec<Option<LentMut<'s, u32>>>,
    written: Vec<u32>,
}

/// The start of a piece.
fn piece_start(piece: usize) -> usize {
    piece * WRITTEN / PIECES
}

impl Rig {
    /// Runs steps, and compares what they leave with the model.
    fn check(&self, steps: &[Step]) {
        let read = numbers(READ / 2);
        let words: &[u32] = bytemuck::cast_slice(&read);
        let before = words.to_vec();
        let at = |word: usize| words.as_ptr() as u64 + word as u64 * 4;
        // Entry i leads to word i.
        let table: Vec<u64> = (0..READ).map(at).collect();
        let mut written: Vec<u32> = numbers(WRITTEN).into_iter().map(|n| n as u32).collect();
        let model = written.clone();
        let mut rest = &mut written[..];
        let mut pieces = Vec::new();
        for piece in 0..PIECES {
            let len = piece_start(piece + 1) - piece_start(piece);
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(len);
            pieces.push(Some(head));
            rest = tail;
        }
        let expected = self.runtime.scope(|s| {
            let table = s.lend(&table)?.ptr().address();
            let lent = vec![None; PIECES];
            let mut model = Model { lends: Vec::new(), pieces: lent, written: model };
            for step in steps {
                match *step {
                    Step::Lend { width, first, len } => {
                        lend(s, &mut model, words, width, (first, len))?;
                    }
                    Step::LendMut(piece) => {
                        let piece = piece % PIECES;
                        if let Some(memory) = pieces[piece].take() {
                            model.pieces[piece] = Some(s.lend_mut(memory)?);
                        }
                    }
                    _ => self.work(s, &mut model, (words, table), step)?,
                }
            }
            Ok::<_, Error>(model.written)
        });
        let expected = expected.unwrap_or_else(|error| panic!("{}: {error:?}", self.name));
        assert!(written == expected, "{}: not what the model has", self.name);
        assert!(words == before, "{}: memory lent for reading was written", self.name);
    }

    fn work<'s>(
        &self,
        s: &mut Scope<'s, '_>,
        model: &mut Model<'s>,
        (words, table): (&[u32], u64),
        step: &Step,
    ) -> Result<(), LaunchError> {
        let lent = |piece: usize| piece % PIECES;
        match *step {
            Step::Launch { lend, first, piece, len, gather } => {
                let (piece, lends) = (lent(piece), model.lends.len());
                let Some(y) = model.pieces[piece] else { return Ok(()) };
                let Some(&(start, words_lent)) = model.lends.get(lend % lends.max(1)) else {
                    return Ok(());
                };
                let first = first % words_lent;
                let n = len.min(words_lent - first).min(y.len());
                let x = if gather {
                    table + (start + first) as u64 * 8
                } else {
                    words.as_ptr() as u64 + (start + first) as u64 * 4
                };
                let kernel = if gather { &self.gather } else { &self.mix };
                let [low, high] = y.ptr().into();
                let push = [x as u32, (x >> 32) as u32, low, high, n as u32];
                let push = bytemuck::cast_slice(&push);
                s.launch_raw(kernel, Grid::cover(n), push, &LaunchOptions::new())?;
                let y = &mut model.written[piece_start(piece)..][..n];
                for (y, x) in y.iter_mut().zip(&words[start + first..]) {
                    *y = y.wrapping_mul(3).wrapping_add(*x);
                }
            }
            Step::Wait { piece, word } => {
                let piece = lent(piece);
                let Some(y) = model.pieces[piece] else { return Ok(()) };
                let expected = &mut model.written[piece_start(piece)..][..y.len()];
                let mut idle = s.wait()?;
                assert!(idle.read(&y)? == expected, "{}: seen by the host", self.name);
                idle.write(&y)?[word % y.len()] = 77;
                expected[word % y.len()] = 77;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Lends words as elements of a width, and notes which whole words were lent.
fn lend<'s, 'env>(
    s: &mut Scope<'s, 'env>,
    model: &mut Model<'s>,
    words: &'env [u32],
    width: Width,
    (first, len): (usize, usize),
) -> Result<(), Error> {
    let end = (first + len).min(words.len());
    let (first, end) = match width {
        Width::Pairs => (first / 2 * 2, end.next_multiple_of(2)),
        _ => (first, end),
    };
    let lent = &words[first..end];
    match width {
        Width::Words => drop(s.lend(lent)?),
        Width::Pairs => drop(s.lend::<u64, _>(bytemuck::cast_slice(lent))?),
        // A byte more at the end, or less, where that leaves the whole words in between.
        Width::Bytes => {
            let bytes: &[u8] = bytemuck::cast_slice(words);
            s.lend(&bytes[(first * 4).saturating_sub(1)..(end * 4 + 3).min(bytes.len())])?;
        }
    }
    model.lends.push((first, end - first));
    Ok(())
}

#[test]
fn a_lend_that_swallows_another_is_reached_whole() {
    let lend = |first, len| Step::Lend { width: Width::Words, first, len };
    let launch = |lend, first, gather| Step::Launch { lend, first, piece: 0, len: 250, gather };
    let cases = [
        vec![lend(1000, 2000), launch(0, 0, false), lend(0, READ), launch(1, 2900, false)],
        vec![lend(1000, 2000), launch(0, 0, true), lend(0, READ), launch(1, 4000, true)],
        // Nested twice, and then one that reaches beyond both.
        vec![
            lend(2000, 100),
            launch(0, 0, false),
            lend(1500, 1000),
            launch(1, 500, true),
            lend(2400, 3000),
            launch(2, 2700, false),
            launch(0, 0, false),
        ],
        // The same start, longer.
        vec![lend(64, 8), launch(0, 0, true), lend(64, 4000), launch(1, 3700, true)],
    ];
    for rig in rigs() {
        for case in &cases {
            rig.check(&[&[Step::LendMut(0)], &case[..]].concat());
        }
    }
}

#[test]
fn lends_that_touch_where_pages_do_are_told_apart() {
    // More than a chunk of frames, and than the pages of a small budget.
    const PAGES: usize = 280;
    let copying = || Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    // Three pages a round would be a hundred rounds.
    let plain = ways().into_iter().filter(|(name, _)| *name != "copied out of order");
    let none = [
        ("no memory of the device's own", copying().device_budget(0)),
        ("none, copied by the device", copying().device_budget(0).staged_copies(true)),
    ];
    let none = none.into_iter().filter_map(|(name, builder)| Some((name, build(builder)?)));
    for (name, runtime) in plain.chain(none) {
        let mix = kernel(&runtime, "mix", MIX);
        let ones = vec![1u32; 1024 * PAGES];
        let mut memory = memmap2::MmapMut::map_anon(4096 * PAGES).unwrap();
        let all: &mut [u32] = bytemuck::cast_slice_mut(&mut memory);
        let (low, high) = all.split_at_mut(8 * 1024);
        runtime
            .scope(|s| {
                let ones = s.lend(&ones)?.ptr().address();
                let mut lent = Vec::new();
                for page in low.chunks_mut(1024) {
                    lent.push(s.lend_mut(page)?);
                }
                lent.push(s.lend_mut(high)?);
                for _ in 0..2 {
                    for y in &lent {
                        let ([a, b], n) = (y.ptr().into(), y.len());
                        let push = [ones as u32, (ones >> 32) as u32, a, b, n as u32];
                        let push = bytemuck::cast_slice(&push);
                        s.launch_raw(&mix, Grid::cover(n), push, &LaunchOptions::new())?;
                    }
                }
                Ok(())
            })
            .unwrap();
        let all: &[u32] = bytemuck::cast_slice(&memory);
        assert!(all.iter().all(|&word| word == 4), "{name}");
    }
}

#[test]
fn sequences_of_lends_and_launches_leave_what_plain_loops_leave() {
    let rigs = rigs();
    let mut runner = TestRunner::new(Config::with_cases(48));
    let ended = runner.run(&prop::collection::vec(step(), 1..24), |steps| {
        rigs.iter().for_each(|rig| rig.check(&steps));
        Ok(())
    });
    if let Err(why) = ended {
        panic!("{why}");
    }
}

#[test]
fn what_a_larger_lend_has_imported_is_not_imported_again() {
    let memory = vec![0u32; 16 * 1024];
    let mirrored = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Import);
    for builder in [Runtime::builder().access(AccessMode::Direct), mirrored] {
        let Some(runtime) = build(builder) else { return };
        let imported = || runtime.stats().pages_imported;
        runtime
            .scope(|s| {
                s.lend(&memory[5000..5010])?;
                s.lend(&memory)?;
                let before = imported();
                s.lend(&memory[5000..9000])?;
                s.lend(&memory[4500..6500])?;
                s.lend(&memory)?;
                assert_eq!(imported(), before);
                Ok(())
            })
            .unwrap();
    }
}
