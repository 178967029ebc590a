//! Damaged kernels, chosen by bytes: farptr's own or nests of loops with changes, or any words at
//! all.
#![allow(unreachable_pub, reason = "the test and the fuzz target each have a copy")]

#[path = "../../../cases/src/nest/mod.rs"]
mod nest;

use farptr_kernels::{
    KernelDesc, affine, axpby, bfs, dot, empty, hadamard, probe, saxpy, spmv, walk,
};
use farptr_rewrite::{Fold, Integers, Program, Proved, RewriteError, Search, Translation, Variant};
use std::borrow::Cow;

/// The words before the first instruction, and the one of them that bounds the ids.
const HEADER_WORDS: usize = 5;
const BOUND: usize = 3;
/// The most output words: for each input word, and for any input. A longer output means that the
/// pass does not end.
const GROWTH: usize = 400;
const LEAST_GROWTH: usize = 100_000;

/// The first number of a kernel that is that of a nest.
const NESTS: u8 = 128;

/// Opcodes, by the SPIR-V specification's numbers.
const LINE: u32 = 8;
const CONSTANT: u32 = 43;
const FUNCTION: u32 = 54;
const STORE: u32 = 62;
const COPY_MEMORY: u32 = 63;
const CONTROL_BARRIER: u32 = 224;
const MEMORY_BARRIER: u32 = 225;
const ATOMIC_STORE: u32 = 228;
const LOOP_MERGE: u32 = 246;
const SELECTION_MERGE: u32 = 247;
const LABEL: u32 = 248;
const BRANCH: u32 = 249;
const UNREACHABLE: u32 = 255;
const NO_LINE: u32 = 317;

/// A kernel, the changes to it, and the variant that it is rewritten as.
#[derive(Debug)]
pub struct Mutant {
    /// The module.
    pub words: Vec<u32>,
    variant: Variant,
    #[allow(dead_code, reason = "printed where a test fails")]
    changes: Vec<Change>,
}

/// A change, with two numbers that say where and what.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A word becomes another id.
    Id(usize, u32),
    /// A bit of a word is turned.
    Bit(usize, u32),
    /// A constant becomes another number.
    Constant(usize, u32),
    /// Two words of an instruction change places.
    Operands(usize, u32),
    /// An instruction and the next one change places.
    Swap(usize),
    /// An instruction moves elsewhere.
    Move(usize, u32),
    /// An instruction is left out.
    Delete(usize),
    /// A block stands twice, the second time with ids of its own.
    Block(usize),
    /// A branch goes elsewhere.
    Branch(usize, u32),
}

impl Change {
    fn decode(bytes: [u8; 5]) -> Self {
        let [kind, a, b, c, d] = bytes;
        let (at, value) = (usize::from(u16::from_le_bytes([a, b])), u16::from_le_bytes([c, d]));
        let value = u32::from(value);
        match kind % 9 {
            0 => Self::Id(at, value),
            1 => Self::Bit(at, value),
            2 => Self::Constant(at, value),
            3 => Self::Operands(at, value),
            4 => Self::Swap(at),
            5 => Self::Move(at, value),
            6 => Self::Delete(at),
            7 => Self::Block(at),
            _ => Self::Branch(at, value),
        }
    }

    /// Changes instructions; does nothing where there is nothing of the kind.
    fn apply(self, bound: &mut u32, code: &mut Vec<Vec<u32>>) {
        let count = code.len();
        if count == 0 {
            return;
        }
        let nth = |code: &[Vec<u32>], at: usize, wanted: &dyn Fn(u32) -> bool| {
            let found: Vec<usize> = (0..count).filter(|&i| wanted(code[i][0] & 0xffff)).collect();
            found.get(at.checked_rem(found.len()).unwrap_or(0)).copied()
        };
        match self {
            Self::Id(at, value) => {
                if let Some(word) = word(code, at) {
                    *word = value % (*bound).max(1);
                }
            }
            Self::Bit(at, value) => {
                if let Some(word) = word(code, at) {
                    *word ^= 1 << (value % 32);
                }
            }
            Self::Constant(at, value) => {
                if let Some(found) = nth(code, at, &|op| op == CONSTANT)
                    && let Some(word) = code[found].last_mut()
                {
                    *word = value;
                }
            }
            Self::Operands(at, value) => {
                let instruction = &mut code[at % count];
                if instruction.len() > 2 {
                    let last = instruction.len() - 1;
                    instruction.swap(1 + value as usize % (last - 1), last);
                }
            }
            Self::Swap(at) => code.swap(at % count, (at + 1) % count),
            Self::Move(at, value) => {
                let moved = code.remove(at % count);
                code.insert(value as usize % count, moved);
            }
            Self::Delete(at) => drop(code.remove(at % count)),
            Self::Block(at) => {
                if let Some(from) = nth(code, at, &|op| op == LABEL) {
                    copy_block(bound, code, from);
                }
            }
            Self::Branch(at, value) => {
                let branch = nth(code, at, &|op| op == BRANCH || op == BRANCH + 1);
                let label = nth(code, value as usize, &|op| op == LABEL);
                let label = label.and_then(|label| code[label].get(1).copied());
                if let (Some(branch), Some(label)) = (branch, label)
                    && let Some(target) = code[branch].last_mut()
                {
                    *target = label;
                }
            }
        }
    }
}

/// A word that is not an instruction's first.
fn word(code: &mut [Vec<u32>], at: usize) -> Option<&mut u32> {
    let count = code.iter().map(|instruction| instruction.len() - 1).sum::<usize>();
    code.iter_mut().flat_map(|instruction| &mut instruction[1..]).nth(at.checked_rem(count)?)
}

