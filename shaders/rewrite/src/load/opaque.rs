//! Declarations that rspirv's parser cannot read. This module reads them, gives the parser others
//! in their place, and gives the true ones to the loader.
//!
//! The parser reads one literal of a specialisation constant's operation where there may be
//! several, and no constants of 8-bit floating-point types. So the parser gets a null constant of
//! the same type for each. Other literals whose length varies (`OpSwitch` on 64 bits, constants of
//! 8, 16 and 64 bits) the parser reads by their type, as it should.

use crate::ir::instruction::Id;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::Op;
use std::collections::HashMap;

/// The words before the first instruction.
const HEADER_WORDS: usize = 5;

/// A module as the parser can read it.
pub(crate) struct Opaque {
    /// The words for the parser.
    pub(crate) words: Vec<u32>,
    /// The true instructions, by their result.
    pub(crate) instructions: HashMap<Id, Instruction>,
}

impl Opaque {
    /// Replaces the declarations that the parser cannot read. The words must be whole instructions.
    pub(crate) fn of(words: &[u32]) -> Self {
        let mut types = HashMap::new();
        let mut opaque =
            Self { words: Vec::with_capacity(words.len()), instructions: HashMap::new() };
        opaque.words.extend_from_slice(&words[..words.len().min(HEADER_WORDS)]);
        let mut rest = words.get(HEADER_WORDS..).unwrap_or_default();
        while let Some(&first) = rest.first() {
            let (instruction, after) = rest.split_at(((first >> 16) as usize).clamp(1, rest.len()));
            rest = after;
            let op = Op::from_u32(first & 0xffff);
            if let (Some(Op::TypeInt | Op::TypeFloat), &[_, id, bits, ..]) = (op, instruction) {
                types.insert(id, (op, bits));
            }
            match op.and_then(|op| unread(op, instruction, &types)) {
                Some((of, id, operands)) => {
                    let null = 3 << 16 | Op::ConstantNull as u32;
                    opaque.words.extend([null, of, id]);
                    let op = op.unwrap_or(Op::Nop);
                    let true_one = Instruction::new(op, Some(of), Some(id), operands);
                    opaque.instructions.insert(id, true_one);
                }
                None => opaque.words.extend_from_slice(instruction),
            }
        }
        opaque
    }
}

/// Type, result and operands of an instruction that the parser cannot read.
fn unread(
    op: Op,
    instruction: &[u32],
    types: &HashMap<Id, (Option<Op>, u32)>,
) -> Option<(Id, Id, Vec<Operand>)> {
    match (op, instruction) {
        (Op::SpecConstantOp, &[_, of, id, operation, ref operands @ ..]) => {
            let operation = Op::from_u32(operation)?;
            let mut read = vec![Operand::LiteralSpecConstantOpInteger(operation)];
            // Results come first, and then the numbers of parts.
            let results = match operation {
                Op::CompositeExtract => 1,
                Op::CompositeInsert | Op::VectorShuffle => 2,
                _ => usize::MAX,
            };
            read.extend(operands.iter().enumerate().map(|(at, &word)| {
                if at < results { Operand::IdRef(word) } else { Operand::LiteralBit32(word) }
            }));
            Some((of, id, read))
        }
        (Op::Constant | Op::SpecConstant, &[_, of, id, value]) => {
            let is_read = |bits: u32| matches!(bits, 16 | 32 | 64);
            match types.get(&of)? {
                (Some(Op::TypeFloat), bits) if !is_read(*bits) => {
                    Some((of, id, vec![Operand::LiteralBit32(value)]))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
