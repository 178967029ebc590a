//! Instructions as nodes of the graph.

use crate::footprint::acts::Division;
use crate::footprint::builder::Builder;
use crate::footprint::data::Datum;
use crate::footprint::defined::is_defined;
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::op::{Node, NodeId, Op as Of};
use crate::footprint::unknown::Unknown;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::Op;
use std::rc::Rc;

impl Builder<'_> {
    /// Takes one instruction apart.
    pub(super) fn act(&mut self, i: &Instruction, calls: Option<usize>) -> Result<(), Unknown> {
        if i.class.opname.starts_with("Atomic") || i.class.opcode == Op::ImageWrite {
            for at in 1..i.operands.len() {
                if let Some(leaves) = self.numbers(i, at) {
                    self.publish(&Datum::Leaves(leaves));
                }
            }
        }
        let result = match i.class.opcode {
            Op::Nop | Op::SelectionMerge | Op::LoopMerge | Op::Branch | Op::Return => return Ok(()),
            Op::Line | Op::NoLine | Op::ControlBarrier | Op::MemoryBarrier => return Ok(()),
            Op::FunctionCall => {
                if i.result_type.is_some_and(|of| self.is_own_pointer(of)) {
                    return Err(Unknown::Instruction);
                }
                return self.enter(i, calls.ok_or(Unknown::Damaged)?);
            }
            Op::ReturnValue => {
                let value = self.operand(i, 0);
                self.leave(value);
                return Ok(());
            }
            Op::BranchConditional | Op::Switch => {
                let condition = id_operand(i, 0).and_then(|id| self.single(id));
                self.acts[self.block].condition = Some(condition.ok_or(Unknown::Damaged)?);
                return Ok(());
            }
            Op::Unreachable => {
                self.acts[self.block].never_ends = true;
                return Ok(());
            }
            Op::Store => {
                let (to, value) = (self.operand(i, 0), self.operand(i, 1));
                let value = value.filter(|value| !matches!(value, Datum::Variable(_)));
                self.store(to.as_ref(), &value.ok_or(Unknown::Instruction)?);
                return Ok(());
            }
            Op::CopyMemory => return self.copy_memory(i),
            Op::Variable => {
                let id = i.result_id.ok_or(Unknown::Damaged)?;
                let variable = self.declare(id)?;
                if let Some(value) = self.operand(i, 1) {
                    self.store(Some(&variable), &value);
                }
                Some(variable)
            }
            Op::Phi => self.phi(i)?,
            Op::Load => {
                let of = i.result_type.ok_or(Unknown::Damaged)?;
                let from = self.operand(i, 0);
                Some(self.load(of, from.as_ref()))
            }
            Op::AccessChain
            | Op::InBoundsAccessChain
            | Op::PtrAccessChain
            | Op::InBoundsPtrAccessChain => self.chain(i),
            Op::CopyObject => self.operand(i, 0),
            _ => self.compute(i),
        };
        // A pointer to a variable that is not followed may lead to any of them.
        let is_followed = matches!(result, Some(Datum::Variable(_)))
            || (result.is_some() && mutant::has(Mutant::LostPointer));
        if !is_followed && i.result_type.is_some_and(|of| self.is_own_pointer(of)) {
            return Err(Unknown::Instruction);
        }
        let result = match result {
            None => i.result_type.map(|of| self.nothing(of)),
            known => known,
        };
        self.define(i.result_id, result);
        Ok(())
    }

    /// Whether a type is that of pointers to the kernel's own variables.
    fn is_own_pointer(&self, of: Id) -> bool {
        use rspirv::spirv::StorageClass::{Function, Private};
        let parts = self.shapes.edit.pointer_parts(of);
        parts.is_some_and(|(class, _)| matches!(class, Function | Private))
    }

    fn nothing(&mut self, of: Id) -> Datum {
        match self.shapes.widths(of) {
            Some(widths) => self.undefined(&widths),
            None => Datum::Large,
        }
    }

    fn copy_memory(&mut self, i: &Instruction) -> Result<(), Unknown> {
        let (to, from) = (self.operand(i, 0), self.operand(i, 1));
        let edit = self.shapes.edit;
        let of = id_operand(i, 1).and_then(|from| edit.pointer_parts(edit.type_of(from)?));
        let (_, of) = of.ok_or(Unknown::Damaged)?;
        let value = self.load(of, from.as_ref());
        self.store(to.as_ref(), &value);
        Ok(())
    }

    /// The numbers of an operand.
    fn numbers(&mut self, i: &Instruction, at: usize) -> Option<Rc<[NodeId]>> {
        self.operand(i, at)?.leaves()
    }

    /// The result of an operation. `None` if it is not defined, as far as is known here.
    fn compute(&mut self, i: &Instruction) -> Option<Datum> {
        let op = i.class.opcode;
        let of = i.result_type.and_then(|of| self.shapes.widths(of));
        let Some(widths) = of else {
            self.forget_operands(i);
            return i.result_type.map(|_| Datum::Large);
        };
        if let Some(datum) = self.composite(i, &widths) {
            return Some(datum);
        }
        if let Some(nodes) = operation(op) {
            let from = id_operand(i, 0).and_then(|id| self.shapes.edit.type_of(id));
            if from.is_some_and(|from| !self.shapes.is_float(from)) {
                return self.by_leaf(i, &widths, &nodes);
            }
        }
        let found = match op {
            Op::ExtInst => self.extended(i, &widths),
            Op::UConvert | Op::SConvert => self.converted(i, &widths, op == Op::SConvert),
            Op::Bitcast | Op::ConvertPtrToU | Op::ConvertUToPtr => self.bitcast(i, &widths),
            Op::IAddCarry | Op::ISubBorrow | Op::UMulExtended => self.extended_pair(op, i, &widths),
            Op::Any | Op::All => self.folded(op, i),
            Op::BitFieldUExtract => self.bit_field(i, &widths),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        self.forget_operands(i);
        if !is_defined(i) {
            return None;
        }
        let mut from = Vec::new();
        for at in 0..i.operands.len() {
            from.extend(self.numbers(i, at).iter().flat_map(|leaves| leaves.iter().copied()));
        }
        Some(self.unknown(&widths, &from))
    }

    /// Forgets the variables to which an instruction that is not followed has pointers.
    fn forget_operands(&mut self, i: &Instruction) {
        for at in 0..i.operands.len() {
            if let Some(Datum::Variable(variable)) = self.operand(i, at) {
                self.forget(&variable, None);
            }
        }
    }

    /// One operation on each number of a value.
    fn by_leaf(&mut self, i: &Instruction, widths: &[u8], how: &How) -> Option<Datum> {
        let a = self.numbers(i, 0)?;
        let b = if i.operands.len() > 1 { self.numbers(i, 1)? } else { a.clone() };
        if a.len() != widths.len() || b.len() != widths.len() {
            return None;
        }
        let flags = i.result_id.and_then(|id| self.flags.get(&id)).copied().unwrap_or_default();
        let mut leaves = Vec::with_capacity(widths.len());
        for ((&a, &b), &width) in a.iter().zip(b.iter()).zip(widths) {
            let is_shift = matches!(how.op, Of::Shl | Of::Shr | Of::Sar);
            let compares = matches!(how.op, Of::Equal | Of::ULess | Of::SLess);
            let result = if compares { 1 } else { self.graph.width(a) };
            let fits = self.graph.width(a) == self.graph.width(b) || is_shift;
            if !fits || width != result {
                return None;
            }
            if matches!(how.op, Of::UDiv | Of::SDiv | Of::URem | Of::SRem) {
                let has_sign = matches!(how.op, Of::SDiv | Of::SRem);
                let division = Division { dividend: a, divisor: b, has_sign };
                self.acts[self.block].divisions.push(division);
            }
            leaves.push(self.leaf(how, width, a, b, flags));
        }
        Some(Datum::Leaves(leaves.into()))
    }

    fn leaf(&mut self, how: &How, width: u8, a: NodeId, b: NodeId, flags: u8) -> NodeId {
        let (a, b) = if how.swaps { (b, a) } else { (a, b) };
        let node = if how.is_negation {
            let zero = self.graph.constant(0, width);
            Node::new(Of::Sub, width, &[zero, a]).flagged(flags)
        } else if matches!(how.op, Of::Not) {
            Node::new(Of::Not, width, &[a])
        } else {
            Node::new(how.op, width, &[a, b]).flagged(flags)
        };
        let node = self.graph.node(node);
        if how.inverts { self.graph.op(Of::Not, width, &[node]) } else { node }
    }

    /// Values that are taken apart and put together.
    fn composite(&mut self, i: &Instruction, widths: &[u8]) -> Option<Datum> {
        let literal = |at: usize| match i.operands.get(at) {
            Some(&Operand::LiteralBit32(index)) => Some(index),
            _ => None,
        };
        let leaves: Rc<[NodeId]> = match i.class.opcode {
            Op::CopyLogical => self.numbers(i, 0)?,
            Op::CompositeConstruct => {
                let mut all = Vec::new();
                for at in 0..i.operands.len() {
                    all.extend_from_slice(&self.numbers(i, at)?);
                }
                all.into()
            }
            Op::CompositeExtract => {
                let whole = self.numbers(i, 0)?;
                let start = self.place_in(id_operand(i, 0)?, i.operands.get(1..)?)?;
                whole.get(start..start.checked_add(widths.len())?)?.into()
            }
            Op::CompositeInsert => {
                let (part, whole) = (self.numbers(i, 0)?, self.numbers(i, 1)?);
                let start = self.place_in(id_operand(i, 1)?, i.operands.get(2..)?)?;
                let mut all = whole.to_vec();
                let to = all.get_mut(start..start.checked_add(part.len())?)?;
                to.copy_from_slice(&part);
                all.into()
            }
            Op::VectorShuffle => {
                let all = [self.numbers(i, 0)?, self.numbers(i, 1)?].concat();
                let mut picked = Vec::new();
                for (at, &width) in (2..i.operands.len()).zip(widths) {
                    let part = literal(at).and_then(|part| all.get(part as usize)).copied();
                    picked.push(part.unwrap_or_else(|| self.graph.undefined(width)));
                }
                picked.into()
            }
            Op::VectorExtractDynamic => {
                let all = self.numbers(i, 0)?;
                self.unknown(widths, &all).leaves()?
            }
            Op::VectorInsertDynamic => {
                let mut all = self.numbers(i, 0)?.to_vec();
                all.extend_from_slice(&self.numbers(i, 1)?);
                self.unknown(widths, &all).leaves()?
            }
            Op::Select => self.select(i, widths)?,
            _ => return None,
        };
        let fits = leaves.len() == widths.len()
            && leaves.iter().zip(widths).all(|(&leaf, &width)| self.graph.width(leaf) == width);
        fits.then_some(Datum::Leaves(leaves))
    }

    /// How many numbers of a value come before a part of it.
    fn place_in(&mut self, whole: Id, path: &[Operand]) -> Option<usize> {
        let mut of = self.shapes.edit.type_of(whole)?;
        let mut start = 0usize;
        for index in path {
            let &Operand::LiteralBit32(index) = index else { return None };
            let (part, before) = self.shapes.part(of, index)?;
            (of, start) = (part, start.checked_add(before)?);
        }
        Some(start)
    }

    fn select(&mut self, i: &Instruction, widths: &[u8]) -> Option<Rc<[NodeId]>> {
        let (conditions, yes, no) = (self.numbers(i, 0)?, self.numbers(i, 1)?, self.numbers(i, 2)?);
        let mut all = Vec::new();
        for (at, &width) in widths.iter().enumerate() {
            let condition = if conditions.len() == 1 { 0 } else { at };
            let args = [*conditions.get(condition)?, *yes.get(at)?, *no.get(at)?];
            if args[1..].iter().any(|&arm| self.graph.width(arm) != width) {
                return None;
            }
            all.push(self.graph.op(Of::Select, width, &args));
        }
        Some(all.into())
    }

    fn converted(&mut self, i: &Instruction, widths: &[u8], has_sign: bool) -> Option<Datum> {
        let from = self.numbers(i, 0)?;
        let mut all = Vec::new();
        for (&leaf, &width) in from.iter().zip(widths) {
            let op = match self.graph.width(leaf) {
                wider if wider > width => Of::Truncate,
                _ if has_sign => Of::SignExtend,
                _ => Of::ZeroExtend,
            };
            all.push(self.graph.op(op, width, &[leaf]));
        }
        (all.len() == widths.len()).then(|| Datum::Leaves(all.into()))
    }

    /// The same bits as another type. Words of an address and the address itself are told apart.
    fn bitcast(&mut self, i: &Instruction, widths: &[u8]) -> Option<Datum> {
        let from = self.numbers(i, 0)?;
        let of: Vec<u8> = from.iter().map(|&leaf| self.graph.width(leaf)).collect();
        let leaves: Rc<[NodeId]> = match (&of[..], widths) {
            ([32, 32], [64]) => [self.graph.join_words(from[0], from[1])].into(),
            ([64], [32, 32]) => self.graph.split_words(from[0]).into(),
            (of, widths) if of == widths => from,
            _ => return None,
        };
        Some(Datum::Leaves(leaves))
    }

    /// A result and what did not fit into it.
    fn extended_pair(&mut self, op: Op, i: &Instruction, widths: &[u8]) -> Option<Datum> {
        let (a, b) = (self.numbers(i, 0)?, self.numbers(i, 1)?);
        if widths.len() != 2 * a.len() || a.len() != b.len() {
            return None;
        }
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for (&a, &b) in a.iter().zip(b.iter()) {
            let width = self.graph.width(a);
            if self.graph.width(b) != width {
                return None;
            }
            let (low, high) = match op {
                Op::IAddCarry => (Of::Add, self.graph.op(Of::Carry, width, &[a, b])),
                Op::ISubBorrow => {
                    let less = self.graph.op(Of::ULess, 1, &[a, b]);
                    (Of::Sub, self.graph.op(Of::ZeroExtend, width, &[less]))
                }
                _ => (Of::Mul, self.graph.op(Of::MulHigh, width, &[a, b])),
            };
            lower.push(self.graph.op(low, width, &[a, b]));
            upper.push(high);
        }
        Some(Datum::Leaves([lower, upper].concat().into()))
    }

    /// Whether any, or all, of some truth values hold.
    fn folded(&mut self, op: Op, i: &Instruction) -> Option<Datum> {
        let all = self.numbers(i, 0)?;
        let op = if op == Op::Any { Of::Or } else { Of::And };
        let mut rest = all.iter().copied();
        let first = rest.next()?;
        Some(Datum::one(rest.fold(first, |all, next| self.graph.op(op, 1, &[all, next]))))
    }

    /// Bits at a known place.
    fn bit_field(&mut self, i: &Instruction, widths: &[u8]) -> Option<Datum> {
        let from = self.numbers(i, 0)?;
        let edit = self.shapes.edit;
        let [offset, count] = [1, 2].map(|at| edit.integer(id_operand(i, at)?));
        let (offset, count) = (u64::try_from(offset?).ok()?, u64::try_from(count?).ok()?);
        let mut all = Vec::new();
        for (&leaf, &width) in from.iter().zip(widths) {
            if offset.checked_add(count)? > u64::from(width) || offset >= u64::from(width) {
                return None;
            }
            let mask = if count >= 64 { u64::MAX } else { (1 << count) - 1 };
            let (offset, mask) =
                (self.graph.constant(offset, width), self.graph.constant(mask, width));
            let moved = self.graph.op(Of::Shr, width, &[leaf, offset]);
            all.push(self.graph.op(Of::And, width, &[moved, mask]));
        }
        (all.len() == widths.len()).then(|| Datum::Leaves(all.into()))
    }

    /// An extended instruction on integers.
    fn extended(&mut self, i: &Instruction, widths: &[u8]) -> Option<Datum> {
        if id_operand(i, 0) != self.extended {
            return None;
        }
        let Some(&Operand::LiteralExtInstInteger(number)) = i.operands.get(1) else { return None };
        // SAbs, UMin, SMin, UMax, SMax, UClamp and SClamp of GLSL.std.450.
        let op = match number {
            5 => Of::SAbs,
            38 => Of::UMin,
            39 => Of::SMin,
            41 => Of::UMax,
            42 => Of::SMax,
            44 | 45 => return self.clamped(i, widths, number == 45),
            _ => return None,
        };
        let a = self.numbers(i, 2)?;
        let b = if op == Of::SAbs { a.clone() } else { self.numbers(i, 3)? };
        let args = a.iter().zip(b.iter());
        let all = args.zip(widths).map(|((&a, &b), &width)| {
            let args = if op == Of::SAbs { &[a][..] } else { &[a, b] };
            self.graph.op(op, width, args)
        });
        Some(Datum::Leaves(all.collect()))
    }

    /// A clamped number. It is not defined where the limits are the wrong way round.
    fn clamped(&mut self, i: &Instruction, widths: &[u8], has_sign: bool) -> Option<Datum> {
        let (of, low, high) = (self.numbers(i, 2)?, self.numbers(i, 3)?, self.numbers(i, 4)?);
        let (lower, upper, less) = if has_sign {
            (Of::SMax, Of::SMin, Of::SLess)
        } else {
            (Of::UMax, Of::UMin, Of::ULess)
        };
        let mut all = Vec::new();
        for (at, &width) in widths.iter().enumerate() {
            let (of, low, high) = (*of.get(at)?, *low.get(at)?, *high.get(at)?);
            let raised = self.graph.op(lower, width, &[of, low]);
            let clamped = self.graph.op(upper, width, &[raised, high]);
            let wrong = self.graph.op(less, 1, &[high, low]);
            let undefined = self.graph.undefined(width);
            all.push(self.graph.op(Of::Select, width, &[wrong, undefined, clamped]));
        }
        Some(Datum::Leaves(all.into()))
    }
}

