//! Instructions of the interpreter.

use super::machine::{Cell, Kind, Machine, Value, id};
use crate::ir::instruction::Id;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::Op;
use std::collections::HashMap;

impl Machine<'_> {
    /// The result of an instruction. `None` if it is not defined what happens.
    pub(super) fn compute(
        &mut self,
        i: &Instruction,
        frame: &HashMap<Id, Value>,
    ) -> Option<Vec<Cell>> {
        let of = i.result_type.expect("it has a result");
        let widths = self.types.widths(of);
        let literal = |at: usize| match i.operands[at] {
            Operand::LiteralBit32(number) => number as usize,
            ref other => panic!("{other:?}"),
        };
        Some(match i.class.opcode {
            Op::CompositeConstruct => {
                (0..i.operands.len()).flat_map(|at| self.raw(frame, i, at)).collect()
            }
            Op::CompositeExtract => {
                let mut whole = self.types.type_of(id(&i.operands[0]));
                let mut start = 0;
                for at in 1..i.operands.len() {
                    let (part, cells, _) = self.types.part(whole, literal(at) as i64);
                    (whole, start) = (part, start + usize::try_from(cells).unwrap());
                }
                self.raw(frame, i, 0)[start..start + widths.len()].to_vec()
            }
            Op::CompositeInsert => {
                let mut all = self.raw(frame, i, 1);
                all[literal(2)] = self.raw(frame, i, 0)[0];
                all
            }
            Op::IAddCarry | Op::ISubBorrow | Op::UMulExtended => self.both(i, frame),
            Op::VectorShuffle => {
                let all = [self.raw(frame, i, 0), self.raw(frame, i, 1)].concat();
                (2..i.operands.len()).map(|at| all[literal(at)]).collect()
            }
            Op::Select => {
                let (yes, no) = (self.raw(frame, i, 1), self.raw(frame, i, 2));
                let conditions = self.cells(frame, i, 0);
                let picked = yes.iter().zip(&no).enumerate().map(|(at, (yes, no))| {
                    let condition = conditions[at.min(conditions.len() - 1)];
                    let cell = if condition.bits != 0 { *yes } else { *no };
                    Cell { kind: cell.kind.max(only_undefined(condition.kind)), ..cell }
                });
                picked.collect()
            }
            Op::Bitcast | Op::ConvertUToPtr | Op::ConvertPtrToU => self.cast(i, frame, &widths),
            Op::ExtInst => self.extended(i, frame, &widths),
            _ => return self.by_cell(i, frame, &widths),
        })
    }

    /// One operation on each number.
    fn by_cell(
        &mut self,
        i: &Instruction,
        frame: &HashMap<Id, Value>,
        widths: &[u8],
    ) -> Option<Vec<Cell>> {
        let a = self.cells(frame, i, 0);
        let b = if i.operands.len() > 1 { self.cells(frame, i, 1) } else { a.clone() };
        let from = self.types.widths(self.types.type_of(id(&i.operands[0])));
        let is_float = self.is_float(i);
        let mut cells = Vec::new();
        for (at, &width) in widths.iter().enumerate() {
            let (a, b) = (a[at.min(a.len() - 1)], b[at.min(b.len() - 1)]);
            let kind = only_undefined(a.kind.max(b.kind));
            if is_float {
                cells.push(Cell { bits: 0, kind: kind.max(Kind::Fickle) });
                continue;
            }
            let (from, op) = (from[at.min(from.len() - 1)], i.class.opcode);
            let divides = matches!(op, Op::UDiv | Op::SDiv | Op::UMod | Op::SRem | Op::SMod);
            let undefined = b.kind == Kind::Undefined;
            if divides && (undefined || has_no_quotient(op, a, b, from)) {
                return None;
            }
            let wraps = i.result_id.is_some_and(|id| self.types.may_not_wrap(id))
                && wraps(op, a.bits, b.bits, from);
            let result = arithmetic(op, a.bits, b.bits, from);
            if result.is_none_or(|bits| leaves(op, (a.bits, b.bits, from), (bits, width))) {
                self.note_wrap();
            }
            cells.push(match result.filter(|_| !wraps) {
                Some(bits) => Cell { bits: bits & (u64::MAX >> (64 - width)), kind },
                None => Cell { bits: 0, kind: Kind::Undefined },
            });
        }
        Some(cells)
    }

    /// A result of two words.
    fn both(&mut self, i: &Instruction, frame: &HashMap<Id, Value>) -> Vec<Cell> {
        let (a, b) = (self.cell(frame, i, 0), self.cell(frame, i, 1));
        let kind = only_undefined(a.kind.max(b.kind));
        let op = i.class.opcode;
        let alike = match op {
            Op::IAddCarry => Op::IAdd,
            Op::ISubBorrow => Op::ISub,
            _ => Op::IMul,
        };
        let result = arithmetic(alike, a.bits, b.bits, 32);
        if result.is_none_or(|bits| leaves(alike, (a.bits, b.bits, 32), (bits, 32))) {
            self.note_wrap();
        }
        let word = u64::from(u32::MAX);
        let (low, high) = match i.class.opcode {
            Op::IAddCarry => (a.bits + b.bits, u64::from(a.bits + b.bits > word)),
            Op::ISubBorrow => (a.bits.wrapping_sub(b.bits), u64::from(a.bits < b.bits)),
            _ => (a.bits * b.bits, (a.bits * b.bits) >> 32),
        };
        [low & word, high].map(|bits| Cell { bits, kind }).to_vec()
    }

    fn is_float(&self, i: &Instruction) -> bool {
        let mut types = vec![i.result_type.expect("it has")];
        types.push(self.types.type_of(id(&i.operands[0])));
        types.iter().any(|&of| {
            self.types.is(of, Op::TypeFloat)
                || (self.types.is(of, Op::TypeVector)
                    && self.types.is(self.types.part(of, 0).0, Op::TypeFloat))
        })
    }

    fn cast(&mut self, i: &Instruction, frame: &HashMap<Id, Value>, widths: &[u8]) -> Vec<Cell> {
        let from = self.raw(frame, i, 0);
        let kind = from.iter().map(|cell| cell.kind).max().expect("it has numbers");
        match (&from[..], widths) {
            ([low, high], [64]) => vec![Cell { bits: low.bits | high.bits << 32, kind }],
            ([whole], [32, 32]) => {
                let parts = [whole.bits & 0xffff_ffff, whole.bits >> 32];
                parts.map(|bits| Cell { bits, kind }).to_vec()
            }
            _ => from,
        }
    }

    fn extended(
        &mut self,
        i: &Instruction,
        frame: &HashMap<Id, Value>,
        widths: &[u8],
    ) -> Vec<Cell> {
        let Operand::LiteralExtInstInteger(number) = i.operands[1] else { panic!("{i:?}") };
        let args: Vec<Vec<Cell>> =
            (2..i.operands.len()).map(|at| self.cells(frame, i, at)).collect();
        let mut cells = Vec::new();
        for (at, &width) in widths.iter().enumerate() {
            let kind = args.iter().map(|arg| only_undefined(arg[at].kind)).max().expect("it has");
            let bits = |of: usize| args[of][at].bits;
            let signed = |of: usize| extend(bits(of), width);
            let bits = match number {
                5 => Some(signed(0).wrapping_abs().cast_unsigned()),
                38 => Some(bits(0).min(bits(1))),
                39 => Some(signed(0).min(signed(1)).cast_unsigned()),
                41 => Some(bits(0).max(bits(1))),
                42 => Some(signed(0).max(signed(1)).cast_unsigned()),
                44 if bits(1) <= bits(2) => Some(bits(0).clamp(bits(1), bits(2))),
                45 if signed(1) <= signed(2) => {
                    Some(signed(0).clamp(signed(1), signed(2)).cast_unsigned())
                }
                44 | 45 => None,
                other => panic!("extended instruction {other} is not interpreted"),
            };
            cells.push(match bits {
                Some(bits) => Cell { bits: bits & (u64::MAX >> (64 - width)), kind },
                None => Cell { bits: 0, kind: Kind::Undefined },
            });
        }
        cells
    }
}

