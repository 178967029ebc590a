//! The report of an invocation in which something went wrong.
//!
//! Drivers that run both sides of every branch spend time on each memory operation of a report,
//! also for invocations that have nothing to report. So the report is a loop around a single
//! operation, an atomic addition whose pointer and value depend on the step:
//!
//! | step | adds | to |
//! |---|---|---|
//! | [`STOP`] | 1 | the stop word, unless a fault is collected |
//! | [`COUNT`] | 1 | the count of faults, cut loops or exhausted limits: the first that applies |
//! | [`QUEUE`] | 1 | the entries that invocations wanted, which gives the entry's number |
//! | [`ROOM`] | 0 | the log's capacity, which reads it: without room the report ends |
//! | [`ENTRY`] and up | a word | the word of the entry, which was 0 |
//!
//! A driver that cut a loop of the kernel short cuts this one after its first step, which still
//! says that something failed.

use crate::contract::analysis::Analysis;
use crate::contract::control;
use crate::contract::control::LogWord;
use crate::contract::variant::Variant;
use crate::emit::page::Bitmap;
use crate::emit::physical::Physical;
use crate::emit::segments::Segments;
use crate::emit::shared::Shared;
use crate::ir::address::Math;
use crate::ir::code::Code;
use crate::ir::flow::Flow;
use crate::ir::instruction::Id;
use rspirv::dr::Operand;
use rspirv::spirv::{BuiltIn, Capability, LoopControl, Op, Scope};

const STOP: u32 = 0;
const COUNT: u32 = 1;
const QUEUE: u32 = 2;
const ROOM: u32 = 3;
const ENTRY: u32 = 4;
const STEPS: u32 = ENTRY + control::LOG_ENTRY_WORDS;
const _: () = assert!(STEPS + 1 == control::REPORT_RUNS);

/// Makes the code that reports.
pub(crate) struct Reporter<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) variant: &'a Variant,
    pub(crate) analysis: &'a Analysis,
    pub(crate) layout: &'a control::Layout,
    pub(crate) physical: Physical,
    /// The workgroup as the kernel sees it, where that is not the one that is dispatched.
    pub(crate) workgroup: Option<[Id; 3]>,
}

/// The report of an invocation, as values of its code.
struct Report {
    /// The steps from the first, included, to the last, not included.
    steps: [Id; 2],
    /// The count of the log that it adds to.
    count: Id,
    /// The words of its entry; none where nothing can fault.
    entry: Vec<Id>,
}