/// How an instruction is made of nodes.
struct How {
    op: Of,
    swaps: bool,
    inverts: bool,
    is_negation: bool,
}

/// The operation on each number of an instruction on integers and truth values.
fn operation(op: Op) -> Option<How> {
    let how = |op: Of| How { op, swaps: false, inverts: false, is_negation: false };
    Some(match op {
        Op::IAdd => how(Of::Add),
        Op::ISub => how(Of::Sub),
        Op::IMul => how(Of::Mul),
        Op::SNegate => How { is_negation: true, ..how(Of::Sub) },
        Op::UDiv => how(Of::UDiv),
        Op::SDiv => how(Of::SDiv),
        Op::UMod => how(Of::URem),
        Op::SRem | Op::SMod => how(Of::SRem),
        Op::BitwiseAnd | Op::LogicalAnd => how(Of::And),
        Op::BitwiseOr | Op::LogicalOr => how(Of::Or),
        Op::BitwiseXor => how(Of::Xor),
        Op::Not | Op::LogicalNot => how(Of::Not),
        Op::ShiftLeftLogical => how(Of::Shl),
        Op::ShiftRightLogical => how(Of::Shr),
        Op::ShiftRightArithmetic => how(Of::Sar),
        Op::IEqual | Op::LogicalEqual => how(Of::Equal),
        Op::INotEqual | Op::LogicalNotEqual => How { inverts: true, ..how(Of::Equal) },
        Op::ULessThan => how(Of::ULess),
        Op::UGreaterThan => How { swaps: true, ..how(Of::ULess) },
        Op::ULessThanEqual => How { swaps: true, inverts: true, ..how(Of::ULess) },
        Op::UGreaterThanEqual => How { inverts: true, ..how(Of::ULess) },
        Op::SLessThan => how(Of::SLess),
        Op::SGreaterThan => How { swaps: true, ..how(Of::SLess) },
        Op::SLessThanEqual => How { swaps: true, inverts: true, ..how(Of::SLess) },
        Op::SGreaterThanEqual => How { inverts: true, ..how(Of::SLess) },
        _ => return None,
    })
}
