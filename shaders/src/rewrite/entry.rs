//! The kernel's entry point: whether to run at all, and what to report afterwards.
//!
//! The new entry point takes over the number of the old one, which becomes a function of its own,
//! so that entry point and execution modes stay as they are.

use super::control::{self, LogWord};
use super::edit::{Code, Edit, Id, id_operand};
use super::flow::Flow;
use super::loops::refused;
use super::page::{Bitmap, Wide};
use super::physical::Physical;
use super::shared::Shared;
use super::{Analysis, RewriteError, Variant};
use rspirv::dr::{Function, Instruction, Operand};
use rspirv::spirv::{BuiltIn, Capability, FunctionControl, Op, Scope};

/// Wraps the only entry point.
pub(super) fn wrap_entry(
    edit: &mut Edit,
    shared: &Shared,
    variant: &Variant,
    analysis: &Analysis,
    layout: &control::Layout,
) -> Result<(), RewriteError> {
    let entry = edit.module.entry_points.first();
    let name = entry.and_then(|entry| id_operand(entry, 1));
    let name = name.ok_or_else(|| refused("OpEntryPoint", "it names no function"))?;
    let kernel = edit.fresh();
    let void = edit.void();
    edit.note_type(kernel, void);
    rename(edit, name, kernel)?;
    let physical = Physical::declare(edit);
    let end = Epilogue { shared, variant, analysis, layout, physical };
    let function = end.function(edit, name, kernel);
    edit.module.functions.push(function);
    Ok(())
}

/// Gives the entry point's function another number.
fn rename(edit: &mut Edit, old: Id, new: Id) -> Result<(), RewriteError> {
    let mut defined = false;
    for function in &mut edit.module.functions {
        if let Some(def) = &mut function.def
            && def.result_id == Some(old)
        {
            if !function.parameters.is_empty() {
                return Err(refused("OpFunction", "the entry point has parameters"));
            }
            def.result_id = Some(new);
            defined = true;
        }
        let instructions = function.blocks.iter_mut().flat_map(|b| &mut b.instructions);
        for call in instructions.filter(|i| i.class.opcode == Op::FunctionCall) {
            if let Some(callee @ Operand::IdRef(_)) = call.operands.first_mut()
                && *callee == Operand::IdRef(old)
            {
                *callee = Operand::IdRef(new);
            }
        }
    }
    let missing = || refused("OpEntryPoint", "the module lacks its function");
    defined.then_some(()).ok_or_else(missing)
}

/// What the new entry point is made from.
struct Epilogue<'a> {
    shared: &'a Shared,
    variant: &'a Variant,
    analysis: &'a Analysis,
    layout: &'a control::Layout,
    physical: Physical,
}

/// The first fault of an invocation.
struct Fault {
    /// Whether there is one.
    is_there: Id,
    /// The site's position plus one.
    site: Id,
    /// 1 if an index failed, 0 if an address.
    is_index: Id,
    address: Wide,
}