impl Reporter<'_> {
    /// Reports what went wrong, if anything did. Where nothing can, there is no code.
    pub(crate) fn report(&self, flow: &mut Flow<'_>) {
        let has_loops = self.analysis.loops > 0 && !self.variant.proved.loops;
        let has_checks = self.shared.notes_faults.get();
        let code = &mut flow.code;
        let word = code.edit.uint(32);
        let mut read = |is_used: bool, register: Id| is_used.then(|| code.load(word, register));
        let fault = read(has_checks, self.shared.fault);
        let cut = read(has_loops && self.variant.loop_guard, self.shared.cut);
        let exhausted = read(has_loops, self.shared.exhausted);
        // From the last to the first, so that the first that applies decides.
        let kinds =
            [(exhausted, LogWord::Exhausted), (cut, LogWord::Cut), (fault, LogWord::Faults)];
        let [zero, queue, all] = [0, QUEUE, STEPS].map(|value| code.edit.word(value));
        let (mut first, mut end, mut count) = (zero, zero, zero);
        for (register, what) in kinds {
            let Some(register) = register else { continue };
            let boolean = code.edit.bool();
            let applies = code.ids(Op::INotEqual, boolean, &[register, zero]);
            let what_word = code.edit.word(what as u32);
            count = code.select(word, applies, what_word, count);
            let steps = if what == LogWord::Faults { all } else { queue };
            end = code.select(word, applies, steps, end);
            if what == LogWord::Faults && self.variant.translation.faults() {
                let start = code.edit.word(COUNT);
                first = code.select(word, applies, start, first);
            }
        }
        if has_loops || has_checks {
            let mut entry = Vec::new();
            if let Some(fault) = fault {
                let address = self.fault_address(&mut flow.code);
                end = self.collect(flow, fault, address, end);
                entry = self.entry(&mut flow.code, fault, address);
            }
            self.run(flow, &Report { steps: [first, end], count, entry });
        }
    }

    /// The loop of a report.
    fn run(&self, flow: &mut Flow<'_>, report: &Report) {
        let code = &mut flow.code;
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        // The value is 1, but no compiler knows that, so no compiler unrolls the loop.
        let one = code.control_word(self.shared.control, control::LIMITS, 0);
        let log = code.control_pair(self.shared.control, control::REPORTS, 0);
        let stop = code.control_pair(self.shared.control, control::REPORTS, 1);
        let zero = code.edit.word(0);
        let [step, next, end, new_end, queued, new_queued] = [(); 6].map(|()| code.edit.fresh());
        let [header, body, again, merge] = [(); 4].map(|()| code.edit.fresh());
        let before = flow.label();
        flow.branch(header);
        flow.open(header);
        let [first, last] = report.steps;
        for (result, start, value) in
            [(step, first, next), (end, last, new_end), (queued, zero, new_queued)]
        {
            flow.code.define(result, Op::Phi, word, &[start, before, value, again]);
        }
        let more = flow.code.ids(Op::ULessThan, boolean, &[step, end]);
        let control = Operand::LoopControl(LoopControl::DONT_UNROLL);
        let merges = vec![Operand::IdRef(merge), Operand::IdRef(again), control];
        flow.code.act(Op::LoopMerge, merges);
        flow.end(Op::BranchConditional, [more, body, merge].map(Operand::IdRef).to_vec());
        flow.open(body);
        let code = &mut flow.code;
        let is = |code: &mut Code<'_>, which: u32| {
            let which = code.edit.word(which);
            code.ids(Op::IEqual, boolean, &[step, which])
        };
        let is_stop = is(code, STOP);
        let pair = code.edit.uvec(2);
        let target = code.select(pair, is_stop, stop, log);
        let (at, value) = Self::step(code, report, step, queued);
        let pointer = self.physical.at_index(code, target, at);
        let old = self.physical.atomic(code, Op::AtomicIAdd, pointer, Some(value));
        let is_queue = is(code, QUEUE);
        code.define(new_queued, Op::Select, word, &[is_queue, old, queued]);
        let is_room = is(code, ROOM);
        let is_full = code.ids(Op::UGreaterThanEqual, boolean, &[queued, old]);
        let is_over = code.ids(Op::LogicalAnd, boolean, &[is_room, is_full]);
        code.define(new_end, Op::Select, word, &[is_over, zero, end]);
        code.define(next, Op::IAdd, word, &[step, one]);
        flow.branch(again);
        flow.open(again);
        flow.branch(header);
        flow.open(merge);
    }

    /// The word that a step adds to, from the log or the stop word on, and what it adds.
    fn step(code: &mut Code<'_>, report: &Report, step: Id, queued: Id) -> (Id, Id) {
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        let [zero, one] = [0, 1].map(|value| code.edit.word(value));
        let (mut at, mut value) = (zero, one);
        if !report.entry.is_empty() {
            let [size, start] =
                [control::LOG_ENTRY_WORDS, control::LOG_HEADER_WORDS].map(|v| code.edit.word(v));
            let entry = code.ids(Op::IMul, word, &[queued, size]);
            let entry = code.ids(Op::IAdd, word, &[entry, start]);
            let skipped = code.edit.word(ENTRY);
            let part = code.ids(Op::ISub, word, &[step, skipped]);
            at = code.ids(Op::IAdd, word, &[entry, part]);
        }
        let log_words = [(QUEUE, LogWord::Queued as u32), (ROOM, LogWord::Capacity as u32)];
        let log_words = log_words.map(|(which, at)| (which, code.edit.word(at)));
        for (which, word_at) in log_words.into_iter().chain([(COUNT, report.count), (STOP, zero)]) {
            let which = code.edit.word(which);
            let here = code.ids(Op::IEqual, boolean, &[step, which]);
            at = code.select(word, here, word_at, at);
        }
        for (which, adds) in [(ROOM, zero)].into_iter().chain((ENTRY..).zip(report.entry.clone())) {
            let which = code.edit.word(which);
            let here = code.ids(Op::IEqual, boolean, &[step, which]);
            value = code.select(word, here, adds, value);
        }
        (at, value)
    }

    /// The words of a fault's entry.
    fn entry(&self, code: &mut Code<'_>, fault: Id, address: Id) -> Vec<Id> {
        let word = code.edit.uint(32);
        let workgroup = self.workgroup;
        let [x, y, z] = workgroup.unwrap_or_else(|| inputs(code, BuiltIn::WorkgroupId));
        let invocation = input(code, BuiltIn::LocalInvocationIndex, word);
        let [low, high] = Math::words(code, address);
        vec![low, high, x, y, z, invocation, fault]
    }

    /// The address or index of the first fault: a pair of words.
    fn fault_address(&self, code: &mut Code<'_>) -> Id {
        let pair = code.edit.uvec(2);
        code.load(pair, self.shared.fault_address)
    }

    /// The end of the steps: where faults are collected, each page and access is queued once.
    fn collect(&self, flow: &mut Flow<'_>, fault: Id, address: Id, end: Id) -> Id {
        if !self.variant.translation.faults() {
            return end;
        }
        let (word, boolean) = (flow.code.edit.uint(32), flow.code.edit.bool());
        let [zero, queue] = [0, QUEUE].map(|value| flow.code.edit.word(value));
        let is_there = flow.code.ids(Op::INotEqual, boolean, &[fault, zero]);
        flow.when_value(is_there, word, end, |flow| {
            let code = &mut flow.code;
            let one = code.edit.word(1);
            let site = code.ids(Op::ShiftRightLogical, word, &[fault, one]);
            let is_index = code.ids(Op::BitwiseAnd, word, &[fault, one]);
            let writes = self.writes(code, site);
            let speaks = (self.variant.subgroup_faults && code.edit.version() >= (1, 3))
                .then(|| speaks_for_subgroup(code, address, is_index, writes));
            let count = |flow: &mut Flow<'_>| {
                let is_new = self.mark(flow, address, is_index, writes);
                flow.code.select(word, is_new, end, queue)
            };
            match speaks {
                Some(speaks) => flow.when_value(speaks, word, zero, count),
                None => count(flow),
            }
        })
    }

    /// Whether no invocation has queued a fault of the page before, according to the bitmap.
    fn mark(&self, flow: &mut Flow<'_>, address: Id, is_index: Id, writes: Id) -> Id {
        let (boolean, zero) = (flow.code.edit.bool(), flow.code.edit.word(0));
        let segments = Segments::new(self.shared.control, self.layout, self.variant);
        let bitmap = Bitmap::find(&mut flow.code, &segments, address);
        let is_address = flow.code.ids(Op::IEqual, boolean, &[is_index, zero]);
        let has_bit = flow.code.ids(Op::LogicalAnd, boolean, &[bitmap.found, is_address]);
        let always = flow.code.edit.constant_true();
        flow.when_value(has_bit, boolean, always, |flow| {
            bitmap.mark(&mut flow.code, self.physical, writes)
        })
    }

    /// 1 if a site writes, else 0. The code has one bit for each site, 32 to a constant word.
    fn writes(&self, code: &mut Code<'_>, site: Id) -> Id {
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        let mut masks = vec![0u32; self.analysis.sites.len() / 32 + 1];
        for (position, found) in self.analysis.sites.iter().enumerate() {
            let number = position + 1;
            masks[number / 32] |= u32::from(found.access.writes()) << (number % 32);
        }
        let [five, last] = [5, 31].map(|value| code.edit.word(value));
        let which = code.ids(Op::ShiftRightLogical, word, &[site, five]);
        let mut mask = code.edit.word(0);
        for (position, bits) in (0u32..).zip(masks).filter(|&(_, bits)| bits != 0) {
            let [position, bits] = [position, bits].map(|value| code.edit.word(value));
            let here = code.ids(Op::IEqual, boolean, &[which, position]);
            mask = code.select(word, here, bits, mask);
        }
        let place = code.ids(Op::BitwiseAnd, word, &[site, last]);
        let bit = code.ids(Op::ShiftRightLogical, word, &[mask, place]);
        let one = code.edit.word(1);
        code.ids(Op::BitwiseAnd, word, &[bit, one])
    }
}

