//! The operations of specialisation constants (`OpSpecConstantOp`), on integers and booleans.

use crate::reflect::number::Number;
use crate::reflect::value::{MOST_COMPONENTS, Scalar, Value, mask, sign_extended};
use spirv::Op;

/// Why an operation has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undefined {
    /// A division or a remainder by 0.
    #[error("it divides by 0")]
    DivisionByZero,
    /// The least number, divided by -1.
    #[error("its quotient is too large for its type")]
    QuotientTooLarge,
    /// A shift by as many bits as the number has, or more.
    #[error("it shifts by as many bits as the number has, or more")]
    ShiftTooFar,
}

/// The most parts of a composite that is copied with a change.
const MOST_COPIED: usize = 64;

/// The result of an operation whose result, or each component of it, has the type `of`. `value` is
/// asked for operands that are results.
///
/// A result that is not computed here is unknown; one that SPIR-V leaves undefined is an error.
pub(super) fn compute(
    op: Op,
    of: Scalar,
    operands: &[u32],
    value: &dyn Fn(u32) -> Value,
) -> Result<Value, Undefined> {
    let (first, rest) = match operands {
        [] => return Ok(Value::Unknown),
        [first, rest @ ..] => (*first, rest),
    };
    match (op, rest) {
        (Op::CompositeExtract, path) => Ok(extract(value(first), path)),
        (Op::CompositeInsert, [into, path @ ..]) => Ok(insert(value(first), value(*into), path)),
        (Op::VectorShuffle, [second, picked @ ..]) => {
            Ok(shuffle(&value(first), &value(*second), picked))
        }
        _ => {
            // Three operands at most; the rest of a damaged instruction is of no interest.
            let operands: Vec<Value> = operands.iter().take(3).map(|id| value(*id)).collect();
            by_component(op, of, &operands)
        }
    }
}

fn extract(mut value: Value, path: &[u32]) -> Value {
    for &index in path {
        let Value::Composite { parts, .. } = value else { return Value::Unknown };
        value = parts.get(index as usize).cloned().unwrap_or(Value::Unknown);
    }
    value
}

/// The composite `into` with a part replaced. Composites of many parts are not copied, since a
/// module may do so in each of its instructions.
fn insert(part: Value, into: Value, path: &[u32]) -> Value {
    let [index, deeper @ ..] = path else { return part };
    let Value::Composite { parts, .. } = into else { return Value::Unknown };
    if parts.len() > MOST_COPIED {
        return Value::Unknown;
    }
    let mut parts = parts.to_vec();
    match parts.get_mut(*index as usize) {
        Some(old) => *old = insert(part, std::mem::replace(old, Value::Unknown), deeper),
        None => return Value::Unknown,
    }
    Value::composite(parts)
}

fn shuffle(first: &Value, second: &Value, picked: &[u32]) -> Value {
    let (Value::Composite { parts: first, .. }, Value::Composite { parts: second, .. }) =
        (first, second)
    else {
        return Value::Unknown;
    };
    let both = |&index: &u32| {
        let index = index as usize;
        let behind = || second.get(index.checked_sub(first.len())?);
        first.get(index).or_else(behind).cloned().unwrap_or(Value::Unknown)
    };
    Value::composite(picked.iter().map(both).collect::<Vec<_>>())
}

/// An operation on scalars, or on each component of vectors.
fn by_component(op: Op, of: Scalar, operands: &[Value]) -> Result<Value, Undefined> {
    let vector = operands.iter().find_map(|operand| match operand {
        Value::Composite { parts, .. } => Some(parts.len()),
        _ => None,
    });
    let Some(count) = vector else { return on_scalars(op, of, operands) };
    if count > MOST_COMPONENTS as usize {
        return Ok(Value::Unknown);
    }
    let mut results = Vec::with_capacity(count);
    for index in 0..count {
        let component = |operand: &Value| match operand {
            Value::Composite { parts, .. } => parts.get(index).cloned().unwrap_or(Value::Unknown),
            scalar => scalar.clone(),
        };
        let components: Vec<Value> = operands.iter().map(component).collect();
        results.push(on_scalars(op, of, &components)?);
    }
    Ok(Value::composite(results))
}

