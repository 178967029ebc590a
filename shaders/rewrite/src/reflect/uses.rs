//! The variables that the functions of a module name, and the functions that they call.

use crate::reflect::error::ReflectError;
use crate::reflect::module::{Instruction, instructions};
use rspirv::grammar::{INSTRUCTION_TABLE, LogicalOperand, OperandKind, OperandQuantifier};
use spirv::Op;
use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

/// The operands of each instruction that is known.
static OPERANDS: LazyLock<HashMap<Op, &'static [LogicalOperand]>> = LazyLock::new(|| {
    INSTRUCTION_TABLE.iter().map(|known| (known.opcode, known.operands)).collect()
});

/// The results that each function names, and each variable by its initial value.
pub(crate) struct Uses {
    named: HashMap<u32, Vec<u32>>,
}

impl Uses {
    pub(crate) fn read(words: &[u32]) -> Result<Self, ReflectError> {
        let mut named: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut function = None;
        for instruction in instructions(words)? {
            let instruction = instruction?;
            let user = match instruction.op {
                Some(Op::Function) => {
                    function = Some(instruction.operand(1)?);
                    function
                }
                Some(Op::FunctionEnd) => function.take(),
                Some(Op::Variable) if function.is_none() => Some(instruction.operand(1)?),
                _ => function,
            };
            if let Some(user) = user {
                note_ids(instruction, named.entry(user).or_default());
            }
        }
        Ok(Self { named })
    }

    /// All ids that the given ones name, directly or through other ids.
    pub(crate) fn reached_from(&self, first: impl Iterator<Item = u32>) -> HashSet<u32> {
        let mut open: Vec<u32> = first.collect();
        let mut reached: HashSet<u32> = open.iter().copied().collect();
        while let Some(user) = open.pop() {
            let named = self.named.get(&user).map(Vec::as_slice).unwrap_or_default();
            open.extend(named.iter().filter(|&&id| reached.insert(id)));
        }
        reached
    }
}

/// Notes the operands that are results. If the instruction is not known, every operand counts as
/// one.
fn note_ids(instruction: Instruction<'_>, ids: &mut Vec<u32>) {
    let Some(&operands) = instruction.op.and_then(|op| OPERANDS.get(&op)) else {
        ids.extend(instruction.operands);
        return;
    };
    let mut words = instruction.operands.iter().copied();
    for operand in operands {
        let repeated = operand.quantifier == OperandQuantifier::ZeroOrMore;
        let count = match operand.kind {
            OperandKind::IdResultType
            | OperandKind::IdResult
            | OperandKind::IdRef
            | OperandKind::IdScope
            | OperandKind::IdMemorySemantics => 1,
            OperandKind::PairIdRefIdRef => 2,
            OperandKind::LiteralInteger
            | OperandKind::LiteralExtInstInteger
            | OperandKind::StorageClass
            | OperandKind::GroupOperation => {
                words.next();
                continue;
            }
            // It may have operands of its own, as many as its bits say. Pointers come before it.
            _ => return,
        };
        ids.extend(words.by_ref().take(if repeated { usize::MAX } else { count }));
    }
}