impl Epilogue<'_> {
    /// The new entry point.
    fn function(&self, edit: &mut Edit, name: Id, kernel: Id) -> Function {
        let void = edit.void();
        let of = edit.function_type(void, &[]);
        let mut function = Function::new();
        let operands = vec![Operand::FunctionControl(FunctionControl::NONE), Operand::IdRef(of)];
        function.def = Some(Instruction::new(Op::Function, Some(void), Some(name), operands));
        function.end = Some(Instruction::new(Op::FunctionEnd, None, None, vec![]));
        let label = edit.fresh();
        let mut flow = Flow::new(edit, label);
        let wanted = self.is_wanted(&mut flow.code);
        flow.when(wanted, |flow| {
            flow.code.ids(Op::FunctionCall, void, &[kernel]);
            self.report(flow);
        });
        flow.end(Op::Return, vec![]);
        function.blocks = flow.finish();
        function
    }

    /// Whether no earlier launch failed. All invocations agree, because the launch itself writes no
    /// lower number than its own.
    fn is_wanted(&self, code: &mut Code<'_>) -> Id {
        let boolean = code.edit.bool();
        let launch = code.control_word(self.shared.control, control::LIMITS, 3);
        let stop = self.physical.stop(code, self.shared);
        code.ids(Op::UGreaterThanEqual, boolean, &[stop, launch])
    }

    /// Reports what went wrong, if anything did.
    fn report(&self, flow: &mut Flow<'_>) {
        let has_loops = self.analysis.loops > 0;
        let has_sites = !self.analysis.sites.is_empty();
        let code = &mut flow.code;
        let word = code.edit.uint(32);
        let boolean = code.edit.bool();
        let zero = code.edit.word(0);
        let fault = has_sites.then(|| code.load(word, self.shared.fault));
        let cut = (has_loops && self.variant.loop_guard).then(|| code.load(word, self.shared.cut));
        let exhausted = has_loops.then(|| code.load(word, self.shared.exhausted));
        let any = [fault, cut, exhausted].into_iter().flatten();
        let any = any.reduce(|a, b| code.ids(Op::BitwiseOr, word, &[a, b]));
        let Some(any) = any else { return };
        let failed = code.ids(Op::INotEqual, boolean, &[any, zero]);
        flow.when(failed, |flow| {
            self.end_launches(flow, fault, cut, exhausted);
            if let Some(fault) = fault {
                let fault = self.fault(&mut flow.code, fault);
                flow.when(fault.is_there, |flow| self.report_fault(flow, &fault));
            }
        });
    }

    /// Counts loops that did not end by themselves, and stops this launch and later ones. Where
    /// faults are collected, an invocation that had one has done nothing that counts.
    fn end_launches(
        &self,
        flow: &mut Flow<'_>,
        fault: Option<Id>,
        cut: Option<Id>,
        exhausted: Option<Id>,
    ) {
        let (boolean, zero) = (flow.code.edit.bool(), flow.code.edit.word(0));
        let end = |flow: &mut Flow<'_>| {
            for (count, what) in [(cut, LogWord::Cut), (exhausted, LogWord::Exhausted)] {
                let Some(count) = count else { continue };
                let happened = flow.code.ids(Op::INotEqual, boolean, &[count, zero]);
                flow.when(happened, |flow| {
                    self.count(&mut flow.code, what);
                });
            }
            let code = &mut flow.code;
            let launch = code.control_word(self.shared.control, control::LIMITS, 3);
            let address = code.control_pair(self.shared.control, control::REPORTS, 1);
            let pointer = self.physical.at(code, address);
            self.physical.atomic(code, Op::AtomicUMin, pointer, Some(launch));
        };
        match fault {
            Some(fault) if self.variant.translation.faults() => {
                let counts = flow.code.ids(Op::IEqual, boolean, &[fault, zero]);
                flow.when(counts, end);
            }
            _ => end(flow),
        }
    }

    /// Reads the registers of the first fault.
    fn fault(&self, code: &mut Code<'_>, fault: Id) -> Fault {
        let (word, pair, boolean) = (code.edit.uint(32), code.edit.uvec(2), code.edit.bool());
        let [zero, one] = [0, 1].map(|value| code.edit.word(value));
        let address = code.load(pair, self.shared.fault_address);
        Fault {
            is_there: code.ids(Op::INotEqual, boolean, &[fault, zero]),
            site: code.ids(Op::ShiftRightLogical, word, &[fault, one]),
            is_index: code.ids(Op::BitwiseAnd, word, &[fault, one]),
            address: Wide::of_pair(code, address),
        }
    }

    /// Reports a fault, once per page and access where faults are collected.
    fn report_fault(&self, flow: &mut Flow<'_>, fault: &Fault) {
        if !self.variant.translation.faults() {
            self.count(&mut flow.code, LogWord::Faults);
            self.queue(flow, fault);
            return;
        }
        let writes = self.writes(&mut flow.code, fault.site);
        if self.variant.subgroup_faults && flow.code.edit.version() >= (1, 3) {
            let speaks = speaks_for_subgroup(&mut flow.code, fault, writes);
            flow.when(speaks, |flow| self.mark_and_queue(flow, fault, writes));
        } else {
            self.mark_and_queue(flow, fault, writes);
        }
    }

    /// Counts a fault, and queues it unless the bitmap says that somebody else has.
    fn mark_and_queue(&self, flow: &mut Flow<'_>, fault: &Fault, writes: Id) {
        self.count(&mut flow.code, LogWord::Faults);
        let (boolean, zero) = (flow.code.edit.bool(), flow.code.edit.word(0));
        let (variant, layout, physical) = (self.variant, self.layout, self.physical);
        let bitmap = Bitmap::find(flow, self.shared, variant, layout, physical, fault.address);
        let is_address = flow.code.ids(Op::IEqual, boolean, &[fault.is_index, zero]);
        let has_bit = flow.code.ids(Op::LogicalAnd, boolean, &[bitmap.found, is_address]);
        let always = flow.code.edit.declare(Op::ConstantTrue, Some(boolean), vec![]);
        let is_new = flow.when_value(has_bit, boolean, always, |flow| {
            bitmap.mark(&mut flow.code, physical, fault.address, writes)
        });
        flow.when(is_new, |flow| self.queue(flow, fault));
    }

    /// Asks for an entry of the log, and writes it if there is room.
    fn queue(&self, flow: &mut Flow<'_>, fault: &Fault) {
        let slot = self.count(&mut flow.code, LogWord::Queued);
        let (log, boolean) = (self.log(&mut flow.code), flow.code.edit.bool());
        let capacity = flow.code.edit.word(LogWord::Capacity as u32);
        let capacity = self.physical.at_index(&mut flow.code, log, capacity);
        let capacity = Physical::load(&mut flow.code, capacity);
        let fits = flow.code.ids(Op::ULessThan, boolean, &[slot, capacity]);
        flow.when(fits, |flow| {
            let code = &mut flow.code;
            let uvec3 = code.edit.uvec(3);
            let word = code.edit.uint(32);
            let workgroup = input(code, BuiltIn::WorkgroupId, uvec3);
            let [x, y, z] = [0, 1, 2].map(|part| {
                let operands = vec![Operand::IdRef(workgroup), Operand::LiteralBit32(part)];
                code.op(Op::CompositeExtract, word, operands)
            });
            let invocation = input(code, BuiltIn::LocalInvocationIndex, word);
            let Fault { address, site, is_index, .. } = *fault;
            let entry = [address.low, address.high, site, x, y, z, invocation, is_index];
            let size = code.edit.word(control::LOG_ENTRY_WORDS);
            let first = code.ids(Op::IMul, word, &[slot, size]);
            for (at, value) in (control::LOG_HEADER_WORDS..).zip(entry) {
                let at = code.edit.word(at);
                let at = code.ids(Op::IAdd, word, &[first, at]);
                let pointer = self.physical.at_index(code, log, at);
                Physical::store(code, pointer, value);
            }
        });
    }

    /// Adds one to a count of the log and gives the count before.
    fn count(&self, code: &mut Code<'_>, what: LogWord) -> Id {
        let log = self.log(code);
        let [at, one] = [what as u32, 1].map(|value| code.edit.word(value));
        let pointer = self.physical.at_index(code, log, at);
        self.physical.atomic(code, Op::AtomicIAdd, pointer, Some(one))
    }

    /// The address of the log.
    fn log(&self, code: &mut Code<'_>) -> Id {
        code.control_pair(self.shared.control, control::REPORTS, 0)
    }

    /// 1 if a site writes, else 0: a bit for each site, 32 to a word.
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

