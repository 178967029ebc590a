//! Rewritten accesses in an interpreter, compared with a model of the contract.

use super::machine::{Machine, Value};
use super::tools::assemble;
use crate::contract::analysis::{AccessKind, Check};
use crate::contract::control;
use crate::contract::control::Layout;
use crate::contract::proved::Proved;
use crate::contract::variant::{Fold, Integers, Search, Translation, Variant};
use crate::emit::size::Size;
use crate::program::Program;
use proptest::prelude::*;
use rspirv::spirv::StorageClass;
use std::sync::OnceLock;

/// Copies a word from index `i` of the first argument to the address in the next, with words 8
/// bytes from the root: one read by index, one write by address.
const COPY: &str = include_str!("copy.spvasm");

const ZEROES: u64 = 0x10_0000_0000;
const SINK: u64 = 0x20_0000_0000;
const RECORDS: u64 = 0x30_0000_0000;
const ROOT: u64 = 0x40_0000_0000;
const NODE: u64 = 0x41_0000_0000;
const LEAF: u64 = 0x42_0000_0000;
const ABSENT: u64 = 0x43_0000_0000;
/// The place of segment `s`'s table, or of its memory.
const TARGETS: u64 = 0x50_0000_0000;

/// A lend in the model.
#[derive(Clone, Copy, Debug)]
struct Lend {
    start: u64,
    bytes: u64,
    writable: bool,
}

/// The index that is read is known to be within.
const READ: Proved = Proved { checks: 1, ..Proved::NOTHING };

#[derive(Clone, Debug)]
struct Case {
    variant: Variant,
    lends: Vec<Lend>,
    /// First index, count, and the index that is read.
    indices: [u32; 3],
    /// The address that is written.
    to: u64,
    /// The pages that are present: bit n for page n of every lend.
    present: u64,
}