/// A result of numbers from memory is one number; a result of undefined ones is undefined.
fn only_undefined(kind: Kind) -> Kind {
    if kind == Kind::Undefined { kind } else { Kind::Known }
}

fn extend(bits: u64, width: u8) -> i64 {
    (bits << (64 - width)).cast_signed() >> (64 - width)
}

/// Whether a number without a sign wraps.
fn wraps(op: Op, a: u64, b: u64, width: u8) -> bool {
    let (a, b) = (i128::from(a), i128::from(b));
    let exact = match op {
        Op::IAdd => a + b,
        Op::ISub => a - b,
        _ => a * b,
    };
    !(0..1 << width).contains(&exact)
}

/// Whether a result is not the exact one of numbers with a sign.
fn leaves(op: Op, (a, b, from): (u64, u64, u8), (result, width): (u64, u8)) -> bool {
    let (x, y) = (i128::from(extend(a, from)), i128::from(extend(b, from)));
    let exact = match op {
        Op::IAdd => x + y,
        Op::ISub => x - y,
        Op::IMul => x * y,
        Op::SNegate => -x,
        Op::ShiftLeftLogical => x << b,
        _ => return false,
    };
    exact != i128::from(extend(result, width))
}

/// Whether a division has no result.
fn has_no_quotient(op: Op, a: Cell, b: Cell, width: u8) -> bool {
    let has_sign = matches!(op, Op::SDiv | Op::SRem | Op::SMod);
    let is_least = a.kind == Kind::Undefined || a.bits == 1 << (width - 1);
    b.bits == 0 || (has_sign && extend(b.bits, width) == -1 && is_least)
}