fn on_scalars(op: Op, of: Scalar, operands: &[Value]) -> Result<Value, Undefined> {
    let scalar = |index: usize| match operands.get(index) {
        Some(&Value::Scalar { of, bits }) => Some((of, bits)),
        _ => None,
    };
    if op == Op::Select {
        // Its operands may be of any type.
        let chosen = scalar(0).map(|(_, condition)| if condition != 0 { 1 } else { 2 });
        let chosen = chosen.and_then(|index| operands.get(index));
        return Ok(chosen.cloned().unwrap_or(Value::Unknown));
    }
    let Some((from, a)) = scalar(0) else { return Ok(Value::Unknown) };
    let b = match scalar(1) {
        Some((_, b)) => b,
        None if operands.len() == 1 => 0,
        None => return Ok(Value::Unknown),
    };
    let bits = match from {
        Scalar::Bool => logical(op, a != 0, b != 0),
        // The bits of the second operand count by its own type in a shift alone, which has no sign.
        Scalar::Number(number @ Number::Int { .. }) => integer(op, number, a, b)?,
        Scalar::Number(Number::Float { .. }) => None,
    };
    Ok(match (bits, of) {
        (Some(bits), Scalar::Bool) => Value::Scalar { of, bits },
        (Some(bits), Scalar::Number(number)) => Value::Scalar { of, bits: bits & mask(number) },
        (None, _) => Value::Unknown,
    })
}

fn logical(op: Op, a: bool, b: bool) -> Option<u64> {
    Some(u64::from(match op {
        Op::LogicalOr => a | b,
        Op::LogicalAnd => a & b,
        Op::LogicalNot => !a,
        Op::LogicalEqual => a == b,
        Op::LogicalNotEqual => a != b,
        _ => return None,
    }))
}

/// An operation on integers of a type; the bits beyond the result's width are not cut off.
fn integer(op: Op, number: Number, a: u64, b: u64) -> Result<Option<u64>, Undefined> {
    let width = u64::from(number.size_bytes()) * 8;
    if !matches!(width, 8 | 16 | 32 | 64) {
        return Ok(None);
    }
    let signed = |bits| sign_extended(number, bits);
    let shift = || match u32::try_from(b) {
        Ok(by) if b < width => Ok(by),
        _ => Err(Undefined::ShiftTooFar),
    };
    let divisor = || if b == 0 { Err(Undefined::DivisionByZero) } else { Ok(b) };
    let signed_divisor = || match signed(divisor()?) {
        -1 if a == 1 << (width - 1) => Err(Undefined::QuotientTooLarge),
        by => Ok(by),
    };
    Ok(Some(match op {
        Op::UConvert => a,
        Op::SConvert => signed(a).cast_unsigned(),
        Op::SNegate => a.wrapping_neg(),
        Op::Not => !a,
        Op::IAdd => a.wrapping_add(b),
        Op::ISub => a.wrapping_sub(b),
        Op::IMul => a.wrapping_mul(b),
        Op::UDiv => a / divisor()?,
        Op::UMod => a % divisor()?,
        Op::SDiv => signed(a).wrapping_div(signed_divisor()?).cast_unsigned(),
        Op::SRem => signed(a).wrapping_rem(signed_divisor()?).cast_unsigned(),
        Op::SMod => modulo(signed(a), signed_divisor()?).cast_unsigned(),
        Op::ShiftLeftLogical => a << shift()?,
        Op::ShiftRightLogical => a >> shift()?,
        Op::ShiftRightArithmetic => (signed(a) >> shift()?).cast_unsigned(),
        Op::BitwiseOr => a | b,
        Op::BitwiseXor => a ^ b,
        Op::BitwiseAnd => a & b,
        Op::IEqual => (a == b).into(),
        Op::INotEqual => (a != b).into(),
        Op::ULessThan => (a < b).into(),
        Op::UGreaterThan => (a > b).into(),
        Op::ULessThanEqual => (a <= b).into(),
        Op::UGreaterThanEqual => (a >= b).into(),
        Op::SLessThan => (signed(a) < signed(b)).into(),
        Op::SGreaterThan => (signed(a) > signed(b)).into(),
        Op::SLessThanEqual => (signed(a) <= signed(b)).into(),
        Op::SGreaterThanEqual => (signed(a) >= signed(b)).into(),
        _ => return Ok(None),
    }))
}

/// The remainder that has the sign of the divisor.
fn modulo(a: i64, by: i64) -> i64 {
    let rest = a.wrapping_rem(by);
    if rest != 0 && (rest < 0) != (by < 0) { rest + by } else { rest }
}
