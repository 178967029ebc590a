//! The constants of a module, with the values that specialisation constants have in it.

use crate::reflect::error::ReflectError;
use crate::reflect::module::{Instruction, instructions};
use crate::reflect::number::Number;
use crate::reflect::operations::{Undefined, compute};
use crate::reflect::value::{MOST_COMPONENTS, Scalar, Value, mask, sign_extended};
use spirv::{Decoration, Op};
use std::collections::{HashMap, HashSet};

/// A scalar that can be specialised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared {
    pub(crate) result: u32,
    /// The position of its instruction.
    pub(crate) word: usize,
    pub(crate) of: Scalar,
}

/// The constants of a module. Those that depend on others come later in a module, so each is
/// computed when it is noted.
#[derive(Default)]
pub(crate) struct Constants {
    scalars: HashMap<u32, Scalar>,
    vectors: HashMap<u32, (u32, u32)>,
    values: HashMap<u32, Value>,
    /// The numbers of specialisation constants.
    spec_ids: HashMap<u32, u32>,
    /// The scalars that can be specialised, in their order.
    pub(crate) declared: Vec<Declared>,
    /// The constants that depend on one that can be specialised, and those themselves.
    specialised: HashSet<u32>,
    /// The first operation that has no result for the values of its operands.
    pub(crate) undefined: Option<(usize, Undefined)>,
}

impl Constants {
    /// Reads the constants of a module.
    pub(crate) fn read(words: &[u32]) -> Result<Self, ReflectError> {
        let mut constants = Self::default();
        for instruction in instructions(words)? {
            constants.note(instruction?)?;
        }
        Ok(constants)
    }

    /// Notes an instruction if it declares a constant, or the type or number of one.
    pub(crate) fn note(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        match i.op {
            Some(Op::TypeBool) => {
                self.scalars.insert(i.operand(0)?, Scalar::Bool);
            }
            Some(Op::TypeInt) => {
                let number = Number::Int { bits: i.operand(1)?, signed: i.operand(2)? != 0 };
                self.scalars.insert(i.operand(0)?, Scalar::Number(number));
            }
            Some(Op::TypeFloat) => {
                let number = Number::Float { bits: i.operand(1)? };
                self.scalars.insert(i.operand(0)?, Scalar::Number(number));
            }
            Some(Op::TypeVector) => {
                self.vectors.insert(i.operand(0)?, (i.operand(1)?, i.operand(2)?));
            }
            Some(Op::Decorate) if i.operand(1)? == Decoration::SpecId as u32 => {
                self.spec_ids.insert(i.operand(0)?, i.operand(2)?);
            }
            Some(
                Op::Constant
                | Op::ConstantTrue
                | Op::ConstantFalse
                | Op::ConstantNull
                | Op::ConstantComposite,
            ) => {
                let value = self.value(i)?;
                self.values.insert(i.operand(1)?, value);
            }
            Some(op) if is_specialised(op) => self.note_specialised(i)?,
            _ => {}
        }
        Ok(())
    }

    fn note_specialised(&mut self, i: Instruction<'_>) -> Result<(), ReflectError> {
        let (value, result) = (self.value(i)?, i.operand(1)?);
        if let (
            Some(Op::SpecConstant | Op::SpecConstantTrue | Op::SpecConstantFalse),
            Value::Scalar { of, .. },
        ) = (i.op, &value)
        {
            self.declared.push(Declared { result, word: i.word, of: *of });
        }
        self.specialised.insert(result);
        self.values.insert(result, value);
        Ok(())
    }

