//! Rewriting the instructions that access memory through physical pointers.

use crate::analyse::access::Access;
use crate::analyse::split;
use crate::analyse::split::Piece;
use crate::contract::analysis::AccessKind;
use crate::contract::error::RewriteError;
use crate::emit::page_table::PagedAccess;
use crate::emit::size::Size;
use crate::emit::translate::{Translator, number};
use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::hoist::Hoist;
use crate::ir::instruction::Id;
use crate::ir::layouts::Layouts;
use crate::ir::memory::Memory;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{Op, StorageClass};

/// Rewrites every access; control flow stays as it is.
///
/// # Errors
///
/// The form outgrows its bound.
pub(crate) fn rewrite_accesses(
    edit: &mut Edit,
    translator: &Translator<'_>,
    layouts: &Layouts,
    accesses: &[Access],
    size: &mut Size,
) -> Result<(), RewriteError> {
    let mut functions = std::mem::take(&mut edit.module.functions);
    let mut rest = accesses;
    let mut site = 0;
    for (f, function) in functions.iter_mut().enumerate() {
        let mut hoist = Hoist::for_function(function);
        for (b, block) in function.blocks.iter_mut().enumerate() {
            if rest.first().is_none_or(|access| (access.at.0, access.at.1) != (f, b)) {
                continue;
            }
            let mut holds = translator.proofs.hold_in(block);
            let instructions = std::mem::take(&mut block.instructions);
            let mut code = Code::new(edit);
            code.hoist = hoist.take();
            for (i, instruction) in instructions.into_iter().enumerate() {
                let before = code.instructions.len();
                let here = rest.iter().take_while(|access| access.at == (f, b, i)).count();
                let (accesses, others) = rest.split_at(here);
                rest = others;
                let rewriter = Rewriter { translator, layouts, site, accesses, holds };
                holds = holds && !translator.proofs.end_with(&instruction);
                rewriter.rewrite(&mut code, instruction);
                site += number(here);
                size.add(&code.instructions[before..])?;
            }
            block.instructions = code.instructions;
            hoist = code.hoist;
        }
        if let Some(hoist) = hoist {
            hoist.place(function);
        }
    }
    edit.module.functions = functions;
    Ok(())
}

/// Rewrites one instruction.
struct Rewriter<'r> {
    translator: &'r Translator<'r>,
    layouts: &'r Layouts,
    /// The site of the instruction's first access.
    site: u32,
    accesses: &'r [Access],
    /// Whether what is known of the launch holds here.
    holds: bool,
}

