//! The cost of a kernel's first use: the rewriting pass and the driver's compiler.
//!
//! Each launch uses words that were never used before: a constant of the kernel, which has no
//! influence on the result, gets a new value each time. So neither farptr's cache nor the driver's
//! knows the words, from this run or an earlier one.
//!
//! # Safety
//!
//! The rival and farptr are given words that were not validated: they are those of the kernel
//! `spmv`, in which one constant, the length of a block of entries, is another number. A block that
//! is longer than a row is as good as any.

use super::warm::{Spmv, Workload};
use crate::{
    case::{Case, Context, Devices, open},
    failure::Failure,
    line::Line,
    measure::Variant,
    rival::RawFirstUse,
};
use farptr::{AccessMode, Grid, KernelDesc, LaunchOptions, Runtime, shaders::spmv};
use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

/// Rows of the matrix.
const ROWS: u32 = 64;
/// The constant that is replaced, the length of a block of entries.
const BLOCK: u32 = 256;
/// `OpConstant` with a result of 32 bits: four words, opcode 43.
const OP_CONSTANT: u32 = 4 << 16 | 43;
/// The words before the first instruction of a module.
const HEADER_WORDS: usize = 5;

pub(super) struct FirstUse;

impl Case for FirstUse {
    fn name(&self) -> &'static str {
        "first-use"
    }

    fn about(&self) -> &'static str {
        "a kernel that no cache knows (y = A * x), compiled and launched once"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["raw-address", "mirrored", "checked-direct"]
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        _size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let Devices { rival, .. } = context.devices();
        let shared = Shared::new();
        Ok(vec![
            Box::new(Raw {
                arrays: RawFirstUse::new(rival, &shared.matrix.arrays(), ROWS)?,
                shared: shared.clone(),
            }),
            Box::new(Checked::new("mirrored", AccessMode::Mirrored, &shared)?),
            Box::new(Checked::new("checked-direct", AccessMode::Direct, &shared)?),
        ])
    }
}

/// The matrix, and words that were never used.
#[derive(Clone)]
struct Shared {
    matrix: Rc<Spmv>,
    words: Rc<Words>,
}

impl Shared {
    fn new() -> Self {
        Self { matrix: Rc::new(Spmv::with_rows(ROWS)), words: Rc::new(Words::new()) }
    }
}

/// Words of the kernel, never the same.
struct Words {
    words: Vec<u32>,
    /// The position of the constant.
    place: usize,
    next: Cell<u32>,
}

impl Words {
    fn new() -> Self {
        let words = spmv::Kernel::words().to_vec();
        let place = place_of(&words, BLOCK);
        // The first value comes from the clock, so it differs from run to run; the values after it
        // are counted up.
        let clock = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.subsec_nanos());
        Self { words, place, next: Cell::new(BLOCK + 1 + clock) }
    }

    fn fresh(&self) -> Vec<u32> {
        let mut words = self.words.clone();
        words[self.place] = self.next.replace(self.next.get() + 1);
        words
    }
}

/// The position of a constant's value, of which there is one.
fn place_of(words: &[u32], value: u32) -> usize {
    let mut found = Vec::new();
    let mut at = HEADER_WORDS;
    while at < words.len() {
        if words[at] == OP_CONSTANT && words[at + 3] == value {
            found.push(at + 3);
        }
        at += (words[at] >> 16) as usize;
    }
    assert_eq!(found.len(), 1, "the kernel has one such constant");
    found[0]
}

/// Hand-written: a pipeline from the words, a launch, a wait.
struct Raw {
    arrays: RawFirstUse<spmv::Kernel>,
    shared: Shared,
}

impl Variant for Raw {
    fn name(&self) -> &'static str {
        "raw-address"
    }

    #[allow(unsafe_code, reason = "an unchecked launch; the proof is at the block")]
    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let mut elapsed = Duration::ZERO;
        for _ in 0..calls {
            let (words, addresses) = (self.shared.words.fresh(), self.arrays.addresses());
            let args = self.shared.matrix.args(&addresses);
            // SAFETY: the words are the module's; the arguments are those of the matrix.
            elapsed += unsafe { self.arrays.launch(&words, args) }?;
        }
        Ok(elapsed)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        let output = self.arrays.addresses().len() - 1;
        Ok(self.shared.matrix.is_right(self.arrays.array(output), 1))
    }
}

/// farptr: a kernel from the words, a checked launch, a wait.
struct Checked {
    name: &'static str,
    runtime: Runtime,
    shared: Shared,
    arrays: Vec<Vec<Line>>,
}

impl Checked {
    fn new(name: &'static str, access: AccessMode, shared: &Shared) -> Result<Self, Failure> {
        let arrays = shared.matrix.arrays();
        Ok(Self { name, runtime: open(access)?, shared: shared.clone(), arrays })
    }
}

impl Variant for Checked {
    fn name(&self) -> &'static str {
        self.name
    }

    #[allow(unsafe_code, reason = "words that were made here; the proof is at the block")]
    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let mut elapsed = Duration::ZERO;
        for _ in 0..calls {
            let (words, runtime) = (self.shared.words.fresh(), &self.runtime);
            let (matrix, arrays) = (&self.shared.matrix, &mut self.arrays);
            elapsed += runtime.scope(|s| {
                let addresses = super::warm::lend(s, arrays)?;
                let push = spmv::Kernel::push(matrix.args(&addresses));
                let start = Instant::now();
                // SAFETY: the words are valid, as the module says.
                let kernel = unsafe { runtime.raw_kernel("spmv", &words) }?;
                let (grid, push) = (Grid::cover(ROWS as usize), bytemuck::bytes_of(&push));
                s.launch_raw(&kernel, grid, push, &LaunchOptions::new())?;
                let _ = s.wait()?;
                Ok(start.elapsed())
            })?;
        }
        Ok(elapsed)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        let output = self.arrays.last().expect("the matrix has an output");
        Ok(self.shared.matrix.is_right(output, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_never_the_same() {
        let words = Words::new();
        let (one, other) = (words.fresh(), words.fresh());
        assert_ne!(one, other);
        let differ = |(one, other): &(&u32, &u32)| one != other;
        assert_eq!(one.iter().zip(&other).filter(differ).count(), 1);
    }
}