    fn value(&mut self, i: Instruction<'_>) -> Result<Value, ReflectError> {
        let of = i.operand(0)?;
        let scalar = self.scalars.get(&of).copied();
        let bits = |bits| scalar.map_or(Value::Unknown, |of| Value::Scalar { of, bits });
        Ok(match i.op {
            Some(Op::ConstantTrue | Op::SpecConstantTrue) => bits(1),
            Some(Op::ConstantFalse | Op::SpecConstantFalse) => bits(0),
            Some(Op::ConstantNull) => self.null(of),
            Some(Op::Constant | Op::SpecConstant) => match scalar {
                Some(of @ Scalar::Number(number)) => {
                    let low = u64::from(i.operand(2)?);
                    let high = i.operands.get(3).copied().unwrap_or_default();
                    let all = low | u64::from(high) << 32;
                    Value::Scalar { of, bits: all & mask(number) }
                }
                _ => Value::Unknown,
            },
            Some(Op::ConstantComposite | Op::SpecConstantComposite) => {
                let parts = i.operands.get(2..).unwrap_or_default();
                Value::composite(parts.iter().map(|part| self.get(*part)).collect::<Vec<_>>())
            }
            Some(Op::SpecConstantOp) => self.operation(i, of)?,
            _ => Value::Unknown,
        })
    }

    fn null(&self, of: u32) -> Value {
        let zero = |of| Value::Scalar { of, bits: 0 };
        if let Some(&of) = self.scalars.get(&of) {
            return zero(of);
        }
        let vector = self.vectors.get(&of).filter(|(_, count)| *count <= MOST_COMPONENTS);
        match vector.and_then(|(part, count)| Some((self.scalars.get(part)?, *count))) {
            Some((&of, count)) => Value::composite(vec![zero(of); count as usize]),
            None => Value::Unknown,
        }
    }

    fn operation(&mut self, i: Instruction<'_>, of: u32) -> Result<Value, ReflectError> {
        let part = self.vectors.get(&of).map_or(of, |(part, _)| *part);
        let (Some(op), Some(&of)) = (Op::from_u32(i.operand(2)?), self.scalars.get(&part)) else {
            return Ok(Value::Unknown);
        };
        let operands = i.operands.get(3..).unwrap_or_default();
        Ok(compute(op, of, operands, &|id| self.get(id)).unwrap_or_else(|why| {
            self.undefined.get_or_insert((i.word, why));
            Value::Unknown
        }))
    }

    fn get(&self, id: u32) -> Value {
        self.values.get(&id).cloned().unwrap_or(Value::Unknown)
    }

    /// Type and bits of a constant scalar, if they are known.
    pub(crate) fn scalar(&self, id: u32) -> Option<(Scalar, u64)> {
        match *self.values.get(&id)? {
            Value::Scalar { of, bits } => Some((of, bits)),
            _ => None,
        }
    }

    /// The value of a constant integer that has no sign, or whose sign is not set.
    pub(crate) fn count(&self, id: u32) -> Option<u64> {
        match self.scalar(id)? {
            (Scalar::Number(number @ Number::Int { signed: true, .. }), bits) => {
                u64::try_from(sign_extended(number, bits)).ok()
            }
            (Scalar::Number(Number::Int { .. }), bits) => Some(bits),
            _ => None,
        }
    }

    /// The parts of a constant composite that are known counts.
    pub(crate) fn counts<const N: usize>(&self, id: u32) -> Option<[u64; N]> {
        let Value::Composite { parts, .. } = self.values.get(&id)? else { return None };
        let parts: &[Value; N] = parts[..].try_into().ok()?;
        let mut counts = [0; N];
        for (count, part) in counts.iter_mut().zip(parts) {
            *count = match *part {
                Value::Scalar { of: Scalar::Number(Number::Int { .. }), bits } => bits,
                _ => return None,
            };
        }
        Some(counts)
    }

    /// Whether a value of a specialisation constant can change this one.
    pub(crate) fn is_specialised(&self, id: u32) -> bool {
        self.specialised.contains(&id)
    }

    /// The number that selects a specialisation constant, if it has one.
    pub(crate) fn spec_id(&self, result: u32) -> Option<u32> {
        self.spec_ids.get(&result).copied()
    }
}

/// Whether a declaration can be specialised, or depends on one that can.
pub(crate) fn is_specialised(op: Op) -> bool {
    matches!(
        op,
        Op::SpecConstant
            | Op::SpecConstantTrue
            | Op::SpecConstantFalse
            | Op::SpecConstantComposite
            | Op::SpecConstantOp
    )
}
