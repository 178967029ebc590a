//! A device in software: it translates as a rewritten kernel does, and interprets small programs.
//!
//! The same interpreter on plain bytes, without pages, tables and rounds, is the oracle.

#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

use super::{
    PAGE_BYTES,
    lend_pages::LendPages,
    pages::Pages,
    plan::Ended,
    report::{Missing, Report},
    rounds::Run,
    table::Frozen,
};
use crate::{
    launch::log::{FaultRecord, Place},
    residency::memory::{Memory, Span},
};
use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
};

/// An operation of an invocation, on eight registers of 64 bits. Addresses are host addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Loads a register from `base + index * 8`, where the index is a register modulo a count.
    Load { to: usize, base: u64, index: usize, count: u64 },
    /// Stores a register there.
    Store { from: usize, base: u64, index: usize, count: u64 },
    /// Adds a register there and keeps what was there before: an atomic.
    Add { value: usize, old: usize, base: u64, index: usize, count: u64 },
    /// Loads a register from the address that it holds, unless that is 0.
    Follow { register: usize, offset: u64 },
    /// Adds one to the word at an offset from the address that a register holds, unless it is 0.
    Bump { register: usize, offset: u64 },
    /// Sets a register.
    Set { to: usize, value: u64 },
    /// Mixes one register into another.
    Mix { to: usize, from: usize },
    /// Runs the rest only if a register is even.
    Guard { register: usize },
    /// Goes back to the first operation while a register is not 0.
    Again { register: usize },
}

/// Memory as a program sees it.
pub(crate) trait Words {
    fn load(&mut self, address: u64, atomic: bool) -> u64;
    fn store(&mut self, address: u64, word: u64);
    /// Whether a loop has to be left.
    fn stops(&self) -> bool;
}

/// Runs one invocation.
pub(crate) fn interpret(program: &[Op], memory: &mut dyn Words) {
    let mut registers = [0u64; 8];
    let mut next = 0;
    while let Some(&op) = program.get(next) {
        next += 1;
        let place = |registers: &[u64; 8], base: u64, index: usize, count: u64| {
            base + registers[index] % count * 8
        };
        match op {
            Op::Load { to, base, index, count } => {
                registers[to] = memory.load(place(&registers, base, index, count), false);
            }
            Op::Store { from, base, index, count } => {
                memory.store(place(&registers, base, index, count), registers[from]);
            }
            Op::Add { value, old, base, index, count } => {
                let at = place(&registers, base, index, count);
                let before = memory.load(at, true);
                memory.store(at, before.wrapping_add(registers[value]));
                registers[old] = before;
            }
            Op::Follow { register, offset } => {
                if registers[register] != 0 {
                    registers[register] =
                        memory.load(registers[register].wrapping_add(offset), false);
                }
            }
            Op::Bump { register, offset } => {
                if registers[register] != 0 {
                    let at = registers[register].wrapping_add(offset);
                    let word = memory.load(at, false);
                    memory.store(at, word.wrapping_add(1));
                }
            }
            Op::Set { to, value } => registers[to] = value,
            Op::Mix { to, from } => {
                let mixed = registers[to].wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ registers[from];
                registers[to] = mixed ^ (mixed >> 29);
            }
            Op::Guard { register } => {
                if registers[register] % 2 == 1 {
                    return;
                }
            }
            Op::Again { register } => {
                if registers[register] != 0 && !memory.stops() {
                    next = 0;
                    // Only the first pass sets registers.
                    while matches!(program.get(next), Some(Op::Set { .. })) {
                        next += 1;
                    }
                }
            }
        }
    }
}

/// Host memory of a test: bytes from an address on.
pub(crate) struct Home {
    pub(crate) start: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Home {
    pub(crate) fn at(&mut self, address: u64, bytes: u64) -> &mut [u8] {
        let start = usize::try_from(address - self.start).unwrap();
        &mut self.bytes[start..start + usize::try_from(bytes).unwrap()]
    }
}

impl Words for Home {
    fn load(&mut self, address: u64, _: bool) -> u64 {
        u64::from_le_bytes(self.at(address, 8).try_into().unwrap())
    }

    fn store(&mut self, address: u64, word: u64) {
        self.at(address, 8).copy_from_slice(&word.to_le_bytes());
    }

