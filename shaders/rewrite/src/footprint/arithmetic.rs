//! Operations on abstract values. A result that may have wrapped is any number,
//! unless all of it has wrapped; one that the specification does not define is void.

use crate::footprint::mutant::{self, Mutant};
use crate::footprint::op::{IS_DISTANCE, NO_SIGNED_WRAP, NO_UNSIGNED_WRAP, Node, Op};
use crate::footprint::value::{Trust, Value, least, most, top, truth};
use std::cmp::{max, min};

/// The result of an operation on one or two values; the second is the first where there is one.
/// `from` is the width of the operands.
pub(super) fn binary(node: &Node, a: Value, b: Value, from: u8) -> Value {
    let width = node.width;
    let trust = max(a.trust, b.trust);
    if trust == Trust::Void {
        return Value::any(width, Trust::Void);
    }
    let result = match node.op {
        Op::Add | Op::Sub | Op::Mul | Op::Shl => wrapping(node, a, b),
        Op::UDiv | Op::SDiv | Op::URem | Op::SRem => quotient(node.op, width, a, b),
        Op::And | Op::Or | Op::Xor | Op::Not | Op::Shr | Op::Sar => bitwise(node.op, width, a, b),
        Op::Equal | Op::ULess | Op::SLess | Op::Carry => comparison(node.op, width, a, b, from),
        _ => conversion(node.op, width, a, b, from),
    };
    result.trusted(trust, width)
}

/// The ends of an interval, computed so exactly that they show whether a number wraps. `None` if
/// that is not known either.
type Ends = Option<(i128, i128)>;

/// The results with and without a sign of an operation that may wrap.
fn wrapping(node: &Node, a: Value, b: Value) -> Value {
    let width = node.width;
    if node.op == Op::Shl && b.high >= u64::from(width) && !mutant::has(Mutant::WideShift) {
        return Value::any(width, Trust::Void);
    }
    let (without, with) = match node.op {
        Op::Add => (sum(a, b), sum_signed(a, b)),
        Op::Sub => (difference(a, b), difference_signed(a, b)),
        Op::Mul => (product(a, b), product_signed(a, b)),
        _ => (shifted(a, b, width), shifted_signed(a, b, width)),
    };
    let limit = i128::from(top(width));
    let (lowest, highest) = (i128::from(least(width)), i128::from(most(width)));
    let fits = without.filter(|(low, high)| 0 <= *low && *high <= limit);
    let fits_signed = with.filter(|(low, high)| lowest <= *low && *high <= highest);
    let broken = (node.flags & NO_UNSIGNED_WRAP != 0 && fits.is_none())
        || (node.flags & NO_SIGNED_WRAP != 0 && fits_signed.is_none());
    if broken {
        return Value::any(width, Trust::Void);
    }
    let turns = node.flags & IS_DISTANCE == 0 || mutant::has(Mutant::DistanceTurns);
    if !turns && fits_signed.is_none() {
        return Value::any(width, Trust::Fixed);
    }
    let fits = fits.or_else(|| turned(node.op, without?, limit));
    let one = fits.map(|(low, high)| Value::unsigned(low, high, width));
    let other = fits_signed.map(|(low, high)| Value::signed(low, high, width));
    both(one, other, width)
}

/// An interval that has wrapped as a whole, without its turns.
fn turned(op: Op, (low, high): (i128, i128), limit: i128) -> Ends {
    let cut = match op {
        Op::Add => mutant::has(Mutant::WrappedSum),
        Op::Sub => mutant::has(Mutant::WrappedDifference),
        _ => mutant::has(Mutant::WrappedProduct),
    };
    if cut {
        return Some((low.clamp(0, limit), high.clamp(0, limit)));
    }
    let size = limit + 1;
    let turns = low.div_euclid(size);
    (turns == high.div_euclid(size)).then(|| (low - turns * size, high - turns * size))
}

/// The numbers of which two facts are known.
fn both(one: Option<Value>, other: Option<Value>, width: u8) -> Value {
    let any = Value::any(width, Trust::Fixed);
    let (one, other) = (one.unwrap_or(any), other.unwrap_or(any));
    one.meet(other, width).unwrap_or(any)
}

fn sum(a: Value, b: Value) -> Ends {
    Some((i128::from(a.low) + i128::from(b.low), i128::from(a.high) + i128::from(b.high)))
}

fn sum_signed(a: Value, b: Value) -> Ends {
    Some((i128::from(a.least) + i128::from(b.least), i128::from(a.most) + i128::from(b.most)))
}

fn difference(a: Value, b: Value) -> Ends {
    Some((i128::from(a.low) - i128::from(b.high), i128::from(a.high) - i128::from(b.low)))
}

