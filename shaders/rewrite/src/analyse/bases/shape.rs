//! The numbers that values of a type consist of, with eight bytes of an address as one of them.

use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use crate::ir::layouts::{Layouts, scalar_bytes, vector_parts};
use rspirv::dr::Operand;
use rspirv::spirv::{Op, StorageClass};
use std::collections::HashMap;
use std::rc::Rc;

/// The most numbers of a value that are followed one by one.
const MOST_NUMBERS: usize = 256;
/// How deep types may be nested.
const MOST_DEPTH: u32 = 32;

/// The size of a number that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 8 or 16 bits, or a truth value.
    Small,
    /// 32 bits.
    Word,
    /// A vector of two words: it may be an address.
    Pair,
    /// 64 bits: a number or a pointer.
    Long,
}

/// A step from a type to a part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) of: Id,
    /// How many numbers come before the part. `None` if it is not known which part it is.
    pub(super) before: Option<usize>,
    /// Whether the part is half of a pair.
    pub(super) is_half: bool,
}

/// The numbers of types.
pub(super) struct Shapes<'p> {
    edit: &'p Edit,
    known: HashMap<Id, Option<Rc<[Kind]>>>,
}

impl<'p> Shapes<'p> {
    pub(super) fn new(edit: &'p Edit) -> Self {
        Self { edit, known: HashMap::new() }
    }

    /// The numbers of a type. `None` if there are too many, or it is none that holds numbers.
    pub(super) fn kinds(&mut self, of: Id) -> Option<Rc<[Kind]>> {
        self.kinds_within(of, 0)
    }

    fn kinds_within(&mut self, of: Id, depth: u32) -> Option<Rc<[Kind]>> {
        if let Some(known) = self.known.get(&of) {
            return known.clone();
        }
        // Nothing while it is being found out, so that a type that contains itself ends.
        self.known.insert(of, None);
        let found = if depth > MOST_DEPTH { None } else { self.find(of, depth) };
        self.known.insert(of, found.clone());
        found
    }

    fn find(&mut self, of: Id, depth: u32) -> Option<Rc<[Kind]>> {
        if self.is_pair(of) {
            return Some([Kind::Pair].into());
        }
        let declared = self.edit.global(of)?;
        match (declared.class.opcode, &declared.operands[..]) {
            (Op::TypeBool, _) => Some([Kind::Small].into()),
            (Op::TypeInt | Op::TypeFloat, _) => Some([kind(scalar_bytes(self.edit, of)?)].into()),
            (Op::TypePointer, [Operand::StorageClass(StorageClass::PhysicalStorageBuffer), ..]) => {
                Some([Kind::Long].into())
            }
            (Op::TypeStruct, members) => {
                let mut all = Vec::new();
                for member in members.iter().filter_map(Operand::id_ref_any) {
                    all.extend_from_slice(&self.kinds_within(member, depth + 1)?);
                    if all.len() > MOST_NUMBERS {
                        return None;
                    }
                }
                Some(all.into())
            }
            (Op::TypeArray | Op::TypeMatrix | Op::TypeVector, [Operand::IdRef(part), ..]) => {
                let count = Layouts::parts(self.edit, of)? as usize;
                let part = self.kinds_within(*part, depth + 1)?;
                let all = count.checked_mul(part.len()).filter(|&all| all <= MOST_NUMBERS)?;
                Some(part.iter().copied().cycle().take(all).collect())
            }
            _ => None,
        }
    }

    /// Whether a type is a vector of two words.
    pub(super) fn is_pair(&self, of: Id) -> bool {
        let parts = vector_parts(self.edit, of);
        parts.is_some_and(|(part, count)| count == 2 && scalar_bytes(self.edit, part) == Some(4))
    }

    /// The step from a type to a part; the index is known for members of structures.
    pub(super) fn step(&mut self, of: Id, index: Option<u32>) -> Option<Step> {
        let is_half = self.is_pair(of);
        let declared = self.edit.global(of)?;
        match (declared.class.opcode, &declared.operands[..]) {
            (Op::TypeStruct, members) => {
                let at = index? as usize;
                let mut before = Some(0);
                for member in members.get(..at)?.iter().filter_map(Operand::id_ref_any) {
                    let size = self.kinds(member).map(|kinds| kinds.len());
                    before = before.zip(size).map(|(before, size)| before + size);
                }
                let of = members.get(at)?.id_ref_any()?;
                Some(Step { of, before, is_half })
            }
            (Op::TypeArray | Op::TypeMatrix | Op::TypeVector, [Operand::IdRef(part), ..]) => {
                let count = Layouts::parts(self.edit, of)?;
                let size = if is_half { Some(0) } else { self.kinds(*part).map(|of| of.len()) };
                let index = index.filter(|&index| index < count);
                let before = index.zip(size);
                let before = before.and_then(|(index, size)| size.checked_mul(index as usize));
                Some(Step { of: *part, before, is_half })
            }
            _ => None,
        }
    }
}

fn kind(bytes: u32) -> Kind {
    match bytes {
        8 => Kind::Long,
        4 => Kind::Word,
        _ => Kind::Small,
    }
}