/// Repeats the block at a label after itself.
fn copy_block(bound: &mut u32, code: &mut Vec<Vec<u32>>, from: usize) {
    let ends = |i: &Vec<u32>| (BRANCH..=UNREACHABLE).contains(&(i[0] & 0xffff));
    let Some(length) = code[from..].iter().position(ends) else { return };
    let mut copy = code[from..=from + length].to_vec();
    let mut renamed = Vec::new();
    for instruction in &mut copy {
        if let Some(id) = result(instruction).and_then(|at| instruction.get_mut(at)) {
            renamed.push((*id, *bound));
            *id = *bound;
            *bound += 1;
        }
    }
    for word in copy.iter_mut().flat_map(|instruction| &mut instruction[1..]) {
        if let Some(&(_, new)) = renamed.iter().find(|(old, _)| old == word) {
            *word = new;
        }
    }
    code.splice(from + length + 1..from + length + 1, copy);
}

/// The position of the result's id in an instruction of a function.
fn result(instruction: &[u32]) -> Option<usize> {
    match instruction[0] & 0xffff {
        LABEL => Some(1),
        LINE | NO_LINE | STORE | COPY_MEMORY | ATOMIC_STORE | CONTROL_BARRIER | MEMORY_BARRIER
        | LOOP_MERGE | SELECTION_MERGE => None,
        BRANCH..=UNREACHABLE => None,
        _ => Some(2),
    }
}

/// A kernel without changes, unless the number stands for other words.
fn kernel(which: u8) -> Option<Cow<'static, [u32]>> {
    if let Some(seed) = which.checked_sub(NESTS) {
        return Some(nest::Nest::new(seed.into()).words().into());
    }
    let kernels = kernels();
    kernels.get(usize::from(which) % (kernels.len() + 1)).map(|&words| words.into())
}

fn kernels() -> [&'static [u32]; 10] {
    [
        affine::Kernel::words(),
        axpby::Kernel::words(),
        bfs::Kernel::words(),
        dot::Kernel::words(),
        empty::Kernel::words(),
        hadamard::Kernel::words(),
        probe::Kernel::words(),
        saxpy::Kernel::words(),
        spmv::Kernel::words(),
        walk::Kernel::words(),
    ]
}

fn variant(byte: u8) -> Variant {
    let bit = |place: u8| byte >> place & 1 == 1;
    Variant {
        translation: match byte & 3 {
            0 => Translation::None,
            1 => Translation::Segments,
            2 => Translation::Table { tree: false },
            _ => Translation::Table { tree: true },
        },
        search: if bit(2) { Search::Bisected { steps: 4 } } else { Search::Unrolled(2) },
        offset_roots: bit(3),
        integers: if bit(4) { Integers::Native } else { Integers::Pairs },
        joint: bit(7),
        loop_guard: bit(5),
        subgroup_faults: bit(6),
        wide_offsets: bit(3) && bit(7),
        fold: if bit(6) == bit(7) { Fold::None } else { Fold::Space },
        proved: Proved {
            checks: if bit(4) { u64::MAX } else { u64::from(byte) },
            own: bit(6),
            loops: bit(7) && !bit(5),
        },
    }
}

impl Mutant {
    /// A mutant by bytes: the variant, the kernel, and then changes of five bytes each. If the
    /// kernel is none of farptr's, the rest are its words.
    pub fn decode(bytes: &[u8]) -> Self {
        let &[form, which, ref rest @ ..] = bytes else {
            return Self { words: Vec::new(), variant: variant(0), changes: Vec::new() };
        };
        let variant = variant(form);
        let Some(kernel) = kernel(which) else {
            let words = rest.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            return Self { words: words.collect(), variant, changes: Vec::new() };
        };
        let changes: Vec<Change> =
            rest.chunks_exact(5).map(|b| Change::decode([b[0], b[1], b[2], b[3], b[4]])).collect();
        Self { words: change(&kernel, &changes), variant, changes }
    }

    /// Rewrites the module, which must not panic or grow without measure.
    pub fn rewrite(&self) -> Result<Vec<u32>, RewriteError> {
        let program = Program::parse(&self.words, None)?;
        let footprint = program.footprints().of_launch(&[7; 128], [3, 2, 1]);
        assert_eq!(footprint.sites.len(), program.analysis().sites.len());
        let rewritten = program.rewrite(&self.variant)?;
        let most = self.words.len() * GROWTH + LEAST_GROWTH;
        assert!(rewritten.len() <= most, "{} words became {}", self.words.len(), rewritten.len());
        Ok(rewritten)
    }
}

/// Changes the instructions of a module. The functions are changed more often than what is before.
fn change(kernel: &[u32], changes: &[Change]) -> Vec<u32> {
    let mut words = kernel[..HEADER_WORDS].to_vec();
    let (mut before, mut functions) = (Vec::new(), Vec::new());
    let mut rest = &kernel[HEADER_WORDS..];
    while let Some(&first) = rest.first() {
        let (instruction, after) = rest.split_at((first >> 16) as usize);
        let is_function = !functions.is_empty() || first & 0xffff == FUNCTION;
        if is_function { &mut functions } else { &mut before }.push(instruction.to_vec());
        rest = after;
    }
    for (number, change) in changes.iter().enumerate() {
        let declares = number % 4 == 3 || matches!(change, Change::Constant(..));
        let code = if declares { &mut before } else { &mut functions };
        change.apply(&mut words[BOUND], code);
    }
    words.extend(before.into_iter().chain(functions).flatten());
    words
}