fn difference_signed(a: Value, b: Value) -> Ends {
    Some((i128::from(a.least) - i128::from(b.most), i128::from(a.most) - i128::from(b.least)))
}

fn product(a: Value, b: Value) -> Ends {
    let low = i128::from(a.low).checked_mul(b.low.into())?;
    Some((low, i128::from(a.high).checked_mul(b.high.into())?))
}

fn product_signed(a: Value, b: Value) -> Ends {
    let mut all = [0; 4];
    for (product, (a, b)) in all.iter_mut().zip([
        (a.least, b.least),
        (a.least, b.most),
        (a.most, b.least),
        (a.most, b.most),
    ]) {
        *product = i128::from(a) * i128::from(b);
    }
    Some((*all.iter().min()?, *all.iter().max()?))
}

/// The amounts of a shift: the smallest and the largest.
fn amounts(b: Value, width: u8) -> (u32, u32) {
    let mask = u64::from(width) - 1;
    let amount = |of: u64| u32::try_from(of & mask).unwrap_or(0);
    (amount(b.low), amount(b.high))
}

fn shifted(a: Value, b: Value, width: u8) -> Ends {
    let (few, many) = amounts(b, width);
    Some((i128::from(a.low) << few, i128::from(a.high).checked_mul(1 << many)?))
}

fn shifted_signed(a: Value, b: Value, width: u8) -> Ends {
    let (few, many) = amounts(b, width);
    let (least, most) = (i128::from(a.least), i128::from(a.most));
    Some((min(least << few, least << many), max(most << few, most << many)))
}

/// Divisions. The block in which one stands has to show that the divisor is not 0.
fn quotient(op: Op, width: u8, a: Value, b: Value) -> Value {
    let void = Value::any(width, Trust::Void);
    let (low, high) = (i128::from(a.low), i128::from(a.high));
    match op {
        Op::UDiv | Op::URem if b.low == 0 && !mutant::has(Mutant::ZeroDivisor) => void,
        Op::UDiv => Value::unsigned(
            low / i128::from(max(b.high, 1)),
            high / i128::from(max(b.low, 1)),
            width,
        ),
        Op::URem => {
            let (smallest, largest) = (i128::from(max(b.low, 1)), i128::from(max(b.high, 1)));
            if high < smallest {
                return a;
            }
            if smallest == largest && low / smallest == high / smallest {
                return Value::unsigned(low % smallest, high % smallest, width);
            }
            Value::unsigned(0, min(largest - 1, high), width)
        }
        _ if b.least <= 0 && b.most >= 0 => void,
        Op::SDiv => {
            if a.least == least(width) && b.least <= -1 && b.most >= -1 {
                return void;
            }
            let all = [(a.least, b.least), (a.least, b.most), (a.most, b.least), (a.most, b.most)]
                .map(|(a, b)| i128::from(a) / i128::from(b));
            let ends = all.iter().min().zip(all.iter().max());
            ends.map_or(void, |(low, high)| Value::signed(*low, *high, width))
        }
        // Vulkan does not define the remainder of a negative number.
        _ if a.least < 0 || b.least < 0 => void,
        _ if a.most < b.least => a,
        _ => Value::signed(0, min(i128::from(b.most) - 1, i128::from(a.most)), width),
    }
}

/// The smallest number of ones only that covers a number.
fn filled(number: u64) -> u64 {
    u64::MAX.checked_shr(number.leading_zeros()).unwrap_or(0)
}

fn bitwise(op: Op, width: u8, a: Value, b: Value) -> Value {
    let wide = u128::from;
    let make = |low: u64, high: u64| Value::unsigned(low.into(), high.into(), width);
    let is_wide = matches!(op, Op::Shr | Op::Sar) && b.high >= u64::from(width);
    if is_wide && !mutant::has(Mutant::WideShift) {
        return Value::any(width, Trust::Void);
    }
    match op {
        Op::And => match (a.single(width), b.single(width)) {
            (Some(mask), _) => masked(b, mask, width),
            (_, Some(mask)) => masked(a, mask, width),
            _ => make(0, min(a.high, b.high)),
        },
        Op::Or => {
            let bits = filled(a.high) | filled(b.high);
            let sum = wide(a.high) + wide(b.high);
            make(max(a.low, b.low), u64::try_from(sum).map_or(bits, |sum| min(sum, bits)))
        }
        Op::Xor => make(0, filled(a.high) | filled(b.high)),
        Op::Not => make(top(width) - a.high, top(width) - a.low),
        Op::Shr => {
            let (few, many) = amounts(b, width);
            make(a.low >> many, a.high >> few)
        }
        _ => {
            let (few, many) = amounts(b, width);
            let low = min(a.least >> few, a.least >> many);
            let high = max(a.most >> few, a.most >> many);
            Value::signed(low.into(), high.into(), width)
        }
    }
}

