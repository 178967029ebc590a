//! Memory operands: the alignment that an access promises, and the properties that it demands.

use crate::ir::instruction::Id;
use rspirv::dr::Operand;
use rspirv::spirv::MemoryAccess;

/// One set of memory operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    mask: MemoryAccess,
    align: Option<u32>,
    available: Option<Id>,
    visible: Option<Id>,
}

impl Memory {
    const NONE: Self =
        Self { mask: MemoryAccess::NONE, align: None, available: None, visible: None };

    /// Reads the sets of memory operands from the end of an instruction.
    pub(crate) fn read(operands: &[Operand]) -> Vec<Self> {
        let mut sets = Vec::new();
        let mut rest = operands.iter();
        while let Some(operand) = rest.next() {
            let &Operand::MemoryAccess(mask) = operand else { continue };
            let mut set = Self { mask, ..Self::NONE };
            if mask.contains(MemoryAccess::ALIGNED) {
                set.align = match rest.next() {
                    Some(&Operand::LiteralBit32(align)) => Some(align),
                    _ => None,
                };
            }
            let mut scope = |bit| match mask.contains(bit).then(|| rest.next()) {
                Some(Some(&(Operand::IdScope(id) | Operand::IdRef(id)))) => Some(id),
                _ => None,
            };
            set.available = scope(MemoryAccess::MAKE_POINTER_AVAILABLE);
            set.visible = scope(MemoryAccess::MAKE_POINTER_VISIBLE);
            sets.push(set);
        }
        sets
    }

    /// The operands of the reading half of an access.
    pub(crate) fn for_load(self) -> Self {
        let mask = self.mask - MemoryAccess::MAKE_POINTER_AVAILABLE;
        Self { mask, available: None, ..self }
    }

    /// The operands of the writing half of an access.
    pub(crate) fn for_store(self) -> Self {
        let mask = self.mask - MemoryAccess::MAKE_POINTER_VISIBLE;
        Self { mask, visible: None, ..self }
    }

    /// The set, or the first of several, or none.
    pub(crate) fn pick(sets: &[Self], index: usize) -> Self {
        sets.get(index).or(sets.first()).copied().unwrap_or(Self::NONE)
    }

    /// The operands of an access to memory that is not physical.
    pub(crate) fn operands(self) -> Vec<Operand> {
        self.written(self.align)
    }

    /// The operands for a part of the access.
    pub(crate) fn part(mut self, align: u32, volatile: bool) -> Vec<Operand> {
        if volatile {
            self.mask |= MemoryAccess::VOLATILE;
        }
        self.written(Some(align))
    }

    /// Hints on aliases are left out: they name lists that hold for the whole access.
    fn written(self, align: Option<u32>) -> Vec<Operand> {
        let kept = MemoryAccess::VOLATILE
            | MemoryAccess::NONTEMPORAL
            | MemoryAccess::MAKE_POINTER_AVAILABLE
            | MemoryAccess::MAKE_POINTER_VISIBLE
            | MemoryAccess::NON_PRIVATE_POINTER;
        let mut mask = self.mask & kept;
        if align.is_some() {
            mask |= MemoryAccess::ALIGNED;
        }
        if mask.is_empty() {
            return Vec::new();
        }
        let mut operands = vec![Operand::MemoryAccess(mask)];
        operands.extend(align.map(Operand::LiteralBit32));
        operands.extend(self.available.map(Operand::IdScope));
        operands.extend(self.visible.map(Operand::IdScope));
        operands
    }
}