    fn stops(&self) -> bool {
        false
    }
}

/// The device.
pub(crate) struct Soft {
    pub(crate) home: Home,
    frames: HashMap<u64, Box<[u8]>>,
    next: u64,
    /// One per invocation, run one after the other.
    pub(crate) programs: Vec<Vec<Op>>,
    /// Room in the queue.
    pub(crate) capacity: usize,
    /// Invocations that report a cut or an exhausted loop, if none of their loads missed.
    pub(crate) cut: u32,
    pub(crate) exhausted: u32,
    /// Runs before each round.
    pub(crate) before_round: Box<dyn FnMut()>,
    /// Loops leave after so many loads.
    pub(crate) fuse: u64,
}

impl Soft {
    pub(crate) fn new(home: Home, programs: Vec<Vec<Op>>) -> Self {
        Self {
            home,
            frames: HashMap::new(),
            next: 0x7f00_0000_0000,
            programs,
            capacity: 16,
            cut: 0,
            exhausted: 0,
            before_round: Box::new(|| {}),
            fuse: u64::MAX,
        }
    }

    fn bytes(&mut self, device: u64, bytes: u64) -> &mut [u8] {
        let frame = self.frames.get_mut(&(device / PAGE_BYTES)).expect("memory that is allocated");
        let start = (device % PAGE_BYTES) as usize;
        &mut frame[start..start + usize::try_from(bytes).unwrap()]
    }

    fn word(&mut self, device: u64) -> u64 {
        u64::from_le_bytes(self.bytes(device, 8).try_into().unwrap())
    }

    /// Splits a stretch of device memory by frames: offset, address, length.
    fn pieces(device: u64, bytes: u64) -> impl Iterator<Item = (u64, u64, u64)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = device + done;
            let length = (PAGE_BYTES - at % PAGE_BYTES).min(bytes - done);
            let piece = (done, at, length);
            done += length;
            (length > 0).then_some(piece)
        })
    }
}

impl Memory for Soft {
    type Error = Infallible;

    fn allocate(&mut self, bytes: u64) -> Result<u64, Infallible> {
        // A gap after each, so that running over an end is noticed; poison instead of zeroes.
        let start = self.next;
        let frames = bytes.div_ceil(PAGE_BYTES);
        for frame in 0..frames {
            let poison = vec![0xee; PAGE_BYTES as usize].into_boxed_slice();
            self.frames.insert(start / PAGE_BYTES + frame, poison);
        }
        self.next += (frames + 1) * PAGE_BYTES;
        Ok(start)
    }

    fn copy_in(&mut self, spans: &[Span]) -> Result<(), Infallible> {
        for span in spans {
            for (done, at, length) in Self::pieces(span.device, span.bytes) {
                let bytes = self.home.at(span.home + done, length).to_vec();
                self.bytes(at, length).copy_from_slice(&bytes);
            }
        }
        Ok(())
    }

    fn copy_home(&mut self, spans: &[Span]) -> Result<(), Infallible> {
        for span in spans {
            for (done, at, length) in Self::pieces(span.device, span.bytes) {
                let bytes = self.bytes(at, length).to_vec();
                self.home.at(span.home + done, length).copy_from_slice(&bytes);
            }
        }
        Ok(())
    }

    fn read_home(&mut self, home: u64, bytes: &mut [u8]) {
        let length = bytes.len() as u64;
        bytes.copy_from_slice(self.home.at(home, length));
    }

    fn write(&mut self, device: u64, bytes: &[u8]) -> Result<(), Infallible> {
        for (done, at, length) in Self::pieces(device, bytes.len() as u64) {
            let (done, length) = (done as usize, length as usize);
            self.bytes(at, length as u64).copy_from_slice(&bytes[done..done + length]);
        }
        Ok(())
    }

    fn read_pages(&mut self, pages: &[u64]) -> Result<Vec<u8>, Infallible> {
        Ok(pages.iter().flat_map(|&page| self.bytes(page, PAGE_BYTES).to_vec()).collect())
    }
}

/// A segment of the table as the kernel knows it.
struct Segment {
    start: u64,
    bytes: u64,
    writable: bool,
    first: u64,
    table: u64,
}

/// An invocation's memory: translated, with the first fault kept.
struct Invocation<'d> {
    device: &'d mut Soft,
    segments: &'d [Segment],
    root: Option<(u64, u32)>,
    fault: Option<(u64, bool)>,
    loads: u64,
}