impl Rewriter<'_> {
    fn rewrite(&self, code: &mut Code<'_>, mut instruction: Instruction) {
        let pieces: Vec<Vec<Piece>> =
            self.accesses.iter().map(|access| self.pieces(code.edit, access)).collect();
        let faults = self.translator.faults();
        let apart = |pieces: &Vec<Piece>| {
            (faults && pieces.len() > 1) || pieces.iter().any(|piece| piece.in_words(code.edit))
        };
        if pieces.iter().any(apart) {
            self.rewrite_split(code, &instruction, &pieces);
            return;
        }
        for (site, access) in (self.site..).zip(self.accesses) {
            let pointer = self.translator.pointer(code, site, access, self.holds);
            instruction.operands[access.dereference.operand] = Operand::IdRef(pointer);
        }
        code.instructions.push(instruction);
    }

    /// The parts of an access, where it has to be taken apart.
    fn pieces(&self, edit: &Edit, access: &Access) -> Vec<Piece> {
        if access.dereference.kind == AccessKind::Atomic {
            return Vec::new();
        }
        // The analysis has found that it can be split.
        split::pieces(edit, self.layouts, access.place(), access.align).unwrap_or_default()
    }

    fn rewrite_split(&self, code: &mut Code<'_>, instruction: &Instruction, pieces: &[Vec<Piece>]) {
        let side = |operand: usize| {
            let found =
                self.accesses.iter().position(|access| access.dereference.operand == operand);
            found.map(|at| (self.site + number(at), &self.accesses[at], &pieces[at][..]))
        };
        let operand = |index: usize| match instruction.operands.get(index) {
            Some(Operand::IdRef(id)) => *id,
            _ => 0,
        };
        match instruction.class.opcode {
            Op::Load => {
                let memory = Memory::pick(&Memory::read(&instruction.operands[1..]), 0);
                if let (Some(side), Some(of)) = (side(0), instruction.result_type) {
                    self.load(code, of, side, memory);
                    let last = code.instructions.last_mut();
                    last.into_iter().for_each(|last| last.result_id = instruction.result_id);
                }
            }
            Op::Store => {
                let memory = Memory::pick(&Memory::read(&instruction.operands[2..]), 0);
                if let Some(side) = side(0) {
                    self.store(code, operand(1), side, memory);
                }
            }
            // A copy: the only other instruction whose accesses may be larger than a number.
            _ => {
                let sets = Memory::read(&instruction.operands[2..]);
                let (from, to) = (Memory::pick(&sets, 1), Memory::pick(&sets, 0));
                let Some(place) = self.accesses.first().map(Access::place) else { return };
                let value = match side(1) {
                    Some(side) => self.load(code, place.of, side, from.for_load()),
                    None => {
                        let mut operands = vec![Operand::IdRef(operand(1))];
                        operands.extend(from.for_load().operands());
                        code.op(Op::Load, place.of, operands)
                    }
                };
                match side(0) {
                    Some(side) => self.store(code, value, side, to.for_store()),
                    None => {
                        let mut operands = [operand(0), value].map(Operand::IdRef).to_vec();
                        operands.extend(to.for_store().operands());
                        code.act(Op::Store, operands);
                    }
                }
            }
        }
    }

    /// Loads a value in pieces, and puts it together.
    fn load(
        &self,
        code: &mut Code<'_>,
        of: Id,
        (site, access, pieces): (u32, &Access, &[Piece]),
        memory: Memory,
    ) -> Id {
        let located = self.locate(code, site, access);
        let mut values = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let load = |code: &mut Code<'_>, of, offset| {
                let pointer = self.pointer(code, &located, of, offset);
                let mut operands = vec![Operand::IdRef(pointer)];
                operands.extend(memory.part(piece.align, access.trace.coherent));
                code.op(Op::Load, of, operands)
            };
            values.push(if piece.in_words(code.edit) {
                let (word, pair) = (code.edit.uint(32), code.edit.uvec(2));
                let words = [0, 4].map(|further| load(code, word, piece.offset + further));
                let pair = code.ids(Op::CompositeConstruct, pair, &words);
                code.ids(Op::Bitcast, piece.of, &[pair])
            } else {
                load(code, piece.of, piece.offset)
            });
        }
        let mut parts = pieces.iter().zip(values).peekable();
        assemble(code, of, 0, &mut parts)
    }

    /// Stores a value in pieces.
    fn store(
        &self,
        code: &mut Code<'_>,
        value: Id,
        (site, access, pieces): (u32, &Access, &[Piece]),
        memory: Memory,
    ) {
        let located = self.locate(code, site, access);
        for piece in pieces {
            let store = |code: &mut Code<'_>, of, offset, value| {
                let pointer = self.pointer(code, &located, of, offset);
                let mut operands = vec![Operand::IdRef(pointer), Operand::IdRef(value)];
                operands.extend(memory.part(piece.align, access.trace.coherent));
                code.act(Op::Store, operands);
            };
            let part = if piece.path.is_empty() {
                value
            } else {
                let mut operands = vec![Operand::IdRef(value)];
                operands.extend(piece.path.iter().copied().map(Operand::LiteralBit32));
                code.op(Op::CompositeExtract, piece.of, operands)
            };
            if piece.in_words(code.edit) {
                let (word, pair) = (code.edit.uint(32), code.edit.uvec(2));
                let pair = code.ids(Op::Bitcast, pair, &[part]);
                for at in [0, 1] {
                    let operands = vec![Operand::IdRef(pair), Operand::LiteralBit32(at)];
                    let half = code.op(Op::CompositeExtract, word, operands);
                    store(code, word, piece.offset + at * 4, half);
                }
            } else {
                store(code, piece.of, piece.offset, part);
            }
        }
    }

    /// Checks an access that is taken apart.
    fn locate(&self, code: &mut Code<'_>, site: u32, access: &Access) -> Located {
        if self.translator.faults() {
            return Located::Pages(self.translator.check_paged(code, site, access));
        }
        let pointer = self.translator.pointer(code, site, access, self.holds);
        Located::Whole(self.translator.math().address_of_pointer(code, pointer))
    }

    /// The pointer to a part.
    fn pointer(&self, code: &mut Code<'_>, located: &Located, of: Id, offset: u32) -> Id {
        let math = self.translator.math();
        let address = match located {
            Located::Pages(paged) => self.translator.page_table().piece(code, paged, offset).1,
            Located::Whole(start) if offset == 0 => *start,
            Located::Whole(start) => {
                let offset = math.constant(code.edit, offset.into());
                math.add(code, *start, offset)
            }
        };
        let pointer = code.edit.pointer(StorageClass::PhysicalStorageBuffer, of);
        math.to_pointer(code, pointer, address)
    }
}

/// The places of the parts of an access.
enum Located {
    /// On pages that are looked up one by one.
    Pages(PagedAccess),
    /// Behind each other, from this address on the device.
    Whole(Id),
}

/// Puts a value together from its pieces, which come in order.
fn assemble<'p>(
    code: &mut Code<'_>,
    of: Id,
    depth: usize,
    parts: &mut std::iter::Peekable<impl Iterator<Item = (&'p Piece, Id)>>,
) -> Id {
    if parts.peek().is_some_and(|(piece, _)| piece.path.len() == depth) {
        return parts.next().map_or(0, |(_, value)| value);
    }
    let declared = code.edit.global(of).cloned();
    let members: Vec<Id> = declared.map_or_else(Vec::new, |declared| {
        let count = Layouts::parts(code.edit, of).unwrap_or_default() as usize;
        match (declared.class.opcode, declared.operands.first()) {
            (Op::TypeStruct, _) => declared.operands.iter().filter_map(id_of).collect(),
            (_, Some(Operand::IdRef(part))) => vec![*part; count],
            _ => Vec::new(),
        }
    });
    let values: Vec<Id> =
        members.into_iter().map(|member| assemble(code, member, depth + 1, parts)).collect();
    code.ids(Op::CompositeConstruct, of, &values)
}

fn id_of(operand: &Operand) -> Option<Id> {
    match operand {
        Operand::IdRef(id) => Some(*id),
        _ => None,
    }
}