/// Whether an invocation reports its fault itself. It does if it is the first of its subgroup, if
/// its page or kind of access differs from that of the first, or if an index failed: only faults on
/// pages are reported for others.
fn speaks_for_subgroup(code: &mut Code<'_>, address: Id, is_index: Id, writes: Id) -> Id {
    code.edit.capability(Capability::GroupNonUniform);
    code.edit.capability(Capability::GroupNonUniformBallot);
    let (word, boolean) = (code.edit.uint(32), code.edit.bool());
    let one = code.edit.word(1);
    let scope = code.edit.word(Scope::Subgroup as u32);
    let [low, high] = Math::words(code, address);
    let whole = code.edit.word(!0xfff);
    let low = code.ids(Op::BitwiseAnd, word, &[low, whole]);
    let kind = code.ids(Op::ShiftLeftLogical, word, &[is_index, one]);
    let kind = code.ids(Op::BitwiseOr, word, &[kind, writes]);
    let scope = Operand::IdScope(scope);
    let mut speaks = code.op(Op::GroupNonUniformElect, boolean, vec![scope.clone()]);
    for value in [low, high, kind] {
        let operands = vec![scope.clone(), Operand::IdRef(value)];
        let first = code.op(Op::GroupNonUniformBroadcastFirst, word, operands);
        let other = code.ids(Op::INotEqual, boolean, &[value, first]);
        speaks = code.ids(Op::LogicalOr, boolean, &[speaks, other]);
    }
    let is_index = code.ids(Op::IEqual, boolean, &[is_index, one]);
    code.ids(Op::LogicalOr, boolean, &[speaks, is_index])
}

/// The three numbers of a built-in value.
pub(crate) fn inputs(code: &mut Code<'_>, builtin: BuiltIn) -> [Id; 3] {
    let (word, uvec3) = (code.edit.uint(32), code.edit.uvec(3));
    let value = input(code, builtin, uvec3);
    [0, 1, 2].map(|part| {
        let operands = vec![Operand::IdRef(value), Operand::LiteralBit32(part)];
        code.op(Op::CompositeExtract, word, operands)
    })
}

/// A built-in value as the type that is wanted; the kernel may have declared it signed.
fn input(code: &mut Code<'_>, builtin: BuiltIn, of: Id) -> Id {
    let variable = code.edit.builtin(builtin, of);
    let declared = code.edit.type_of(variable).and_then(|id| code.edit.pointer_parts(id));
    let declared = declared.map_or(of, |(_, pointee)| pointee);
    let value = code.load(declared, variable);
    if declared == of { value } else { code.ids(Op::Bitcast, of, &[value]) }
}