impl Invocation<'_> {
    /// The device address of a word, or a fault.
    fn translate(&mut self, address: u64, write: bool) -> Option<u64> {
        let inside = |segment: &&Segment| {
            address.wrapping_sub(segment.start) < segment.bytes.saturating_sub(7)
                && (segment.writable || !write)
        };
        let extent = |segment: &&Segment| address.wrapping_sub(segment.start) < segment.bytes;
        let word = if let Some(segment) = self.segments.iter().find(inside) {
            self.device.word(segment.table + (address / PAGE_BYTES - segment.first) * 8)
        } else if self.segments.iter().any(|segment| extent(&segment)) {
            0
        } else {
            self.walk(address)
        };
        let needed = if write { 2 } else { 1 };
        if word & needed == 0 {
            self.fault.get_or_insert((address, write));
            return None;
        }
        Some((word & !0xfff) + address % PAGE_BYTES)
    }

    fn walk(&mut self, address: u64) -> u64 {
        let top = address >> 36;
        match self.root {
            Some((root, entries)) if top < u64::from(entries) => {
                let node = self.device.word(root + top * 8);
                let leaf = self.device.word(node + ((address >> 24) & 4095) * 8);
                self.device.word(leaf + ((address >> 12) & 4095) * 8)
            }
            _ => 0,
        }
    }
}

impl Words for Invocation<'_> {
    fn load(&mut self, address: u64, atomic: bool) -> u64 {
        assert_eq!(address % 8, 0);
        self.loads += 1;
        self.translate(address, atomic).map_or(0, |at| self.device.word(at))
    }

    fn store(&mut self, address: u64, word: u64) {
        if let Some(at) = self.translate(address, true) {
            self.device.bytes(at, 8).copy_from_slice(&word.to_le_bytes());
        }
    }

    fn stops(&self) -> bool {
        self.fault.is_some() || self.loads > self.device.fuse
    }
}

/// A launch on the device, with the segments as the kernel's control block has them.
pub(crate) struct Launch {
    pub(crate) device: Soft,
    segments: Vec<Segment>,
    /// After how many questions the time of the launch is over.
    pub(crate) patience: Option<u32>,
}

impl Launch {
    pub(crate) fn new(device: Soft, pages: &Pages) -> Self {
        let segment = |lend: &LendPages| Segment {
            start: lend.range().start().get(),
            bytes: lend.range().len_bytes(),
            writable: lend.writable(),
            first: lend.first_page(),
            table: pages.table.address(lend.flat()),
        };
        let segments = pages.lends().iter().map(segment).collect();
        Self { device, segments, patience: None }
    }

    fn report(&self, faults: &[(u64, bool)]) -> Report {
        let mut report = Report { total: faults.len() as u64, ..Report::default() };
        let mut bitmap = BTreeSet::new();
        for &(address, write) in faults {
            let extent = |s: &Segment| address.wrapping_sub(s.start) < s.bytes;
            if let Some(lend) = self.segments.iter().position(extent) {
                let page = (address / PAGE_BYTES - self.segments[lend].first) as usize;
                if !bitmap.insert(Missing { lend, page, write }) {
                    continue;
                }
            }
            if report.faults.len() < self.device.capacity {
                let (place, site) = (Place::Address(address), usize::from(write));
                report.faults.push(FaultRecord { place, site, group: [0; 3], invocation: 0 });
            }
        }
        report.missing = bitmap.into_iter().collect();
        report
    }
}

/// The access that a fault reports: its address, and whether it writes. Site 0 reads, 1 writes.
pub(crate) fn access_of(fault: &FaultRecord) -> (u64, bool) {
    match fault.place {
        Place::Address(address) => (address, fault.site == 1),
        Place::Index(index) => panic!("no access here is checked by an index: {index}"),
    }
}

impl Run for Launch {
    type Memory = Soft;

    fn memory(&mut self) -> &mut Soft {
        &mut self.device
    }

    fn writes(&self, fault: &FaultRecord) -> bool {
        access_of(fault).1
    }

    fn is_overdue(&mut self) -> bool {
        self.patience = self.patience.map(|left| left.saturating_sub(1));
        self.patience == Some(0)
    }

    fn run(&mut self, table: &Frozen<'_>) -> Result<Report, Ended<Infallible>> {
        (self.device.before_round)();
        let root = table.table().root();
        let programs = std::mem::take(&mut self.device.programs);
        let mut faults = Vec::new();
        for program in &programs {
            let (device, segments) = (&mut self.device, &self.segments[..]);
            let mut invocation = Invocation { device, segments, root, fault: None, loads: 0 };
            interpret(program, &mut invocation);
            faults.extend(invocation.fault);
        }
        self.device.programs = programs;
        let (cut, exhausted) = (self.device.cut, self.device.exhausted);
        Ok(Report { cut, exhausted, ..self.report(&faults) })
    }
}
