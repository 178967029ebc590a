//! Values that are passed on as they are, chosen, taken apart and put together.

use crate::analyse::bases::origin::Origin;
use crate::analyse::bases::shape::Kind;
use crate::analyse::bases::state::Follower;
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::Op;

/// A part of a composite: its first number, and which half of that it is, if it is one.
struct Part {
    first: usize,
    count: usize,
    half: Option<u32>,
}

impl Follower<'_, '_> {
    /// The numbers of a result that is made of its operands' numbers as they are. `None` for other
    /// instructions.
    pub(super) fn rearranged(&mut self, i: &Instruction) -> Option<Vec<Origin>> {
        match i.class.opcode {
            Op::CopyObject
            | Op::CopyLogical
            | Op::Bitcast
            | Op::ConvertPtrToU
            | Op::ConvertUToPtr => self.same(i),
            Op::Select => self.selected(i),
            Op::CompositeConstruct => self.constructed(i),
            Op::CompositeExtract => self.extracted(i),
            Op::CompositeInsert => self.inserted(i),
            Op::VectorShuffle => self.shuffled(i),
            Op::Undef => Some(vec![Origin::Number; self.kinds(i)?.len()]),
            _ => None,
        }
    }

    /// The same bits as another type.
    fn same(&mut self, i: &Instruction) -> Option<Vec<Origin>> {
        let (numbers, from) = self.operand(i, 0)?;
        let to = self.kinds(i)?;
        let is_address = |kinds: &[Kind]| matches!(kinds, [Kind::Pair | Kind::Long]);
        (from == to || (is_address(&from) && is_address(&to))).then(|| numbers.to_vec())
    }

    /// One of two values, all of it.
    fn selected(&mut self, i: &Instruction) -> Option<Vec<Origin>> {
        let edit = self.kernel.edit;
        let condition = id_operand(i, 0)?;
        let of = edit.type_of(condition).and_then(|of| edit.global(of))?;
        let is_one = of.class.opcode == Op::TypeBool || self.is_uniform(condition);
        // Halves that are chosen apart may be of two addresses.
        let has_pairs = self.kinds(i)?.contains(&Kind::Pair);
        if has_pairs && !is_one {
            return None;
        }
        self.joined(i, 1, 1)
    }

    /// Whether a vector has one value in all its parts.
    fn is_uniform(&self, vector: Id) -> bool {
        let made = self.kernel.definition(vector);
        made.is_some_and(|made| {
            let first = id_operand(made, 0);
            made.class.opcode == Op::CompositeConstruct
                && (1..made.operands.len()).all(|at| id_operand(made, at) == first)
        })
    }

    /// The numbers of an operand, with pairs as their words.
    fn words(&mut self, i: &Instruction, at: usize) -> Option<Vec<(Kind, Origin)>> {
        let (numbers, kinds) = self.operand(i, at)?;
        let mut words = Vec::with_capacity(numbers.len());
        for (number, &kind) in numbers.iter().zip(&*kinds) {
            if kind == Kind::Pair {
                for half in 0..2 {
                    words.push((Kind::Word, self.uses.half(number, Some(half))));
                }
            } else {
                words.push((kind, number.clone()));
            }
        }
        Some(words)
    }

    /// Numbers as those of a result, where two words may make a pair.
    fn grouped(&mut self, words: &[(Kind, Origin)], kinds: &[Kind]) -> Option<Vec<Origin>> {
        let mut rest = words;
        let mut all = Vec::with_capacity(kinds.len());
        for &kind in kinds {
            match (kind, rest) {
                (Kind::Pair, [(Kind::Word, low), (Kind::Word, high), behind @ ..]) => {
                    all.push(self.uses.pair(low, high));
                    rest = behind;
                }
                (_, [(of, number), behind @ ..]) if *of == kind => {
                    all.push(number.clone());
                    rest = behind;
                }
                _ => return None,
            }
        }
        rest.is_empty().then_some(all)
    }

    fn constructed(&mut self, i: &Instruction) -> Option<Vec<Origin>> {
        let kinds = self.kinds(i)?;
        let (mut all, mut of) = (Vec::new(), Vec::new());
        for at in 0..i.operands.len() {
            let (numbers, kinds) = self.operand(i, at)?;
            all.extend_from_slice(&numbers);
            of.extend_from_slice(&kinds);
        }
        if *of == *kinds {
            return Some(all);
        }
        let mut words = Vec::new();
        for at in 0..i.operands.len() {
            words.extend(self.words(i, at)?);
        }
        self.grouped(&words, &kinds)
    }

    /// The part of a type that literal indices lead to.
    fn part(&mut self, mut of: Id, path: &[Operand]) -> Option<Part> {
        let (mut first, mut half) = (0usize, None);
        for index in path {
            let &Operand::LiteralBit32(index) = index else { return None };
            let step = self.shapes.step(of, Some(index))?;
            if step.is_half {
                half = Some(index);
            } else {
                first = first.checked_add(step.before?)?;
            }
            of = step.of;
        }
        Some(Part { first, count: self.shapes.kinds(of)?.len(), half })
    }

    fn extracted(&mut self, i: &Instruction) -> Option<Vec<Origin>> {
        let (numbers, _) = self.operand(i, 0)?;
        let of = self.kernel.edit.type_of(id_operand(i, 0)?)?;
        let part = self.part(of, i.operands.get(1..)?)?;
        let found = numbers.get(part.first..part.first.checked_add(part.count)?)?;
        match (part.half, found) {
            (None, found) => Some(found.to_vec()),
            (Some(half), [pair]) => Some(vec![self.uses.half(pair, Some(half))]),
            (Some(_), _) => None,
        }
    }

    fn inserted(&mut self, i: &Instruction) -> Option<Vec<Origin>> {
        let ((new, _), (whole, _)) = (self.operand(i, 0)?, self.operand(i, 1)?);
        let of = self.kernel.edit.type_of(id_operand(i, 1)?)?;
        let part = self.part(of, i.operands.get(2..)?)?;
        let mut all = whole.to_vec();
        let to = all.get_mut(part.first..part.first.checked_add(part.count)?)?;
        match (part.half, to, &*new) {
            (None, to, new) if to.len() == new.len() => to.clone_from_slice(new),
            (Some(half), [pair], [word]) => {
                let other = self.uses.half(pair, Some(1 - half.min(1)));
                let (low, high) = if half == 0 { (word, &other) } else { (&other, word) };
                *pair = self.uses.pair(low, high);
            }
            _ => return None,
        }
        Some(all)
    }

    fn shuffled(&mut self, i: &Instruction) -> Option<Vec<Origin>> {
        let kinds = self.kinds(i)?;
        let mut all = self.words(i, 0)?;
        all.extend(self.words(i, 1)?);
        let of = all.first()?.0;
        let mut picked = Vec::new();
        for index in i.operands.get(2..)? {
            let &Operand::LiteralBit32(index) = index else { return None };
            let part = all.get(index as usize).cloned();
            picked.push(part.unwrap_or((of, Origin::Number)));
        }
        self.grouped(&picked, &kinds)
    }
}
