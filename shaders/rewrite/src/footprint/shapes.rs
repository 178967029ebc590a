//! The numbers that values of a type consist of.

use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use crate::ir::layouts::Layouts;
use rspirv::dr::Operand;
use rspirv::spirv::{Op, StorageClass};
use std::collections::HashMap;
use std::rc::Rc;

/// The most numbers of a value that are followed one by one.
const MOST_LEAVES: usize = 256;
/// How deep types may be nested.
const MOST_DEPTH: u32 = 32;

/// The numbers of types, by their widths in bits.
pub(super) struct Shapes<'p> {
    pub(super) edit: &'p Edit,
    known: HashMap<Id, Option<Rc<[u8]>>>,
}

impl<'p> Shapes<'p> {
    pub(super) fn new(edit: &'p Edit) -> Self {
        Self { edit, known: HashMap::new() }
    }

    /// The widths of the numbers of a type. `None` if there are too many, or it is none that holds
    /// numbers.
    pub(super) fn widths(&mut self, of: Id) -> Option<Rc<[u8]>> {
        self.widths_within(of, 0)
    }

    fn widths_within(&mut self, of: Id, depth: u32) -> Option<Rc<[u8]>> {
        if let Some(known) = self.known.get(&of) {
            return known.clone();
        }
        // Nothing while it is being found out, so that a type that contains itself ends.
        self.known.insert(of, None);
        let found = if depth > MOST_DEPTH { None } else { self.find(of, depth) };
        self.known.insert(of, found.clone());
        found
    }

    fn find(&mut self, of: Id, depth: u32) -> Option<Rc<[u8]>> {
        let declared = self.edit.global(of)?;
        let number = |bits: u32| u8::try_from(bits).ok().filter(|bits| (1..=64).contains(bits));
        match (declared.class.opcode, &declared.operands[..]) {
            (Op::TypeBool, _) => Some([1].into()),
            (Op::TypeInt | Op::TypeFloat, [Operand::LiteralBit32(bits), ..]) => {
                Some([number(*bits)?].into())
            }
            (Op::TypePointer, [Operand::StorageClass(StorageClass::PhysicalStorageBuffer), ..]) => {
                Some([64].into())
            }
            (Op::TypeStruct, members) => {
                let mut all = Vec::new();
                for member in members.iter().filter_map(Operand::id_ref_any) {
                    all.extend_from_slice(&self.widths_within(member, depth + 1)?);
                    if all.len() > MOST_LEAVES {
                        return None;
                    }
                }
                Some(all.into())
            }
            (Op::TypeArray | Op::TypeMatrix | Op::TypeVector, [Operand::IdRef(part), ..]) => {
                let count = Layouts::parts(self.edit, of)? as usize;
                let part = self.widths_within(*part, depth + 1)?;
                let all = count.checked_mul(part.len()).filter(|&all| all <= MOST_LEAVES)?;
                Some(part.iter().copied().cycle().take(all).collect())
            }
            _ => None,
        }
    }

    /// The type of a part, and how many numbers come before it.
    pub(super) fn part(&mut self, of: Id, index: u32) -> Option<(Id, usize)> {
        let declared = self.edit.global(of)?;
        let at = index as usize;
        match (declared.class.opcode, &declared.operands[..]) {
            (Op::TypeStruct, members) => {
                let mut before = 0;
                for member in members.get(..at)?.iter().filter_map(Operand::id_ref_any) {
                    before += self.widths(member)?.len();
                }
                Some((members.get(at)?.id_ref_any()?, before))
            }
            (Op::TypeArray | Op::TypeMatrix | Op::TypeVector, [Operand::IdRef(part), ..]) => {
                if index >= Layouts::parts(self.edit, of)? {
                    return None;
                }
                Some((*part, at.checked_mul(self.widths(*part)?.len())?))
            }
            _ => None,
        }
    }

    /// The type of every part of an array, a vector or a matrix, and how many there are.
    pub(super) fn element(&self, of: Id) -> Option<(Id, Option<u32>)> {
        let declared = self.edit.global(of)?;
        match (declared.class.opcode, &declared.operands[..]) {
            (
                Op::TypeArray | Op::TypeMatrix | Op::TypeVector | Op::TypeRuntimeArray,
                [Operand::IdRef(part), ..],
            ) => Some((*part, Layouts::parts(self.edit, of))),
            _ => None,
        }
    }

    /// Whether a type is a floating-point number, or a vector or matrix of them.
    pub(super) fn is_float(&self, mut of: Id) -> bool {
        for _ in 0..3 {
            match self.edit.global(of).map(|of| (of.class.opcode, of.operands.first())) {
                Some((Op::TypeFloat, _)) => return true,
                Some((Op::TypeVector | Op::TypeMatrix, Some(Operand::IdRef(part)))) => of = *part,
                _ => return false,
            }
        }
        false
    }
}