/// The bits of a value that a mask leaves.
fn masked(of: Value, mask: u64, width: u8) -> Value {
    let make = |low: u64, high: u64| Value::unsigned(low.into(), high.into(), width);
    if let Some(size) = mask.checked_add(1)
        && size.is_power_of_two()
    {
        if of.low / size == of.high / size {
            return make(of.low % size, of.high % size);
        }
        return make(0, min(mask, of.high));
    }
    let lowest = mask & mask.wrapping_neg();
    if lowest != 0 && mask == top(width) - (lowest - 1) {
        return make(of.low & mask, of.high & mask);
    }
    make(0, min(mask, of.high))
}

fn comparison(op: Op, width: u8, a: Value, b: Value, from: u8) -> Value {
    let apart = a.low > b.high || b.low > a.high || a.least > b.most || b.least > a.most;
    match op {
        Op::Equal => match (a.single(from), b.single(from)) {
            (Some(a), Some(b)) => truth(Some(a == b)),
            _ => truth(apart.then_some(false)),
        },
        Op::ULess if a.high < b.low => truth(Some(true)),
        Op::ULess if a.low >= b.high => truth(Some(false)),
        Op::SLess if a.most < b.least => truth(Some(true)),
        Op::SLess if a.least >= b.most => truth(Some(false)),
        Op::ULess | Op::SLess => truth(None),
        _ => {
            let limit = u128::from(top(from));
            let carries = |a: u64, b: u64| i128::from(u128::from(a) + u128::from(b) > limit);
            Value::unsigned(carries(a.low, b.low), carries(a.high, b.high), width)
        }
    }
}

fn conversion(op: Op, width: u8, a: Value, b: Value, from: u8) -> Value {
    let make = |low: u64, high: u64| Value::unsigned(low.into(), high.into(), width);
    let signed = |low: i64, high: i64| Value::signed(low.into(), high.into(), width);
    match op {
        Op::ZeroExtend => make(a.low, a.high),
        Op::SignExtend => signed(a.least, a.most),
        Op::Truncate => {
            let low = masked(a, top(width), from);
            both(Some(make(low.low, low.high)), Some(signed(a.least, a.most)), width)
        }
        Op::UMin => make(min(a.low, b.low), min(a.high, b.high)),
        Op::UMax => make(max(a.low, b.low), max(a.high, b.high)),
        Op::SMin => signed(min(a.least, b.least), min(a.most, b.most)),
        Op::SMax => signed(max(a.least, b.least), max(a.most, b.most)),
        Op::SAbs if a.least > least(width) => {
            let low = if a.least > 0 { a.least } else { max(-a.most, 0) };
            signed(low, max(-a.least, a.most))
        }
        Op::MulHigh => {
            let upper = |a: u64, b: u64| (u128::from(a) * u128::from(b)) >> width;
            let ends = (upper(a.low, b.low), upper(a.high, b.high));
            let ends = (u64::try_from(ends.0), u64::try_from(ends.1));
            ends.0
                .ok()
                .zip(ends.1.ok())
                .map_or(Value::any(width, Trust::Fixed), |(l, h)| make(l, h))
        }
        Op::Index => index(a, from),
        _ => Value::any(width, Trust::Void),
    }
}

/// An index of an access chain. The specification calls indices signed and compilers widen them
/// in different ways, so one that may be negative is any number, unless it has all 64 bits.
fn index(of: Value, from: u8) -> Value {
    if from >= 64 {
        return of;
    }
    if of.least >= 0 || mutant::has(Mutant::IndexWithoutSign) {
        return Value::unsigned(of.low.into(), of.high.into(), 64);
    }
    Value::any(64, Trust::Fixed)
}

/// Bounds of `x` by `x < other` or `other < x`, if it holds, or if it does not.
pub(super) fn less(
    other: Value,
    is_left: bool,
    holds: bool,
    has_sign: bool,
    width: u8,
) -> Option<Value> {
    let (low, high, first, last) = if has_sign && !mutant::has(Mutant::SignMixed) {
        (other.least.into(), other.most.into(), least(width).into(), most(width).into())
    } else {
        (i128::from(other.low), i128::from(other.high), 0, i128::from(top(width)))
    };
    let narrow = i128::from(mutant::has(Mutant::GuardTooNarrow));
    let (from, to) = match (is_left, holds) {
        (true, true) => (first, high - 1 - narrow),
        (true, false) => (low, last),
        (false, true) => (low + 1, last),
        (false, false) => (first, high),
    };
    if from > to {
        return None;
    }
    let unsigned = !has_sign || mutant::has(Mutant::SignMixed);
    let make = if unsigned { Value::unsigned } else { Value::signed };
    Some(make(from, to, width))
}