/// Whether an invocation reports its fault itself: it is the first of its subgroup, or has another
/// page or access than the first, or an index, which is not shared.
fn speaks_for_subgroup(code: &mut Code<'_>, fault: &Fault, writes: Id) -> Id {
    code.edit.capability(Capability::GroupNonUniform);
    code.edit.capability(Capability::GroupNonUniformBallot);
    let (word, boolean) = (code.edit.uint(32), code.edit.bool());
    let one = code.edit.word(1);
    let scope = code.edit.word(Scope::Subgroup as u32);
    let page = fault.address.shifted(code, 12);
    let kind = code.ids(Op::ShiftLeftLogical, word, &[fault.is_index, one]);
    let kind = code.ids(Op::BitwiseOr, word, &[kind, writes]);
    let scope = Operand::IdScope(scope);
    let mut speaks = code.op(Op::GroupNonUniformElect, boolean, vec![scope.clone()]);
    for value in [page.low, page.high, kind] {
        let operands = vec![scope.clone(), Operand::IdRef(value)];
        let first = code.op(Op::GroupNonUniformBroadcastFirst, word, operands);
        let other = code.ids(Op::INotEqual, boolean, &[value, first]);
        speaks = code.ids(Op::LogicalOr, boolean, &[speaks, other]);
    }
    let is_index = code.ids(Op::IEqual, boolean, &[fault.is_index, one]);
    code.ids(Op::LogicalOr, boolean, &[speaks, is_index])
}

/// A built-in value as the type that is wanted; the kernel may have declared it signed.
fn input(code: &mut Code<'_>, builtin: BuiltIn, of: Id) -> Id {
    let variable = code.edit.builtin(builtin, of);
    let declared = code.edit.type_of(variable).and_then(|id| code.edit.pointer_parts(id));
    let declared = declared.map_or(of, |(_, pointee)| pointee);
    let value = code.load(declared, variable);
    if declared == of { value } else { code.ids(Op::Bitcast, of, &[value]) }
}