/// The bits of a result. `None` if it is not defined.
fn arithmetic(op: Op, a: u64, b: u64, from: u8) -> Option<u64> {
    let (x, y) = (extend(a, from), extend(b, from));
    let fits = b < u64::from(from);
    let amount = u32::try_from(b & 63).expect("it is small");
    Some(match op {
        Op::IAdd => a.wrapping_add(b),
        Op::ISub => a.wrapping_sub(b),
        Op::IMul => a.wrapping_mul(b),
        Op::UDiv => a / b,
        Op::UMod => a % b,
        Op::SDiv => (x / y).cast_unsigned(),
        Op::SRem | Op::SMod if x < 0 || y < 0 => return None,
        Op::SRem | Op::SMod => (x % y).cast_unsigned(),
        Op::SNegate => a.wrapping_neg(),
        Op::Not => !a,
        Op::LogicalNot => 1 - a,
        Op::BitwiseAnd | Op::LogicalAnd => a & b,
        Op::BitwiseOr | Op::LogicalOr => a | b,
        Op::BitwiseXor => a ^ b,
        Op::ShiftLeftLogical if fits => a << amount,
        Op::ShiftRightLogical if fits => a >> amount,
        Op::ShiftRightArithmetic if fits => (x >> amount).cast_unsigned(),
        Op::ShiftLeftLogical | Op::ShiftRightLogical | Op::ShiftRightArithmetic => return None,
        Op::IEqual | Op::LogicalEqual => u64::from(a == b),
        Op::INotEqual | Op::LogicalNotEqual => u64::from(a != b),
        Op::ULessThan => u64::from(a < b),
        Op::ULessThanEqual => u64::from(a <= b),
        Op::UGreaterThan => u64::from(a > b),
        Op::UGreaterThanEqual => u64::from(a >= b),
        Op::SLessThan => u64::from(x < y),
        Op::SLessThanEqual => u64::from(x <= y),
        Op::SGreaterThan => u64::from(x > y),
        Op::SGreaterThanEqual => u64::from(x >= y),
        Op::UConvert => a,
        Op::SConvert => x.cast_unsigned(),
        other => panic!("{other:?} is not interpreted"),
    })
}