fn lends() -> impl Strategy<Value = Vec<Lend>> {
    let gaps = prop::collection::vec((1u64..0x9000, 1u64..0x5000, any::<bool>()), 1..=4);
    (prop_oneof![Just(0x1000u64), Just(0xffff_c000), Just(0x7fff_ffff_f000)], gaps).prop_map(
        |(mut at, gaps)| {
            let mut lends = Vec::new();
            for (gap, bytes, writable) in gaps {
                at += gap & !3;
                lends.push(Lend { start: at, bytes, writable });
                at += bytes.next_multiple_of(4096);
            }
            lends
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let translation = prop_oneof![
        Just(Translation::None),
        Just(Translation::Segments),
        Just(Translation::Table { tree: false }),
        Just(Translation::Table { tree: true }),
    ];
    let integers = prop_oneof![Just(Integers::Native), Just(Integers::Pairs)];
    let search = prop_oneof![Just(Search::Unrolled(4)), Just(Search::Bisected { steps: 2 })];
    let word = prop_oneof![0u32..40, any::<u32>(), u32::MAX - 40..=u32::MAX];
    let flags = [any::<bool>(), any::<bool>()];
    (translation, integers, search, flags, lends(), (word.clone(), 0u32..64, word)).prop_flat_map(
        |(translation, integers, search, flags, lends, (first, count, i))| {
            let [offset_roots, proved] = flags;
            let near = (prop::sample::select(lends.clone()), -12i64..12, any::<bool>());
            let near = near.prop_map(|(lend, off, end)| {
                let base = if end { lend.start + lend.bytes } else { lend.start };
                base.wrapping_add_signed(off)
            });
            let within = (prop::sample::select(lends.clone()), any::<u64>());
            let within = within.prop_map(|(lend, at)| lend.start + ((at % lend.bytes) & !3));
            let to = prop_oneof![3 => near, 4 => within, 1 => any::<u64>(), 1 => Just(0)];
            let variant = Variant {
                translation,
                search,
                offset_roots,
                integers,
                joint: false,
                loop_guard: false,
                subgroup_faults: false,
                fold: Fold::None,
                wide_offsets: false,
                proved: if proved && count > 0 { READ } else { Proved::NOTHING },
            };
            let first = if offset_roots { first } else { 0 };
            let i = if variant.proved == READ { first.wrapping_add(i % count) } else { i };
            (Just((variant, lends)), to, any::<u64>()).prop_map(
                move |((variant, lends), to, present)| Case {
                    variant,
                    lends,
                    indices: [if count == 0 { 0 } else { first }, count, i],
                    to,
                    present,
                },
            )
        },
    )
}

fn pair(value: u64) -> [u64; 2] {
    [value & 0xffff_ffff, value >> 32]
}

impl Case {
    /// The root's host address: the first lend, from inside it.
    fn root(&self) -> u64 {
        self.lends[0].start & !3
    }

    fn lend_of(&self, address: u64) -> Option<(usize, Lend)> {
        let inside = |lend: &&Lend| address.wrapping_sub(lend.start) < lend.bytes;
        let position = self.lends.iter().position(|lend| inside(&lend))?;
        Some((position, self.lends[position]))
    }

    fn is_present(&self, lend: Lend, address: u64) -> bool {
        let page = (address >> 12) - (lend.start >> 12);
        self.present >> (page % 64) & 1 == 1
    }

    /// The device address that the contract gives for an address that may be accessed.
    fn device(&self, address: u64, access: AccessKind) -> Option<u64> {
        let (position, lend) = self.lend_of(address)?;
        let end = address.wrapping_sub(lend.start) + 4;
        let allowed = end <= lend.bytes && (lend.writable || !access.writes());
        if !allowed || !address.is_multiple_of(4) {
            return None;
        }
        match self.variant.translation {
            Translation::None => Some(address),
            Translation::Segments => Some(target(position).wrapping_add(address)),
            Translation::Table { .. } => self.frame(lend, address, access),
        }
    }

    fn frame(&self, lend: Lend, address: u64, access: AccessKind) -> Option<u64> {
        let usable = self.is_present(lend, address) && (lend.writable || !access.writes());
        usable.then(|| frame_of(address >> 12) | address & 0xfff)
    }
}

fn target(position: usize) -> u64 {
    (TARGETS + ((position as u64) << 32)).wrapping_sub(0x1234_5000)
}

fn frame_of(page: u64) -> u64 {
    0x60_0000_0000 + ((page * 7919) % 0x10_0000) * 4096
}

/// The machine with control block and tables for a case.
fn prepare(machine: &mut Machine<'_>, case: &Case, layout: &Layout, address_checks: &[AccessKind]) {
    let control = machine.globals_of(StorageClass::Uniform)[0];
    let push = machine.globals_of(StorageClass::PushConstant)[0];
    let mut rows: Vec<Value> = vec![vec![0; 4]; control::MAX_ROWS as usize];
    let set = |rows: &mut Vec<Value>, row: u32, half: usize, value: u64| {
        rows[row as usize][half * 2..half * 2 + 2].copy_from_slice(&pair(value));
    };
    set(&mut rows, control::SPARE, 0, ZEROES);
    set(&mut rows, control::SPARE, 1, SINK);
    set(&mut rows, control::LOOKUP, 0, ROOT);
    set(&mut rows, control::LOOKUP, 1, RECORDS);
    rows[control::TREE as usize][0] = 4;
    let [first, count, index] = case.indices;
    let base = if count == 0 { ZEROES - 8 } else { TARGETS };
    set(&mut rows, layout.check_row(0), 0, base);
    rows[layout.check_row(0) as usize][2..].copy_from_slice(&[first.into(), count.into()]);
    for segment in 0..case.variant.search.segments() {
        let lend = case.lends.get(segment).copied();
        let lend = lend.unwrap_or(Lend { start: u64::MAX, bytes: 0, writable: false });
        let mut record = vec![lend.start, lend.bytes, target(segment), 0];
        for access in address_checks {
            let span =
                if lend.writable || !access.writes() { lend.bytes.saturating_sub(3) } else { 0 };
            record.push(span);
        }
        for (number, value) in (0u32..).zip(record) {
            if case.variant.search == Search::Unrolled(4) {
                let row = layout.segment_row(u32::try_from(segment).expect("few")) + number / 2;
                set(&mut rows, row, (number % 2) as usize, value);
            } else {
                let bytes = u64::from(layout.record_rows()) * 16 * segment as u64;
                poke(machine, RECORDS + bytes + u64::from(number) * 8, value);
            }
        }
        if case.variant.translation.faults() && lend.bytes > 0 {
            fill_table(machine, case, segment, lend);
        }
    }
    fill_tree(machine);
    for (row, value) in (0u64..).zip(rows) {
        machine.variables.insert((control, vec![0, row]), value);
    }
    machine.variables.insert((push, vec![0]), pair(case.root()).to_vec());
    machine.variables.insert((push, vec![1]), vec![index.into()]);
    machine.variables.insert((push, vec![2]), pair(case.to).to_vec());
    for register in machine.globals_of(StorageClass::Private) {
        machine.variables.insert((register, vec![]), vec![0; 2]);
    }
}

fn fill_table(machine: &mut Machine<'_>, case: &Case, segment: usize, lend: Lend) {
    for page in lend.start >> 12..=(lend.start + lend.bytes - 1) >> 12 {
        let write = if lend.writable { control::ENTRY_WRITE } else { 0 };
        let entry = if case.is_present(lend, page << 12) {
            frame_of(page) | control::ENTRY_READ | write
        } else {
            0
        };
        poke(machine, target(segment).wrapping_add(page * 8), entry);
    }
}

/// A tree that has one page, at 0x1_2345_6000, and nothing else.
fn fill_tree(machine: &mut Machine<'_>) {
    poke(machine, ROOT, NODE);
    for entry in 1..4 {
        poke(machine, ROOT + entry * 8, ABSENT);
    }
    for entry in 0..control::TREE_FANOUT {
        poke(machine, ABSENT + entry * 8, ABSENT + 0x8000);
        poke(machine, NODE + entry * 8, ABSENT + 0x8000);
    }
    poke(machine, NODE + 0x123 * 8, LEAF);
    poke(machine, LEAF + 0x456 * 8, frame_of(0x1_2345) | control::ENTRY_READ);
}

fn poke(machine: &mut Machine<'_>, address: u64, value: u64) {
    let [low, high] = pair(value).map(|word| u32::try_from(word).expect("it is a word"));
    machine.memory.insert(address, low);
    machine.memory.insert(address.wrapping_add(4), high);
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    static PROGRAM: OnceLock<Option<Program>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let words = assemble(COPY, "vulkan1.2")?;
        Some(Program::parse(&words, None).expect("it can be rewritten"))
    });
    let Some(program) = program else { return Ok(()) };
    let analysis = program.analysis();
    let check: Vec<_> = analysis.sites.iter().map(|site| site.check).collect();
    prop_assert_eq!(check, [Check::Index(0), Check::Address(0)]);
    let variant = case.variant.normalised(analysis);
    let layout = Layout::new(analysis, &variant).expect("it is small");
    let mut size = Size::of(1 << 16);
    let proofs = program.proofs(&variant);
    let translated = program.translated(&variant, &proofs, &layout, &mut size);
    let module = translated.expect("it is small").0.finish();
    let mut machine = Machine::new(&module);
    let address_checks: Vec<_> = analysis.address_checks.iter().map(|check| check.access).collect();
    prepare(&mut machine, case, &layout, &address_checks);
    machine.run();
    let registers = machine.globals_of(StorageClass::Private);
    let fault = machine.variables[&(registers[0], vec![])][0];
    let culprit = machine.variables[&(registers[1], vec![])].clone();

    let [first, count, index] = case.indices;
    let in_bounds = index.wrapping_sub(first) < count;
    let host = case.root().wrapping_add_signed(i64::from(index.cast_signed()) * 4 + 8);
    let read = match case.variant.translation {
        _ if !in_bounds => None,
        // The kernel's own pointer, which the device can use.
        Translation::None if case.variant.proved == READ => Some(host),
        Translation::None | Translation::Segments => {
            Some(TARGETS.wrapping_add_signed(i64::from(index.cast_signed()) * 4 + 8))
        }
        Translation::Table { .. } => {
            case.lend_of(host).and_then(|(_, lend)| case.frame(lend, host, AccessKind::Read))
        }
    };
    let written = case.device(case.to, AccessKind::Write);
    let expected = match (in_bounds, read, written) {
        (false, ..) => (3, [u64::from(index), 0]),
        (_, None, _) => (2, pair(host)),
        (_, _, None) => (4, pair(case.to)),
        _ => (0, [0, 0]),
    };
    prop_assert_eq!((fault, &culprit[..]), (expected.0, &expected.1[..]));
    let writes: Vec<u64> = machine.accesses.iter().filter(|a| a.2).map(|a| a.0).collect();
    prop_assert_eq!(writes, [written.unwrap_or(SINK)]);
    // The kernel's own read is of what it may read, or of zeroes.
    let reads: Vec<u64> =
        machine.accesses.iter().filter(|a| !a.2 && a.1 == 4).map(|a| a.0).collect();
    let fallback = match case.variant.translation {
        Translation::Table { .. } => ZEROES,
        _ if count == 0 => ZEROES,
        _ => TARGETS.wrapping_add_signed(i64::from(first.cast_signed()) * 4 + 8),
    };
    prop_assert_eq!(reads, [read.unwrap_or(fallback)]);
    // The pass reads its own memory.
    for &(address, bytes, _) in machine.accesses.iter().filter(|a| a.1 == 8) {
        let own = [ZEROES, RECORDS, ROOT, NODE, LEAF, ABSENT];
        let own = own.iter().any(|start| address.wrapping_sub(*start) < 0x10000);
        let known = machine.memory.contains_key(&address);
        prop_assert!(bytes == 8 && (own || known), "{:x}", address);
    }
    Ok(())
}

#[test]
fn a_check_that_is_missing_is_noticed() {
    let lend = Lend { start: 0x1000, bytes: 0x1000, writable: true };
    for translation in [Translation::None, Translation::Segments] {
        let case = |proved, index| Case {
            variant: Variant {
                translation,
                search: Search::Unrolled(4),
                offset_roots: false,
                integers: Integers::Native,
                joint: false,
                loop_guard: false,
                subgroup_faults: false,
                fold: Fold::None,
                wide_offsets: false,
                proved,
            },
            lends: vec![lend],
            indices: [0, 4, index],
            to: 0x1000,
            present: 0,
        };
        for proved in [Proved::NOTHING, READ] {
            check(&case(proved, 3)).expect("it is within");
        }
        check(&case(Proved::NOTHING, 4)).expect("it is checked");
        let is_judged = assemble(COPY, "vulkan1.2").is_some();
        assert_eq!(check(&case(READ, 4)).is_err(), is_judged, "it is neither");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn accesses_go_where_the_contract_says(case in case()) {
        check(&case)?;
    }
}
